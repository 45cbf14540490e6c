"""How is a judged run said in spans: names, ids, parents, attributes, events, links?

Keeps: a child starts no earlier than its parent; a parent's end is raised to its children's, a child is never cut.
Must not know: whether something is due, or was sent; the present time.
Source: span-model 3 to 11.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracer.lifecycle.interval import Interval, clamp, point
from tracer.lifecycle.judgement import SKIPPED, Judgement
from tracer.lifecycle.pods import Phase, PhaseKind
from tracer.lifecycle.steps import Step, StepClass
from tracer.lifecycle.tasks import AttemptStory, PodStory
from tracer.tekton import names, reasons
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.reasons import Result
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS, Grain, instant_ns, rfc3339
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import TraceContext, parse_context, span_id
from tracer.telemetry.places import (
    Place,
    below,
    context_of,
    own_place,
    pipeline_name,
    place_below_task,
    pod_resource,
    start_ns,
)
from tracer.telemetry.records import (
    Attributes,
    AttributeValue,
    Slot,
    SpanEvent,
    SpanKind,
    SpanLink,
    SpanRecord,
    attributes,
    cut,
    first_line,
)

ACTION = "RUN"
_Values = dict[str, AttributeValue | None]
_PHASE_SPANS = {
    PhaseKind.CREATE_POD: ("create", "create pod"),
    PhaseKind.SCHEDULE: ("schedule", "schedule"),
    PhaseKind.INIT: ("init", "init {}"),
    PhaseKind.PULL: ("pull", "pull"),
    PhaseKind.START_CONTAINERS: ("start", "start containers"),
    PhaseKind.LOST_POD: ("lost", "lost pod"),
}
# What raises its parent's end. The others end before their parent, or are lossy.
_RAISING_KINDS = frozenset({"step", "init", "start", "lost", "retry"})


@dataclass(frozen=True, slots=True)
class Close:
    """How an object is told to its end."""

    judgement: Judgement
    completion_ns: int | None
    """None if nothing tells it: then it is the latest time that is known."""
    reason: str = ""
    message: str = ""
    is_partial: bool = False
    """Whether it was deleted, or told, before it was final."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the span above must know of an object that was told to its end."""

    end_ns: int
    result: Result
    spans_declared: int


