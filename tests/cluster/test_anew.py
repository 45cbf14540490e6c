"""The claim of the product on runs of today: it tells what the scenario does, and what the steps say of themselves."""

import re

import pytest

from tests import test_truth
from tests.cluster.delivered import tracer
from tests.cluster.live import Live

ANEW = ("cancel", "retries")
STEPS = {
    "cancel": [("✓", "fetch", "success"), ("⊘", "compile", "cancellation"), ("○", "push", "never ran")],
    "retries": [
        *(("✗", "try", "failure, exit 7"), ("○", "after", "skipped")),
        *(("✗", "try", "failure, exit 7"), ("○", "after", "skipped")),
        *(("✓", "try", "success"), ("✓", "after", "success")),
    ],
}
"""Marks, names and results of the steps, as the scenario makes them, in order; of `cancel` those of its first task."""
RUNS = {"cancel": ("⊘", "cancellation"), "retries": ("✓", "success")}


@pytest.mark.parametrize("name", ANEW)
def test_the_picture_tells_what_happened(live: Live, name: str) -> None:
    """`tracer explain` draws the run and every step with the result that the scenario gives it."""
    picture = tracer("explain", "-f", str(live.recordings / name))
    mark, result = RUNS[name]
    assert re.search(rf"^{mark} PipelineRun scenario-{name}/run +{result} in ", picture)
    names = "|".join({step for _, step, _ in STEPS[name]})
    drawn = re.findall(
        rf"^[│├└ ]*([✓✗⊘○]) ({names}) .*?(success|failure, exit 7|cancellation|never ran|skipped)", picture, re.MULTILINE
    )
    assert drawn == STEPS[name]


@pytest.mark.parametrize("name", ANEW)
def test_the_steps_are_told_as_they_say_themselves(live: Live, name: str) -> None:
    """What `tests/test_truth.py` claims of the recordings holds for one that was made just now."""
    path = live.recordings / name
    assert any("end" in truth for truth in test_truth.truth_of(path))
    test_truth.test_steps_are_told_as_they_say_themselves(path)
    test_truth.test_a_late_lister_tells_the_same_of_what_is_still_there(path)
    for file in ("watch.jsonl", "objects.json"):
        test_truth.test_a_trace_is_well_formed(path / file)
