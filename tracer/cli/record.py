"""The command that writes down what a cluster says."""

import asyncio
import math
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from tracer.cli.options import (
    cluster_options,
    namespace_options,
    open_api,
    read_namespaces,
    read_settings,
    say_namespaces,
    settings_options,
)
from tracer.cli.printing import note, report_malformed
from tracer.clock import Clock
from tracer.errors import InputError
from tracer.events import Event, What
from tracer.explain.phrases import printable
from tracer.kube.credentials import InCluster, Kubeconfig
from tracer.kube.recorder import Recorder
from tracer.kube.watches import Watches
from tracer.tekton.decode import Schema
from tracer.tekton.names import Kind
from tracer.transport import Transport


@click.command()
@click.option("--to", "folder", metavar="DIR", required=True, help="Write DIR/watch.jsonl; DIR is made if it is not there.")
@namespace_options
@click.option(
    "--duration",
    "duration_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    help="End after so long; default: go on until Ctrl-C or SIGTERM.",
)
@cluster_options
@settings_options("spans.mappings")
def record(
    folder: str,
    namespaces: tuple[str, ...],
    duration_s: float,
    kubeconfig: str | None,
    context: str | None,
    *,
    all_namespaces: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Write down what a cluster says of runs and their Pods.

    It goes on until Ctrl-C, SIGTERM or the end of --duration. `tracer explain -f DIR` and `tracer replay DIR` read it. Only
    what they need is kept: no params, scripts, environment, results, nor labels and annotations that are not mapped.
    """
    if math.isnan(duration_s):
        raise InputError(f"--duration {duration_s} is no time; give a number of seconds such as 60.")
    schema = read_settings(config_file, given, sends=False).spans.schema
    api = open_api(kubeconfig, context)
    meant = read_namespaces(namespaces, all_namespaces=all_namespaces, default=api.namespace)
    clock = Clock()
    with Recorder(Path(folder), clock) as recorder:
        asyncio.run(_record(recorder, api, schema, meant, duration_s))
    report_malformed(recorder.malformed)
    if not recorder.events:
        note(f"nothing was seen in {say_namespaces(meant)}: nothing runs there, or that is not its name.")
    note(f"wrote {recorder} to {printable(str(recorder.path))}.")


async def _record(
    recorder: Recorder, api: InCluster | Kubeconfig, schema: Schema, namespaces: tuple[str, ...], duration_s: float
) -> None:
    """Record until a signal comes; a second one ends the process at once."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(one)
        if this is not None:
            this.cancel()

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop)
    named = say_namespaces(namespaces)
    troubles = _Troubles(lambda: {f"{one.trouble.rstrip('.')}." for one in watches.reflectors})

    def begin() -> None:
        note(f"recording {named} to {printable(str(recorder.path))}; end with Ctrl-C.")
        troubles.begin()

    with suppress(asyncio.CancelledError):
        async with Transport(api.transport, recorder.clock) as transport:
            watches = Watches(namespaces, schema, api, transport, recorder.clock, recorder.tell, troubles.report)
            await recorder.run(watches, duration_s, begin)


class _Troubles:
    """Says on standard error what is wrong with watches: once when it begins, however many have it, and when it is over."""

    def __init__(self, present: Callable[[], set[str]]) -> None:
        """Say nothing yet: what is wrong before the recording has begun may end it, and is said then."""
        self._present = present
        self._has_begun = False
        self._lasting: dict[str, None] = {}

    def begin(self) -> None:
        """Say what is wrong now, and from now on what happens."""
        self._has_begun = True
        for sentence in self._lasting:
            note(printable(sentence))

    def report(self, event: Event) -> None:
        """Take in what happens to a watch."""
        if event.what is What.WATCH_RECOVERED:
            present = self._present()
            for sentence in [one for one in self._lasting if one not in present]:
                del self._lasting[sentence]
                self._say(f"mended: {sentence}")
        elif not _is_absent(event) and event.message not in self._lasting:
            self._lasting[event.message] = None
            self._say(event.message)

    def _say(self, sentence: str) -> None:
        if self._has_begun:
            note(printable(sentence))


def _is_absent(event: Event) -> bool:
    """Say whether it is no trouble: not every cluster serves CustomRuns."""
    return event.fields.get("kind") == Kind.CUSTOM_RUN and event.fields.get("reason") == "not_served"
