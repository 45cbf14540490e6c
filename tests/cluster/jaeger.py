"""What does the real Jaeger know? Its query API, asked as its own pages ask, and as a program would."""

import itertools
import json
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.cluster import otlp
from tests.cluster.lab.place import JAEGER_OTLP_PORT, JAEGER_QUERY_PORT
from tests.cluster.lab.shell import wait_until

LOOPBACK = "127.0.0.1"
KNOWN_WITHIN_S = 20
WARNINGS = "@jaeger@warnings"
"""The attribute that Jaeger adds to a span about which it has something to say."""

Json = dict[str, Any]
_markers = itertools.count(1)


def spans(trace_id: bytes) -> list[ResourceSpans]:
    """Give all spans of a trace as OTLP, in the form of `as_kept`, without Jaeger's warnings."""
    found = otlp.one_by_one([otlp.from_json(json.dumps(_ask(f"/api/v3/traces/{trace_id.hex()}")["result"]))])
    for one in found:
        attributes = otlp.span_of(one).attributes
        for index in [index for index, pair in enumerate(attributes) if pair.key == WARNINGS]:
            del attributes[index]
    return as_kept(found)


def as_kept(spans: list[ResourceSpans]) -> list[ResourceSpans]:
    """Say how Jaeger must have kept spans: whole, but for the schemas' addresses and the order of events and links."""
    kept = []
    for one in spans:
        span = Span()
        span.CopyFrom(otlp.span_of(one))
        span.events.sort(key=lambda event: (event.time_unix_nano, event.name))
        span.links.sort(key=lambda link: (link.trace_id, link.span_id))
        kept.append(ResourceSpans(resource=one.resource))
        kept[-1].scope_spans.add(scope=one.scope_spans[0].scope, spans=[span])
    return kept


def shown(trace_id: bytes) -> list[Json]:
    """Give all spans of a trace as Jaeger's pages get them, in the form of `as_shown`, ordered by ids."""
    trace = _trace(trace_id)
    found = [_by_key(span, trace["processes"][span["processID"]]) for span in trace["spans"]]
    return sorted(found, key=lambda span: str(span["spanID"]))


def warnings(trace_id: bytes) -> set[tuple[str, str]]:
    """Give the warnings of a trace, each with the name of its span.

    A set, because Jaeger's memory keeps the warnings that it gave to a program, and gives them again with the next answer.
    """
    return {(span["operationName"], warning) for span in _trace(trace_id)["spans"] for warning in span["warnings"] or []}


def send(request: ExportTraceServiceRequest) -> None:
    """Send spans as another service would."""
    connection = HTTPConnection(LOOPBACK, JAEGER_OTLP_PORT, timeout=KNOWN_WITHIN_S)
    connection.request("POST", "/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"})
    assert connection.getresponse().status == HTTPStatus.OK
    connection.close()


def settle() -> None:
    """Wait until all that was sent so far can be asked for: Jaeger stores in the order of arrival, so one more span tells."""
    number = next(_markers)
    marker = Span(
        trace_id=number.to_bytes(16), span_id=number.to_bytes(8), name="marker", start_time_unix_nano=1, end_time_unix_nano=2
    )
    send(request_of("test", marker))
    assert wait_until(lambda: _is_known(marker.trace_id), KNOWN_WITHIN_S), "Jaeger does not show what it took"


def request_of(service: str, span: Span) -> ExportTraceServiceRequest:
    """Put one span of a service into a request."""
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
    scope = InstrumentationScope(name=service, version="1")
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=[span])])]
    )


def as_shown(one: ResourceSpans) -> Json:
    """Say how Jaeger's pages must get a span: times in microseconds, links as references, the rest as tags and logs."""
    span, scope = otlp.span_of(one), one.scope_spans[0].scope
    resource = {pair.key: _value(pair.value) for pair in one.resource.attributes}
    tags = {pair.key: _value(pair.value) for pair in span.attributes}
    tags |= {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    tags |= {"span.kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()}
    if span.status.code == Status.STATUS_CODE_ERROR:
        tags |= {"error": True, "otel.status_code": "ERROR"}
    if span.status.message:
        tags |= {"otel.status_description": span.status.message}
    if span.trace_state:
        tags |= {"w3c.tracestate": span.trace_state}
    parents = [("CHILD_OF", span.trace_id, span.parent_span_id)] if span.parent_span_id else []
    links = [("FOLLOWS_FROM", link.trace_id, link.span_id) for link in span.links]
    return {
        "traceID": span.trace_id.hex(),
        "spanID": span.span_id.hex(),
        "references": [
            {"refType": kind, "traceID": trace.hex(), "spanID": span_id.hex()} for kind, trace, span_id in parents + links
        ],
        "operationName": span.name,
        "startTime": span.start_time_unix_nano // 1000,
        "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "tags": tags,
        "logs": [
            {
                "timestamp": event.time_unix_nano // 1000,
                "fields": {"event": event.name, **{pair.key: _value(pair.value) for pair in event.attributes}},
            }
            for event in span.events
        ],
        "process": {"serviceName": resource.pop("service.name"), "tags": resource},
    }


def as_shown_of_thrift(one: ResourceSpans) -> Json:
    """Say the same of a span that came as Thrift: its end is rounded up to a microsecond, so that it has a length."""
    span, shown = otlp.span_of(one), as_shown(one)
    return {**shown, "duration": -(-span.end_time_unix_nano // 1000) - shown["startTime"]}


def _by_key(span: Json, process: Json) -> Json:
    logs = [{"timestamp": log["timestamp"], "fields": _pairs(log["fields"])} for log in span["logs"]]
    return {
        **{key: span[key] for key in ("traceID", "spanID", "operationName", "startTime", "duration")},
        "references": sorted(span["references"], key=lambda one: (one["refType"], one["traceID"], one["spanID"])),
        "tags": _pairs(span["tags"]),
        "logs": sorted(logs, key=lambda log: (log["timestamp"], log["fields"]["event"])),
        "process": {"serviceName": process["serviceName"], "tags": _pairs(process["tags"])},
    }


def _pairs(tags: list[Json]) -> Json:
    """Order tags by key; none may come twice."""
    pairs = {tag["key"]: tag["value"] for tag in tags}
    assert len(pairs) == len(tags), f"a key comes twice: {tags}"
    return pairs


def _value(value: AnyValue) -> object:
    """Give a value as a tag has it: a list becomes its JSON."""
    match value.WhichOneof("value"):
        case "array_value":
            return json.dumps([one.string_value for one in value.array_value.values], separators=(",", ":"))
        case str(kind):
            return getattr(value, kind)
        case None:
            return None


def _is_known(trace_id: bytes) -> bool:
    connection = HTTPConnection(LOOPBACK, JAEGER_QUERY_PORT, timeout=KNOWN_WITHIN_S)
    connection.request("GET", f"/api/traces/{trace_id.hex()}")
    status = connection.getresponse().status
    connection.close()
    return status == HTTPStatus.OK


def _trace(trace_id: bytes) -> Json:
    (trace,) = _ask(f"/api/traces/{trace_id.hex()}")["data"]
    found: Json = trace
    return found


def _ask(path: str) -> Json:
    connection = HTTPConnection(LOOPBACK, JAEGER_QUERY_PORT, timeout=KNOWN_WITHIN_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == HTTPStatus.OK, f"{path}: {answer.status} {content.decode()}"
    found: Json = json.loads(content)
    return found
