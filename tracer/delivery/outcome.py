"""What did one try to send come to? The words in which every backend answers."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, assert_never

from tracer.telemetry.records import SpanRecord


class Trouble(StrEnum):
    """Why a try may pass another time."""

    BUSY = "busy"
    """The backend, or the way to it, does not take anything now."""
    SLOW = "slow"
    """No whole answer came within the time for a try; what was sent may have arrived."""
    BROKEN = "broken"
    """The backend failed on it: it is overloaded, or something in this request breaks it."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The backend confirmed every span of the request."""

    warning: str = ""
    """What it had to say all the same."""


@dataclass(frozen=True, slots=True)
class Partly:
    """The backend took the request but for some of its spans, which OTLP forbids to send again."""

    rejected: int
    why: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was confirmed; the same request may pass later."""

    why: str
    trouble: Trouble = Trouble.BUSY
    after_s: float | None = None
    """How long the backend asks to wait; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing will pass before a person mends something: an address, credentials, a certificate."""

    why: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The same request would fail again: it is too large, or something in it is not taken."""

    why: str


Outcome = Delivered | Partly | Retry | Refused | Rejected


class Answered(StrEnum):
    """What a request came to, in a word."""

    ACKNOWLEDGED = "acknowledged"
    PARTLY = "partly"
    RETRIED = "retried"
    REFUSED = "refused"
    REJECTED = "rejected"


def answered(outcome: Outcome) -> Answered:
    """Say it in a word."""
    match outcome:
        case Delivered():
            return Answered.ACKNOWLEDGED
        case Partly():
            return Answered.PARTLY
        case Retry():
            return Answered.RETRIED
        case Refused():
            return Answered.REFUSED
        case Rejected():
            return Answered.REJECTED
        case _:
            assert_never(outcome)


class Backend(Protocol):
    """Where spans are sent. It knows one protocol, and neither keeps nor repeats anything."""

    def shared(self, span: SpanRecord) -> Hashable:
        """Say what all spans of a request must have in common with this one; None if nothing."""

    def encode(self, spans: tuple[SpanRecord, ...]) -> bytes:
        """Write the request that carries the spans, always with the same bytes."""

    async def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded request once, and understand the answer. Never raises for anything that the other side does."""
