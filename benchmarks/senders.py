"""How do spans reach a backend? One entrant a process, the result as one JSON line: `NAME LOAD SPANS URL [BEGIN SPANS_A_SECOND]`.

Imports, reading the load and making the SDK's own spans of it lie outside the clock, which runs from the first offer until all is
answered and, for the SDK, until `force_flush` and `shutdown` have come back. Without a rate all is offered at once.
"""

import asyncio
import gc
import importlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from benchmarks.load import Load, read
from tracer.clock import Clock
from tracer.delivery.otlp_http import PROTOBUF, OtlpHttp
from tracer.delivery.outbox import Outbox
from tracer.delivery.policy import REQUEST_SPANS
from tracer.delivery.sender import Sender
from tracer.telemetry import otlp
from tracer.telemetry.attributes import SCHEMA_URL
from tracer.telemetry.records import Attributes, SpanKind, SpanRecord
from tracer.transport import Transport, TransportSettings

OURS, SDK, SDK_LARGE, WIRE = "tracer", "sdk", "sdk-large", "wire"
SDK_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
SDK_QUEUE, _SDK_BATCH, _SDK_DELAY_MS = 2_048, 512, 5_000
"""The batch processor's defaults, said so that no `OTEL_BSP_*` of the environment changes them."""
_PATIENCE_S = 120.0
_ARGUMENTS_OF_PACE = slice(5, 7)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sent:
    """What an entrant says that it did, and what that took."""

    seconds: float
    cpu_s: float
    """Of all threads, within the same time."""
    delivered: int | None
    """How many spans were acknowledged by its own account; None if it keeps none."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When what is offered. Without a rate, all at once."""

    begin_s: float = 0.0
    """On the monotonic clock, which all processes share."""
    spans_a_second: float = 0.0

    def begin(self) -> None:
        """Wait for the beginning; leave if it has passed, for then the schedule would be another one."""
        if not self.spans_a_second:
            return
        if (wait_s := self.begin_s - time.monotonic()) < 0:
            sys.exit(f"This machine was {-wait_s:.1f} s late; nothing was measured.")
        time.sleep(wait_s)

    def waits(self, parts: Sequence[tuple[int, _T]]) -> Iterator[tuple[float, _T]]:
        """Give each part, of so many spans, with how long to wait before it; a wait is reckoned when it is asked for."""
        spans_before = 0
        for spans, part in parts:
            at_s = self.begin_s + spans_before / self.spans_a_second if self.spans_a_second else 0.0
            yield max(0.0, at_s - time.monotonic()), part
            spans_before += spans


class Stopwatch:
    """Times one entrant. What there is when it starts is kept out of the garbage collector's sight, for all alike."""

    def __init__(self, pace: Pace) -> None:
        """Start when the pace begins."""
        gc.collect()
        gc.freeze()
        pace.begin()
        self._begun, self._cpu_begun = perf_counter(), process_time()

    def stop(self, delivered: int | None) -> Sent:
        """Say how long it took."""
        return Sent(perf_counter() - self._begun, process_time() - self._cpu_begun, delivered)


Entrant = Callable[[Load, str, Pace], Sent]


def _ours(load: Load, url: str, pace: Pace) -> Sent:
    return asyncio.run(_deliver(load, url, pace))


