"""The command that shows what tracer does."""

import difflib
import math
from pathlib import Path

import click

from tracer.cli.options import RENDERING, SENDING_OTLP, read_settings, settings_options
from tracer.cli.printing import console
from tracer.demo.player import packaged_recordings, play
from tracer.errors import InputError
from tracer.kube.recording import find_recording

_DEFAULT = "failing-step"


@click.command()
@click.argument("recording", required=False, metavar="[RECORDING]")
@click.option(
    "--speed", type=click.FloatRange(min=0.1), default=4.0, show_default=True, help="How many times faster than it was."
)
@settings_options(*SENDING_OTLP, *RENDERING)
def demo(recording: str | None, speed: float, config_file: str | None, **given: str | None) -> None:
    """Play a real recording through the whole product.

    Steps appear as the backend has them, then the run is drawn. An API server on loopback tells what a real one told, the
    controller watches it, and sends to a receiver of its own; with --otlp-endpoint to yours. RECORDING is one of the packaged
    ones, or a path with watch events. The packaged ones: cancel, failing-step, retries, success, task-timeout.
    """
    if not math.isfinite(speed):
        raise InputError(f"--speed {speed} is no speed; give a number such as 4.")
    is_sent = given.get("otlp_endpoint") is not None
    settings = read_settings(config_file, {**given, "exporter": "otlp"}, sends=is_sent)
    play(console(), _path(recording), speed, settings, is_sent=is_sent)


def _path(recording: str | None) -> Path:
    packaged = packaged_recordings()
    if recording is None:
        return packaged[_DEFAULT]
    if recording in packaged:
        return packaged[recording]
    if "/" in recording or Path(recording).exists():
        return find_recording(Path(recording))
    near = difflib.get_close_matches(recording, packaged, n=1)
    hint = f"did you mean {near[0]}? The others are" if near else "there are"
    raise InputError(
        f"There is no packaged recording {recording}; {hint} {', '.join(name for name in packaged if name not in near)}."
    )
