"""The backend that speaks OTLP over HTTP with protobuf: sends a request, and understands the answer.

Keeps: only a valid OTLP answer is a confirmation; the path is sent as it was given; no redirect is followed.
Must not know: whether a request is sent again, or what is in it.
Source: OTLP specification 1.9, OTLP/HTTP response; operations 2.9.
"""

import asyncio
import gzip
from http import HTTPStatus

from tracer.delivery.answers import SAID_CHARACTERS, content_type, plain_words, understand_failure, understand_silence
from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord, first_line
from tracer.transport import Answer, Transport

PROTOBUF = "application/x-protobuf"


class OtlpHttp:
    """An OTLP/HTTP endpoint."""

    def __init__(self, transport: Transport, url: str, name: str = "", *, is_compressed: bool = False) -> None:
        """Prepare to send to a URL, with its path; the name is what sentences call it, if that is more than the URL."""
        self._transport = transport
        self._url = url
        self._name = name or url
        self._is_compressed = is_compressed

    def shared(self, _: SpanRecord) -> None:
        """Say that any spans may share a request."""

    def encode(self, spans: tuple[SpanRecord, ...]) -> bytes:
        """Write the request that carries the spans, always with the same bytes."""
        return otlp.encode(spans)

    async def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded request once, and understand the answer."""
        headers = {"Content-Type": PROTOBUF}
        if self._is_compressed:
            headers["Content-Encoding"] = "gzip"
            body = await _packed(body)
        answer = await self._transport.post(self._url, body, headers, timeout_s)
        return understand(answer, self._name) if isinstance(answer, Answer) else understand_silence(answer, self._name)


async def _packed(body: bytes) -> bytes:
    """Compress, beside the loop if there may be one more thread."""
    try:
        return await asyncio.to_thread(gzip.compress, body, mtime=0)
    except RuntimeError:
        return gzip.compress(body, mtime=0)


def understand(answer: Answer, name: str) -> Outcome:
    """Say what an answer means. Total: whatever a backend says is one of the outcomes."""
    if answer.status == HTTPStatus.OK:
        return _understand_success(answer, name)
    if content_type(answer) == PROTOBUF:
        said = first_line(otlp.read_status_message(answer.body))[:SAID_CHARACTERS]
    else:
        said = plain_words(answer)
    return understand_failure(answer, name, "OTLP", said)


def _understand_success(answer: Answer, name: str) -> Outcome:
    said_type = content_type(answer)
    if said_type != PROTOBUF:
        return Refused(f"{name} answered 200 with {said_type or 'no content type'}, which is no OTLP; is the address right?")
    response = otlp.read_response(answer.body) if answer.is_whole else None
    if response is None:
        what = "that cannot be read" if answer.is_whole else "of more than 1 MiB or in an encoding that was not asked for"
        return Refused(f"{name} answered 200 with a body {what}, so it confirmed nothing; is the address right?")
    message = first_line(response.message)
    if response.rejected_spans:
        return Partly(response.rejected_spans, f"{name} rejected spans{message and f': {message}'}")
    return Delivered(message)
