"""The wire: the same records give the same bytes, and the JSON form says the same."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.kit import HERE, RECORDINGS, SCENARIOS, replay
from tracer.telemetry import otlp
from tracer.telemetry.attributes import SCHEMA_URL
from tracer.telemetry.records import TEXT_LIMIT_BYTES, Attributes, AttributeValue, SpanRecord, attributes, cut, first_line


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
def test_bytes_are_those_of_the_plain_messages(path: Path) -> None:
    """Filling messages in where they stand writes the very bytes of making each and putting it into the next."""
    spans = replay(path / "watch.jsonl")
    assert otlp.encode(spans) == _plainly(spans).SerializeToString(deterministic=True)


def _plainly(spans: list[SpanRecord]) -> ExportTraceServiceRequest:
    """Write spans as slowly and plainly as can be."""
    groups: dict[Attributes, list[SpanRecord]] = {}
    for span in spans:
        groups.setdefault(span.resource, []).append(span)
    scope = InstrumentationScope(name="tracer", version="1")
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=_pairs(resource)),
                scope_spans=[ScopeSpans(scope=scope, spans=[_span(one) for one in group], schema_url=SCHEMA_URL)],
                schema_url=SCHEMA_URL,
            )
            for resource, group in groups.items()
        ]
    )


def _span(one: SpanRecord) -> Span:
    return Span(
        trace_id=one.trace_id,
        span_id=one.span_id,
        parent_span_id=one.parent_span_id,
        trace_state=one.trace_state,
        flags=0x301 if one.has_remote_parent else 0x101,
        name=one.name,
        kind=Span.SpanKind.ValueType(int(one.kind)),
        start_time_unix_nano=one.start_ns,
        end_time_unix_nano=one.end_ns,
        attributes=_pairs(one.attributes),
        events=[Span.Event(name=e.name, time_unix_nano=e.at_ns, attributes=_pairs(e.attributes)) for e in one.events],
        links=[
            Span.Link(
                trace_id=x.trace_id, span_id=x.span_id, trace_state=x.trace_state, attributes=_pairs(x.attributes), flags=0x301
            )
            for x in one.links
        ],
        status=Status(code=Status.STATUS_CODE_ERROR if one.is_error else Status.STATUS_CODE_UNSET, message=one.description),
    )


def _pairs(pairs: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in pairs]


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=one) for one in value]))


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


@pytest.mark.row("O11", "S4")
def test_texts_are_bounded_and_harmless() -> None:
    """Texts are cut at 1,024 bytes between characters; messages are one line without control characters; nothing raises."""
    assert len(cut("é" * 2000).encode()) == TEXT_LIMIT_BYTES
    assert len(cut("€" * 2000).encode()) == TEXT_LIMIT_BYTES - 1
    assert cut("a\ud800b") == "a?b"
    assert first_line("\n  bad\x1b[31m\x00 news\nmore") == "bad [31m  news"
    assert first_line("") == ""
    assert attributes({"b": 0, "a": "", "c": None, "d": (), "e": True, "f": ("x", "")}) == (("b", 0), ("e", True), ("f", ("x",)))
