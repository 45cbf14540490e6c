"""What the README claims is computed from the recording it names. Its commands are tried in test_docs.py."""

import io
import json
import re

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from tests.cluster import jaeger, otlp
from tests.kit import HERE, RECORDINGS, SCENARIOS, replay
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import waterfalls
from tracer.telemetry.otlp import encode

ROOT = HERE.parent
README = (ROOT / "README.md").read_text()
RECORDING = HERE / "recordings" / "task-timeout"
PICTURE = ROOT / "docs" / "waterfall.svg"

# rich's own SVG, without the fonts that it would load from elsewhere.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
    {lines}
    </defs>
    <rect fill="#292929" width="{width}" height="{height}" rx="8"/>
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def drawn() -> str:
    """Draw the README's picture."""
    (picture,) = waterfalls(replay(RECORDING / "watch.jsonl"))
    console = Console(
        record=True,
        width=96,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={},
        legacy_windows=False,
    )
    print_waterfall(console, picture)
    svg = console.export_svg(title="tracer explain", unique_id="waterfall", code_format=SVG)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def test_the_picture_is_current(request: pytest.FixtureRequest) -> None:
    """The picture is what `tracer explain` draws."""
    if request.config.getoption("--rewrite"):
        PICTURE.write_text(drawn())
    assert drawn() == PICTURE.read_text()
    assert "http" not in PICTURE.read_text().replace("http://www.w3.org/2000/svg", "")


def test_what_the_backend_has() -> None:
    """The span of the README is the recording's, as Jaeger shows it; what it leaves out are tags and fields, no values."""
    (said,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    request = ExportTraceServiceRequest.FromString(encode(tuple(replay(RECORDING / "watch.jsonl"))))
    (shown,) = (one for one in map(jaeger.as_shown, otlp.one_by_one([request])) if one["operationName"] == said["operationName"])
    assert said.pop("tags").items() <= shown["tags"].items()
    assert said.items() <= shown.items()


def test_the_number_of_recordings() -> None:
    """The README counts the recordings that the truth test holds against the steps' own words."""
    assert f"on {len(RECORDINGS) + len(SCENARIOS)} recordings of a real cluster" in README