async def _deliver(load: Load, url: str, pace: Pace) -> Sent:
    """Send as `tracer.replay.Delivery` does, without a ledger: the spans are there."""
    clock, due = Clock(), dict[str, list[SpanRecord]]()
    async with Transport(TransportSettings(), clock) as transport, asyncio.TaskGroup() as tasks:
        backend = OtlpHttp(transport, url)
        outbox = Outbox(due.pop, backend.encode)
        sender = Sender(backend, outbox, lambda _, __: None, clock)
        watch = Stopwatch(pace)
        sending = tasks.create_task(sender.run(), name="sender")
        for wait_s, (one, spans) in pace.waits([(one.spans, (one, spans)) for one, spans in load]):
            if wait_s:
                await asyncio.sleep(wait_s)
            due.setdefault(one.uid, []).extend(spans)
            outbox.offer(one)
            sender.wake()
        until_s = time.monotonic() + _PATIENCE_S
        while not outbox.is_empty and (left_s := until_s - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await sender.next_try()
            except TimeoutError:
                break
        sent = watch.stop(outbox.books.delivered)
        sending.cancel()
    return sent


def _sdk(load: Load, url: str, pace: Pace, *, is_large: bool) -> Sent:
    """Send by the SDK's batch processor; its queue is the default, or as large as the load."""
    exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter
    batch_processor = importlib.import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor
    logging.getLogger().addHandler(logging.NullHandler())  # it has a line for each span that it drops
    make = SdkSpans()
    parts = [(one.spans, [make.span(record) for record in spans]) for one, spans in load]
    processor = batch_processor(
        exporter(endpoint=url),
        max_queue_size=sum(spans for spans, _ in parts) if is_large else SDK_QUEUE,
        max_export_batch_size=_SDK_BATCH,
        schedule_delay_millis=_SDK_DELAY_MS,
    )
    watch = Stopwatch(pace)
    for wait_s, part in pace.waits(parts):
        if wait_s:
            time.sleep(wait_s)
        for span in part:
            processor.on_end(span)
    processor.force_flush()
    processor.shutdown()
    return watch.stop(None)


class SdkSpans:
    """Makes ended spans of the SDK from our records; equal resources are one object."""

    def __init__(self) -> None:
        """Find the SDK."""
        self._api = importlib.import_module("opentelemetry.trace")
        self._trace = importlib.import_module("opentelemetry.sdk.trace")
        self._resource_type = importlib.import_module("opentelemetry.sdk.resources").Resource
        scope = importlib.import_module("opentelemetry.sdk.util.instrumentation").InstrumentationScope
        self._scope = scope(otlp.SCOPE_NAME, otlp.MODEL_VERSION, SCHEMA_URL)
        self._resources: dict[Attributes, Any] = {}

    def span(self, record: SpanRecord) -> Any:  # noqa: ANN401 - a ReadableSpan, of a package that need not be there
        """Make a span that says what the record says."""
        if record.resource not in self._resources:
            self._resources[record.resource] = self._resource_type(dict(record.resource), SCHEMA_URL)
        api = self._api
        code = api.StatusCode.ERROR if record.is_error else api.StatusCode.UNSET
        return self._trace.ReadableSpan(
            name=record.name,
            context=self._context(record.trace_id, record.span_id, record.trace_state),
            parent=self._parent(record),
            resource=self._resources[record.resource],
            attributes=dict(record.attributes),
            events=[self._trace.Event(one.name, dict(one.attributes), one.at_ns) for one in record.events],
            links=[
                api.Link(self._context(one.trace_id, one.span_id, one.trace_state, is_remote=True), dict(one.attributes))
                for one in record.links
            ],
            kind=api.SpanKind.SERVER if record.kind is SpanKind.SERVER else api.SpanKind.INTERNAL,
            status=api.Status(code, record.description or None),
            start_time=record.start_ns,
            end_time=record.end_ns,
            instrumentation_scope=self._scope,
        )

    def _parent(self, record: SpanRecord) -> object:
        if not record.parent_span_id:
            return None
        return self._context(record.trace_id, record.parent_span_id, is_remote=record.has_remote_parent)

    def _context(self, trace_id: bytes, span_id: bytes, trace_state: str = "", *, is_remote: bool = False) -> object:
        api = self._api
        state = api.TraceState.from_header([trace_state]) if trace_state else None
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        return api.SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), is_remote, flags, state)


def _wire(load: Load, url: str, pace: Pace) -> Sent:
    """Send requests that were encoded before the clock started, one after another: how fast can the sink be?"""
    records = [span for _, spans in load for span in spans]
    bodies = [otlp.encode(records[at : at + REQUEST_SPANS]) for at in range(0, len(records), REQUEST_SPANS)]
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port)
    delivered = 0
    watch = Stopwatch(pace)
    for number, body in enumerate(bodies):
        connection.request("POST", address.path, body, {"Content-Type": PROTOBUF})
        answer = connection.getresponse()
        answer.read()
        if answer.status == HTTPStatus.OK:
            delivered += len(records[number * REQUEST_SPANS : (number + 1) * REQUEST_SPANS])
    sent = watch.stop(delivered)
    connection.close()
    return sent


ENTRANTS: dict[str, Entrant] = {
    OURS: _ours,
    SDK_LARGE: partial(_sdk, is_large=True),
    SDK: partial(_sdk, is_large=False),
    WIRE: _wire,
}


def main() -> None:
    """Measure one entrant."""
    name, path, spans, url = sys.argv[1:5]
    pace = Pace(*map(float, sys.argv[_ARGUMENTS_OF_PACE]))
    sent = ENTRANTS[name](read(Path(path), int(spans)), url, pace)
    sys.stdout.buffer.write(msgspec.json.encode(sent))


if __name__ == "__main__":
    main()
