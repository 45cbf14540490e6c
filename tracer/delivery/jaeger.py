"""The backend that speaks Jaeger's Thrift over HTTP, for a Jaeger before 1.35: sends a batch, and understands the answer.

Keeps: the same spans give the same bytes; a batch has one process, so a request holds spans of one resource; only what a
collector answers to a batch that it took is a confirmation.
Must not know: whether a request is sent again.
Source: jaeger-idl thrift/jaeger.thrift; OpenTelemetry specification, trace/sdk_exporters/jaeger.md; jaegertracing/jaeger
cmd/collector/app/handler/http_thrift_handler.go. Decision: 0018.
"""

import json
from collections.abc import Iterator
from http import HTTPStatus

from opentelemetry.exporter.jaeger.thrift.gen.jaeger.ttypes import Batch, Log, Process, Span, SpanRef, SpanRefType, Tag, TagType
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from tracer.delivery.answers import plain_words, understand_failure, understand_silence
from tracer.delivery.outcome import Delivered, Outcome, Refused
from tracer.telemetry.attributes import SERVICE_NAME
from tracer.telemetry.otlp import MODEL_VERSION, SCOPE_NAME
from tracer.telemetry.records import Attributes, AttributeValue, SpanEvent, SpanKind, SpanRecord
from tracer.transport import Answer, Transport

THRIFT = "application/x-thrift"
_KINDS = {SpanKind.INTERNAL: "internal", SpanKind.SERVER: "server"}
_SAMPLED = 1
_MICROSECOND_NS = 1_000


class JaegerThrift:
    """The port of a Jaeger collector that takes batches over HTTP, usually 14268."""

    def __init__(self, transport: Transport, url: str, name: str = "") -> None:
        """Prepare to send to a URL, with its path; the name is what sentences call it, if that is more than the URL."""
        self._transport = transport
        self._url = url
        self._name = name or url

    def shared(self, span: SpanRecord) -> Attributes:
        """Say that spans may share a request if they have the same resource."""
        return span.resource

    def encode(self, spans: tuple[SpanRecord, ...]) -> bytes:
        """Write the batch that carries spans of one resource, always with the same bytes."""
        buffer = TMemoryBuffer()
        batch = Batch(process=_process(spans[0].resource), spans=[_span(span) for span in spans])
        batch.write(TBinaryProtocol(buffer))  # the faster one cannot write types that are so old
        written: bytes = buffer.getvalue()
        return written

    async def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded batch once, and understand the answer."""
        answer = await self._transport.post(self._url, body, {"Content-Type": THRIFT}, timeout_s)
        return understand(answer, self._name) if isinstance(answer, Answer) else understand_silence(answer, self._name)


def understand(answer: Answer, name: str) -> Outcome:
    """Say what an answer means: a collector confirms with 202 and no word. Total, as `understand_failure` is."""
    if answer.status != HTTPStatus.ACCEPTED:
        return understand_failure(answer, name, "Jaeger's Thrift", plain_words(answer))
    if answer.body or not answer.is_whole:
        return Refused(f"{name} answered 202 with a body, which Jaeger does not, so it confirmed nothing; is the address right?")
    return Delivered()


def _process(resource: Attributes) -> Process:
    others = tuple(pair for pair in resource if pair[0] != SERVICE_NAME)
    return Process(serviceName=str(dict(resource).get(SERVICE_NAME, "")), tags=_tags(others))


def _span(record: SpanRecord) -> Span:
    # An end is rounded up, so that a span holds what it held, and none has no length: Jaeger warns of both.
    start_us, end_us = record.start_ns // _MICROSECOND_NS, -(-record.end_ns // _MICROSECOND_NS)
    return Span(
        traceIdHigh=_signed(record.trace_id[:8]),
        traceIdLow=_signed(record.trace_id[8:]),
        spanId=_signed(record.span_id),
        parentSpanId=_signed(record.parent_span_id),  # 0 for a root
        operationName=record.name,
        references=list(_references(record)),
        flags=_SAMPLED,
        startTime=start_us,
        duration=end_us - start_us,
        tags=[*_tags(record.attributes), *_tags(tuple(_more(record)))],
        logs=[_log(event) for event in record.events],
    )


def _references(record: SpanRecord) -> Iterator[SpanRef]:
    """Give the parent, which has to come first, and what the span is linked to; a reference has no attributes."""
    if record.parent_span_id:
        yield _reference(SpanRefType.CHILD_OF, record.trace_id, record.parent_span_id)
    for link in record.links:
        yield _reference(SpanRefType.FOLLOWS_FROM, link.trace_id, link.span_id)


def _reference(kind: int, trace_id: bytes, span_id: bytes) -> SpanRef:
    return SpanRef(refType=kind, traceIdHigh=_signed(trace_id[:8]), traceIdLow=_signed(trace_id[8:]), spanId=_signed(span_id))


def _more(record: SpanRecord) -> Iterator[tuple[str, AttributeValue]]:
    """Give what is a field of its own in OTLP, and a tag here."""
    yield "otel.scope.name", SCOPE_NAME
    yield "otel.scope.version", MODEL_VERSION
    yield "span.kind", _KINDS[record.kind]
    if record.is_error:
        yield "otel.status_code", "ERROR"
        yield "error", True
    if record.description:
        yield "otel.status_description", record.description
    if record.trace_state:
        yield "w3c.tracestate", record.trace_state


def _log(event: SpanEvent) -> Log:
    return Log(timestamp=event.at_ns // _MICROSECOND_NS, fields=_tags((("event", event.name), *event.attributes)))


def _tags(pairs: Attributes) -> list[Tag]:
    return [_tag(key, value) for key, value in pairs]


def _tag(key: str, value: AttributeValue) -> Tag:
    if isinstance(value, str):
        return Tag(key=key, vType=TagType.STRING, vStr=value)
    if isinstance(value, bool):
        return Tag(key=key, vType=TagType.BOOL, vBool=value)
    if isinstance(value, int):
        return Tag(key=key, vType=TagType.LONG, vLong=value)
    return Tag(key=key, vType=TagType.STRING, vStr=json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _signed(number: bytes) -> int:
    """Give an id, or half of one, as Thrift has it; 0 for none."""
    return int.from_bytes(number, "big", signed=True)
