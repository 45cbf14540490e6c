"""A collector on loopback that takes Thrift over HTTP, for what a real one cannot be made to do: to fail, to hang, to lie."""

from http import HTTPStatus
from typing import ClassVar

from aiohttp import web
from opentelemetry.exporter.jaeger.thrift.gen.jaeger.ttypes import Batch, Span
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from tracer.config import JAEGER_PATH
from tracer.demo.receiver import Receiver


class ThriftReceiver(Receiver):
    """Takes batches, and confirms them as a collector does."""

    path: ClassVar[str] = JAEGER_PATH

    def read(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """Give the id of each span of a batch, and its whole content with its process. Raises ValueError if it is none."""
        batch = read_batch(body)
        return [(_id_of(span), f"{batch.process}|{span}".encode()) for span in batch.spans]

    def confirm(self) -> web.StreamResponse:
        """Say that all of a batch was taken, without a word."""
        return web.Response(status=HTTPStatus.ACCEPTED)


def read_batch(body: bytes) -> Batch:
    """Read a batch. Raises ValueError if it is none, or more than one."""
    buffer, batch = TMemoryBuffer(body), Batch()
    try:
        batch.read(TBinaryProtocol(buffer))
        batch.validate()
    except Exception as error:  # whatever a library makes of what is no Thrift
        raise ValueError("no batch") from error
    if buffer.read(1):
        raise ValueError("more than a batch")
    return batch


def thrift_names(body: bytes) -> list[str]:
    """Name the spans of a batch."""
    return [span.operationName for span in read_batch(body).spans]


def _id_of(span: Span) -> bytes:
    number: int = span.spanId
    return number.to_bytes(8, "big", signed=True)
