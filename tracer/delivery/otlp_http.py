"""The backend that speaks OTLP over HTTP with protobuf: sends a request, and understands the answer.

Keeps: only a valid OTLP answer is a confirmation; the path is sent as it was given; no redirect is followed.
Must not know: whether a request is sent again, or what is in it.
Source: OTLP specification 1.9, OTLP/HTTP response; operations 2.9.
"""

import asyncio
import gzip
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry, Trouble
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord, first_line
from tracer.transport import Answer, Reason, Transport, retry_after_s

PROTOBUF = "application/x-protobuf"
_SAID_CHARACTERS = 200
_TROUBLES = {Reason.UNREACHABLE: Trouble.BUSY, Reason.LOST: Trouble.BUSY, Reason.SLOW: Trouble.SLOW}
_BUSY = frozenset({408, 429, 502, 503, 504})
_REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = range(300, 400), range(400, 500), range(500, 600)
_NO_OTLP = "nobody takes OTLP there, is the address right?"
_CREDENTIALS = "the credentials in otlp.headers_file are missing or wrong"
_REMEDIES = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _NO_OTLP,
    405: _NO_OTLP,
    407: "the proxy wants credentials",
    415: _NO_OTLP,
}


class OtlpHttp:
    """An OTLP/HTTP endpoint."""

    def __init__(self, transport: Transport, url: str, name: str = "", *, is_compressed: bool = False) -> None:
        """Prepare to send to a URL, with its path; the name is what sentences call it, if that is more than the URL."""
        self._transport = transport
        self._url = url
        self._name = name or url
        self._is_compressed = is_compressed

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
        if isinstance(answer, Answer):
            return understand(answer, self._name)
        why = f"{self._name} {answer.why}"
        return Refused(why) if answer.reason is Reason.UNUSABLE else Retry(why, _TROUBLES[answer.reason])


async def _packed(body: bytes) -> bytes:
    """Compress, beside the loop if there may be one more thread."""
    try:
        return await asyncio.to_thread(gzip.compress, body, mtime=0)
    except RuntimeError:
        return gzip.compress(body, mtime=0)


def understand(answer: Answer, name: str) -> Outcome:
    """Say what an answer means. Total: whatever a backend says is one of the outcomes."""
    status, said = answer.status, _said(answer)
    why = f"{name} answered {status}{said and f': {said}'}"
    if status == HTTPStatus.OK:
        return _understand_success(answer, name)
    if status in _BUSY:
        return Retry(why, Trouble.BUSY, retry_after_s(answer.headers))
    if status in _SERVER_ERRORS:
        return Retry(why, Trouble.BROKEN, retry_after_s(answer.headers))
    if status in _REDIRECTS:
        return Refused(f"{why}, a redirect{_elsewhere(answer.headers)}, which is not followed; give the address itself")
    if status == HTTPStatus.BAD_REQUEST and _is_from_a_tls_port(answer):
        return Refused(f"{name} wants TLS; give an address with https://")
    remedy = _REMEDIES.get(status) or (None if status in _CLIENT_ERRORS else _NO_OTLP)
    return Refused(f"{why}; {remedy}") if remedy else Rejected(why)


def _understand_success(answer: Answer, name: str) -> Outcome:
    content_type = _content_type(answer)
    if content_type != PROTOBUF:
        return Refused(f"{name} answered 200 with {content_type or 'no content type'}, which is no OTLP; is the address right?")
    response = otlp.read_response(answer.body) if answer.is_whole else None
    if response is None:
        what = "that cannot be read" if answer.is_whole else "of more than 1 MiB or in an encoding that was not asked for"
        return Refused(f"{name} answered 200 with a body {what}, so it confirmed nothing; is the address right?")
    message = first_line(response.message)
    if response.rejected_spans:
        return Partly(response.rejected_spans, f"{name} rejected spans{message and f': {message}'}")
    return Delivered(message)


def _said(answer: Answer) -> str:
    """Give the first words of an error's body, if they are meant for people who send OTLP; a page of HTML is not."""
    content_type = _content_type(answer)
    if content_type == PROTOBUF:
        return first_line(otlp.read_status_message(answer.body))[:_SAID_CHARACTERS]
    if content_type in {"text/plain", "application/json"}:
        return first_line(answer.body[: 4 * _SAID_CHARACTERS].decode("utf-8", "replace"))[:_SAID_CHARACTERS]
    return ""


def _content_type(answer: Answer) -> str:
    return first_line(answer.headers.get("Content-Type", "").partition(";")[0]).lower()[:_SAID_CHARACTERS]


def _elsewhere(headers: Mapping[str, str]) -> str:
    """Name where a redirect points, without what may be a secret in it."""
    try:
        target = urlsplit(first_line(headers.get("Location", "")))
        return f", to {target.scheme}://{target.hostname}{target.path}"[:_SAID_CHARACTERS] if target.hostname else ""
    except ValueError:
        return ""


def _is_from_a_tls_port(answer: Answer) -> bool:
    """Say whether a server said in HTTP that it wants HTTPS. Source: net/http and nginx both answer so, in these words."""
    return b"HTTP request to an HTTPS server" in answer.body or b"plain HTTP request was sent to HTTPS port" in answer.body
