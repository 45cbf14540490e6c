"""What exactly did a sender say to Jaeger? A server in front of it that keeps each raw request and passes the answer on.

It rests on the standard library's HTTP, not on the one that sends: an error of that one is not made twice.
"""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

LOOPBACK = "127.0.0.1"
ANSWERED_WITHIN_S = 10
NOT_PASSED_ON = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    status: int
    """What Jaeger answered."""
    answered_s: float
    """When its answer was passed on, in Unix seconds."""

    @property
    def spans(self) -> ExportTraceServiceRequest:
        """Read the body as the protobuf that it must be."""
        assert self.headers["content-type"] == "application/x-protobuf"
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return ExportTraceServiceRequest.FromString(body)


@dataclass(frozen=True, slots=True)
class Tee:
    """Where to send, and what was sent."""

    endpoint: str
    requests: list[Request]


@contextmanager
def tee(port: int) -> Iterator[Tee]:
    """Stand in front of a server on loopback."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server = HTTPConnection(LOOPBACK, port, timeout=ANSWERED_WITHIN_S)
            server.request("POST", self.path, body, dict(self.headers))
            answer = server.getresponse()
            content = answer.read()
            server.close()
            headers = {name.lower(): value for name, value in self.headers.items()}
            answered_s = time.time()  # noqa: TID251 - how late a span is shows only on the wall clock
            requests.append(Request(self.path, headers, body, answer.status, answered_s))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing: what came is kept."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Tee(f"http://{LOOPBACK}:{server.server_port}", requests)
        finally:
            server.shutdown()
            thread.join()