def task_run_spans(
    task_run: TaskRun, stories: Sequence[AttemptStory], place: Place, close: Close | None
) -> tuple[list[SpanRecord], Summary | None]:
    """Say a TaskRun: what its stories hold, and with close the span of the task itself, children first."""
    uid = task_run.metadata.uid
    own_kind = "run" if place.is_top else "task"
    begin_ns = start_ns(task_run, place)
    inner = below(place, span_id(own_kind, uid, ""), begin_ns)
    task_name = pipeline_name(task_run) or task_run.metadata.name if place.is_top else _task_name(task_run)
    told: list[SpanRecord] = []
    steps = 0
    for story in stories:
        spans = _attempt_spans(task_run, story, inner, task_name)
        told += spans
        steps += sum(len(pod.steps) for pod in story.pods if pod.lost is None)
    first = stories[0] if stories else None
    if (
        place.with_phases
        and first is not None
        and (close is not None or (first.are_phases_due and first.attempt.status.pod_name))
    ):
        told += _queue(task_run, first.attempt.start_ns, inner, is_of_run=place.is_top)
    if close is None:
        return told, None
    direct = [span for span in told if span.parent_span_id == inner.parent_span_id]
    ends = [span.end_ns for span in direct if span.slot.kind in _RAISING_KINDS]
    retries = sum(1 for span in told if span.slot.kind == "retry")
    summary_end, interval, completion_ns = _closed(task_run, begin_ns, place, close, ends)
    summary = Summary(summary_end, close.judgement.result, 1 + retries + steps)
    values: _Values = {
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
    known = [begin_ns, instant_ns(run.status.start_time) or 0, *(child.end_ns for child in children)]
    completion_ns = close.completion_ns if close.completion_ns is not None else max(known)
    told = _queue(run, instant_ns(run.status.start_time), inner, is_of_run=True) if own.with_phases else []
    skipped = [_skipped_span(run, name, reason, completion_ns, inner) for name, reason in _skipped_tasks(run).items()]
    told += skipped
    ends = [*(child.end_ns for child in children), *(span.end_ns for span in skipped)]
    end_ns, interval, _ = _closed(run, begin_ns, place, close, ends)
    declared = 1 + len(skipped) + sum(child.spans_declared for child in children)
    summary = Summary(end_ns, close.judgement.result, declared)
    results = Counter([*(child.result for child in children), *(SKIPPED.result for _ in skipped)])
    closing = _closing_values(run, interval, close, completion_ns)
    values: _Values = {
        **_run_values(close.judgement, summary),
        **{keys.TASKS_BY_RESULT.format(result): count for result, count in results.items()},
        keys.PHASES_LEFT_OUT: True if not own.with_phases else None,
        **closing,
    }
    told.append(_run_span(run, own, interval, values, close, _run_events(close.reason, completion_ns, interval)))
    if not place.is_top:
        told.append(_task_span(run, place, interval, dict(closing), close))
        return told, Summary(end_ns, close.judgement.result, declared + 1)
    return told, summary


def custom_run_spans(run: CustomRun, place: Place, children: Sequence[Summary], close: Close) -> tuple[list[SpanRecord], Summary]:
    """Say a CustomRun that is told to its end: its task span."""
    begin_ns = start_ns(run, place)
    end_ns, interval, completion_ns = _closed(run, begin_ns, place, close, [child.end_ns for child in children])
    values: _Values = {
        keys.TASK_REF: run.metadata.labels.task,
        keys.RETRIES: len(run.status.retries_status) or None,
        **_closing_values(run, interval, close, completion_ns),
    }
    summary = Summary(end_ns, close.judgement.result, 1 + sum(child.spans_declared for child in children))
    return [_task_span(run, place, interval, values, close)], summary


def _closed(
    run: PipelineRun | TaskRun | CustomRun, begin_ns: int, place: Place, close: Close, ends: Sequence[int]
) -> tuple[int, Interval, int]:
    """Find the interval of an object that is told to its end: end, interval, completion."""
    known = [begin_ns, instant_ns(run.status.start_time) or 0, *ends]
    completion_ns = close.completion_ns if close.completion_ns is not None else max(known)
    interval = clamp(run.metadata.created_ns, completion_ns, place.floor_ns).raised_to(list(ends))
    return interval.end_ns, interval, completion_ns


# ---------------------------------------------------------------- runs and tasks


def _run_span(
    run: PipelineRun | TaskRun, place: Place, interval: Interval, values: _Values, close: Close, events: tuple[SpanEvent, ...]
) -> SpanRecord:
    name = pipeline_name(run)
    meta = run.metadata
    links = []
    if not place.is_top and (own := parse_context(run.status.span_context)) is not None and own.trace_id != place.trace_id:
        links.append(_link(own, "reconcile"))
    if place.link_to_caller and place.caller is not None:
        links.append(_link(place.caller, "caller"))
    return _span(
        place,
        Slot("run", meta.uid),
        ("",),
        f"{ACTION} {name}" if name else ACTION,
        interval,
        {keys.PIPELINE_ACTION_NAME: ACTION, **values},
        kind=SpanKind.SERVER,
        judgement=close.judgement,
        description=close.message,
        events=events,
        links=tuple(links),
    )


def _task_span(
    run: PipelineRun | TaskRun | CustomRun, place: Place, interval: Interval, values: _Values, close: Close
) -> SpanRecord:
    meta = run.metadata
    name = _task_name(run)
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
        keys.TASK_RUN_RESULT: close.judgement.result,
        keys.PIPELINE_RUN_STATE: "finalizing" if meta.labels.member_of == names.MEMBER_OF_FINALLY else None,
        keys.TASK_TOLERATED: close.judgement.is_tolerated or None,
        **values,
    }
    return _span(
        place,
        Slot("task", meta.uid),
        ("",),
        name,
        interval,
        values,
        judgement=close.judgement,
        description=close.message,
        links=(_link(context, "reconcile"),) if context is not None and not is_callers else (),
    )


