"""What a backend can do wrong: replies for the receiver, each a way in which a real one, or a lie, has answered."""

import asyncio
import gzip
import math
from collections.abc import Callable
from typing import NoReturn

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracer.demo.receiver import PROTOBUF, Receiver, Reply, acknowledge

HTML = b"<html><body>Please log in</body></html>"
MANY_BYTES = 100 << 20


def says(status: int, body: bytes = b"", content_type: str = "text/plain", **headers: str) -> Reply:
    """Answer with a status, and take nothing."""

    async def reply(_: Receiver, __: web.Request, ___: bytes) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, content_type=content_type, headers=named)

    return reply


def rejects(spans: int, why: str = "no") -> Reply:
    """Take the request, and say that so many of its spans were not taken."""

    async def reply(receiver: Receiver, _: web.Request, body: bytes) -> web.StreamResponse:
        receiver.take(body)
        partial = ExportTracePartialSuccess(rejected_spans=spans, error_message=why)
        return web.Response(body=ExportTraceServiceResponse(partial_success=partial).SerializeToString(), content_type=PROTOBUF)

    return reply


def span_names(body: bytes) -> list[str]:
    """Name the spans of a request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [span.name for group in request.resource_spans for scoped in group.scope_spans for span in scoped.spans]


def refuses_span(name: str, status: int = 400, names: Callable[[bytes], list[str]] = span_names) -> Reply:
    """Answer with an error if a span of a name is in the request, else take it."""

    async def reply(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        if name in names(body):
            return web.Response(status=status, text="poison")
        return await acknowledge(receiver, request, body)

    return reply


def takes_at_most(spans: int, names: Callable[[bytes], list[str]] = span_names) -> Reply:
    """Answer 413 to more spans than that."""

    async def reply(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        if len(names(body)) > spans:
            return web.Response(status=413)
        return await acknowledge(receiver, request, body)

    return reply


def slowly(seconds: float, bytes_per_s: float = math.inf) -> Reply:
    """Take the request, and say so after a while, that is longer the larger it is."""

    async def reply(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        response = await acknowledge(receiver, request, body)
        await asyncio.sleep(seconds + len(body) / bytes_per_s)
        return response

    return reply


async def hang(receiver: Receiver, _: web.Request, body: bytes) -> NoReturn:
    """Take the request, and never answer."""
    receiver.take(body)
    await asyncio.Event().wait()
    raise AssertionError


async def reset(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
    """Take the request, begin to answer, and break the connection."""
    receiver.take(body)
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-pro")
    await asyncio.sleep(0.01)
    request.transport.abort()
    return web.Response()


def lies(length: int, sent: bytes, *, stays: bool = False, content_type: str = PROTOBUF) -> Reply:
    """Announce a length and send other bytes; then close the connection, or stay silent."""

    async def reply(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        receiver.take(body)
        assert request.transport is not None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        request.transport.write(head.encode() + sent)
        if stays:
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        request.transport.close()
        return web.Response()

    return reply


def floods(status: int = 200, *, is_packed: bool = False) -> Reply:
    """Answer with 100 MB, as they are or packed into a hundredth of a percent."""

    async def reply(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        receiver.take(body)
        if is_packed:
            packed = await asyncio.to_thread(gzip.compress, bytes(MANY_BYTES))
            return web.Response(status=status, body=packed, content_type=PROTOBUF, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse(status=status, headers={"Content-Type": PROTOBUF, "Content-Length": str(MANY_BYTES)})
        await response.prepare(request)
        for _ in range(MANY_BYTES >> 20):
            await response.write(bytes(1 << 20))
        return response

    return reply
