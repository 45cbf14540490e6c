"""How are an attempt, its phases and its steps said in spans?

Keeps: what rests on a Pod has the Pod's UID in its id, so that a Pod made anew never collides with the lost one.
Must not know: whether something is due, or was sent.
Source: span-model 2.2, 4, 8.3 to 8.5, 9.1.
"""

from collections.abc import Container
from dataclasses import dataclass

from tracer.lifecycle.interval import Interval, clamp
from tracer.lifecycle.pods import Phase, PhaseKind
from tracer.lifecycle.steps import Step, StepClass
from tracer.lifecycle.tasks import AttemptStory
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import rfc3339
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import span_id
from tracer.telemetry.phrasing import Values, adjusted, make_span, raised, within
from tracer.telemetry.places import Place, below, pod_resource
from tracer.telemetry.records import Attributes, Slot, SpanEvent, SpanRecord, attributes

_PHASE_SPANS = {
    PhaseKind.CREATE_POD: ("create", "create pod"),
    PhaseKind.SCHEDULE: ("schedule", "schedule"),
    PhaseKind.INIT: ("init", "init {}"),
    PhaseKind.PULL: ("pull", "pull"),
    PhaseKind.START_CONTAINERS: ("start", "start containers"),
    PhaseKind.LOST_POD: ("lost", "lost pod"),
}
# The phases that raise their parent's end. The others end before their parent, or are lossy.
_RAISING_PHASES = frozenset({PhaseKind.INIT, PhaseKind.START_CONTAINERS})


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

    def phase_slot(self, phase: Phase) -> Slot:
        return Slot(_PHASE_SPANS[phase.kind][0], self.uid, self.pod_name, self.pod_uid, phase.container)

    def step_slot(self, step: Step) -> Slot:
        return step_slot(self.uid, self.pod_name, self.pod, step.container)


def step_slot(task_run_uid: str, pod_name: str, pod: Pod | None, container: str) -> Slot:
    """Give the slot of a step."""
    return Slot("step", task_run_uid, pod_name, pod.metadata.uid if pod is not None else "", container)


def step_span_id(slot: Slot) -> bytes:
    """Give the span id of a step, by its slot."""
    return span_id(slot.kind, slot.owner_uid, slot.pod_uid or f"name:{slot.pod_name}", slot.name)


def attempt_spans(
    task_run: TaskRun, story: AttemptStory, inner: Place, task_name: str, known: Container[Slot]
) -> list[SpanRecord]:
    """Say an attempt: its children, and of a further attempt that is done the `retry` around them; not what is known already."""
    attempt, uid = story.attempt, task_run.metadata.uid
    pod_name = attempt.status.pod_name
    inner_of_attempt = inner if attempt.number == 1 else below(inner, span_id("retry", uid, pod_name), story.start_ns)
    told: list[SpanRecord] = []
    for pod in story.pods:
        about = _About(uid, attempt.number, pod_name, pod.pod, pod_resource(inner, pod.pod, pod_name), story)
        phases = [*(pod.phases if inner.with_phases else ()), *([pod.lost] if pod.lost is not None else [])]
        told += [_phase_span(about, phase, inner_of_attempt) for phase in phases if about.phase_slot(phase) not in known]
        told += [_step_span(about, step, inner_of_attempt) for step in pod.steps if about.step_slot(step) not in known]
    if is_retry(story):
        told.append(_retry_span(task_run, story, inner, task_name))
    return told


def is_retry(story: AttemptStory) -> bool:
    """Say whether an attempt has a span of its own: most tasks are never retried, and the first one has none."""
    return story.attempt.number > 1 and story.is_done and bool(story.attempt.status.pod_name)


def ends_below(story: AttemptStory, inner: Place) -> list[int]:
    """List the ends that raise the end of the span above: those of an attempt's children, or of the `retry` around them."""
    if is_retry(story):
        return [_retry_interval(story, inner).end_ns]
    return _child_ends(story, inner) if story.attempt.number == 1 else []