def _skipped_span(run: PipelineRun, name: str, reason: str, completion_ns: int, inner: Place) -> SpanRecord:
    interval = point(completion_ns, inner.floor_ns)
    values: _Values = {
        keys.TASK_NAME: name,
        keys.TASK_RUN_ID: f"{run.metadata.uid}/{name}",
        keys.TASK_RUN_RESULT: SKIPPED.result,
        keys.REASON: reason,
        **_adjusted(interval),
    }
    return _span(inner, Slot("skipped", run.metadata.uid, name=name), (name,), name, interval, values)


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
    values: _Values = {
        keys.PHASE: PhaseKind.QUEUE,
        keys.PIPELINE_RUN_STATE: "pending" if is_of_run else None,
        keys.TIME_GRAIN: Grain.SECOND,
        **_adjusted(interval),
    }
    return [_span(inner, Slot("queue", run.metadata.uid), ("",), "queue", interval, values)]


def _run_values(judgement: Judgement, summary: Summary) -> _Values:
    return {keys.PIPELINE_RESULT: judgement.result, keys.SPANS_DECLARED: summary.spans_declared}


def _closing_values(run: PipelineRun | TaskRun | CustomRun, interval: Interval, close: Close, completion_ns: int) -> _Values:
    return {
        keys.RUN_KIND: type(run).__name__,
        keys.RUN_NAME: run.metadata.name,
        keys.REASON: close.reason,
        keys.OBSERVED: "partial" if close.is_partial else None,
        keys.ERROR_TYPE: close.judgement.error_type,
        **_adjusted(interval),
        **_raised(interval, completion_ns),
    }


def _run_events(reason: str, completion_ns: int, interval: Interval) -> tuple[SpanEvent, ...]:
    name = reasons.RUN_EVENTS.get(reason)
    if name is None:
        return ()
    return (SpanEvent(name, _within(completion_ns, interval), attributes({keys.REASON: reason})),)


def _task_name(run: PipelineRun | TaskRun | CustomRun) -> str:
    return run.metadata.labels.pipeline_task or run.metadata.labels.task or "task"


def _matrix_index(task_run: TaskRun, place: Place) -> int | None:
    """Tell which combination of a matrix it is: only the name says so."""
    task_name = task_run.metadata.labels.pipeline_task
    if task_name not in place.matrix_tasks:
        return None
    prefix = re.escape(f"{place.run_name}-{task_name}-")
    found = re.fullmatch(rf"{prefix}(0|[1-9][0-9]{{0,8}})", task_run.metadata.name)
    return int(found[1]) if found is not None else None


# ---------------------------------------------------------------- attempts, phases, steps


def _attempt_spans(task_run: TaskRun, story: AttemptStory, inner: Place, task_name: str) -> list[SpanRecord]:
    """Say an attempt: its children, and of a further attempt that is done the `retry` around them."""
    attempt, uid = story.attempt, task_run.metadata.uid
    pod_name = attempt.status.pod_name
    inner_of_attempt = inner if attempt.number == 1 else below(inner, span_id("retry", uid, pod_name), story.start_ns)
    told: list[SpanRecord] = []
    for pod in story.pods:
        resource = pod_resource(inner, pod.pod, pod_name)
        about = _About(uid, attempt.number, pod_name, pod.pod, resource, story)
        if inner.with_phases:
            told += [_phase_span(about, phase, inner_of_attempt) for phase in pod.phases]
        told += [_step_span(about, step, inner_of_attempt) for step in pod.steps]
        if pod.lost is not None:
            told.append(_phase_span(about, pod.lost, inner_of_attempt))
    if attempt.number > 1 and story.judgement is not None and pod_name:
        told.append(_retry_span(task_run, story, story.judgement, inner, told, task_name))
    return told


