"""The command that is the product: watch a cluster, tell its runs."""

import asyncio
import signal
import sys
from collections.abc import Callable

import click

from tracer.app import App, Stop
from tracer.cli.options import (
    REMEMBERING,
    RENDERING,
    SENDING,
    SERVING,
    WATCHING,
    cluster_options,
    open_api,
    read_settings,
    settings_options,
)
from tracer.cli.printing import Count, all_rows_option, output_option, printer_of
from tracer.cli.replay import EXIT_FOUND
from tracer.clock import Clock
from tracer.events import Level
from tracer.health.log import Log


@click.command()
@click.option("--once", is_flag=True, help="List, send what is due, and end; for a CronJob.")
@click.option("--dry-run", is_flag=True, help="Print the runs as they end, and send nothing.")
@output_option
@all_rows_option
@cluster_options
@settings_options(*WATCHING, *SENDING, *RENDERING, *REMEMBERING, *SERVING)
def run(
    output: str | None,
    kubeconfig: str | None,
    context: str | None,
    *,
    once: bool,
    dry_run: bool,
    show_all: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Watch a cluster and send every run's trace to the backend.

    This is the controller. In a Pod it uses the Pod's own account, elsewhere a kubeconfig. It needs to list and watch
    pipelineruns, taskruns, customruns, pods and events, and writes to nothing but two objects of its own: the ConfigMap
    tracer-checkpoint, which remembers what was sent, and the Lease tracer-leader, by which one replica sends while the others
    stand by. What is not there yet is waited for: the API server, Tekton, a right, the backend. SIGTERM ends it within 30 s,
    with what is due delivered first; a second one at once.
    """
    settings = read_settings(config_file, given, sends=not dry_run)
    account = open_api(kubeconfig, context)
    count = Count(printer_of(output or ("text" if dry_run else None), show_all=show_all), must_print=dry_run)
    clock = Clock()
    log = Log(sys.stderr, Level(settings.config.log.level), clock)
    app = App(settings, account, clock, log.report, count.add, is_dry=dry_run)
    with log.libraries(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        rejected = runner.run(_run(app, is_once=once))
    count.close()
    if once:
        click.echo(f"{count}{'; nothing was sent' if dry_run else ''}.", err=True)
        if rejected:
            click.get_current_context().exit(EXIT_FOUND)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give what makes uvloop's loops where that extra is installed, as it is in the image; None makes asyncio's own."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - 40 ms that no other command needs
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory


async def _run(app: App, *, is_once: bool) -> int:
    stop, loop = Stop(), asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.ask)
    if is_once:
        return await app.run_once(stop)
    await app.run(stop)
    return 0
