"""Between which two instants did something happen? Clamping, and the middle of a second. All in Unix nanoseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracer.tekton.times import SECOND_NS

HALF_SECOND_NS = SECOND_NS // 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A start and an end, the end at least 1 ns later: Jaeger warns on a span that does not end after its start."""

    start_ns: int
    end_ns: int
    start_raised: bool = False
    """Whether the start was raised to the parent's."""
    end_raised: bool = False
    """Whether the end lay before the start."""
    is_empty: bool = False
    """Whether nothing lay between the two."""

    def raised_to(self, ends: Sequence[int]) -> "Interval":
        """Raise the end to the latest of the given ends; never lower it."""
        return replace(self, end_ns=max([self.end_ns, *ends]))


def clamp(start_ns: int, end_ns: int, floor_ns: int) -> Interval:
    """Raise the start to the parent's, and the end to the start. Source: span-model 11."""
    start = max(start_ns, floor_ns)
    end = max(end_ns, start)
    return Interval(start, max(end, start + 1), start_raised=start > start_ns, end_raised=end > end_ns, is_empty=end == start)


def point(at_ns: int, floor_ns: int) -> Interval:
    """Place something without a duration."""
    start = max(at_ns, floor_ns)
    return Interval(start, start + 1, start_raised=start > at_ns)


def end_within_second(end_ns: int, start_ns: int) -> int:
    """Draw an end that was cut to the second in the middle of where the true one can lie: after the start, within that second.

    If the start is later than that second, nothing lies between them, and the bare end is given back.
    """
    upper_ns = end_ns + SECOND_NS
    return end_ns if start_ns >= upper_ns else (max(end_ns, start_ns) + upper_ns) // 2
