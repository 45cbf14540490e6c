"""The wire: the same records give the same bytes, and the JSON form says the same."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.kit import HERE, RECORDINGS, SCENARIOS, replay
from tracer.telemetry import otlp
from tracer.telemetry.records import TEXT_LIMIT_BYTES, attributes, cut, first_line


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in RECORDINGS])
def test_bytes_parse_back(path: Path) -> None:
    """What is written parses to the same message, and is written the same again."""
    spans = replay(path / "watch.jsonl")
    written = otlp.encode(spans)
    parsed = ExportTraceServiceRequest.FromString(written)
    assert parsed == otlp.export_request(spans)
    assert written == otlp.encode(spans)
    keys = [[pair.key for pair in span.attributes] for group in parsed.resource_spans for span in group.scope_spans[0].spans]
    assert keys == [sorted(one) for one in keys]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]])
def test_json_says_the_same(path: Path) -> None:
    """The JSON form has ids in hex and times as text, and holds every field of the message."""
    request = otlp.export_request(replay(path / "watch.jsonl"))
    said = json.loads(json.dumps(otlp.to_json(request)))
    for group in said.get("resourceSpans", []):
        for span in group["scopeSpans"][0]["spans"]:
            assert (len(span["traceId"]), len(span["spanId"]), span["kind"] in {1, 2}) == (32, 16, True)
            assert isinstance(span["startTimeUnixNano"], str)
    back = json_format.ParseDict(_with_base64(said), ExportTraceServiceRequest())
    assert back == request


def _with_base64(said: dict[str, object]) -> dict[str, object]:
    """Turn ids back to what protobuf's own JSON has."""

    def turn(value: object) -> object:
        if isinstance(value, dict):
            ids = {"traceId", "spanId", "parentSpanId"}
            return {key: _base64(one) if key in ids else turn(one) for key, one in value.items()}
        return [turn(one) for one in value] if isinstance(value, list) else value

    turned = turn(said)
    assert isinstance(turned, dict)
    return turned


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def test_every_process_writes_the_same() -> None:
    """Neither hash seeds nor the moment nor the zone enter the bytes."""
    code = (
        "import hashlib; from tests.kit import replay, RECORDINGS; from tracer.telemetry import otlp;"
        "print(hashlib.sha256(b''.join(otlp.encode(replay(path / 'watch.jsonl')) for path in RECORDINGS)).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Kathmandu"))
    }
    assert len(said) == 1


def test_texts_are_bounded_and_harmless() -> None:
    """Texts are cut at 1,024 bytes between characters; messages are one line without control characters; nothing raises."""
    assert len(cut("é" * 2000).encode()) == TEXT_LIMIT_BYTES
    assert len(cut("€" * 2000).encode()) == TEXT_LIMIT_BYTES - 1
    assert cut("a\ud800b") == "a?b"
    assert first_line("\n  bad\x1b[31m\x00 news\nmore") == "bad [31m  news"
    assert first_line("") == ""
    assert attributes({"b": 0, "a": "", "c": None, "d": (), "e": True, "f": ("x", "")}) == (("b", 0), ("e", True), ("f", ("x",)))