def _child_ends(story: AttemptStory, inner: Place) -> list[int]:
    ends = []
    for pod in story.pods:
        ends += [step.interval.end_ns for step in pod.steps]
        if inner.with_phases:
            ends += [phase.interval.end_ns for phase in pod.phases if phase.kind in _RAISING_PHASES]
        if pod.lost is not None:
            ends.append(pod.lost.interval.end_ns)
    return ends


def _retry_interval(story: AttemptStory, inner: Place) -> Interval:
    completion_ns = story.completion_ns if story.completion_ns is not None else story.start_ns
    begin_ns = story.attempt.start_ns if story.attempt.start_ns is not None else story.start_ns
    return clamp(begin_ns, completion_ns, inner.floor_ns).raised_to(_child_ends(story, inner))


def _retry_span(task_run: TaskRun, story: AttemptStory, inner: Place, task_name: str) -> SpanRecord:
    attempt, uid, judgement = story.attempt, task_run.metadata.uid, story.judgement
    pod_name, interval = attempt.status.pod_name, _retry_interval(story, inner)
    values: Values = {
        keys.TASK_NAME: task_name,
        keys.TASK_RUN_ID: f"{uid}/{pod_name}",
        keys.TASK_RUN_RESULT: judgement.result if judgement is not None else None,
        keys.ERROR_TYPE: judgement.error_type if judgement is not None else None,
        keys.ATTEMPT: attempt.number,
        keys.REASON: attempt.condition.reason if attempt.condition is not None else None,
        keys.POD_NAME: pod_name,
        keys.OBSERVED: "partial" if story.is_partial else None,
        **adjusted(interval),
        **raised(interval, story.completion_ns if story.completion_ns is not None else story.start_ns),
    }
    return make_span(
        inner,
        Slot("retry", uid, pod_name),
        (pod_name,),
        "retry",
        interval,
        values,
        judgement=judgement,
        description=story.message,
    )


def _phase_span(about: _About, phase: Phase, inner: Place) -> SpanRecord:
    _, name = _PHASE_SPANS[phase.kind]
    rest = {
        PhaseKind.SCHEDULE: (about.pod_key, str(phase.source)),
        PhaseKind.LOST_POD: (about.pod_uid,),
    }.get(phase.kind, (about.pod_key, phase.container))
    values: Values = {
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
        **adjusted(phase.interval),
    }
    events: tuple[SpanEvent, ...] = ()
    description = about.story.message
    if phase.kind is PhaseKind.LOST_POD:
        description = phase.judgement.error_type or "" if phase.judgement is not None else ""
        events = _disruption_events(phase.disruption.reason, phase.disruption.at_ns, phase.interval) if phase.disruption else ()
    return make_span(
        inner,
        about.phase_slot(phase),
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
    values: Values = {
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
        **adjusted(step.interval),
    }
    return make_span(
        inner,
        about.step_slot(step),
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
        running: Values = {keys.CONTAINER_STARTED_AT: rfc3339(started) if started is not None else None}
        terminated: Values = {keys.EXIT_CODE: step.exit_code, keys.CONTAINER_STATUS_REASON: step.reason}
        events.append(SpanEvent("running", step.interval.start_ns, attributes(running)))
        events.append(SpanEvent("terminated", step.interval.end_ns, attributes(terminated)))
    if step.disruption is not None:
        events += _disruption_events(step.disruption.reason, step.disruption.at_ns, step.interval)
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _disruption_events(reason: str, at_ns: int | None, interval: Interval) -> tuple[SpanEvent, ...]:
    if at_ns is None:
        return ()
    return (SpanEvent("disruption", within(at_ns, interval), attributes({keys.REASON: reason})),)


def _image(reference: str) -> tuple[str, str]:
    """Take an image reference apart: name and tag."""
    name, _, _ = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "")


def _repo_digests(image_id: str) -> tuple[str, ...] | None:
    digest = image_id.rpartition("://")[2]
    return (digest,) if "@sha256:" in digest else None
