"""How do spans reach a backend? One entrant a process, the result as one JSON line: `NAME LOAD SPANS URL [PACE]`.

Imports, reading the load and making the SDK's own spans of it lie outside the clock, which runs from the first offer until all is
answered and, for the SDK, until `force_flush` and `shutdown` have come back. Without a rate all is offered at once.

`sdk-killed` and `sdk-stopped` offer all and then live on: of SIGTERM the first dies, with the second it shuts the SDK down.
"""

import asyncio
import gc
import importlib
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, process_time
from types import FrameType
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from benchmarks.load import Load, read
from benchmarks.memory import max_rss_mib
from tracer.clock import Clock
from tracer.delivery.otlp_http import PROTOBUF, OtlpHttp
from tracer.delivery.outbox import Outbox
from tracer.delivery.policy import REQUEST_SPANS, TRY_TIMEOUT_S
from tracer.delivery.policy import Pace as Pressure
from tracer.delivery.sender import Sender
from tracer.telemetry import otlp
from tracer.telemetry.attributes import SCHEMA_URL
from tracer.telemetry.records import Attributes, SpanKind, SpanRecord
from tracer.transport import Transport, TransportSettings

OURS, SDK, SDK_LARGE, WIRE = "tracer", "sdk", "sdk-large", "wire"
SDK_KILLED, SDK_STOPPED = "sdk-killed", "sdk-stopped"
SDK_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
SDK_QUEUE, _SDK_BATCH, _SDK_DELAY_MS = 2_048, 512, 5_000
"""The batch processor's defaults, said so that no `OTEL_BSP_*` of the environment changes them."""
_PATIENCE_S = 120.0
_ARGUMENTS = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sent:
    """What an entrant says that it did, and what that took."""

    seconds: float
    cpu_s: float
    """Of all threads, within the same time."""
    delivered: int | None
    """How many spans were acknowledged by its own account; None if it keeps none."""
    rejected: int | None = None
    """How many spans the backend did not take, by its own account; None if it keeps none."""
    said: str = ""
    """What a program that uses it is told of how it went."""
    max_rss_mib: float = 0.0


@dataclass(slots=True)
class Pace:
    """When what is offered, and how long things may take. Without a rate, all at once."""

    begin_s: float = 0.0
    """On the monotonic clock, which all processes share; 0 for when the entrant is ready."""
    spans_a_second: float = 0.0
    lives_s: float = 0.0
    """How long the program lives from the beginning before it is asked to end; 0 for until all is answered for."""
    timeout_s: float = TRY_TIMEOUT_S
    """Of a try; for the SDK of all tries of a batch. Both have the same default."""

    def begin(self) -> None:
        """Wait for the beginning; leave if it has passed, for then the schedule would be another one."""
        if not self.begin_s:
            self.begin_s = time.monotonic()
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

    @property
    def left_s(self) -> float:
        """How long the program still lives."""
        return max(0.0, self.begin_s + self.lives_s - time.monotonic())


class Stopwatch:
    """Times one entrant. What there is when it starts is kept out of the garbage collector's sight, for all alike."""

    def __init__(self, pace: Pace) -> None:
        """Start when the pace begins."""
        gc.collect()
        gc.freeze()
        pace.begin()
        self._begun, self._cpu_begun = perf_counter(), process_time()

    def stop(self, delivered: int | None, rejected: int | None = None, said: str = "") -> Sent:
        """Say how long it took."""
        seconds, cpu_s = perf_counter() - self._begun, process_time() - self._cpu_begun
        return Sent(seconds, cpu_s, delivered, rejected, said, max_rss_mib())


Entrant = Callable[[Load, str, Pace], Sent]


def _ours(load: Load, url: str, pace: Pace) -> Sent:
    return asyncio.run(_deliver(load, url, pace))


