"""What does it come to? The backend's spans beside what is to be told, the processes' own counts, memory and lag.

Keeps: what is missing of a run is excused only if it could not be known, and how much that is is said.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tests.soak.backend import Taken
from tests.soak.cluster import Run
from tests.soak.plan import LAG_S, Plan
from tests.soak.replica import Replica, Sample

_GROWTH = 1.10
_SLACK_MIB = 5.0
_TOLD_WITHIN_S = 40.0  # a watch that broke off a few times is left alone for up to 30 s, and judgement waits for it


@dataclass(frozen=True, slots=True)
class Succession:
    """One process ended, and another one went on."""

    how: str
    at_s: float
    acknowledged_s: float
    """Until when it took acknowledgements."""
    remembered_s: float
    """What was acknowledged before this is remembered."""
    counted_s: float
    """What was deleted before this was due, and said to be so, in its last checkpoint."""
    calm_s: float
    """What was deleted before this should have been told by the one that ended."""
    synced_s: float
    """When the one that went on had listed everything: before the other one ended, if it stood by."""
    is_graceful: bool = False
    """Whether the one that ended was asked to."""


@dataclass(slots=True)
class Differences:
    """How the backend's spans differ from what is to be told."""

    runs: int = 0
    missing: int = 0
    missing_edges: int = 0
    altered: int = 0
    altered_edges: int = 0
    foreign: int = 0
    conflicts: int = 0
    names: list[str] = field(default_factory=list)
    """Of some runs with differences."""

    @property
    def lost(self) -> int:
        """How many are missing, of whatever sort."""
        return self.missing + self.missing_edges

    @property
    def broken(self) -> int:
        """How many of them break a promise, if nothing excuses them."""
        return self.missing + self.altered + self.foreign + self.conflicts

    def add(self, run: Run, taken: Mapping[bytes, Taken]) -> None:
        """Compare one run."""
        before = self.broken
        self.runs += 1
        for span_id, digest in run.expected.items():
            found, is_edge = taken.get(span_id), span_id in run.edges
            if found is None:
                self.missing += not is_edge
                self.missing_edges += is_edge
            elif digest not in found.digests:
                self.altered += not is_edge
                self.altered_edges += is_edge
        self.foreign += len(taken.keys() - run.expected.keys())
        self.conflicts += sum(len(one.digests) > 1 for one in taken.values())
        if self.broken > before:
            self.names.append(run.name)


class Sight(Enum):
    """Who knew of a run what it needs to be told whole."""

    WATCHED = "watched from end to end"
    UNSEEN = "deleted in part while nobody watched"
    HELD = "deleted in part when a process ended that alone knew of it"
    HURRIED = "deleted in part just before a process was asked to end, and told as it was known"


@dataclass(slots=True)
class Account:
    """All of it."""

    expected: int
    taken: int
    differences: dict[Sight, Differences]
    to_count: int
    """Spans that only a process had, and that its last checkpoint said were due: when it has ended they are counted as lost."""


def compare(
    runs: Iterable[Run],
    taken: Mapping[bytes, Mapping[bytes, Taken]],
    successions: Sequence[Succession],
    gaps: Sequence[tuple[float, float]],
) -> Account:
    """Compare run by run."""
    found, expected, to_count, known = {sight: Differences() for sight in Sight}, 0, 0, set[bytes]()
    for run in runs:
        assert run.is_over
        known |= {run.trace_id, *run.orphans}
        of_run = _joined(taken.get(one, {}) for one in (run.trace_id, *run.orphans))
        expected += len(run.expected)
        sight, end = _sight(run, of_run, successions, gaps)
        before = found[sight].lost
        found[sight].add(run, of_run)
        if end is not None and max(run.deleted_s) < min(end.counted_s, end.synced_s):
            to_count += found[sight].lost - before
    found[Sight.WATCHED].foreign += sum(len(spans) for trace_id, spans in taken.items() if trace_id not in known)
    return Account(expected, sum(map(len, taken.values())), found, to_count)


