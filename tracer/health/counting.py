"""To which metrics does it add what has ended of a run, or is expected to?

Keeps: what may be missed if it is never seen at zero is there at zero as soon as it is expected; reasons come from fixed sets.
Must not know: what was counted before, how many series there may be, how metrics are written.
Source: operations 2.13, 9.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tracer.health import families
from tracer.health.families import FAILURE_REASONS, OTHER, Family
from tracer.tekton.reasons import Result
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.measures import Counted, Measure, Subject

COUNTED = (
    families.STEPS,
    families.STEP_FAILURES,
    families.STEP_LAST_FAILURE,
    families.STEP_LAST_SUCCESS,
    families.TASK_RUNS,
    families.PIPELINE_RUNS,
    families.TASK_RUN_DURATION,
    families.PIPELINE_RUN_DURATION,
    families.STEP_DURATION,
)
"""All metrics that are added to."""
_BORN = (Result.SUCCESS, Result.FAILURE)


@dataclass(frozen=True, slots=True)
class Addition:
    """What is done to one series: a counter goes up, a gauge is raised to the value, a histogram takes it in."""

    family: Family
    labels: tuple[str, ...]
    value: float
    trace_id: bytes = b""
    span_id: bytes = b""
    """An example of it; empty if there is none."""


def additions(one: Measure | Subject) -> Iterator[Addition]:
    """Say what it adds."""
    if isinstance(one, Subject):
        family, names = _total(one)
        for result in _BORN:
            yield Addition(family, (*names, result), 0)
    else:
        yield from _ended(one)


def _ended(one: Measure) -> Iterator[Addition]:
    subject, example = one.subject, (one.trace_id, one.span_id)
    family, names = _total(subject)
    yield Addition(family, (*names, one.result), 1, *example)
    if subject.counted is Counted.STEP:
        ended_s = one.ended_ns / SECOND_NS
        if one.has_failed:
            reason = one.error_type if one.error_type in FAILURE_REASONS else OTHER
            yield Addition(families.STEP_FAILURES, (subject.namespace, reason), 1, *example)
            yield Addition(families.STEP_LAST_FAILURE, names, ended_s)
        elif one.result is Result.SUCCESS:
            yield Addition(families.STEP_LAST_SUCCESS, names, ended_s)
    if one.duration_ns is not None:
        yield Addition(*_duration(one), one.duration_ns / SECOND_NS, *example)


def _total(subject: Subject) -> tuple[Family, tuple[str, ...]]:
    """Find the counter of what ends so, and the names under which it does."""
    match subject.counted:
        case Counted.STEP:
            return families.STEPS, (subject.namespace, subject.pipeline, subject.task, subject.step)
        case Counted.ATTEMPT:
            return families.TASK_RUNS, (subject.namespace, subject.pipeline, subject.task)
        case Counted.PIPELINE_RUN:
            return families.PIPELINE_RUNS, (subject.namespace, subject.pipeline)


def _duration(one: Measure) -> tuple[Family, tuple[str, ...]]:
    subject = one.subject
    match subject.counted:
        case Counted.STEP:
            return families.STEP_DURATION, (subject.namespace, subject.task, subject.step)
        case Counted.ATTEMPT:
            return families.TASK_RUN_DURATION, (subject.namespace, subject.task, one.result)
        case Counted.PIPELINE_RUN:
            return families.PIPELINE_RUN_DURATION, (subject.namespace, subject.pipeline, one.result)
