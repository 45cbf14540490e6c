"""What exactly did a sender say to Jaeger? A server in front of it that keeps each raw request and passes the answer on.

It can refuse in Jaeger's stead. Where there is no Jaeger, it breaks the connection off, as a dead one would.

It rests on the standard library's HTTP, not on the one that sends: an error of that one is not made twice.
"""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

LOOPBACK = "127.0.0.1"
ANSWERED_WITHIN_S = 120  # longer than Jaeger hangs in any test: what it takes in the end, it has
NOT_PASSED_ON = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    status: int | None
    """What was answered; None if nothing was."""
    answered_s: float
    """When that was, in Unix seconds."""

    @property
    def spans(self) -> ExportTraceServiceRequest:
        """Read the body as the protobuf that it must be."""
        assert self.headers["content-type"] == "application/x-protobuf"
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return ExportTraceServiceRequest.FromString(body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a request."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""


@dataclass(slots=True)
class Tee:
    """Where to send, and what was sent."""

    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    refusal: Answer | None = None
    """What is answered to everything, while nothing is passed on."""

    @contextmanager
    def refusing(self, refusal: Answer) -> Iterator[None]:
        """Pass nothing on until the context ends."""
        self.refusal = refusal
        try:
            yield
        finally:
            self.refusal = None


@contextmanager
def tee(port: int, listens_at: str = LOOPBACK) -> Iterator[Tee]:
    """Stand in front of a server on loopback; a Pod finds it at the node's address."""
    one = Tee()
    with _Server(one, port, listens_at) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            one.endpoint = f"http://{listens_at}:{server.server_port}"
            yield one
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, one: Tee, port: int, listens_at: str) -> None:
        super().__init__((listens_at, 0), _Handler)
        self.tee, self.port = one, port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            return
        answer = self.server.tee.refusal or self._passed_on(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answered_s = time.time()  # noqa: TID251 - how late a span is shows only on the wall clock
        self.server.tee.requests.append(Request(self.path, headers, body, answer.status if answer else None, answered_s))
        if answer is None:
            self.close_connection = True
            return
        with suppress(ConnectionError):  # whoever asked may wait no longer, or be no more
            self.send_response(answer.status)
            for name, value in answer.headers:
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    def _body(self) -> bytes | None:
        """Read the body; None if whoever sent it was killed meanwhile."""
        size_bytes = int(self.headers["Content-Length"])
        try:
            body = self.rfile.read(size_bytes)
        except ConnectionError:
            return None
        return body if len(body) == size_bytes else None

    def _passed_on(self, body: bytes) -> Answer | None:
        """Give the answer of the server behind; None if there is none."""
        server = HTTPConnection(LOOPBACK, self.server.port, timeout=ANSWERED_WITHIN_S)
        try:
            server.request("POST", self.path, body, dict(self.headers))
            answer = server.getresponse()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
        except (OSError, HTTPException):
            return None
        finally:
            server.close()

    def log_message(self, *_: object) -> None:
        """Say nothing: what came is kept."""
