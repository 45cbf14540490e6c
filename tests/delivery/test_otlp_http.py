"""What an OTLP/HTTP backend's answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess, ExportTraceServiceResponse

from tracer.delivery.otlp_http import PROTOBUF, understand
from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry, Trouble
from tracer.transport import Answer, retry_after_s

URL = "http://backend/v1/traces"


def answer(status: int, body: bytes = b"", content_type: str = PROTOBUF, *, is_whole: bool = True, **headers: str) -> Answer:
    """Make an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": content_type, **named}, body, is_whole)


def response(rejected: int, message: str = "") -> bytes:
    """Write an OTLP answer."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(200), Delivered()),
        (answer(200, content_type="Application/X-Protobuf; charset=utf-8"), Delivered()),
        (answer(200, response(0, "old\x1b[31m protocol\nsecond line")), Delivered("old [31m protocol")),
        (answer(200, response(3, "too old")), Partly(3, f"{URL} rejected spans: too old")),
        (answer(503, Retry_After="7"), Retry(f"{URL} answered 503", after_s=7)),
        (answer(500, b"oops", "text/plain"), Retry(f"{URL} answered 500: oops", Trouble.BROKEN)),
        (answer(413), Rejected(f"{URL} answered 413")),
        (answer(400, response(0)[:0] + b"\x08\x03\x12\x03bad"), Rejected(f"{URL} answered 400: bad")),
        (answer(418, b"<html>", "text/html"), Rejected(f"{URL} answered 418")),
    ],
)
def test_answers(said: Answer, expected: Outcome) -> None:
    """Each kind of answer has one meaning."""
    assert understand(said, URL) == expected


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(200, content_type="text/html"), "text/html, which is no OTLP"),
        (answer(200, content_type=""), "no content type"),
        (answer(200, b"<html>"), "a body that cannot be read"),
        (answer(200, is_whole=False), "more than 1 MiB"),
        (answer(200, response(-3)), "confirmed nothing"),
        (answer(204), "is the address right?"),
        (answer(202), "is the address right?"),
        (answer(401), "otlp.headers_file"),
        (answer(403), "otlp.headers_file"),
        (answer(404), "is the address right?"),
        (answer(405), "is the address right?"),
        (answer(415), "is the address right?"),
        (answer(407), "proxy"),
        (answer(301, Location="https://other/v1/traces?token=secret"), "a redirect, to https://other/v1/traces, which"),
        (answer(307, Location="//["), "a redirect, which is not followed"),
        (answer(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"), "https://"),
        (answer(400, b"<center>The plain HTTP request was sent to HTTPS port</center>", "text/html"), "https://"),
    ],
)
def test_what_a_person_must_mend(said: Answer, why: str) -> None:
    """An answer that is no confirmation and will not become one says what to look at, and nothing secret."""
    outcome = understand(said, URL)
    assert isinstance(outcome, Refused)
    assert why in outcome.why
    assert "secret" not in outcome.why


@given(
    st.integers(100, 599),
    st.binary(max_size=200),
    st.sampled_from([PROTOBUF, "text/html", "text/plain", "application/json", "", "\ud800"]),
    st.dictionaries(st.sampled_from(["Retry_After", "Date", "Location"]), st.text(max_size=30)),
    st.booleans(),
)
def test_any_answer_means_something(status: int, body: bytes, content_type: str, headers: dict[str, str], is_whole: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever a backend answers, it is one outcome; only a whole valid answer confirms; what is said is one short line."""
    outcome = understand(answer(status, body, content_type, is_whole=is_whole, **headers), URL)
    if isinstance(outcome, Delivered | Partly):
        assert (status, content_type, is_whole) == (200, PROTOBUF, True)
    else:
        assert len(outcome.why) < 500
        assert outcome.why.isprintable() or "\ud800" in outcome.why
    if isinstance(outcome, Retry) and outcome.after_s is not None:
        assert outcome.after_s >= 0


@pytest.mark.parametrize(
    ("said", "date", "expected"),
    [
        ("120", "", 120),
        (" 0 ", "", 0),
        ("9" * 400, "", 1e18),
        ("-1", "", None),
        ("1.5", "", None),
        ("soon", "", None),
        ("", "", None),
        ("٣", "", None),
        ("Fri, 31 Jul 2026 10:00:30 GMT", "Fri, 31 Jul 2026 10:00:00 GMT", 30),
        ("Fri, 31 Jul 2026 09:00:00 GMT", "Fri, 31 Jul 2026 10:00:00 GMT", 0),
        ("Fri, 31 Jul 2026 10:00:30 GMT", "", None),
        ("Fri, 31 Jul 2026 10:00:30", "Fri, 31 Jul 2026 10:00:00 GMT", None),
    ],
)
def test_how_long_a_backend_asks_to_wait(said: str, date: str, expected: float | None) -> None:
    """Seconds, or a moment seen from the answer's own date; what is neither asks for nothing."""
    assert retry_after_s({"Retry-After": said, "Date": date}) == expected
