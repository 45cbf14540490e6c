"""Why did a run end as it did, and what was it waiting for?

Must not know: the terminal, colours, widths, the present time.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracer.explain.rows import Row, RowKind
from tracer.tekton.reasons import Result
from tracer.telemetry import attributes as keys


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that made a run end as it did."""

    path: tuple[str, ...]
    """Names from the task down to the step."""
    row: Row


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of the critical path: what the run was waiting for, and how long."""

    path: tuple[str, ...]
    row: Row
    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """How long the run waited for it, this time."""
        return self.end_ns - self.start_ns


def find_causes(root: Row, path: tuple[str, ...] = ()) -> Iterator[Cause]:
    """Find what made a run end as it did: of everything that ended badly the lowest rows, in the order of the picture."""
    if root.result in {Result.SUCCESS, Result.SKIP, ""} and root.kind is not RowKind.PHASE:
        return
    here = path if root.kind is RowKind.RUN and not path else (*path, root.name)
    blamed = [child for child in _last_attempt(root.children) if _is_to_blame(child, root)]
    below = [cause for child in blamed for cause in find_causes(child, here)]
    # A run, an attempt, and a task that only repeats how its step ended, say less than what is below them.
    below = [cause for cause in below if not cause.row.message or cause.row.message != root.message]
    if not below or (root.kind is RowKind.TASK and not root.message.startswith(_STEP_ENDED)):
        yield Cause(here, root)
    yield from below


_STEP_ENDED = '"step-'


def _last_attempt(children: Sequence[Row]) -> Sequence[Row]:
    """Leave out earlier attempts: a task ends as its last one."""
    retries = [child for child in children if child.kind is RowKind.RETRY]
    return retries[-1:] or children


def _is_to_blame(child: Row, parent: Row) -> bool:
    if child.span is not None and (child.span.attribute(keys.STEP_TOLERATED) or child.span.attribute(keys.TASK_TOLERATED)):
        return False
    return child.is_error or (child.result == parent.result == Result.CANCELLATION)


def critical_path(root: Row, until_ns: int, path: tuple[str, ...] = ()) -> tuple[Leg, ...]:
    """Walk back from the end: at every moment the run waited for the child that ended last."""
    here = path if root.kind is RowKind.RUN and not path else (*path, root.name)
    if root.start_ns is None:
        return ()
    cursor = min(until_ns, root.end_ns if root.end_ns is not None else until_ns)
    rest = [child for child in root.children if child.start_ns is not None and child.end_ns is not None and not child.is_point]
    if not rest:
        return (Leg(here, root, root.start_ns, cursor),) if cursor > root.start_ns else ()
    ending = sorted(rest, key=lambda child: child.end_ns or 0)
    going_on: list[tuple[int, int, Row]] = []  # what had begun by the cursor and ended after it, the latest start first
    backward: list[tuple[Leg, ...]] = []
    while ending or going_on:
        if not going_on:
            cursor = min(cursor, ending[-1].end_ns or 0)
        while ending and (ending[-1].end_ns or 0) >= cursor:
            child = ending.pop()
            heapq.heappush(going_on, (-(child.start_ns or 0), len(ending), child))
        _, _, last = heapq.heappop(going_on)
        if last.start_ns is not None and last.start_ns < cursor:
            backward.append(critical_path(last, cursor, here))
            cursor = last.start_ns
    return tuple(leg for legs in reversed(backward) for leg in legs)
