"""What did a backend take? The receiver of `tracer.demo` in a process of its own: `LOAD SPANS [OUTAGE]`.

It prints its address, serves until its standard input ends, and then prints what it took, as one JSON line. Bodies are kept and
read only then, so that an answer costs next to nothing and neither entrant waits for the sink's own work.

Keeps: nothing is counted that was not acknowledged, unless it was taken and the acknowledgement came too late; what was taken is
compared with the load, span by span.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import repeat
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from benchmarks.load import Load, read
from tracer.demo.receiver import PROTOBUF, Receiver
from tracer.telemetry import otlp

ALWAYS_S = 1e9
"""Longer than anything is measured."""
_SAMPLED = 0x01
_ARGUMENTS = 3


class How(StrEnum):
    """What a sink does to the requests that come while it is not well."""

    UNAVAILABLE = "503"
    BROKEN = "500"
    THROTTLED = "429"
    MOVED = "307"
    AWAY = "away"
    """It breaks the connection, and then nobody listens."""
    SLOW = "slow"
    """It takes them, but only after a while."""
    LATE = "late"
    """It takes them at once, and says so only after a while."""
    REJECTING = "rejecting"
    """It says that it took them, but none of their spans."""


@dataclass(frozen=True, slots=True)
class Outage:
    """When and how the sink is not well: for so long, in the first part of each period. Without seconds, never."""

    begin_s: float = 0.0
    """On the monotonic clock, which all processes share; 0 for when the first request comes."""
    seconds: float = 0.0
    period_s: float = 1.0
    out_s: float = 0.5
    """How much of each period."""
    how: How = How.UNAVAILABLE
    wait_s: float = 0.0
    """How long it takes for an answer or, if it refuses, what it says in `Retry-After`, unless 0."""
    requests: int = sys.maxsize
    """So many requests meet it at most."""

    def is_on(self, now_s: float, first_s: float) -> bool:
        """Say whether it is on, if the first request came at some time."""
        passed_s = now_s - (self.begin_s or first_s)
        return 0 <= passed_s < self.seconds and passed_s % self.period_s < self.out_s


@dataclass(frozen=True, slots=True)
class Taken:
    """What was acknowledged, and whether it is what was offered."""

    spans: int
    """Different ones."""
    repeats: int
    """How often a span was taken that was there already."""
    conflicts: int
    """Spans that came with different bytes."""
    strangers: int
    """Spans that are not of the load."""
    altered: int
    """Spans whose name, times, attributes, resource, or anything else is not what the load says."""
    acknowledged: int
    """Requests."""
    refused: int
    """Requests that came while the sink was not well."""
    rejected: int
    """Spans that it said it did not take, in requests that it acknowledged."""
    size_bytes: int
    """Of the acknowledged requests."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one entrant came to, whose sink was not always well."""

    offered: int
    taken: Taken
    delivered: int | None
    """How many spans were acknowledged by its own account; None if it keeps none."""
    rejected: int | None
    """How many spans the backend did not take, by its own account; None if it keeps none."""
    max_rss_mib: float
    said: str
    """What it said of how it went."""

    @property
    def lost(self) -> int:
        """How many spans are not in the sink, though it does not say that they were rejected."""
        return self.offered - self.taken.spans - (self.rejected or 0)


@dataclass(slots=True)
class Sink:
    """What has come so far."""

    receiver: Receiver
    outage: Outage
    bodies: list[bytes] = field(default_factory=list)
    """Of the requests that were acknowledged."""
    requests: int = 0
    """How many have come, answered or not."""
    refused: int = 0
    rejected: int = 0
    first_s: float = 0.0
    """When the first one came, on the monotonic clock."""
    _goes: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        """Answer one request."""
        now_s = time.monotonic()
        self.requests += 1
        self.first_s = self.first_s or now_s
        if self.refused < self.outage.requests and self.outage.is_on(now_s, self.first_s):
            self.refused += 1
            return await self._answer_badly(request, body)
        return self._acknowledge(body)

    async def be_away(self) -> None:
        """Wait until it is to go away; then let nobody listen for as long as the outage is, and listen again where it was."""
        await self._goes.wait()
        self.receiver.port = urlsplit(self.receiver.url).port or 0
        await self.receiver.__aexit__(None, None, None)
        await asyncio.sleep(self.outage.out_s)
        await self.receiver.__aenter__()

    def _acknowledge(self, body: bytes) -> web.Response:
        self.bodies.append(body)
        return web.Response(body=b"", content_type=PROTOBUF)

    async def _answer_badly(self, request: web.Request, body: bytes) -> web.Response:
        match self.outage.how:
            case How.SLOW:
                await asyncio.sleep(self.outage.wait_s)
                return self._acknowledge(body)
            case How.LATE:
                answer = self._acknowledge(body)
                await asyncio.sleep(self.outage.wait_s)
                return answer
            case How.REJECTING:
                spans = len(otlp.read_spans(body))
                self.rejected += spans
                partial = ExportTracePartialSuccess(rejected_spans=spans, error_message="the disk is full")
                said = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
                return web.Response(body=said, content_type=PROTOBUF)
            case How.AWAY:
                self._goes.set()
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            case How.MOVED:
                return web.Response(status=int(How.MOVED), headers={"Location": "/elsewhere/v1/traces"})
            case how:
                wait = {"Retry-After": f"{self.outage.wait_s:.0f}"} if self.outage.wait_s else {}
                return web.Response(status=int(how), headers=wait)


@asynccontextmanager
async def opened(outage: Outage) -> AsyncIterator[Sink]:
    """Answer as long as the context is open."""
    receiver = Receiver(keeps_requests=False)
    sink = Sink(receiver, outage)
    receiver.replies = repeat(sink.answer)
    async with receiver, asyncio.TaskGroup() as tasks:
        away = tasks.create_task(sink.be_away(), name="away")
        yield sink
        away.cancel()


async def serve(outage: Outage) -> Sink:
    """Answer until the standard input ends."""
    async with opened(outage) as sink:
        print(sink.receiver.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    return sink


def judge(sink: Sink, load: Load) -> Taken:
    """Let the receiver take the bodies; compare with the load."""
    receiver, bodies = sink.receiver, sink.bodies
    for body in bodies:
        receiver.take(body)
    meant = _contents(otlp.encode(span for _, spans in load for span in spans))
    came = {span_id: content for body in bodies for span_id, content in _contents(body).items()}
    times = receiver.times_taken
    return Taken(
        spans=len(times),
        repeats=times.total() - len(times),
        conflicts=sum(len(contents) > 1 for contents in receiver.spans.values()),
        strangers=len(came.keys() - meant.keys()),
        altered=sum(meant.get(span_id, content) != content for span_id, content in came.items()),
        acknowledged=len(bodies),
        refused=sink.refused,
        rejected=sink.rejected,
        size_bytes=sum(map(len, bodies)),
    )


def _contents(body: bytes) -> dict[bytes, bytes]:
    """Give what a request says of each span, but for one flag: the SDK does not send that a span is sampled."""
    request = ExportTraceServiceRequest.FromString(body)
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            for span in scoped.spans:
                span.flags &= ~_SAMPLED
                for link in span.links:
                    link.flags &= ~_SAMPLED
    return dict(otlp.read_spans(request.SerializeToString()))


def main() -> None:
    """Serve, then report."""
    outage = msgspec.json.decode(sys.argv[3], type=Outage) if len(sys.argv) > _ARGUMENTS else Outage()
    taken = judge(asyncio.run(serve(outage)), read(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(taken))


if __name__ == "__main__":
    main()
