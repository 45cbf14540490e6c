"""How are runs and tasks said in spans: names, ids, parents, attributes, events, links?

Keeps: a child starts no earlier than its parent; a parent's end is raised to its children's, a child is never cut.
Must not know: whether something is due, or was sent; the present time.
Source: span-model 3 to 11.
"""

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from tracer.lifecycle.interval import Interval, clamp, point
from tracer.lifecycle.judgement import SKIPPED, Judgement
from tracer.lifecycle.pods import PhaseKind
from tracer.lifecycle.runs import Close
from tracer.lifecycle.tasks import AttemptStory
from tracer.tekton import names, reasons
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.reasons import Result
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import Grain, instant_ns
from tracer.telemetry import attributes as keys
from tracer.telemetry.attempt_spans import attempt_spans, ends_below, is_retry
from tracer.telemetry.ids import parse_context, span_id
from tracer.telemetry.mappings import task_type
from tracer.telemetry.phrasing import Values, adjusted, link_to, make_span, raised, within
from tracer.telemetry.places import (
    Place,
    below,
    context_of,
    own_place,
    pipeline_name,
    start_ns,
    task_name,
)
from tracer.telemetry.records import (
    Slot,
    SpanEvent,
    SpanKind,
    SpanRecord,
    attributes,
)
from tracer.telemetry.urls import object_url


@dataclass(frozen=True, slots=True)
class Summary:
    """What the span above must know of an object that was told to its end."""

    end_ns: int
    result: Result
    spans_declared: int


def task_run_spans(
    task_run: TaskRun, stories: Sequence[AttemptStory], place: Place, close: Close | None, known: Container[Slot] = frozenset()
) -> tuple[list[SpanRecord], Summary | None]:
    """Say a TaskRun: what its stories hold, and with close the span of the task itself, children first.

    known: slots of phases and steps that need not be said again.
    """
    uid = task_run.metadata.uid
    own_kind = "run" if place.is_top else "task"
    begin_ns = start_ns(task_run, place)
    inner = below(place, span_id(own_kind, uid, ""), begin_ns)
    name = pipeline_name(task_run) or task_run.metadata.name if place.is_top else task_name(task_run)
    told = [span for story in stories for span in attempt_spans(task_run, story, inner, name, known)]
    first = stories[0] if stories else None
    if (
        place.with_phases
        and first is not None
        and (close is not None or (first.are_phases_due and first.attempt.status.pod_name))
    ):
        told += _queue(task_run, first.attempt.start_ns, inner, is_of_run=place.is_top)
    if close is None:
        return told, None
    ends = [end_ns for story in stories for end_ns in ends_below(story, inner)]
    steps = sum(len(pod.steps) for story in stories for pod in story.pods if pod.lost is None)
    retries = sum(is_retry(story) for story in stories)
    completion_ns = _completion_ns(task_run, begin_ns, close, ends)
    interval = _raised_interval(task_run, completion_ns, place, ends)
    summary = Summary(interval.end_ns, close.judgement.result, 1 + retries + steps)
    values: Values = {
        keys.TASK_REF: task_run.metadata.labels.task
        or (task_run.spec.task_ref.name if task_run.spec.task_ref is not None else None),
        keys.RETRIES: len(task_run.status.retries_status) or None,
        **_closing_values(task_run, interval, close, completion_ns),
    }
    if place.is_top:
        values |= _run_values(close.judgement, summary)
        told.append(_run_span(task_run, place, interval, values, close, ()))
    else:
        values[keys.MATRIX_INDEX] = _matrix_index(task_run, place)
        told.append(_task_span(task_run, place, interval, values, close))
    return told, summary