def _retry_span(
    task_run: TaskRun, story: AttemptStory, judgement: Judgement, inner: Place, children: Sequence[SpanRecord], task_name: str
) -> SpanRecord:
    attempt, uid = story.attempt, task_run.metadata.uid
    pod_name = attempt.status.pod_name
    completion_ns = story.completion_ns if story.completion_ns is not None else story.start_ns
    own_start_ns = attempt.start_ns if attempt.start_ns is not None else story.start_ns
    ends = [span.end_ns for span in children if span.slot.kind in _RAISING_KINDS]
    interval = clamp(own_start_ns, completion_ns, inner.floor_ns).raised_to(ends)
    values: _Values = {
        keys.TASK_NAME: task_name,
        keys.TASK_RUN_ID: f"{uid}/{pod_name}",
        keys.TASK_RUN_RESULT: judgement.result,
        keys.ERROR_TYPE: judgement.error_type,
        keys.ATTEMPT: attempt.number,
        keys.REASON: attempt.condition.reason if attempt.condition is not None else None,
        keys.POD_NAME: pod_name,
        keys.OBSERVED: "partial" if story.is_partial else None,
        **_adjusted(interval),
        **_raised(interval, completion_ns),
    }
    return _span(
        inner,
        Slot("retry", uid, pod_name),
        (pod_name,),
        "retry",
        interval,
        values,
        judgement=judgement,
        description=story.message,
    )


@dataclass(frozen=True, slots=True)
class _About:
    """What the spans of one Pod have in common."""

    uid: str
    """Of the TaskRun."""
    number: int
    pod_name: str
    pod: Pod | None
    resource: Attributes
    story: AttemptStory

    @property
    def pod_uid(self) -> str:
        return self.pod.metadata.uid if self.pod is not None else ""

    @property
    def pod_key(self) -> str:
        return self.pod_uid or f"name:{self.pod_name}"


def _phase_span(about: _About, phase: Phase, inner: Place) -> SpanRecord:
    kind, name = _PHASE_SPANS[phase.kind]
    rest = {
        PhaseKind.SCHEDULE: (about.pod_key, str(phase.source)),
        PhaseKind.LOST_POD: (about.pod_uid,),
    }.get(phase.kind, (about.pod_key, phase.container))
    values: _Values = {
        keys.PHASE: phase.kind,
        keys.TIME_GRAIN: phase.grain,
        keys.TIME_END_SOURCE: phase.source,
        keys.CONTAINER_NAME: phase.container,
        keys.EXIT_CODE: phase.exit_code,
        keys.CONTAINER_STATUS_REASON: phase.reason,
        keys.IMAGE_NAME: _image(phase.image)[0],
        keys.PULL_BYTES: phase.pull.size_bytes if phase.pull is not None else None,
        keys.PULL_DURATION_MS: phase.pull.duration_ms if phase.pull is not None else None,
        keys.PULL_WAIT_MS: phase.pull.wait_ms if phase.pull is not None else None,
        keys.ERROR_TYPE: phase.judgement.error_type if phase.judgement is not None else None,
        **_adjusted(phase.interval),
    }
    events: tuple[SpanEvent, ...] = ()
    description = about.story.message
    if phase.kind is PhaseKind.LOST_POD:
        description = phase.judgement.error_type or "" if phase.judgement is not None else ""
        events = _disruption_events(phase.disruption.reason, phase.disruption.at_ns, phase.interval) if phase.disruption else ()
    return _span(
        inner,
        Slot(kind, about.uid, about.pod_name, about.pod_uid, phase.container),
        rest,
        name.format(phase.container),
        phase.interval,
        values,
        resource=about.resource,
        judgement=phase.judgement,
        description=description,
        events=events,
    )


def _step_span(about: _About, step: Step, inner: Place) -> SpanRecord:
    image_name, image_tag = _image(step.image)
    values: _Values = {
        keys.TASK_NAME: step.name,
        keys.TASK_RUN_ID: f"{about.uid}/{about.pod_key}/{step.container}",
        keys.TASK_RUN_RESULT: step.judgement.result,
        keys.ERROR_TYPE: step.judgement.error_type,
        keys.EXIT_CODE: step.exit_code,
        keys.CONTAINER_NAME: step.container,
        keys.CONTAINER_STATUS_REASON: step.reason,
        keys.CONTAINER_ID: step.container_id.rpartition("://")[2],
        keys.IMAGE_NAME: image_name,
        keys.IMAGE_TAGS: (image_tag,) if image_tag else None,
        keys.IMAGE_REPO_DIGESTS: _repo_digests(step.image_id),
        keys.STEP_TERMINATION_REASON: step.termination_reason,
        keys.STEP_CLASS: step.step_class,
        keys.STEP_ON_ERROR: step.on_error if step.on_error == "continue" else None,
        keys.STEP_TOLERATED: step.judgement.is_tolerated or None,
        keys.ATTEMPT: about.number,
        keys.TIME_START_SOURCE: step.start_source,
        keys.TIME_END_SOURCE: step.end_source,
        keys.TIME_GRAIN: step.grain,
        **_adjusted(step.interval),
    }
    return _span(
        inner,
        Slot("step", about.uid, about.pod_name, about.pod_uid, step.container),
        (about.pod_key, step.container),
        step.name,
        step.interval,
        values,
        resource=about.resource,
        judgement=step.judgement,
        description=_describe(step, about.story),
        events=_step_events(step),
    )


