"""How do span records become OTLP? The only module that knows the wire format.

Keeps: the same records in the same order give the same bytes.
Source: opentelemetry-proto trace/v1/trace.proto, and the OTLP specification for JSON (ids in hex, 64-bit integers as text).
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tracer.telemetry.attributes import SCHEMA_URL
from tracer.telemetry.records import Attributes, AttributeValue, SpanKind, SpanRecord

if TYPE_CHECKING:  # it stands in an internal module, which may move
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

SCOPE_NAME, MODEL_VERSION = "tracer", "1"
_KINDS = {SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL, SpanKind.SERVER: Span.SPAN_KIND_SERVER}
FLAGS_LOCAL, FLAGS_REMOTE = 0x101, 0x301  # sampled, and whether the parent or the linked span is a remote one is known


def export_request(records: Iterable[SpanRecord]) -> ExportTraceServiceRequest:
    """Build the request that carries the records, grouped by resource in the order in which each first comes.

    Every message is filled in where it stands: one that is made first and put into another is copied, at each level again.
    """
    groups: dict[Attributes, list[SpanRecord]] = {}
    for record in records:
        groups.setdefault(record.resource, []).append(record)
    request = ExportTraceServiceRequest()
    for resource, group in groups.items():
        resource_spans = request.resource_spans.add(schema_url=SCHEMA_URL)
        resource_spans.resource.SetInParent()
        _add_attributes(resource_spans.resource.attributes, resource)
        scope_spans = resource_spans.scope_spans.add(schema_url=SCHEMA_URL)
        scope_spans.scope.name, scope_spans.scope.version = SCOPE_NAME, MODEL_VERSION
        for record in group:
            _add_span(scope_spans.spans, record)
    return request


def encode(records: Iterable[SpanRecord]) -> bytes:
    """Write the request as protobuf, always with the same bytes."""
    return export_request(records).SerializeToString(deterministic=True)


def read_spans(body: bytes) -> list[tuple[bytes, bytes]]:
    """Give the id of each span of a request, and its whole content with resource and scope. Raises ValueError for no request."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError("no ExportTraceServiceRequest") from error
    return [
        (span.span_id, b"|".join(part.SerializeToString(deterministic=True) for part in (group.resource, scoped.scope, span)))
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    ]


def to_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """Turn the request into its OTLP/JSON form."""
    said: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for resource_spans in said.get("resourceSpans", []):
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for holder in (span, *span.get("links", [])):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in holder:
                            holder[key] = base64.b64decode(holder[key]).hex()
    return said


@dataclass(frozen=True, slots=True)
class Response:
    """What a backend confirmed."""

    rejected_spans: int
    message: str


def read_response(body: bytes) -> Response | None:
    """Read the answer to a request that was taken; None if it is none, or says what cannot be."""
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return None
    return Response(partial.rejected_spans, partial.error_message) if partial.rejected_spans >= 0 else None


def read_status_message(body: bytes) -> str:
    """Read the message of the `google.rpc.Status` that answers a request that was not taken; empty if there is none.

    Its code and message have the numbers and types of ExportTracePartialSuccess's two fields, so no further package is needed.
    """
    try:
        return ExportTracePartialSuccess.FromString(body).error_message
    except DecodeError:
        return ""


def _add_span(spans: "RepeatedCompositeFieldContainer[Span]", record: SpanRecord) -> None:
    span = spans.add(
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=record.parent_span_id,
        trace_state=record.trace_state,
        flags=FLAGS_REMOTE if record.has_remote_parent else FLAGS_LOCAL,
        name=record.name,
        kind=_KINDS[record.kind],
        start_time_unix_nano=record.start_ns,
        end_time_unix_nano=record.end_ns,
    )
    _add_attributes(span.attributes, record.attributes)
    for event in record.events:
        _add_attributes(span.events.add(name=event.name, time_unix_nano=event.at_ns).attributes, event.attributes)
    for link in record.links:
        said = span.links.add(trace_id=link.trace_id, span_id=link.span_id, trace_state=link.trace_state, flags=FLAGS_REMOTE)
        _add_attributes(said.attributes, link.attributes)
    span.status.SetInParent()
    if record.is_error:
        span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = record.description


def _add_attributes(attributes: "RepeatedCompositeFieldContainer[KeyValue]", pairs: Attributes) -> None:
    for key, value in pairs:
        _fill_in(attributes.add(key=key).value, value)


def _fill_in(said: AnyValue, value: AttributeValue) -> None:
    if isinstance(value, str):
        said.string_value = value
    elif isinstance(value, bool):
        said.bool_value = value
    elif isinstance(value, int):
        said.int_value = value
    else:
        said.array_value.SetInParent()
        for one in value:
            said.array_value.values.add(string_value=one)
