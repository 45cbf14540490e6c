"""How are spans compared that come as protobuf, as OTLP/JSON, and out of Jaeger? Whole, one by one, as protobuf's own text."""

import base64
import difflib
import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

IDS = {"traceId", "spanId", "parentSpanId"}


def from_json(text: str) -> ExportTraceServiceRequest:
    """Read OTLP/JSON, whose ids are in hex where protobuf's own JSON has base64."""
    return json_format.ParseDict(json.loads(text, object_hook=_with_base64), ExportTraceServiceRequest())


def one_by_one(requests: Iterable[ExportTraceServiceRequest]) -> list[ResourceSpans]:
    """Give every span in an envelope of its own, with its resource and scope, ordered by ids; what came twice is there twice."""
    alone = []
    for request in requests:
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    one = ResourceSpans(resource=resource_spans.resource, schema_url=resource_spans.schema_url)
                    one.scope_spans.add(scope=scope_spans.scope, spans=[span], schema_url=scope_spans.schema_url)
                    alone.append(one)
    return sorted(alone, key=lambda one: (span_of(one).trace_id, span_of(one).span_id))


def span_of(one: ResourceSpans) -> Span:
    """Take the span out of its envelope."""
    return one.scope_spans[0].spans[0]


def scope_of(one: ResourceSpans) -> str:
    """Say which program made a span."""
    return one.scope_spans[0].scope.name


def value_of(attributes: Iterable[KeyValue], key: str) -> object:
    """Look up an attribute of a span or a resource; None if it has no such."""
    value = next((pair.value for pair in attributes if pair.key == key), None)
    kind = value and value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def check_same(found: Iterable[ResourceSpans], wanted: Iterable[ResourceSpans]) -> None:
    """Hold spans against those that are wanted, every field of them."""
    check_same_text("".join(map(str, found)), "".join(map(str, wanted)))


def check_same_text(found: str, wanted: str) -> None:
    """Raise AssertionError with the lines in which two texts differ, and a little of what stands around them."""
    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="")
    assert found == wanted, "\n".join(lines)


def _with_base64(read: dict[str, Any]) -> dict[str, Any]:
    return {key: base64.b64encode(bytes.fromhex(value)).decode() if key in IDS else value for key, value in read.items()}
