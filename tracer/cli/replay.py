"""The command that sends what recordings come to."""

import asyncio
import math
import signal
from pathlib import Path
from typing import Any

import click

from tracer.backends import backend_of
from tracer.cli.options import RENDERING, SENDING, read_settings, settings_options
from tracer.cli.printing import Count, all_rows_option, note, output_option, printer_of, report
from tracer.cli.progress import Sending, reading
from tracer.clock import Clock
from tracer.delivery.ledger import Ledger
from tracer.delivery.outcome import Refused
from tracer.delivery.policy import Pace
from tracer.errors import BackendError, InputError, TracerError
from tracer.explain.phrases import printable
from tracer.kube.recording import find_recording
from tracer.replay import Delivery, Replay
from tracer.transport import Transport

EXIT_FOUND = 6
_SHOWN_REASONS = 5


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--dry-run", is_flag=True, help="Print the spans and send nothing.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=86_400),
    default=60.0,
    show_default=True,
    help="Give up after so many seconds without an answer.",
)
@output_option
@all_rows_option
@settings_options(*SENDING, *RENDERING)
@click.pass_context
def replay(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    timeout_s: float,
    output: str | None,
    *,
    dry_run: bool,
    show_all: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Send the spans of recorded runs to a backend, or print them.

    PATH is a folder with watch.jsonl or objects.json, a file of watch events, what `kubectl get -o json|yaml` prints, or - for
    standard input. Each PATH stands by itself: give runs and what they own together. Sending twice leaves the same spans, for the
    same facts always give the same bytes; what goes on is sent as far as it has ended.

    \b
    -o text   print the waterfall of each run as well
    -o json   print one JSON object a run and line
    -o otlp   print one OTLP/JSON ExportTraceServiceRequest with every span
    """  # noqa: D301 - click's mark for text that is not to be wrapped
    settings = read_settings(config_file, given)
    replays = [(find_recording(Path(path)), Replay(Ledger(settings.spans))) for path in paths]
    if not math.isfinite(timeout_s):
        raise InputError(f"--timeout {timeout_s} is no time; give a number of seconds such as 60.")
    count = Count(printer_of(output or ("text" if dry_run else None), show_all=show_all), must_print=dry_run)
    if dry_run:
        with reading([path for path, _ in replays]) as advance:
            for path, one in replays:
                for batch in one.batches(path, advance):
                    count.add(batch.spans)
                count.end(one)
        count.close()
        report([one for _, one in replays], count.without_pod)
        if output in {None, "text"}:
            click.echo(f"{count}; nothing was sent.", err=True)
        return
    clock = Clock()
    transport = Transport(settings.transport, clock)
    delivery = Delivery(
        backend_of(settings, transport), clock, timeout_s, count.add, Pace(usual_timeout_s=settings.try_timeout_s)
    )
    sending = Sending([path for path, _ in replays], delivery, is_shown=output is None)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        asyncio.run(_send(transport, delivery, sending, replays, count))
    except (KeyboardInterrupt, TracerError, OSError):
        if delivery.told:
            _say_account(delivery, count)
        raise
    count.close()
    report([one for _, one in replays], count.without_pod)
    if _conclude(delivery, [one for _, one in replays], count, f"within {timeout_s:g} s", settings.endpoint_name):
        context.exit(EXIT_FOUND)


def _interrupt(_: int, __: object) -> None:
    """Stop at once: asyncio would wait for whoever reads standard input."""
    raise KeyboardInterrupt


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong in a task that nobody waits for, but not that it was interrupted like everything else."""
    if not isinstance(context.get("exception"), KeyboardInterrupt):
        loop.default_exception_handler(context)


async def _send(
    transport: Transport, delivery: Delivery, sending: Sending, replays: list[tuple[Path, Replay]], count: Count
) -> None:
    asyncio.get_running_loop().set_exception_handler(_complain)
    async with transport:
        with sending.bar:
            await delivery.send(replays, sending.advance, sending.look, count.end)


def _conclude(delivery: Delivery, replays: list[Replay], count: Count, patience: str, backend: str) -> bool:
    """Say what became of the spans; true if some were rejected. Raises BackendError if some were lost."""
    sender = delivery.sender
    for warning, requests in sender.warnings.most_common(_SHOWN_REASONS):
        note(f"the backend took {requests} requests and says: {printable(warning)}.")
    for why, spans in sender.rejections.most_common(_SHOWN_REASONS):
        note(f"{spans} spans were rejected for good: {printable(why)}.")
    unfinished = sum(1 for one in replays for _ in one.ledger.unfinished())
    if unfinished:
        runs = "1 run" if unfinished == 1 else f"{unfinished} runs"
        note(f"{runs} had not ended: only what had was sent; send again when all has.")
    _say_account(delivery, count)
    if not delivery.lost:
        return delivery.rejected > 0
    trouble = sender.trouble
    why = f"{backend} has not answered" if trouble is None else trouble.why
    when = "" if isinstance(trouble, Refused) else f" {patience}"
    raise BackendError(f"{delivery.lost} of {delivery.told} spans were not delivered{when}: {why}.")


def _say_account(delivery: Delivery, count: Count) -> None:
    click.echo(f"{count}: {delivery.delivered} sent, {delivery.rejected} rejected, {delivery.lost} lost.", err=True)
