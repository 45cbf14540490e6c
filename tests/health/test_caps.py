"""The series of a metric whose names others choose: limited, fair, exact in sum."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.health.caps import FOLDED, IDLE_S, MOST_PER_NAMESPACE, Caps
from tracer.health.families import Family, Label, Type

RESULT = Label("result", ("success", "failure"))
MOST = 500
FAMILY = Family("steps", Type.COUNTER, (Label("namespace"), Label("step"), RESULT), "Steps.", most=MOST)
KEPT = MOST - len(RESULT.values)
"""For names of their own; the rest is there for what is put together with everything else."""


def fill(caps: Caps, namespaces: int, each: int, now_s: float = 0.0) -> Counter[tuple[str, ...]]:
    """Let steps of some namespaces succeed; count the series."""
    names = [(f"ns-{number % namespaces}", f"step-{number}") for number in range(namespaces * each)]
    return Counter(caps.admit((*name, "success"), now_s)[0] for name in names)


def test_one_namespace_leaves_half_to_others() -> None:
    """What is too much for it is put together within it; others have their share, however late they come."""
    caps = Caps(FAMILY)
    found = fill(caps, 1, 1_000)
    assert len(found) == KEPT // 2 + 1
    assert found["ns-0", FOLDED, "success"] == caps.capped == 1_000 - KEPT // 2
    others = [caps.admit(("other", f"step-{number}", "failure"), 0)[0] for number in range(1_000)]
    assert len(set(others)) == MOST_PER_NAMESPACE + 1


def test_many_namespaces_do_not_take_more_than_there_is() -> None:
    """What is too much for the metric is put together with everything else; a result stays what it is."""
    caps = Caps(FAMILY)
    found = fill(caps, 1_000, 1)
    assert found[FOLDED, FOLDED, "success"] == 1_000 - KEPT
    assert caps.admit(("ns-999", "step-999", "failure"), 0)[0] == (FOLDED, FOLDED, "failure")


def test_a_name_that_looks_like_ours_takes_room_like_any_other() -> None:
    """Somebody who calls a step `__other__` has no more of them for it."""
    caps = Caps(FAMILY)
    caps.admit(("ns-0", FOLDED, "success"), 0)
    caps.admit(("ns-0", "step", "success"), 2 * IDLE_S)
    fill(caps, 300, 1, 2 * IDLE_S)
    fill(caps, 1, 1_000, 4 * IDLE_S)
    assert len({caps.admit(("ns-0", f"step-{number}", "success"), 4 * IDLE_S)[0] for number in range(1_000)}) <= KEPT // 2 + 1


def test_what_is_known_stays_itself() -> None:
    """However many others come."""
    caps = Caps(FAMILY)
    caps.admit(("a", "b", "success"), 0)
    fill(caps, 1_000, 2)
    assert caps.admit(("a", "b", "success"), 0) == (("a", "b", "success"), [])


def test_what_was_quiet_for_a_day_makes_room() -> None:
    """But only where there is none, so that nothing vanishes without need."""
    caps = Caps(FAMILY)
    caps.admit(("old", "step", "success"), 0)
    fill(caps, 9, 10, 60)
    assert caps.admit(("new", "step", "success"), 2 * IDLE_S)[1] == []
    fill(caps, 1_000, 1, 2 * IDLE_S)
    assert caps.admit(("newer", "step", "success"), 2 * IDLE_S + 1)[0] == (FOLDED, FOLDED, "success")  # all were there just now
    series, gone = caps.admit(("newest", "step", "success"), 4 * IDLE_S)
    assert series == ("newest", "step", "success")
    assert ("new", "step", "success") in gone
    assert len(gone) == len(set(gone)) <= MOST


@pytest.mark.row("S1")
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 60), st.sampled_from(RESULT.values), st.floats(0, IDLE_S / 10)), max_size=400
    )
)
def test_the_limits_hold_whatever_comes(changes: list[tuple[int, int, str, float]]) -> None:
    """Never more series than there may be, none that was taken away without being new again, and each keeps its result."""
    family = Family("steps", Type.COUNTER, FAMILY.labels, "Steps.", most=40)
    caps, there, now_s = Caps(family), set[tuple[str, ...]](), 0.0
    for namespace, step, result, pause_s in changes:
        now_s += pause_s
        series, gone = caps.admit((f"ns-{namespace}", f"step-{step}", result), now_s)
        assert there >= set(gone)
        there = (there - set(gone)) | {series}
        assert len(there) <= family.most
        assert series[-1] == result
        assert series[0] in {f"ns-{namespace}", FOLDED}
