"""How do span records become OTLP? The only module that knows the wire format.

Keeps: the same records in the same order give the same bytes.
Source: opentelemetry-proto trace/v1/trace.proto, and the OTLP specification for JSON (ids in hex, 64-bit integers as text).
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tracer.telemetry.attributes import SCHEMA_URL
from tracer.telemetry.records import Attributes, AttributeValue, SpanKind, SpanRecord

SCOPE_NAME, MODEL_VERSION = "tracer", "1"
_KINDS = {SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL, SpanKind.SERVER: Span.SPAN_KIND_SERVER}
FLAGS_LOCAL, FLAGS_REMOTE = 0x101, 0x301  # sampled, and whether the parent or the linked span is a remote one is known


def export_request(records: Iterable[SpanRecord]) -> ExportTraceServiceRequest:
    """Build the request that carries the records, grouped by resource in the order in which each first comes."""
    groups: dict[Attributes, list[SpanRecord]] = {}
    for record in records:
        groups.setdefault(record.resource, []).append(record)
    scope = InstrumentationScope(name=SCOPE_NAME, version=MODEL_VERSION)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=_attributes(resource)),
                scope_spans=[ScopeSpans(scope=scope, spans=[_span(one) for one in group], schema_url=SCHEMA_URL)],
                schema_url=SCHEMA_URL,
            )
            for resource, group in groups.items()
        ]
    )


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


def _span(record: SpanRecord) -> Span:
    return Span(
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=record.parent_span_id,
        trace_state=record.trace_state,
        flags=FLAGS_REMOTE if record.has_remote_parent else FLAGS_LOCAL,
        name=record.name,
        kind=_KINDS[record.kind],
        start_time_unix_nano=record.start_ns,
        end_time_unix_nano=record.end_ns,
        attributes=_attributes(record.attributes),
        events=[
            Span.Event(name=event.name, time_unix_nano=event.at_ns, attributes=_attributes(event.attributes))
            for event in record.events
        ],
        links=[
            Span.Link(
                trace_id=link.trace_id,
                span_id=link.span_id,
                trace_state=link.trace_state,
                attributes=_attributes(link.attributes),
                flags=FLAGS_REMOTE,
            )
            for link in record.links
        ],
        status=Status(code=Status.STATUS_CODE_ERROR if record.is_error else Status.STATUS_CODE_UNSET, message=record.description),
    )


def _attributes(pairs: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in pairs]


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=one) for one in value]))
