"""What is counted of runs: every step, attempt and PipelineRun that has ended, and each that is expected to.

Keeps: the names are those of low cardinality that the spans have; the times are the spans' own; what is counted bears the slot by
which it is remembered, so that nobody counts it twice.
Must not know: how it is counted, what was counted before, the present time.
Source: operations 9.1; design 4 (metrics use the span's times).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt
from tracer.lifecycle.facts import container_names
from tracer.lifecycle.judgement import Judgement
from tracer.lifecycle.runs import Close
from tracer.lifecycle.steps import StepClass
from tracer.lifecycle.tasks import AttemptStory
from tracer.tekton import names
from tracer.tekton.pipelinerun import PipelineRun
from tracer.tekton.reasons import Result
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import instant_ns
from tracer.telemetry import attributes as keys
from tracer.telemetry.attempt_spans import step_slot, step_span_id
from tracer.telemetry.ids import span_id
from tracer.telemetry.places import Place, pipeline_name, task_name
from tracer.telemetry.records import Slot, cut

_HAS_RUN = frozenset({StepClass.RAN, StepClass.CUT_OFF})


class Counted(StrEnum):
    """What it is that is counted."""

    STEP = "step"
    ATTEMPT = "attempt"
    """One try of a TaskRun."""
    PIPELINE_RUN = "pipelinerun"


@dataclass(frozen=True, slots=True)
class Subject:
    """What has an end of its own, by the names under which it is counted; those that it has not are empty."""

    counted: Counted
    namespace: str
    pipeline: str
    task: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One of them that has ended."""

    subject: Subject
    slot: Slot
    """By which it is remembered that it was counted."""
    result: Result
    error_type: str
    """The class of its error; empty if it has none, or the pipeline went on in spite of it."""
    ended_ns: int
    duration_ns: int | None
    """None if it never ran, or if its start is not known."""
    trace_id: bytes
    """Of its span; empty if it has none that is told."""
    span_id: bytes

    @property
    def has_failed(self) -> bool:
        """Whether people should know: an error that was not let pass."""
        return bool(self.error_type)


def task_run_subjects(task_run: TaskRun, attempts: Sequence[Attempt], place: Place) -> Iterator[Subject]:
    """List what a TaskRun is expected to bring: itself, and its steps as soon as they are known."""
    namespace, pipeline, task = _names(task_run, place)
    yield Subject(Counted.ATTEMPT, namespace, pipeline, task)
    for container in dict.fromkeys(_step_containers(attempts)):
        yield Subject(Counted.STEP, namespace, pipeline, task, cut(container.removeprefix(names.STEP_PREFIX)))


def _step_containers(attempts: Iterable[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        if attempt.current is not None:
            yield from (step.name for step in attempt.current.pod.steps)
        elif attempt.status.task_spec is not None:
            yield from container_names(attempt.status.task_spec)


def task_run_measures(task_run: TaskRun, stories: Sequence[AttemptStory], place: Place) -> Iterator[Measure]:
    """List what has ended of a TaskRun: each step that is told, and each attempt that is done."""
    uid, (namespace, pipeline, task) = task_run.metadata.uid, _names(task_run, place)
    trace_id = place.trace_id if place.is_told else b""
    for story in stories:
        pod_name = story.attempt.status.pod_name
        for pod in story.pods:
            for step in pod.steps:
                slot = step_slot(uid, pod_name, pod.pod, step.container)
                yield Measure(
                    Subject(Counted.STEP, namespace, pipeline, task, cut(step.name)),
                    slot,
                    step.judgement.result,
                    _error_type(step.judgement),
                    step.interval.end_ns,
                    step.interval.end_ns - step.interval.start_ns if step.step_class in _HAS_RUN else None,
                    trace_id,
                    step_span_id(slot) if trace_id else b"",
                )
        if story.judgement is not None and story.completion_ns is not None:
            number = story.attempt.number
            above = span_id("retry", uid, pod_name) if number > 1 and pod_name else _own_span_id(task_run, place)
            yield Measure(
                Subject(Counted.ATTEMPT, namespace, pipeline, task),
                Slot("attempt", uid, pod_name, name=str(number)),
                story.judgement.result,
                _error_type(story.judgement),
                story.completion_ns,
                _duration_ns(story.attempt.start_ns, story.completion_ns),
                trace_id,
                above if trace_id else b"",
            )


def pipeline_run_subject(run: PipelineRun) -> Subject:
    """Say as what a PipelineRun is counted."""
    return Subject(Counted.PIPELINE_RUN, run.metadata.namespace, cut(pipeline_name(run)))


def pipeline_run_measure(run: PipelineRun, place: Place, close: Close, end_ns: int) -> Measure:
    """Say how a PipelineRun ended, at end_ns unless it says itself when it was complete."""
    completion_ns = close.completion_ns if close.completion_ns is not None else end_ns
    return Measure(
        pipeline_run_subject(run),
        Slot("run", run.metadata.uid),
        close.judgement.result,
        _error_type(close.judgement),
        completion_ns,
        _duration_ns(instant_ns(run.status.start_time), completion_ns),
        place.trace_id if place.is_told else b"",
        span_id("run", run.metadata.uid, "") if place.is_told else b"",
    )


def _names(task_run: TaskRun, place: Place) -> tuple[str, str, str]:
    """Give namespace, pipeline and task: a standalone TaskRun has no pipeline, and what its run span is called is its task."""
    if place.is_top:
        return task_run.metadata.namespace, "", cut(pipeline_name(task_run))
    return task_run.metadata.namespace, str(dict(place.resource).get(keys.PIPELINE_NAME, "")), cut(task_name(task_run))


def _own_span_id(task_run: TaskRun, place: Place) -> bytes:
    return span_id("run" if place.is_top else "task", task_run.metadata.uid, "")


def _error_type(judgement: Judgement) -> str:
    return (judgement.error_type or "") if judgement.is_error and not judgement.is_tolerated else ""


def _duration_ns(start_ns: int | None, end_ns: int) -> int | None:
    return None if start_ns is None else max(0, end_ns - start_ns)