def _describe(step: Step, story: AttemptStory) -> str:
    """Say in words how a step ended that counts as an error."""
    if step.step_class is StepClass.CUT_OFF:
        return story.attempt.condition.reason if story.attempt.condition is not None else ""
    reason = step.termination_reason or step.reason
    return f"exit code {step.exit_code}: {reason}" if reason else f"exit code {step.exit_code}"


def _step_events(step: Step) -> tuple[SpanEvent, ...]:
    events: list[SpanEvent] = []
    if step.step_class in {StepClass.RAN, StepClass.CUT_OFF}:
        started = step.container_started_ns
        running: _Values = {keys.CONTAINER_STARTED_AT: rfc3339(started) if started is not None else None}
        terminated: _Values = {keys.EXIT_CODE: step.exit_code, keys.CONTAINER_STATUS_REASON: step.reason}
        events.append(SpanEvent("running", step.interval.start_ns, attributes(running)))
        events.append(SpanEvent("terminated", step.interval.end_ns, attributes(terminated)))
    if step.disruption is not None:
        events += _disruption_events(step.disruption.reason, step.disruption.at_ns, step.interval)
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _disruption_events(reason: str, at_ns: int | None, interval: Interval) -> tuple[SpanEvent, ...]:
    if at_ns is None:
        return ()
    return (SpanEvent("disruption", _within(at_ns, interval), attributes({keys.REASON: reason})),)


def _within(at_ns: int, interval: Interval) -> int:
    return min(max(at_ns, interval.start_ns), interval.end_ns)


def _image(reference: str) -> tuple[str, str]:
    """Take an image reference apart: name and tag."""
    name, _, _ = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "")


def _repo_digests(image_id: str) -> tuple[str, ...] | None:
    digest = image_id.rpartition("://")[2]
    return (digest,) if "@sha256:" in digest else None


# ---------------------------------------------------------------- any span


def _adjusted(interval: Interval) -> _Values:
    parts = [name for name, was in (("start", interval.start_raised), ("end", interval.end_raised)) if was]
    return {keys.TIME_ADJUSTED: ",".join(parts)}


def _raised(interval: Interval, completion_ns: int) -> _Values:
    return {keys.COMPLETION_TIME: rfc3339(completion_ns) if interval.end_ns - completion_ns >= SECOND_NS else None}


def _link(context: TraceContext, relation: str) -> SpanLink:
    return SpanLink(context.trace_id, context.span_id, context.trace_state, attributes({keys.LINK: relation}))


def _span(
    place: Place,
    slot: Slot,
    rest: Iterable[str],
    name: str,
    interval: Interval,
    values: _Values,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    resource: Attributes | None = None,
    judgement: Judgement | None = None,
    description: str = "",
    events: tuple[SpanEvent, ...] = (),
    links: tuple[SpanLink, ...] = (),
) -> SpanRecord:
    is_error = judgement is not None and judgement.is_error
    return SpanRecord(
        slot=slot,
        trace_id=place.trace_id,
        span_id=span_id(slot.kind, slot.owner_uid, *rest),
        parent_span_id=place.parent_span_id,
        has_remote_parent=place.has_remote_parent,
        trace_state=place.trace_state,
        name=cut(name),
        kind=kind,
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        attributes=attributes(values),
        resource=place.resource if resource is None else resource,
        events=events,
        links=links,
        is_error=is_error,
        description=first_line(description) if is_error else "",
    )


__all__ = ["Close", "PodStory", "Summary", "custom_run_spans", "pipeline_run_spans", "place_below_task", "task_run_spans"]
