"""How does a time that the cluster wrote become a number? Integers of nanoseconds, Unix, UTC; nothing reads a clock."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

SECOND_NS = 1_000_000_000

Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time as the API writes it: RFC 3339 with a zone. One without a zone makes its object malformed."""


class Grain(StrEnum):
    """How finely a time is known."""

    SECOND = "s"
    MILLISECOND = "ms"
    MICROSECOND = "us"
    NANOSECOND = "ns"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST_NS = 7_258_118_400 * SECOND_NS  # the year 2200: a later time is a broken one, and would overflow OTLP's 64 bits


def instant_ns(time: datetime | None) -> int | None:
    """Turn a time into Unix nanoseconds.

    None stays None, and so becomes a time before 1970, or after 2200: Go writes the year 1 for one that was never set.
    """
    if time is None:
        return None
    instant = (time - _EPOCH) // _MICROSECOND * 1_000
    return instant if 0 < instant < _LATEST_NS else None


def parse_instant_ns(text: str) -> int | None:
    """Turn RFC 3339 text into Unix nanoseconds; None for anything else."""
    try:
        return instant_ns(msgspec.convert(text, Time))
    except msgspec.ValidationError:
        return None


def rfc3339(instant: int) -> str:
    """Write Unix nanoseconds as RFC 3339 in UTC, with whole seconds as Kubernetes does."""
    return (_EPOCH + timedelta(seconds=instant // SECOND_NS)).strftime("%Y-%m-%dT%H:%M:%SZ")
