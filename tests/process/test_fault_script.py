"""The faults of `python -m benchmarks faults`, a tenth as long and without the SDK: what they cost tracer."""

from dataclasses import replace

import pytest

from benchmarks.faults import CASES, Outcomes, faults_of, run
from benchmarks.senders import OURS
from benchmarks.sink import Outcome, Taken


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Meet all of them, some at a time."""
    return run(tmp_path_factory.mktemp("faults"), 1, is_short=True, with_sdk=False)


@pytest.mark.parametrize("case", CASES)
def test_a_fault_costs_no_span(case: str, outcomes: Outcomes) -> None:
    """The fault was met, nothing is lost or told two ways, and what was rejected is counted as the sink counts it."""
    assert list(faults_of(case, outcomes[case][OURS])) == []


NONE_TAKEN = Taken(spans=0, repeats=0, conflicts=0, strangers=0, altered=0, acknowledged=0, refused=1, rejected=0, size_bytes=0)
ALL_TAKEN = replace(NONE_TAKEN, spans=9)
WELL = Outcome(9, ALL_TAKEN, 9, 0, 50.0, "")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (WELL, ""),
        (replace(WELL, taken=NONE_TAKEN, delivered=0), "9 of 9 spans were lost"),
        (replace(WELL, taken=replace(NONE_TAKEN, rejected=9), delivered=0, rejected=9), ""),
        (replace(WELL, taken=NONE_TAKEN, delivered=0, rejected=9), "says that 9 spans were rejected, but the sink rejected 0"),
        (replace(WELL, taken=replace(ALL_TAKEN, repeats=4)), ""),
        (replace(WELL, taken=replace(ALL_TAKEN, conflicts=1)), "1 spans say two things"),
        (replace(WELL, taken=replace(ALL_TAKEN, altered=1)), "1 another"),
        (replace(WELL, taken=replace(ALL_TAKEN, strangers=1)), "1 were not offered"),
        (replace(WELL, delivered=8), "says that 8 spans were taken, but the sink has 9"),
        (replace(WELL, taken=replace(ALL_TAKEN, refused=0)), "the fault was not met"),
    ],
)
def test_what_is_wrong_is_said(outcome: Outcome, said: str) -> None:
    """A span that is lost, changed, foreign or not accounted for is wrong; a repeat is not, nor what the backend rejected."""
    found = list(faults_of("a case", outcome))
    assert len(found) == (said != "")
    assert said in "".join(found)
