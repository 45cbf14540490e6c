"""The command that shows what tracer does."""

import difflib
import math
from pathlib import Path

import click

from tracer.cli.printing import console
from tracer.demo.player import packaged_recordings, play
from tracer.errors import InputError
from tracer.kube.recording import find_recording


@click.command()
@click.argument("recording", required=False, metavar="[RECORDING]")
@click.option(
    "--speed", type=click.FloatRange(min=0.1), default=4.0, show_default=True, help="How many times faster than it was."
)
def demo(recording: str | None, speed: float) -> None:
    """Play a real recording: steps appear as they end, then the waterfall.

    RECORDING is one of the packaged ones, or a path. The packaged ones: cancel, failing-step, retries, success, task-timeout.
    """
    if not math.isfinite(speed):
        raise InputError(f"--speed {speed} is no speed; give a number such as 4.")
    play(console(), _path(recording), speed)


def _path(recording: str | None) -> Path:
    packaged = packaged_recordings()
    if recording is None:
        return packaged["failing-step"]
    if recording in packaged:
        return packaged[recording]
    if "/" in recording or Path(recording).exists():
        return find_recording(Path(recording))
    near = difflib.get_close_matches(recording, packaged, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? The others are" if near else "there are"
    raise InputError(
        f"There is no packaged recording {recording}; {hint} {', '.join(name for name in packaged if name not in near)}."
    )
