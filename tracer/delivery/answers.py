"""What does an answer over HTTP mean that confirms nothing? Common to the backends, whatever protocol they speak.

Keeps: total: whatever comes back, or does not, is one of the outcomes; what is said of it is short and shows no secret.
Must not know: what was sent, and which answer is a confirmation.
Source: OTLP specification 1.9, OTLP/HTTP response; RFC 9110; operations 2.9.
"""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from tracer.delivery.outcome import Refused, Rejected, Retry, Trouble
from tracer.telemetry.records import first_line
from tracer.transport import Answer, NoAnswer, Reason, retry_after_s

SAID_CHARACTERS = 200
_TROUBLES = {Reason.UNREACHABLE: Trouble.BUSY, Reason.LOST: Trouble.BUSY, Reason.SLOW: Trouble.SLOW}
_BUSY = frozenset({408, 429, 502, 503, 504})
_REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = range(300, 400), range(400, 500), range(500, 600)
_ELSEWHERE = frozenset({404, 405, 415})
_CREDENTIALS = "the credentials in otlp.headers_file are missing or wrong"
_REMEDIES = {401: _CREDENTIALS, 403: _CREDENTIALS, 407: "the proxy wants credentials"}


def understand_silence(silence: NoAnswer, name: str) -> Retry | Refused:
    """Say what it means that no answer came."""
    why = f"{name} {silence.why}"
    return Refused(why) if silence.reason is Reason.UNUSABLE else Retry(why, _TROUBLES[silence.reason])


def understand_failure(answer: Answer, name: str, protocol: str, said: str) -> Retry | Refused | Rejected:
    """Say what an answer means that is no confirmation; `said` are the words in it that people should read."""
    status = answer.status
    why = f"{name} answered {status}{said and f': {said}'}"
    if status in _BUSY:
        return Retry(why, Trouble.BUSY, retry_after_s(answer.headers))
    if status in _SERVER_ERRORS:
        return Retry(why, Trouble.BROKEN, retry_after_s(answer.headers))
    if status in _REDIRECTS:
        return Refused(f"{why}, a redirect{_target(answer.headers)}, which is not followed; give the address itself")
    if status == HTTPStatus.BAD_REQUEST and _is_from_a_tls_port(answer):
        return Refused(f"{name} wants TLS; give an address with https://")
    if status in _ELSEWHERE or status not in _CLIENT_ERRORS:
        return Refused(f"{why}; nobody takes {protocol} there, is the address right?")
    return Refused(f"{why}; {_REMEDIES[status]}") if status in _REMEDIES else Rejected(why)


def plain_words(answer: Answer) -> str:
    """Give the first words of an error's body, if they are meant for people who send spans; a page of HTML is not."""
    if content_type(answer) not in {"text/plain", "application/json"}:
        return ""
    return first_line(answer.body[: 4 * SAID_CHARACTERS].decode("utf-8", "replace"))[:SAID_CHARACTERS]


def content_type(answer: Answer) -> str:
    """Say what an answer says that it is; empty if it does not say."""
    return first_line(answer.headers.get("Content-Type", "").partition(";")[0]).lower()[:SAID_CHARACTERS]


def _target(headers: Mapping[str, str]) -> str:
    """Name where a redirect points, without what may be a secret in it."""
    try:
        target = urlsplit(first_line(headers.get("Location", "")))
        return f", to {target.scheme}://{target.hostname}{target.path}"[:SAID_CHARACTERS] if target.hostname else ""
    except ValueError:
        return ""


def _is_from_a_tls_port(answer: Answer) -> bool:
    """Say whether a server said in HTTP that it wants HTTPS. Source: net/http and nginx both answer so, in these words."""
    return b"HTTP request to an HTTPS server" in answer.body or b"plain HTTP request was sent to HTTPS port" in answer.body
