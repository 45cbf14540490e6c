"""What did a backend take? The receiver of `tracer.demo` in a process of its own: `LOAD SPANS [BEGIN SECONDS PERIOD]`.

It prints its address, serves until its standard input ends, and then prints what it took, as one JSON line. Bodies are kept and
read only then, so that an answer costs next to nothing and neither entrant waits for the sink's own work.

Keeps: nothing is counted that was not acknowledged; what was taken is compared with the load, span by span.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from itertools import repeat
from pathlib import Path

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load import Load, read
from tracer.demo.receiver import PROTOBUF, Receiver
from tracer.telemetry import otlp

_SAMPLED = 0x01
_ARGUMENTS_OF_OUTAGE = slice(3, 6)


@dataclass(frozen=True, slots=True)
class Outage:
    """When the sink says 503: from a moment on and for so long, in the first half of each period. Without seconds, never."""

    begin_s: float = 0.0
    """On the monotonic clock, which all processes share."""
    seconds: float = 0.0
    period_s: float = 1.0

    def is_on(self, now_s: float) -> bool:
        """Say whether it is on."""
        passed_s = now_s - self.begin_s
        return 0 <= passed_s < self.seconds and passed_s % self.period_s < self.period_s / 2


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
    """Requests that were answered with 503."""
    size_bytes: int
    """Of the acknowledged requests."""


async def serve(outage: Outage) -> tuple[Receiver, list[bytes], int]:
    """Answer until the standard input ends; give the bodies that were acknowledged, and how many were refused."""
    bodies: list[bytes] = []
    refused = 0

    async def answer(_: Receiver, __: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal refused
        if outage.is_on(time.monotonic()):
            refused += 1
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
        bodies.append(body)
        return web.Response(body=b"", content_type=PROTOBUF)

    async with Receiver(repeat(answer), keeps_requests=False) as receiver:
        print(receiver.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    return receiver, bodies, refused


def judge(receiver: Receiver, bodies: list[bytes], refused: int, load: Load) -> Taken:
    """Let the receiver take the bodies; compare with the load."""
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
        refused=refused,
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
    outage = Outage(*map(float, sys.argv[_ARGUMENTS_OF_OUTAGE]))
    receiver, bodies, refused = asyncio.run(serve(outage))
    taken = judge(receiver, bodies, refused, read(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(taken))


if __name__ == "__main__":
    main()
