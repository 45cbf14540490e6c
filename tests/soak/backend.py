"""A backend that can be away in three ways, and remembers of each span no more than its digest.

Keeps: what it acknowledged is noted by who sent it.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from itertools import repeat
from types import TracebackType
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.soak.plan import Away
from tracer.demo.receiver import PROTOBUF, Receiver
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord

SENDER_HEADER = "x-replica"
_DIGEST_BYTES = 8


@dataclass(slots=True)
class Taken:
    """One span that the backend has."""

    digests: set[bytes]
    at_s: float
    """When it came first."""


@dataclass(slots=True)
class Backend:
    """Takes spans. Open it with `async with`."""

    taken: defaultdict[bytes, dict[bytes, Taken]] = field(default_factory=lambda: defaultdict(dict))
    """By trace id and span id."""
    by_sender: Counter[str] = field(default_factory=Counter)
    """How many spans were acknowledged to each replica, repeats too."""
    repeats: int = 0
    away: Away | None = None
    _receiver: Receiver = field(init=False)
    _is_back: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """What to send to."""
        return self._receiver.url

    async def __aenter__(self) -> Self:
        """Listen."""
        self._receiver = await Receiver(repeat(self._answer), keeps_requests=False).__aenter__()
        self._receiver.port = int(self.url.split(":")[2].split("/")[0])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        if self.away is not Away.REFUSED:
            await self._receiver.__aexit__(kind, error, trace)

    async def go(self, away: Away) -> None:
        """Be away."""
        self.away = away
        self._is_back.clear()
        if away is Away.REFUSED:
            await self._receiver.__aexit__(None, None, None)

    async def come_back(self) -> None:
        """Answer again, also what has been waiting."""
        was, self.away = self.away, None
        self._is_back.set()
        if was is Away.REFUSED:
            await self._receiver.__aenter__()

    async def _answer(self, _: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.away is Away.BUSY:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
        if self.away is Away.HUNG:
            await self._is_back.wait()
        now_s = asyncio.get_running_loop().time()
        spans = digests(body)
        for trace_id, span_id, digest in spans:
            of_trace = self.taken[trace_id]
            if (known := of_trace.get(span_id)) is None:
                of_trace[span_id] = Taken({digest}, now_s)
            else:
                known.digests.add(digest)
                self.repeats += 1
        self.by_sender[request.headers[SENDER_HEADER]] += len(spans)
        return web.Response(body=b"", content_type=PROTOBUF)


def digests(body: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Give trace id, span id and a digest of the whole content of each span in a request."""
    request = ExportTraceServiceRequest.FromString(body)
    traces = [span.trace_id for group in request.resource_spans for scoped in group.scope_spans for span in scoped.spans]
    contents = otlp.read_spans(body)
    return [
        (trace_id, span_id, blake2b(content, digest_size=_DIGEST_BYTES).digest())
        for trace_id, (span_id, content) in zip(traces, contents, strict=True)
    ]


def digests_of(spans: Iterable[SpanRecord]) -> dict[bytes, bytes]:
    """Give the digest of each span by its id, as the backend would take it."""
    return {span_id: digest for _, span_id, digest in digests(otlp.encode(spans))}
