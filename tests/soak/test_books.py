"""Would the soak see it, if something were lost or doubled? Small accounts, made by hand."""

from dataclasses import replace

import pytest

from tests.soak.backend import Taken
from tests.soak.books import Differences, Sight, Succession, back_after_s, calm_s, compare, imbalances, is_flat
from tests.soak.cluster import Run
from tests.soak.replica import Replica, Sample
from tracer.clock import Clock

TRACE, ORPHAN, SPAN, EDGE = b"trace", b"orphan", b"span", b"edge"
KILL = Succession("kill", at_s=100, acknowledged_s=100, remembered_s=88, counted_s=80, calm_s=50, synced_s=103)


def run(*deleted_s: float) -> Run:
    """Make a run of two spans."""
    expected = {SPAN: b"1", EDGE: b"2"}
    return Run("it", TRACE, {ORPHAN}, 1, list(deleted_s), expected, frozenset({EDGE}), is_over=True)


def taken(span: Taken | None, edge: Taken | None = None) -> dict[bytes, dict[bytes, Taken]]:
    """Make what the backend has of it."""
    return {TRACE: {key: one for key, one in ((SPAN, span), (EDGE, edge)) if one is not None}}


def found(
    backend: dict[bytes, dict[bytes, Taken]], *deleted_s: float, ends: tuple[Succession, ...] = ()
) -> dict[Sight, Differences]:
    """Compare it."""
    return compare([run(*deleted_s)], backend, ends, []).differences


def test_every_difference_is_seen() -> None:
    """What is missing, altered, foreign or told in two ways is counted, what rests on Events apart."""
    whole = found(taken(Taken({b"1"}, 1), Taken({b"2"}, 1)), 5)[Sight.WATCHED]
    assert (whole.runs, whole.broken, whole.lost) == (1, 0, 0)
    nothing = found({}, 5)[Sight.WATCHED]
    assert (nothing.missing, nothing.missing_edges) == (1, 1)
    altered = found(taken(Taken({b"x"}, 1), Taken({b"x"}, 1)), 5)[Sight.WATCHED]
    assert (altered.altered, altered.altered_edges, altered.names) == (1, 1, ["it"])
    assert found(taken(Taken({b"1", b"x"}, 1)), 5)[Sight.WATCHED].conflicts == 1
    assert found({b"another": {SPAN: Taken({b"1"}, 1)}}, 5)[Sight.WATCHED].foreign == 1
    assert found({TRACE: {b"more": Taken({b"1"}, 1)}}, 5)[Sight.WATCHED].foreign == 1


@pytest.mark.parametrize(
    ("deleted_s", "sight"),
    [
        (49, Sight.WATCHED),  # it should have been told long ago
        (60, Sight.HELD),
        (101, Sight.UNSEEN),
        (104, Sight.WATCHED),  # it was listed again
    ],
)
def test_a_kill_excuses_only_what_it_took_along(deleted_s: float, sight: Sight) -> None:
    """A run without its spans is excused if it was deleted shortly before the process ended, or before the next one watched."""
    assert found({}, deleted_s, ends=(KILL,))[sight].missing == 1


def test_a_task_that_is_found_without_its_run_is_told_alone() -> None:
    """In a trace of its own, which is right if the run was deleted while nobody watched, and foreign if somebody did."""
    alone = {ORPHAN: {b"more": Taken({b"1"}, 104)}}
    assert found(alone, 101, ends=(KILL,))[Sight.UNSEEN].foreign == 1
    assert found(alone, 49, ends=(KILL,))[Sight.WATCHED].foreign == 1


def test_what_is_told_in_two_traces_has_two_contents() -> None:
    """The second does not hide the first: it is a conflict, and the run was whole when it was whole for the first time."""
    twice = {**taken(Taken({b"1"}, 80), Taken({b"2"}, 80)), ORPHAN: {SPAN: Taken({b"3"}, 104)}}
    watched = found(twice, 101, 110, ends=(KILL,))[Sight.WATCHED]
    assert (watched.altered, watched.conflicts) == (0, 1)


