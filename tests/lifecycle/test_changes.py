"""Transitions: only what moved forward."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import RECORDINGS, SCENARIOS, at, ended, facts, message, pod, read, running, succeeded, task_run
from tracer.lifecycle.changes import Readable, Transition, observe
from tracer.lifecycle.facts import State
from tracer.tekton.observation import Gone, Seen
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun

FACTS = {path.name: facts(path / "watch.jsonl") for path in [*RECORDINGS, *SCENARIOS]}


def readings(name: str) -> dict[str, list[Readable]]:
    """Give the readings of each object of a recording."""
    by_uid: dict[str, list[Readable]] = {}
    for _, observation in FACTS[name]:
        if isinstance(observation, Seen | Gone) and isinstance(observation.object, PipelineRun | TaskRun | CustomRun | Pod):
            by_uid.setdefault(observation.object.metadata.uid, []).append(observation.object)
    return by_uid


@pytest.mark.parametrize("name", FACTS)
def test_nothing_happens_twice_or_backwards(name: str) -> None:
    """A part is first seen in one state, then only moves forward; comparing a reading with itself gives nothing."""
    rank = list(State)
    for values in readings(name).values():
        told: dict[str, int] = {}
        for previous, current in pairwise([None, *values]):
            assert current is not None
            for moved in observe(previous, current):
                assert moved.part not in told or rank.index(moved.state) > told[moved.part] or name in REPLACED
                told[moved.part] = rank.index(moved.state)
            assert observe(current, current) == ()


# The cluster itself takes a state back: the kubelet loses a container, or Tekton clears a start.
REPLACED = {"init-pull-fails", "pull-failure", "quota"}


@given(st.sampled_from(list(FACTS)), st.integers(0, 2**32))
def test_a_resync_tells_nothing(name: str, seed: int) -> None:
    """Readings that are told again, as by a relist, bring no transition that was not there before."""
    rng = random.Random(seed)
    for values in readings(name).values():
        once = [moved for previous, current in pairwise([None, *values]) if current for moved in observe(previous, current)]
        doubled = [value for value in values for _ in range(rng.choice([1, 2]))]
        twice = [moved for previous, current in pairwise([None, *doubled]) if current for moved in observe(previous, current)]
        assert once == twice


def test_a_step_waits_for_its_turn() -> None:
    """A container that runs is a step that waits until all steps before it have passed and the gate is open."""
    closed, opened = (read(pod({"a": running(), "b": running()}, ready=ready)) for ready in (False, True))
    passed = read(pod({"a": ended(0, 5, message(4)), "b": running()}))
    over = read(pod({"a": ended(0, 5, message(4)), "b": ended(3, 9, message(5))}))
    assert isinstance(closed, Pod)
    assert isinstance(opened, Pod)
    assert isinstance(passed, Pod)
    assert isinstance(over, Pod)
    uid = closed.metadata.uid
    assert [(one.part, one.state) for one in observe(None, closed)] == [("step-a", State.WAITING), ("step-b", State.WAITING)]
    assert observe(closed, opened) == (Transition(uid, "step-a", State.RUNNING),)
    assert observe(opened, passed) == (
        Transition(uid, "step-a", State.TERMINATED, 0, "Completed"),
        Transition(uid, "step-b", State.RUNNING),
    )
    assert observe(passed, over) == (Transition(uid, "step-b", State.TERMINATED, 3, "Error"),)
    assert observe(over, passed) == ()


def test_a_retry_is_a_part_of_its_own() -> None:
    """Tekton never shows a retried attempt as False: it moves to `retriesStatus`, and the next one begins."""
    first = {"startTime": at(1), "conditions": succeeded("Unknown", "Running")}
    again = {
        "conditions": succeeded("Unknown", "ToBeRetried"),
        "retriesStatus": [{**first, "conditions": succeeded("False", "StepFailed")}],
    }
    before, after = read(task_run(first)), read(task_run(again))
    assert isinstance(before, TaskRun)
    assert isinstance(after, TaskRun)
    uid = before.metadata.uid
    assert observe(before, after) == (
        Transition(uid, "1", State.TERMINATED, reason="StepFailed"),
        Transition(uid, "2", State.WAITING),
    )