def pipeline_run_spans(
    run: PipelineRun, place: Place, children: Sequence[Summary], close: Close
) -> tuple[list[SpanRecord], Summary]:
    """Say a PipelineRun that is told to its end: queue, skipped tasks, the run, and for a nested one its task."""
    meta = run.metadata
    own = place if place.is_top else below(own_place(run, place), span_id("task", meta.uid, ""), start_ns(run, place))
    begin_ns = start_ns(run, place)
    inner = below(own, span_id("run", meta.uid, ""), begin_ns)
    ends = [child.end_ns for child in children]
    completion_ns = _completion_ns(run, begin_ns, close, ends)
    told = _queue(run, instant_ns(run.status.start_time), inner, is_of_run=True) if own.with_phases else []
    skipped = [_skipped_span(run, name, reason, completion_ns, inner) for name, reason in _skipped_tasks(run).items()]
    told += skipped
    interval = _raised_interval(run, completion_ns, place, [*ends, *(span.end_ns for span in skipped)])
    declared = 1 + len(skipped) + sum(child.spans_declared for child in children)
    summary = Summary(interval.end_ns, close.judgement.result, declared)
    results = Counter([*(child.result for child in children), *(SKIPPED.result for _ in skipped)])
    closing = _closing_values(run, interval, close, completion_ns)
    values: Values = {
        **_run_values(close.judgement, summary),
        **{keys.TASKS_BY_RESULT.format(result): count for result, count in results.items()},
        keys.PHASES_LEFT_OUT: True if not own.with_phases else None,
        **closing,
    }
    told.append(_run_span(run, own, interval, values, close, _run_events(close.reason, completion_ns, interval)))
    if not place.is_top:
        told.append(_task_span(run, place, interval, dict(closing), close))
        return told, Summary(interval.end_ns, close.judgement.result, declared + 1)
    return told, summary


def custom_run_spans(run: CustomRun, place: Place, children: Sequence[Summary], close: Close) -> tuple[list[SpanRecord], Summary]:
    """Say a CustomRun that is told to its end: its task span."""
    ends = [child.end_ns for child in children]
    completion_ns = _completion_ns(run, start_ns(run, place), close, ends)
    interval = _raised_interval(run, completion_ns, place, ends)
    values: Values = {
        keys.TASK_REF: run.metadata.labels.task,
        keys.RETRIES: len(run.status.retries_status) or None,
        **_closing_values(run, interval, close, completion_ns),
    }
    summary = Summary(interval.end_ns, close.judgement.result, 1 + sum(child.spans_declared for child in children))
    return [_task_span(run, place, interval, values, close)], summary


def _completion_ns(run: PipelineRun | TaskRun | CustomRun, begin_ns: int, close: Close, ends: Sequence[int]) -> int:
    """Say when an object was complete: as it says itself, else the latest time that is known."""
    if close.completion_ns is not None:
        return close.completion_ns
    return max([begin_ns, instant_ns(run.status.start_time) or 0, *ends])


def _raised_interval(run: PipelineRun | TaskRun | CustomRun, completion_ns: int, place: Place, ends: Sequence[int]) -> Interval:
    """Find the interval of an object, its end raised to those below it."""
    return clamp(run.metadata.created_ns, completion_ns, place.floor_ns).raised_to(ends)


def _run_span(
    run: PipelineRun | TaskRun, place: Place, interval: Interval, values: Values, close: Close, events: tuple[SpanEvent, ...]
) -> SpanRecord:
    name = pipeline_name(run)
    meta = run.metadata
    links = []
    if not place.is_top and (own := parse_context(run.status.span_context)) is not None and own.trace_id != place.trace_id:
        links.append(link_to(own, "reconcile"))
    if place.link_to_caller and place.caller is not None:
        links.append(link_to(place.caller, "caller"))
    return make_span(
        place,
        Slot("run", meta.uid),
        ("",),
        f"{place.action} {name}" if name else place.action,
        interval,
        {**dict(place.shared_by_runs), keys.PIPELINE_ACTION_NAME: place.action, **values},
        kind=SpanKind.SERVER,
        judgement=close.judgement,
        description=close.message,
        events=events,
        links=tuple(links),
    )


