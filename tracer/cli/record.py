"""The command that writes down what a cluster says."""

import asyncio
import math
import signal
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
from tracer.explain.terminal.glyphs import printable
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
    """Write down what a cluster says of runs and their Pods, until Ctrl-C, SIGTERM or --duration.

    `tracer explain -f DIR` and `tracer replay DIR` read it. Only what they need is kept: no params, scripts, environment,
    results, nor labels and annotations that are not mapped.
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
    named, troubles = say_namespaces(namespaces), _Troubles()

    def begin() -> None:
        note(f"recording {named} to {printable(str(recorder.path))}; end with Ctrl-C.")
        troubles.begin()

    with suppress(asyncio.CancelledError):
        async with Transport(api.transport, recorder.clock) as transport:
            watches = Watches(namespaces, schema, api, transport, recorder.clock, recorder.tell, troubles.report)
            await recorder.run(watches, duration_s, begin)


class _Troubles:
    """Says on standard error what is wrong with watches: once when it begins, however many have it, and when it is over."""

    def __init__(self) -> None:
        """Say nothing yet: what is wrong before the recording has begun may end it, and is said then."""
        self._has_begun = False
        self._of: dict[tuple[object, ...], str] = {}
        self._kinds: dict[str, set[Kind]] = {}

    def begin(self) -> None:
        """Say what is wrong now, and from now on what happens."""
        self._has_begun = True
        for trouble in self._kinds:
            note(printable(trouble))

    def report(self, event: Event) -> None:
        """Take in what happens to a watch."""
        match event.what:
            case What.WATCH_FAILED:
                self._failed(_key(event), Kind(str(event.fields["kind"])), event)
            case What.WATCH_RECOVERED:
                self._recovered(_key(event))
            case _:
                note(printable(event.message))

    def _failed(self, key: tuple[object, ...], kind: Kind, event: Event) -> None:
        if key in self._of or (kind is Kind.CUSTOM_RUN and event.fields["reason"] == "not_served"):
            return
        if self._has_begun and event.message not in self._kinds:
            note(printable(event.message))
        self._of[key] = event.message
        self._kinds.setdefault(event.message, set()).add(kind)

    def _recovered(self, key: tuple[object, ...]) -> None:
        trouble = self._of.pop(key, None)
        if trouble is None or trouble in self._of.values():
            return
        kinds = self._kinds.pop(trouble)
        if self._has_begun:
            note(f"{', '.join(sorted(kind.plural for kind in kinds))} are watched again.")


def _key(event: Event) -> tuple[object, ...]:
    return tuple(event.fields.get(name) for name in ("kind", "namespace", "events"))