async def _deliver(load: Load, url: str, pace: Pace) -> Sent:
    """Send as `tracer.replay.Delivery` does, without a ledger: the spans are there."""
    clock, due = Clock(), dict[str, list[SpanRecord]]()
    async with Transport(TransportSettings(), clock) as transport, asyncio.TaskGroup() as tasks:
        backend = OtlpHttp(transport, url)
        outbox = Outbox(due.pop, backend.encode, backend.shared)
        sender = Sender(backend, outbox, lambda _, __: None, clock, Pressure(usual_timeout_s=pace.timeout_s))
        watch = Stopwatch(pace)
        sending = tasks.create_task(sender.run(), name="sender")
        for wait_s, (one, spans) in pace.waits([(one.spans, (one, spans)) for one, spans in load]):
            if wait_s:
                await asyncio.sleep(wait_s)
            due.setdefault(one.uid, []).extend(spans)
            outbox.offer(one)
            sender.wake()
        if pace.lives_s:
            await asyncio.sleep(pace.left_s)
            sender.hurry()  # as at SIGTERM
        until_s = time.monotonic() + _PATIENCE_S
        while not outbox.is_empty and (left_s := until_s - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await sender.next_try()
            except TimeoutError:
                break
        sent = watch.stop(outbox.books.delivered, outbox.books.rejected)
        sending.cancel()
    return sent


def _sdk(load: Load, url: str, pace: Pace, *, is_large: bool) -> Sent:
    """Send by the SDK's batch processor; its queue is the default, or as large as the load."""
    processor, parts, results = _processor(load, url, pace, is_large=is_large)
    watch = Stopwatch(pace)
    _offer(processor, parts, pace)
    if pace.lives_s:
        time.sleep(pace.left_s)
    has_flushed = processor.force_flush()
    processor.shutdown()
    exported = ", ".join(f"{name} for {spans:,}" for name, spans in sorted(results.items(), reverse=True))
    return watch.stop(None, None, f"force_flush() {has_flushed}; export() {exported}")


def _sdk_program(load: Load, url: str, pace: Pace, *, is_stopped: bool) -> NoReturn:
    """Offer everything to the SDK, as it comes, and live on until SIGTERM."""
    processor, parts, _ = _processor(load, url, pace, is_large=False)

    def stop(_: int, __: FrameType | None) -> None:
        processor.shutdown()
        sys.exit()

    if is_stopped:
        signal.signal(signal.SIGTERM, stop)
    _offer(processor, parts, pace)
    print(flush=True)
    while True:
        signal.pause()


Parts = list[tuple[int, list[Any]]]
"""Spans of the SDK, in parts of so many."""


def _processor(load: Load, url: str, pace: Pace, *, is_large: bool) -> tuple[Any, Parts, Counter[str]]:
    """Make a batch processor, spans for it, and a count of what its exporter returns for how many."""
    exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter
    batch_processor = importlib.import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor
    logging.getLogger().addHandler(logging.NullHandler())  # it has a line for each span that it drops
    results = Counter[str]()

    class Exporter(exporter):  # type: ignore[misc, valid-type] # of a package that need not be there
        def export(self, spans: Sequence[Any]) -> Any:  # noqa: ANN401 - a SpanExportResult
            result = super().export(spans)
            results[result.name] += len(spans)
            return result

    make = SdkSpans()
    parts = [(one.spans, [make.span(record) for record in spans]) for one, spans in load]
    processor = batch_processor(
        Exporter(endpoint=url, timeout=pace.timeout_s),
        max_queue_size=sum(spans for spans, _ in parts) if is_large else SDK_QUEUE,
        max_export_batch_size=_SDK_BATCH,
        schedule_delay_millis=_SDK_DELAY_MS,
    )
    return processor, parts, results


def _offer(processor: Any, parts: Parts, pace: Pace) -> None:  # noqa: ANN401 - a BatchSpanProcessor
    for wait_s, part in pace.waits(parts):
        if wait_s:
            time.sleep(wait_s)
        for span in part:
            processor.on_end(span)


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
    SDK_KILLED: partial(_sdk_program, is_stopped=False),
    SDK_STOPPED: partial(_sdk_program, is_stopped=True),
    WIRE: _wire,
}


def main() -> None:
    """Measure one entrant."""
    name, path, spans, url = sys.argv[1:5]
    pace = msgspec.json.decode(sys.argv[_ARGUMENTS], type=Pace) if len(sys.argv) > _ARGUMENTS else Pace()
    sent = ENTRANTS[name](read(Path(path), int(spans)), url, pace)
    sys.stdout.buffer.write(msgspec.json.encode(sent))


if __name__ == "__main__":
    main()