def _task_span(
    run: PipelineRun | TaskRun | CustomRun, place: Place, interval: Interval, values: Values, close: Close
) -> SpanRecord:
    meta = run.metadata
    name = task_name(run)
    context = context_of(meta.annotations.task_run_context) if isinstance(run, TaskRun) else None
    is_callers = (
        context is not None
        and place.caller is not None
        and (context.trace_id, context.span_id)
        == (
            place.caller.trace_id,
            place.caller.span_id,
        )
    )
    values = {
        keys.TASK_NAME: name,
        keys.TASK_RUN_ID: meta.uid,
        keys.TASK_RUN_URL: object_url(place.settings.run_url, run),
        keys.TASK_RUN_RESULT: close.judgement.result,
        keys.TASK_TYPE: task_type(meta, place.settings.mappings),
        keys.PIPELINE_RUN_STATE: "finalizing" if meta.labels.member_of == names.MEMBER_OF_FINALLY else None,
        keys.TASK_TOLERATED: close.judgement.is_tolerated or None,
        **values,
    }
    return make_span(
        place,
        Slot("task", meta.uid),
        ("",),
        name,
        interval,
        values,
        judgement=close.judgement,
        description=close.message,
        links=(link_to(context, "reconcile"),) if context is not None and not is_callers else (),
    )


def _skipped_span(run: PipelineRun, name: str, reason: str, completion_ns: int, inner: Place) -> SpanRecord:
    interval = point(completion_ns, inner.floor_ns)
    values: Values = {
        keys.TASK_NAME: name,
        keys.TASK_RUN_ID: f"{run.metadata.uid}/{name}",
        keys.TASK_RUN_RESULT: SKIPPED.result,
        keys.REASON: reason,
        **adjusted(interval),
    }
    return make_span(inner, Slot("skipped", run.metadata.uid, name=name), (name,), name, interval, values)


def _skipped_tasks(run: PipelineRun) -> dict[str, str]:
    skipped: dict[str, str] = {}
    for task in run.status.skipped_tasks:
        skipped.setdefault(task.name, task.reason)
    return skipped


def _queue(run: PipelineRun | TaskRun, started_ns: int | None, inner: Place, *, is_of_run: bool) -> list[SpanRecord]:
    """Say how long a run or a task waited for Tekton to begin with it."""
    if started_ns is None:
        return []
    interval = clamp(run.metadata.created_ns, started_ns, inner.floor_ns)
    if interval.is_empty:
        return []
    values: Values = {
        keys.PHASE: PhaseKind.QUEUE,
        keys.PIPELINE_RUN_STATE: "pending" if is_of_run else None,
        keys.TIME_GRAIN: Grain.SECOND,
        **adjusted(interval),
    }
    return [make_span(inner, Slot("queue", run.metadata.uid), ("",), "queue", interval, values)]


def _run_values(judgement: Judgement, summary: Summary) -> Values:
    return {keys.PIPELINE_RESULT: judgement.result, keys.SPANS_DECLARED: summary.spans_declared}


def _closing_values(run: PipelineRun | TaskRun | CustomRun, interval: Interval, close: Close, completion_ns: int) -> Values:
    return {
        keys.RUN_KIND: type(run).__name__,
        keys.RUN_NAME: run.metadata.name,
        keys.REASON: close.reason,
        keys.OBSERVED: "partial" if close.is_partial else None,
        keys.ERROR_TYPE: close.judgement.error_type,
        **adjusted(interval),
        **raised(interval, completion_ns),
    }


def _run_events(reason: str, completion_ns: int, interval: Interval) -> tuple[SpanEvent, ...]:
    name = reasons.RUN_EVENTS.get(reason)
    if name is None:
        return ()
    return (SpanEvent(name, within(completion_ns, interval), attributes({keys.REASON: reason})),)


def _matrix_index(task_run: TaskRun, place: Place) -> int | None:
    """Tell which combination of a matrix it is: only the name says so."""
    task_name = task_run.metadata.labels.pipeline_task
    if task_name not in place.matrix_tasks:
        return None
    prefix = re.escape(f"{place.run_name}-{task_name}-")
    found = re.fullmatch(rf"{prefix}(0|[1-9][0-9]{{0,8}})", task_run.metadata.name)
    return int(found[1]) if found is not None else None
