"""What follows from an outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.backoff import full_jitter_s
from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry, Trouble
from tracer.delivery.policy import (
    ANSWERS_TO_TRUST,
    IN_FLIGHT,
    LONGEST_TRY_TIMEOUT_S,
    LONGEST_WAIT_S,
    MOST_BLAMES,
    REFUSED_WAIT_S,
    REQUEST_SPANS,
    TRY_TIMEOUT_S,
    Action,
    Pace,
    Verdict,
    is_failure,
    judge,
    wait_s,
)

BUSY, SLOW, BROKEN = (Retry("why", trouble) for trouble in Trouble)
outcomes = st.one_of(
    st.just(Delivered()),
    st.builds(Partly, st.integers(1, 10**12), st.just("why")),
    st.builds(Retry, st.just("why"), st.sampled_from(Trouble), st.none() | st.floats(0, 1e12)),
    st.just(Refused("why")),
    st.just(Rejected("why")),
)


@pytest.mark.parametrize(
    ("outcome", "spans", "blamed", "others_pass", "expected"),
    [
        (Delivered(), 9, 1, False, Verdict(Action.SETTLE)),
        (Partly(4, "why"), 9, 1, False, Verdict(Action.SETTLE, 4)),
        (Partly(99, "why"), 9, 1, False, Verdict(Action.SETTLE, 9)),
        (Refused("why"), 9, 99, True, Verdict(Action.HOLD)),
        (BUSY, 9, 99, True, Verdict(Action.HOLD)),
        (SLOW, 9, 1, False, Verdict(Action.HALVE)),
        (SLOW, 1, 99, True, Verdict(Action.HOLD)),
        (BROKEN, 9, MOST_BLAMES - 1, True, Verdict(Action.HOLD)),
        (BROKEN, 9, MOST_BLAMES, False, Verdict(Action.HALVE)),
        (BROKEN, 1, MOST_BLAMES, False, Verdict(Action.HOLD)),
        (BROKEN, 1, MOST_BLAMES, True, Verdict(Action.SETTLE, 1)),
        (Rejected("why"), 2, 1, False, Verdict(Action.HALVE)),
        (Rejected("why"), 1, 1, False, Verdict(Action.HOLD)),
        (Rejected("why"), 1, 1, True, Verdict(Action.SETTLE, 1)),
    ],
)
def test_verdicts(outcome: Outcome, spans: int, blamed: int, others_pass: bool, expected: Verdict) -> None:  # noqa: FBT001 - a table
    """Each outcome has one consequence for its request."""
    assert judge(outcome, spans, blamed, others_pass=others_pass) == expected


@given(outcomes, st.integers(1, 5_000), st.integers(1, 1_000))
def test_nothing_is_given_up_while_nothing_passes(outcome: Outcome, spans: int, blamed: int) -> None:
    """A backend that takes nothing at all costs no span, but for those that it says in OTLP's own words it will not take."""
    verdict = judge(outcome, spans, blamed, others_pass=False)
    assert verdict.rejected == 0 or isinstance(outcome, Partly)
    assert 0 <= verdict.rejected <= spans


@given(st.lists(outcomes, max_size=60))
def test_the_pace_stays_within_its_bounds(said: list[Outcome]) -> None:
    """Whatever a backend says, at least one request with one span is under way, and never more than the limits allow."""
    pace = Pace()
    for outcome in said:
        failed = is_failure(outcome, judge(outcome, 1, 1, others_pass=True))
        pace = pace.after_failure(outcome) if failed else pace.after_answer()
        assert 1 <= pace.in_flight <= IN_FLIGHT
        assert 1 <= pace.most_spans <= REQUEST_SPANS
        assert TRY_TIMEOUT_S <= pace.try_timeout_s <= LONGEST_TRY_TIMEOUT_S
        assert (pace.in_flight == 1) >= failed
        if failed:
            assert 0 <= wait_s(outcome, full_jitter_s(pace.failures)) <= LONGEST_WAIT_S


def test_a_slow_backend_gets_less_in_more_time_until_it_is_trusted_again() -> None:
    """Each time-out doubles the time for a try and halves the request; ten answers in a row undo it."""
    pace = Pace().after_failure(SLOW).after_failure(SLOW)
    assert (pace.try_timeout_s, pace.most_spans) == (4 * TRY_TIMEOUT_S, REQUEST_SPANS // 4)
    for _ in range(ANSWERS_TO_TRUST):
        assert pace.try_timeout_s == 4 * TRY_TIMEOUT_S
        pace = pace.after_answer()
    assert (pace.try_timeout_s, pace.most_spans, pace.in_flight) == (TRY_TIMEOUT_S, REQUEST_SPANS, IN_FLIGHT)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (BUSY, 7.0),
        (Retry("why", after_s=20), 20),
        (Retry("why", after_s=0), 7.0),
        (Retry("why", after_s=1e9), LONGEST_WAIT_S),
        (Refused("why"), REFUSED_WAIT_S),
    ],
)
def test_waits(outcome: Outcome, expected: float) -> None:
    """A longer wait that the backend asks for is obeyed up to 5 minutes; what a person must mend waits 30 s."""
    assert wait_s(outcome, 7.0) == expected


def test_jitter_grows_to_half_a_minute() -> None:
    """The back-off is chosen at random from zero to a limit that doubles, up to 30 s."""
    for failures, limit in [(1, 1), (2, 2), (5, 16), (6, 30), (10_000, 30)]:
        drawn = [full_jitter_s(failures) for _ in range(200)]
        assert 0 <= min(drawn) < limit / 4
        assert limit * 3 / 4 < max(drawn) <= limit