def _joined(traces: Iterable[Mapping[bytes, Taken]]) -> dict[bytes, Taken]:
    """Put the traces of a run together: a span that is in two of them has two contents, for its trace is one of them."""
    joined: dict[bytes, Taken] = {}
    for trace in traces:
        for span_id, one in trace.items():
            known = joined.get(span_id, one)
            joined[span_id] = Taken(known.digests | one.digests, min(known.at_s, one.at_s))
    return joined


def _sight(
    run: Run, taken: Mapping[bytes, Taken], successions: Sequence[Succession], gaps: Iterable[tuple[float, float]]
) -> tuple[Sight, Succession | None]:
    """Say who knew of a run; if only a process that ended, with that end."""
    whole_s = max((taken[one].at_s if one in taken else math.inf for one in run.expected), default=math.inf)
    ends = [one for one in successions if _depends_on(run, whole_s, one)]
    blind = [(one.at_s, one.synced_s) for one in ends] + list(gaps)
    if any(begin <= deleted_s <= end for deleted_s in run.deleted_s for begin, end in blind):
        return Sight.UNSEEN, None
    open_at = (one for one in ends if any(one.calm_s <= deleted_s < one.synced_s for deleted_s in run.deleted_s))
    end = next(open_at, None)
    if end is not None:
        return Sight.HELD, end
    asked = [(one.at_s - _TOLD_WITHIN_S, one.at_s) for one in successions if one.is_graceful]
    is_hurried = any(begin <= deleted_s <= end_s for deleted_s in run.deleted_s for begin, end_s in asked)
    return (Sight.HURRIED if is_hurried else Sight.WATCHED), None


def _depends_on(run: Run, whole_s: float, end: Succession) -> bool:
    """Say whether what a process knew was still needed when it ended, and could not be read again."""
    if min(run.deleted_s) >= end.synced_s:
        return False
    is_listed_again = max(run.deleted_s) >= end.synced_s
    return whole_s > (end.remembered_s if is_listed_again else end.acknowledged_s)


def calm_s(samples: Sequence[Sample]) -> float:
    """Say until when deletions must have been told by now: a while before whoever led had nothing old left for the last time."""
    calm = next((one.at_s for one in reversed(samples) if one.leads and one.oldest_age_s < LAG_S), -math.inf)
    return calm - _TOLD_WITHIN_S


def back_after_s(samples: Iterable[Sample], back_s: float, back_unix_s: float) -> float | None:
    """Say how long after the backend was back whoever leads had nothing left that was old; None for never."""
    for one in samples:
        is_new = one.at_s >= back_s and one.leads and one.last_acknowledged_unix_s >= back_unix_s
        if is_new and one.oldest_age_s < LAG_S:
            return one.at_s - back_s
    return None


def high_water_mib(samples: Iterable[Sample], plan: Plan, began_s: float) -> list[float]:
    """Say how much memory the largest process had in each cycle."""
    high = [0.0] * len(plan.cycles)
    for one in samples:
        number = int((one.at_s - began_s) / plan.cycle_s)
        if 0 <= number < len(high):
            high[number] = max(high[number], one.rss_mib)
    return high


def is_flat(high: list[float], quiet: list[int]) -> bool:
    """Say whether memory came no higher in the later ones of some cycles than in the first."""
    return not quiet or max(high[number] for number in quiet) <= high[quiet[0]] * _GROWTH + _SLACK_MIB


def imbalances(replicas: Iterable[Replica], by_sender: Mapping[str, int]) -> list[str]:
    """Say whose count of acknowledged spans differs from the backend's; one that was killed may have counted less."""
    found = []
    for one in replicas:
        theirs = by_sender.get(one.name, 0)
        if one.acknowledged is not None and one.acknowledged != theirs:
            found.append(f"{one.name} counts {one.acknowledged} acknowledged spans, the backend {theirs}")
        elif one.last is not None and one.last.acknowledged > theirs:
            found.append(f"{one.name} counts {one.last.acknowledged} acknowledged spans, the backend only {theirs}")
        if one.last is not None and one.last.rejected:
            found.append(f"{one.name} counts {one.last.rejected} rejected spans, the backend none")
    return found
