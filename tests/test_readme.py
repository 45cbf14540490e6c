"""What the README claims is computed from the recording it names."""

import asyncio
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from tests.asked import WITHIN_S, kubeconfig
from tests.cluster import jaeger, otlp
from tests.kit import HERE, RECORDINGS, SCENARIOS, replay
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import waterfalls
from tracer.settings import load
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


BACKEND = "http://localhost:4318"
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if "tracer " in line and not line.startswith("helm ")  # tests/cluster/test_chart.py has helm, and tries those
]


SENDS = re.compile(r"tracer (replay (?!--dry-run)|run |doctor )")
GOES_ON = re.compile(r"tracer (run|record) ")


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_do_something(line: str, tmp_path: Path) -> None:
    """Every command that the README shows runs: cluster and backend are on loopback; Ctrl-C ends what goes on."""
    source, _, command = line.rpartition("| ")
    listed = (HERE / "recordings" / "success" / "objects.json").read_bytes() if "kubectl get" in source else b""

    def has_begun(receiver: Receiver) -> bool:
        return bool(receiver.spans) or any(path.stat().st_size for path in tmp_path.glob("*.jsonl"))

    async def run() -> tuple[int | None, bytes, bytes]:
        async with ApiServer() as server, Receiver() as receiver:
            await server.play(HERE / "recordings" / "success")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *shlex.split(command.replace(BACKEND, receiver.url).replace("incident", str(tmp_path)))),
                cwd=ROOT,
                env={
                    "PATH": os.defpath,
                    "KUBECONFIG": str(kubeconfig(tmp_path, server.url, "default")),
                    "TRACER_LISTEN": "127.0.0.1:0",
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            if GOES_ON.search(command):
                async with asyncio.timeout(WITHIN_S):
                    while not has_begun(receiver):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)  # another process: nothing here tells when
                process.send_signal(signal.SIGINT)
            out, error = await process.communicate(listed)
            assert bool(receiver.spans) == bool(SENDS.search(command))
            return process.returncode, out, error

    code, out, error = asyncio.run(run())
    assert (code, bool(out or error), b"Traceback" in error) == (0, True, False), error


def test_the_settings_are_settings() -> None:
    """The example of a file is one that can be used."""
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "run.md").read_text(), re.DOTALL)
    settings = load({}, {}, ("docs/run.md", example.encode()))
    assert set(settings.sources) == {"otlp.endpoint", "otlp.ca_file", "otlp.headers_file", "spans.run_url", "spans.mappings"}


def test_the_number_of_recordings() -> None:
    """The README counts the recordings that the truth test holds against the steps' own words."""
    assert f"on {len(RECORDINGS) + len(SCENARIOS)} recordings of a real cluster" in README


def test_links_lead_somewhere() -> None:
    """Every file that the README and the documents name is there."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    rooms = re.findall(
        r"`((?:kube|tekton|lifecycle|telemetry|delivery|explain|demo)/[\w.]*)`", (ROOT / "docs/architecture.md").read_text()
    )
    assert rooms
    assert [room for room in rooms if not (ROOT / "tracer" / room).exists()] == []
