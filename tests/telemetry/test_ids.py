"""Ids and contexts: the span model's test vectors, and what counts as a trace context."""

import pytest

from tracer.tekton.meta import SpanContext, read_span_context
from tracer.telemetry.ids import TraceContext, parse_context, span_id, trace_id

R, T, P = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        (trace_id(R), "836829b1d405aceb94fcd63fb1dfcf29"),
        (span_id("run", R, ""), "b43af4d3912ecd50"),
        (span_id("task", T, ""), "1a0d14d766868cdf"),
        (span_id("retry", T, "build-pod-retry1"), "6fd693cabaab1693"),
        (span_id("step", T, P, "step-compile"), "4d5b2f34f93e76f0"),
        (span_id("step", T, "name:build-pod", "step-compile"), "6ff371659b4c6682"),
    ],
)
def test_vectors(id_: bytes, expected: str) -> None:
    """The vectors of span-model 2.2."""
    assert id_.hex() == expected


GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.row("O15")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "[" * 100_000,
        '{"traceparent": 7}',
        f'{{"traceparent": "{GOOD[:-1]}"}}',
        f'{{"traceparent": "01{GOOD[2:]}"}}',
        f'{{"traceparent": "{GOOD.upper()}"}}',
        f'{{"traceparent": "{GOOD} "}}',
        f'{{"traceparent": "00-{"0" * 32}-00f067aa0ba902b7-01"}}',
        f'{{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-{"0" * 16}-01"}}',
        GOOD,
    ],
)
def test_anything_else_is_no_context(text: str) -> None:
    """Only a JSON object with a W3C traceparent of version 00 and ids that are not zero is a context."""
    assert parse_context(read_span_context(text)) is None


def test_context() -> None:
    """A context has its ids, its sampled flag and its state; a state that is no header is left out."""
    said = parse_context(read_span_context(f'{{"traceparent":"{GOOD}","tracestate":"a=b"}}'))
    assert said == TraceContext(bytes.fromhex(GOOD[3:35]), bytes.fromhex(GOOD[36:52]), is_sampled=True, trace_state="a=b")
    unsampled = parse_context(SpanContext(GOOD[:-2] + "00", "x" * 5000))
    assert unsampled is not None
    assert (unsampled.is_sampled, unsampled.trace_state) == (False, "")
    assert read_span_context(None) is None
