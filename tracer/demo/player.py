"""How does a recording play? At a multiple of its own speed: each step appears as it ends, then the whole picture."""

import time
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tracer.explain.rows import row_of
from tracer.explain.terminal.picture import print_waterfall, step_line, step_width
from tracer.explain.waterfall import waterfalls
from tracer.kube.recording import find_recording
from tracer.replay import Replay
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.records import SpanRecord

_LONGEST_PAUSE_S = 2.0  # a recording of an hour's wait is no demonstration


def packaged_recordings() -> dict[str, Path]:
    """Find the recordings that come with the package, by name."""
    folder = Path(str(resources.files("tracer.demo"))) / "recordings"
    return {path.name.removesuffix(".jsonl"): path for path in sorted(folder.glob("*.jsonl"))}


def play(console: Console, path: Path, speed: float) -> None:
    """Play a recording, speed times as fast as it was."""
    found = find_recording(path)
    name = found.stem if found.parent.name == "recordings" else found.parent.name or found.stem
    console.print(Text(f"Playing {name}, recorded on a real cluster, at {speed:g} times its speed.", "bold"))
    console.print(Text(f"{'began at':>9}    {'step':<{step_width(console)}} {'took':>8}  result", "bright_black"))
    replay, told = Replay(), list[SpanRecord]()
    clock_ns = began_ns = 0  # the moment in the recording that is being played, and that of its first span
    for now_ns, _, batch in replay.batches(found):
        began_ns = began_ns or min(span.start_ns for span in batch)
        clock_ns = clock_ns or began_ns
        if now_ns <= replay.until_ns:
            time.sleep(min(_LONGEST_PAUSE_S, max(0, now_ns - clock_ns) / SECOND_NS / speed))
            clock_ns = now_ns
        told += batch
        for span in sorted(batch, key=lambda one: one.start_ns):
            if span.slot.kind == "step":
                line = step_line(console, row_of(span), began_ns)
                line.truncate(console.width)
                console.print(line, no_wrap=True, soft_wrap=True)
    for picture in waterfalls(told, replay.ledger.unfinished(), replay.until_ns):
        console.print()
        print_waterfall(console, picture)
