"""How does a recording play? Through the whole product, at a multiple of its own speed: steps appear as the backend has them."""

import asyncio
from dataclasses import dataclass, field
from importlib import resources
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tracer.delivery.outcome import Refused
from tracer.demo.apiserver import ApiServer, recorded
from tracer.demo.receiver import Receiver
from tracer.demo.stage import Stage, stage
from tracer.errors import BackendError, InputError
from tracer.explain.rows import row_of
from tracer.explain.terminal.picture import print_waterfall, step_line, step_width
from tracer.explain.waterfall import waterfalls
from tracer.kube.recording import find_recording
from tracer.settings import Settings
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.records import SpanRecord

_LONGEST_PAUSE_S = 2.0  # a recording of an hour's wait is no demonstration
_SLICE_S = 0.5
_BEFORE_S = 1.0
_PATIENCE_S = 10.0


def packaged_recordings() -> dict[str, Path]:
    """Find the recordings that come with the package, by name."""
    folder = Path(str(resources.files("tracer.demo"))) / "recordings"
    return {path.name.removesuffix(".jsonl"): path for path in sorted(folder.glob("*.jsonl"))}


@dataclass(slots=True)
class Shown:
    """Prints each step when the backend has it."""

    console: Console
    told: list[SpanRecord] = field(default_factory=list)
    """Every span that the backend has."""

    def take(self, spans: list[SpanRecord]) -> None:
        """Take what the backend has taken."""
        self.told += spans
        began_ns = min(span.start_ns for span in self.told)
        for span in sorted(spans, key=lambda one: one.start_ns):
            if span.slot.kind == "step":
                line = step_line(self.console, row_of(span), began_ns)
                line.truncate(self.console.width)
                self.console.print(line, no_wrap=True, soft_wrap=True)


def play(console: Console, path: Path, speed: float, settings: Settings, *, is_sent: bool) -> None:
    """Play a recording, speed times as fast as it was, to the configured backend, or to one of our own unless it is_sent.

    Raises InputError if there is nothing to play, BackendError if the backend does not take it.
    """
    asyncio.run(_play(console, find_recording(path), speed, settings, is_sent=is_sent))


async def _play(console: Console, path: Path, speed: float, settings: Settings, *, is_sent: bool) -> None:
    events = recorded(path)
    first = next(events, None)
    if first is None:
        raise InputError(f"{path} holds no watch events, so there is nothing to play; draw it with `tracer explain -f {path}`.")
    name = path.stem if path.parent.name == "recordings" else path.parent.name or path.stem
    console.print(Text(f"Playing {name}, recorded on a real cluster, at {speed:g} times its speed.", "bold"))
    console.print(Text(f"{'began at':>9}    {'step':<{step_width(console)}} {'took':>8}  result", "bright_black"))
    shown = Shown(console)
    async with ApiServer() as server, Receiver() as receiver:
        if not is_sent:
            settings = settings.sending_to(receiver.url)
        began_ns = int((first[0] - _BEFORE_S) * SECOND_NS)
        async with stage(began_ns, server, settings, show=shown.take) as one:
            for at_s, is_gone, content in chain([first], events):
                await _wait(one, at_s - one.clock.unix_ns() / SECOND_NS, speed)
                await one.happen(content, is_gone=is_gone)
            until_ns = one.clock.unix_ns()
            await one.end()
            await _deliver(one)
            unfinished = list(one.unfinished())
    for picture in waterfalls(shown.told, unfinished, until_ns):
        console.print()
        print_waterfall(console, picture)
    where = settings.config.otlp.endpoint if is_sent else "the receiver that came with this demonstration"
    console.print(Text(f"\n{len(shown.told)} spans, all of them acknowledged by {where}.", "bright_black"))


async def _wait(one: Stage, gap_s: float, speed: float) -> None:
    """Let the time between two events pass, in slices, so that what becomes due in between is shown then."""
    shrunk = min(1 / speed, _LONGEST_PAUSE_S / gap_s) if gap_s > 0 else 0.0
    while gap_s > 0:
        part_s = min(gap_s, _SLICE_S)
        await asyncio.sleep(part_s * shrunk)
        await one.clock.move_on(part_s)
        gap_s -= part_s


async def _deliver(one: Stage) -> None:
    """Wait until the backend has everything; the recording's time passes so that what failed is tried again."""
    outbox, sender = one.app.controller.outbox, one.app.controller.sender
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not outbox.is_empty and not isinstance(sender.trouble, Refused):
                await asyncio.sleep(0 if sender.trouble is None else _SLICE_S)
                if sender.trouble is not None:
                    await one.clock.move_on(_SLICE_S)
    except TimeoutError:
        pass
    if not outbox.is_empty:
        why = f"it did not answer within {_PATIENCE_S:g} s" if sender.trouble is None else sender.trouble.why
        raise BackendError(f"The backend does not take the spans: {why.rstrip('.')}.")