def test_what_was_acknowledged_before_is_not_excused() -> None:
    """A run that was told whole before the kill must stay as it is; one whose Pod alone is gone, if that was remembered."""
    at_90 = taken(Taken({b"1"}, 90), Taken({b"2"}, 90))
    assert found(at_90, 60, ends=(KILL,))[Sight.WATCHED].runs == 1
    assert found(at_90, 60, 200, ends=(KILL,))[Sight.HELD].runs == 1
    at_80 = taken(Taken({b"1"}, 80), Taken({b"2"}, 80))
    assert found(at_80, 60, 200, ends=(KILL,))[Sight.WATCHED].runs == 1


@pytest.mark.parametrize(("deleted_s", "spans"), [(60, 2), (85, 0)])
def test_what_a_checkpoint_said_must_be_counted(deleted_s: float, spans: int) -> None:
    """What was held by a killed process alone is to be counted as lost, but for what came since its last checkpoint.

    Whatever ends later has nothing to do with it.
    """
    later = replace(KILL, at_s=300, acknowledged_s=300, remembered_s=288, counted_s=280, calm_s=250, synced_s=303)
    assert compare([run(deleted_s)], {}, [KILL, later], []).to_count == spans


def test_a_standby_leaves_no_excuse() -> None:
    """Beside a standby that has seen all of it, nothing may be missing."""
    beside = Succession("kill", at_s=100, acknowledged_s=100, remembered_s=88, counted_s=80, calm_s=50, synced_s=55)
    assert found({}, 60, ends=(beside,))[Sight.WATCHED].missing == 1


def test_what_was_told_in_a_hurry_may_differ() -> None:
    """Who is asked to end tells what was just deleted as it is known; what was deleted long before has no such excuse."""
    asked = Succession("term", 100, 100, 88, 80, 50, 55, is_graceful=True)
    whole = taken(Taken({b"x"}, 1), Taken({b"2"}, 1))
    assert found(whole, 95, ends=(asked,))[Sight.HURRIED].altered == 1
    assert found(whole, 20, ends=(asked,))[Sight.WATCHED].altered == 1


def sample(at_s: float, age_s: float = 0, *, leads: bool = True, acknowledged: int = 0, last_s: float = 0) -> Sample:
    """Make a sample."""
    return Sample(at_s, "it", 1.0, leads, acknowledged, 0, 0, age_s, last_s)


def test_calm() -> None:
    """Who leads and has nothing old left has told what was deleted a while before."""
    assert calm_s([sample(100), sample(101, 60), sample(102, leads=False)]) == 60


def test_the_lag_is_back_only_with_a_new_acknowledgement() -> None:
    """Who stands by, who has sent nothing since, and who has old spans left, is not back."""
    late = [sample(10), sample(11, leads=False, last_s=11), sample(12, 30, last_s=12)]
    assert back_after_s(late, 10, 10) is None
    assert back_after_s([*late, sample(15, 2, last_s=14)], 10, 10) == 5


@pytest.mark.parametrize(("at_its_end", "before", "theirs", "is_balanced"), [
    (7, 5, 7, True), (7, 5, 6, False), (7, 5, 8, False), (None, 5, 7, True), (None, 5, 4, False),
])  # fmt: skip
def test_books(at_its_end: int | None, before: int, theirs: int, is_balanced: bool) -> None:  # noqa: FBT001 - a column
    """At its end a process counts what the backend does; one that was killed had counted no more than that."""
    one = Replica(1, Clock())
    one.acknowledged, one.last = at_its_end, sample(1, acknowledged=before)
    assert (imbalances([one], {one.name: theirs}) == []) is is_balanced


def test_memory_that_grows_is_seen() -> None:
    """A tenth and 5 MiB more than in the first quiet cycle is flat, and not more."""
    assert is_flat([500, 100, 115], [1, 2])
    assert not is_flat([500, 100, 116], [1, 2])
