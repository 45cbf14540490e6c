"""What the README claims is computed from the recording it names. Its commands are tried in test_docs.py."""

import io
import json
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from tests.kit import HERE, RECORDINGS, SCENARIOS, replay
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import waterfalls
from tracer.telemetry.records import SpanRecord

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


def clock(instant_ns: int, digits: int) -> str:
    """Write the time of day."""
    whole = datetime.fromtimestamp(instant_ns // 10**9, UTC).strftime("%H:%M:%S")
    return f"{whole}.{instant_ns % 10**9 // 10 ** (9 - digits):0{digits}}" if digits else whole


def claims() -> dict[str, list[str]]:
    """Read the README's table, by step."""
    rows = [re.split(r" *\| *", line.strip("| ")) for line in README.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_what_tekton_claims() -> None:
    """The TaskRun's last status says that all three steps timed out from their containers' start."""
    lines = [json.loads(line) for line in (RECORDING / "watch.jsonl").read_text().splitlines()]
    steps = [
        line["object"]["status"]["steps"]
        for line in lines
        if line["object"]["kind"] == "TaskRun" and line["object"].get("status")
    ][-1]
    assert [step["name"] for step in steps] == list(claims())
    for step in steps:
        end = step["terminated"]
        assert end["reason"] == "TaskRunTimeout"
        began, ended = (end[key][11:19] for key in ("startedAt", "finishedAt"))
        assert claims()[step["name"]][0] == f"timed out, exit {end['exitCode']}, {began} to {ended}"


def said(span: SpanRecord) -> str:
    """Say a step's span as the README does."""
    if span.attribute("tekton.step.class") == "never_ran":
        return "never ran"
    result, code = span.attribute("cicd.pipeline.task.run.result"), span.attribute("process.exit.code")
    return f"{result}, exit {code}, {clock(span.start_ns, 3)} to {clock(span.end_ns, 3)}"


def test_what_tracer_says() -> None:
    """The table's third column is what the spans say."""
    steps = {span.name: span for span in replay(RECORDING / "watch.jsonl") if span.slot.kind == "step"}
    assert {name: said(span) for name, span in steps.items()} == {name: row[1] for name, row in claims().items()}


def test_what_the_steps_said() -> None:
    """The table's last column is what the steps' own scripts wrote."""
    for row in json.loads((RECORDING / "truth.json").read_text()):
        told = claims()[row["container"].removeprefix("step-")][2]
        begin, end = (clock(round(row[key] * 100) * 10**7, 2) if key in row else None for key in ("begin", "end"))
        assert told == (f"{begin} to {end}" if end else f"{begin}, then killed" if begin else "never ran")


def test_the_number_of_recordings() -> None:
    """The README counts the recordings that the truth test holds against the steps' own words."""
    assert f"on {len(RECORDINGS) + len(SCENARIOS)} recordings of a real cluster" in README
