"""A backend on loopback that takes OTLP over HTTP and remembers it: for the demonstration, the tests and the benchmarks.

Keeps: it speaks the protocol to the letter, unless a reply is asked for that does not; every span that it took is kept with its
bytes, so that repeats and conflicts can be told.
"""

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import ClassVar, Self

from aiohttp import web

from tracer.telemetry import otlp

PROTOBUF = "application/x-protobuf"
TRACES_PATH = "/v1/traces"
MOST_REQUEST_BYTES = 64 << 20


@dataclass(slots=True)
class Receiver:
    """Takes spans. Open it with `async with`; each request gets the next reply, or an acknowledgement if none is left."""

    path: ClassVar[str] = TRACES_PATH
    """Where it takes them."""
    replies: Iterable["Reply"] = ()
    tls: ssl.SSLContext | None = None
    spans: dict[bytes, set[bytes]] = field(default_factory=dict)
    """By span id: the different contents that were taken under it; more than one is a conflict."""
    times_taken: Counter[bytes] = field(default_factory=Counter)
    """By span id; more than once is a repeat."""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers and body of each request, taken or not."""
    keeps_requests: bool = True
    host: str = "127.0.0.1"
    port: int = 0
    """Where to listen on loopback; 0 for any free port."""
    url: str = ""
    """What to send to, once it is open."""
    _left: Iterator["Reply"] = field(init=False)
    _runner: web.AppRunner = field(init=False)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._left = iter(self.replies)
        application = web.Application(client_max_size=MOST_REQUEST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self.tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http{'s' if self.tls is not None else ''}://{host}:{port}{self.path}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    def reply_with(self, replies: Iterable["Reply"]) -> None:
        """Give the next requests these replies, and then acknowledge again."""
        self._left = iter(replies)

    def read(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """Give the id of each span of a request, and its whole content. Raises ValueError if it is none."""
        return otlp.read_spans(body)

    def confirm(self) -> web.StreamResponse:
        """Say that all of a request was taken."""
        return web.Response(body=b"", content_type=PROTOBUF)

    def take(self, body: bytes) -> int:
        """Take a request's spans; give their number."""
        taken = self.read(body)
        for span_id, content in taken:
            self.spans.setdefault(span_id, set()).add(content)
            self.times_taken[span_id] += 1
        return len(taken)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST" or request.path != self.path:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        body = await request.read()  # unpacked, if it was packed
        if self.keeps_requests:
            self.requests.append((dict(request.headers), body))
        return await next(self._left, acknowledge)(self, request, body)


Reply = Callable[[Receiver, web.Request, bytes], Awaitable[web.StreamResponse]]
"""What to do with a request."""


async def acknowledge(receiver: Receiver, _: web.Request, body: bytes) -> web.StreamResponse:
    """Take all of it, and say so."""
    try:
        receiver.take(body)
    except ValueError as error:
        return web.Response(status=HTTPStatus.BAD_REQUEST, text=str(error))
    return receiver.confirm()
