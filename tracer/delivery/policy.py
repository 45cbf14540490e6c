"""What follows from an outcome: for the request that was sent, and for how hard the backend is pressed.

Keeps: a request is held until the backend answered for it; spans are given up only if others pass while they do not.
Must not know: how a request is sent, or what the time is.
Source: operations 2.7, 2.9.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry, Trouble

IN_FLIGHT = 4
REQUEST_SPANS = 512
TRY_TIMEOUT_S, LONGEST_TRY_TIMEOUT_S = 10.0, 60.0
MOST_TIMEOUTS = 9  # that are counted: then a request holds one span
ANSWERS_TO_TRUST = 10
"""So many answers in a row undo what a time-out did."""
LONGEST_WAIT_S = 300.0
REFUSED_WAIT_S = 30.0
MOST_BLAMES = 10
"""A request that the backend fails on so often, while others pass, is at fault itself."""


class Action(StrEnum):
    """What to do with a request after a try."""

    SETTLE = "settle"
    """It was answered: acknowledge it."""
    HALVE = "halve"
    """Send its halves next, to find the part that is at fault, or to ask for less at once."""
    HOLD = "hold"
    """Send the same bytes again, after the others that wait."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a try means for its request."""

    action: Action
    rejected: int = 0
    """Of its spans, if it is settled."""


def blames(outcome: Outcome) -> bool:
    """Say whether an outcome may be the fault of the request itself."""
    return isinstance(outcome, Rejected) or (isinstance(outcome, Retry) and outcome.trouble is Trouble.BROKEN)


def judge(outcome: Outcome, spans: int, times_blamed: int, *, others_pass: bool) -> Verdict:
    """Say what a try means for a request of so many spans that was blamed so often, this try included.

    others_pass: whether other requests were taken since this one was first blamed. A backend that takes nothing at all is itself
    at fault, and then nothing is given up.
    """
    match outcome:
        case Delivered():
            return Verdict(Action.SETTLE)
        case Partly(rejected):
            return Verdict(Action.SETTLE, min(rejected, spans))
        case Refused() | Retry(trouble=Trouble.BUSY):
            return Verdict(Action.HOLD)
        case Retry(trouble=Trouble.SLOW):
            return Verdict(Action.HALVE if spans > 1 else Action.HOLD)
        case Retry() if times_blamed < MOST_BLAMES:
            return Verdict(Action.HOLD)
        case Rejected() | Retry():
            if spans > 1:
                return Verdict(Action.HALVE)
            return Verdict(Action.SETTLE, 1) if others_pass else Verdict(Action.HOLD)
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard a backend is pressed. It starts with one request, so that a wrong address is met by one."""

    usual_timeout_s: float = TRY_TIMEOUT_S
    in_flight: int = 1
    """How many requests may be under way."""
    timeouts: int = 0
    """Since the backend was last trusted."""
    failures: int = 0
    """In a row."""
    answers: int = 0
    """In a row."""

    @property
    def try_timeout_s(self) -> float:
        """How long a try may take: longer after each time-out, or to a backend that needs 30 s all would be sent for ever."""
        return min(LONGEST_TRY_TIMEOUT_S, self.usual_timeout_s * (1 << self.timeouts))

    @property
    def most_spans(self) -> int:
        """How many spans a request may hold: fewer after each time-out."""
        return max(1, REQUEST_SPANS >> self.timeouts)

    def after_answer(self) -> "Pace":
        """Give the pace after a request was answered: one more at a time, and after enough of them no more caution."""
        answers = self.answers + 1
        timeouts = self.timeouts if answers < ANSWERS_TO_TRUST else 0
        return replace(self, in_flight=min(IN_FLIGHT, self.in_flight + 1), timeouts=timeouts, failures=0, answers=answers)

    def after_failure(self, outcome: Outcome) -> "Pace":
        """Give the pace after a request failed: one at a time, and after a time-out less in more time."""
        is_slow = isinstance(outcome, Retry) and outcome.trouble is Trouble.SLOW
        timeouts = min(MOST_TIMEOUTS, self.timeouts + is_slow)
        return replace(self, in_flight=1, timeouts=timeouts, failures=self.failures + 1, answers=0)


USUAL_PACE = Pace()


def is_failure(outcome: Outcome, verdict: Verdict) -> bool:
    """Say whether the backend should be left alone for a while."""
    return verdict.action is Action.HOLD or isinstance(outcome, Retry | Refused)


def wait_s(outcome: Outcome, jitter_s: float) -> float:
    """Say how long to send nothing after a failure: as the back-off says, or longer if the backend asks for it, within bounds."""
    if isinstance(outcome, Refused):
        return REFUSED_WAIT_S
    if isinstance(outcome, Retry) and outcome.after_s is not None:
        return max(jitter_s, min(outcome.after_s, LONGEST_WAIT_S))
    return jitter_s
