"""One step of one attempt: did it run, when, and how did it end?

Keeps: a step never ends before it starts; the answer depends on the objects alone; what a step that passed with a termination
message says rests on its Pod alone, so that it can be told at once.
Must not know: span names, attribute keys, the present time, any backend.
Source: span-model 6 and 7.1; tektoncd/pipeline pkg/entrypoint/entrypointer.go, pkg/reconciler/taskrun/taskrun.go (failTaskRun).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt, Ending, SeenPod
from tracer.lifecycle.interval import HALF_SECOND_NS, Interval, clamp, end_within_second, point
from tracer.lifecycle.judgement import SKIPPED, Judgement
from tracer.tekton import names, reasons
from tracer.tekton.meta import condition
from tracer.tekton.pod import Container, ContainerStatus, Pod, StateTerminated
from tracer.tekton.reasons import Result
from tracer.tekton.taskrun import StepState, StepTerminated
from tracer.tekton.termination import TerminationMessage
from tracer.tekton.times import SECOND_NS, Grain, instant_ns


class StepClass(StrEnum):
    """What became of a step."""

    RAN = "ran"
    CUT_OFF = "cut_off"
    SKIPPED = "skipped"
    NEVER_RAN = "never_ran"


class TimeSource(StrEnum):
    """Where a time of a step comes from."""

    TERMINATION_MESSAGE = "termination_message"
    TASK_RUN_STATUS = "taskrun_status"
    INFERRED = "inferred"
    CONTAINER = "container"
    ATTEMPT_END = "attempt_end"
    START = "start"


class State(StrEnum):
    """Where a step, or a run, stands, in Kubernetes' words."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class StepReading:
    """Where one step of a Pod stands, by one reading of the Pod."""

    container: str
    state: State
    since_ns: int | None
    """When it got its turn at the earliest, if it runs; cut to the second."""
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Disruption:
    """Why the cluster took a Pod away."""

    reason: str
    at_ns: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step, judged."""

    container: str
    step_class: StepClass
    interval: Interval
    start_source: TimeSource
    end_source: TimeSource
    grain: Grain
    """How finely the start is known."""
    judgement: Judgement
    disruption: Disruption | None
    """What took the Pod away, if that ended the step."""
    exit_code: int | None
    reason: str
    """The container's reason."""
    termination_reason: str
    container_started_ns: int | None
    container_id: str
    image: str
    image_id: str
    on_error: str

    @property
    def name(self) -> str:
        """The step's name as Tekton has it."""
        return self.container.removeprefix(names.STEP_PREFIX)

    @property
    def has_start(self) -> bool:
        """Whether the step got its turn: it ran, was cut off, or gave up at a known moment."""
        if self.step_class is StepClass.SKIPPED:
            return self.start_source is not TimeSource.ATTEMPT_END
        return self.step_class is not StepClass.NEVER_RAN


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of one step before it is judged. Source: span-model 6.2."""

    container: str
    spec: Container | None
    status: ContainerStatus | None
    pod_end: StateTerminated | None
    """The end that the Pod tells."""
    message: TerminationMessage | None
    entry: StepState
    is_rewritten: bool
    """Whether Tekton's `failTaskRun` invented the entry's end."""
    has_filler_start: bool
    image: str

    @property
    def own_end(self) -> StateTerminated | StepTerminated | None:
        """The end of the step's own container, from the Pod or else from an entry that is not rewritten."""
        return self.pod_end or (None if self.is_rewritten else self.entry.terminated)

    @property
    def started_at_ns(self) -> int | None:
        """The step's own start, if its termination message tells it."""
        return self.message.started_at_ns if self.message is not None else None

    @property
    def said(self) -> str:
        """What the entrypoint said of the end: `Skipped`, `Continued`, `TimeoutExceeded`, `Cancelled` and others."""
        if self.pod_end is None:
            return self.entry.termination_reason
        if self.message is None:
            return ""
        return self.message.reason or (reasons.CONTINUED if self.message.exit_code is not None else self.pod_end.reason)

    @property
    def reason(self) -> str:
        end = self.own_end
        return end.reason if end is not None else ""

    @property
    def is_oom_killed(self) -> bool:
        return self.own_end is not None and reasons.OOM_KILLED in {self.reason, self.said}

    @property
    def is_continued(self) -> bool:
        if self.pod_end is None:
            return self.own_end is not None and self.said == reasons.CONTINUED
        return self.message is not None and self.message.exit_code is not None

    @property
    def is_passed(self) -> bool:
        """Whether the next step got its turn."""
        return self.own_end is not None and not self.is_oom_killed and (self.own_end.exit_code == 0 or self.is_continued)

    @property
    def exit_code(self) -> int | None:
        if self.message is not None and self.message.exit_code is not None:
            return self.message.exit_code
        return self.own_end.exit_code if self.own_end is not None else None

    @property
    def finished_ns(self) -> int | None:
        """When the container ended, cut to the second, from the Pod or else from an entry that is not rewritten."""
        in_pod = instant_ns(self.pod_end.finished_at) if self.pod_end is not None else None
        if in_pod is not None or self.is_rewritten or self.entry.terminated is None:
            return in_pod
        return instant_ns(self.entry.terminated.finished_at)

    @property
    def is_started(self) -> bool:
        """Whether the container had started, as far as was seen before its end."""
        in_pod = self.status is not None and self.status.state.running is not None
        return in_pod or self.entry.running is not None or (self.is_rewritten and not self.has_filler_start)

    @property
    def container_started_ns(self) -> int | None:
        """When the container started, cut to the second: not the step's own start, and no filler."""
        in_pod = _started(self.status) if self.status is not None else []
        if in_pod:
            return in_pod[0]
        if self.entry.running is not None:
            return instant_ns(self.entry.running.started_at)
        end = self.entry.terminated
        is_corrected = not self.is_rewritten and bool(self.entry.termination_reason)
        return None if end is None or is_corrected or self.has_filler_start else instant_ns(end.started_at)


def judge_steps(attempt: Attempt, judgement: Judgement, floor_ns: int) -> tuple[Step, ...]:
    """Judge all steps of a final attempt, in the order in which they run.

    judgement: the attempt's, by its condition. floor_ns: the start of the span above them.
    """
    seen = attempt.current
    all_facts = _facts(attempt, seen)
    gate_open = _is_gate_open(attempt, seen, all_facts)
    steps: list[Step] = []
    all_passed = True
    for facts in all_facts:
        before = steps[-1] if steps else None
        may_run = all_passed and (gate_open or before is not None)
        steps.append(_judge(facts, attempt, judgement, seen, floor_ns, before=before, may_run=may_run))
        all_passed = all_passed and facts.is_passed
    return tuple(steps)


def judge_passed_steps(attempt: Attempt, seen: SeenPod, floor_ns: int) -> tuple[Step, ...]:
    """Judge the steps of a Pod that passed and say when they started: nothing that comes later can change them."""
    return tuple(
        _judge(facts, attempt, SKIPPED, seen, floor_ns, before=None, may_run=True)
        for facts in _pod_facts(seen.pod, {}, attempt)
        if facts.is_passed and facts.started_at_ns is not None and facts.finished_ns is not None
    )


def has_oom_step(attempt: Attempt) -> bool:
    """Say whether a step of the attempt was OOM killed."""
    return any(facts.is_oom_killed for facts in _facts(attempt, attempt.current))


def first_step_start_ns(pod: Pod) -> int | None:
    """Say when the Pod's first step began, once it has ended and its termination message tells it."""
    if not pod.steps:
        return None
    status = pod.container_states.get(pod.steps[0].name)
    end = status.state.terminated if status is not None else None
    return end.message.started_at_ns if end is not None and end.message is not None else None


def read_steps(pod: Pod) -> tuple[StepReading, ...]:
    """Say where each step of a Pod stands: one whose container runs waits until the steps before it have passed."""
    readings = []
    may_run = not pod.has_ready_gate or pod.metadata.annotations.ready == names.READY
    began = [instant for status in pod.status.container_statuses for instant in _started(status)]
    since_ns = max(began, default=None)
    for facts in _pod_facts(pod, {}, None):
        if facts.own_end is not None:
            reason = facts.said or facts.reason
            readings.append(StepReading(facts.container, State.TERMINATED, None, facts.exit_code, reason))
            since_ns = facts.finished_ns or since_ns
        elif may_run and facts.is_started:
            readings.append(StepReading(facts.container, State.RUNNING, since_ns))
        else:
            waiting = facts.status.state.waiting if facts.status is not None else None
            readings.append(
                StepReading(facts.container, State.WAITING, None, None, waiting.reason if waiting is not None else "")
            )
        may_run = may_run and facts.is_passed
    return tuple(readings)


def disruption_of(pod: Pod) -> Disruption | None:
    """Say why the cluster took the Pod away, by its `DisruptionTarget` condition."""
    found = condition(pod.status.conditions, names.CONDITION_DISRUPTION_TARGET)
    if found is None or found.status != "True":
        return None
    return Disruption(found.reason or names.CONDITION_DISRUPTION_TARGET, instant_ns(found.last_transition_time))


def _facts(attempt: Attempt, seen: SeenPod | None) -> list[_Facts]:
    if not attempt.status.pod_name:
        return []
    entries = attempt.entries
    if seen is not None:
        return _pod_facts(seen.pod, entries, attempt)
    task_spec = attempt.status.task_spec
    specs = task_spec.steps if task_spec is not None else ()
    images = {f"{names.STEP_PREFIX}{step.name or f'unnamed-{index}'}": step.image for index, step in enumerate(specs)}
    return [
        _Facts(
            container=container,
            spec=None,
            status=None,
            pod_end=None,
            message=None,
            entry=entry,
            is_rewritten=attempt.is_rewritten(entry),
            has_filler_start=_has_filler_start(entry, attempt),
            image=images.get(container, ""),
        )
        for container, entry in entries.items()
    ]


def _pod_facts(pod: Pod, entries: dict[str, StepState], attempt: Attempt | None) -> list[_Facts]:
    """Collect what a Pod says of its steps, and the entries of its attempt; without an attempt, what the Pod alone says."""
    states = pod.container_states
    facts = []
    for spec in {one.name: one for one in pod.steps}.values():
        status, entry = states.get(spec.name), entries.get(spec.name, _NO_ENTRY)
        end = status.state.terminated if status is not None else None
        facts.append(
            _Facts(
                container=spec.name,
                spec=spec,
                status=status,
                pod_end=end,
                message=end.message if end is not None else None,
                entry=entry,
                is_rewritten=attempt is not None and attempt.is_rewritten(entry),
                has_filler_start=attempt is not None and _has_filler_start(entry, attempt),
                image=spec.image,
            )
        )
    return facts


def _started(status: ContainerStatus) -> list[int]:
    """When a container started, as far as it did."""
    begun = status.state.terminated or status.state.running
    instant = instant_ns(begun.started_at) if begun is not None else None
    return [] if instant is None else [instant]


_NO_ENTRY = StepState()


def _has_filler_start(entry: StepState, attempt: Attempt) -> bool:
    """Say whether a rewritten entry's start is made up: null, the TaskRun's creation, or its own end."""
    if not attempt.is_rewritten(entry) or entry.terminated is None:
        return False
    start = instant_ns(entry.terminated.started_at)
    return start in {None, attempt.created_ns, instant_ns(entry.terminated.finished_at)}


def _is_gate_open(attempt: Attempt, seen: SeenPod | None, all_facts: list[_Facts]) -> bool:
    """Say whether the first step was let go: Tekton annotates the Pod as ready once all its containers are up."""
    if seen is not None:
        return seen.pod.metadata.annotations.ready == names.READY or not seen.pod.has_ready_gate
    return not any(_has_filler_start(facts.entry, attempt) for facts in all_facts)


def _classify(facts: _Facts, attempt: Attempt, *, may_run: bool) -> StepClass:
    """Name the step's class: the first row of span-model 6.3 that matches."""
    end = facts.own_end
    if facts.said == reasons.SKIPPED and (facts.pod_end is not None or facts.entry.terminated is not None):
        return StepClass.SKIPPED
    if end is not None:
        tells_start = facts.started_at_ns is not None if facts.pod_end is not None else bool(facts.entry.termination_reason)
        if tells_start:
            return StepClass.RAN
        was_killed_waiting = end.exit_code == reasons.EXIT_CODE_KILLED_WAITING and facts.message is None
        return StepClass.RAN if may_run and not was_killed_waiting else StepClass.NEVER_RAN
    return StepClass.CUT_OFF if attempt.is_final and facts.is_started and may_run else StepClass.NEVER_RAN


def _judge(
    facts: _Facts,
    attempt: Attempt,
    of_attempt: Judgement,
    seen: SeenPod | None,
    floor_ns: int,
    *,
    before: Step | None,
    may_run: bool,
) -> Step:
    step_class = _classify(facts, attempt, may_run=may_run)
    start_ns, start_source, grain = _start(facts, step_class, attempt, seen, before)
    interval, end_source = _interval(facts, step_class, attempt, start_ns, floor_ns)
    disruption = _disruption(facts, seen)
    judgement = _judge_end(facts, step_class, attempt, of_attempt, disruption)
    is_after_failure = step_class is StepClass.SKIPPED and facts.exit_code != 0
    has_exit_code = step_class is not StepClass.NEVER_RAN and not is_after_failure
    status, end = facts.status, facts.own_end
    return Step(
        container=facts.container,
        step_class=step_class,
        interval=interval,
        start_source=start_source,
        end_source=end_source,
        grain=grain,
        judgement=judgement,
        disruption=disruption if disruption is not None and judgement.error_type == disruption.reason else None,
        exit_code=facts.exit_code if has_exit_code else None,
        reason=facts.reason if step_class is not StepClass.NEVER_RAN else "",
        termination_reason=facts.said,
        container_started_ns=facts.container_started_ns,
        container_id=(status.container_id if status is not None else "") or (end.container_id if end is not None else ""),
        image=facts.image,
        image_id=(status.image_id if status is not None else "") or facts.entry.image_id,
        on_error=str(facts.spec.on_error) if facts.spec is not None else "",
    )


def _start(
    facts: _Facts, step_class: StepClass, attempt: Attempt, seen: SeenPod | None, before: Step | None
) -> tuple[int, TimeSource, Grain]:
    """Find the start: the first that is known. A second that enters it counts from its middle, but for a point."""
    if facts.started_at_ns is not None and step_class is not StepClass.NEVER_RAN:
        return facts.started_at_ns, TimeSource.TERMINATION_MESSAGE, Grain.MILLISECOND
    completion_ns = attempt.completion_ns or attempt.created_ns
    if step_class is StepClass.NEVER_RAN:
        return completion_ns, TimeSource.ATTEMPT_END, Grain.SECOND
    entry = facts.entry.terminated
    entry_start_ns = instant_ns(entry.started_at) if entry is not None and not facts.is_rewritten else None
    if step_class is StepClass.SKIPPED:
        if entry_start_ns is not None:
            return entry_start_ns, TimeSource.TASK_RUN_STATUS, Grain.SECOND
        return completion_ns, TimeSource.ATTEMPT_END, Grain.SECOND
    if step_class is StepClass.RAN and facts.pod_end is None and facts.entry.termination_reason and entry_start_ns is not None:
        return entry_start_ns + HALF_SECOND_NS, TimeSource.TASK_RUN_STATUS, Grain.SECOND
    return _inferred_start_ns(facts, attempt, seen, before), TimeSource.INFERRED, Grain.SECOND


def _inferred_start_ns(facts: _Facts, attempt: Attempt, seen: SeenPod | None, before: Step | None) -> int:
    """Infer the start: not before the container's, the end of the step before, and the start of all containers at a gate."""
    seconds = [facts.container_started_ns] if facts.container_started_ns is not None else []
    if before is None and seen is not None and seen.pod.has_ready_gate:
        seconds += [instant for status in seen.pod.status.container_statuses for instant in _started(status)]
    known = [second + HALF_SECOND_NS for second in seconds]
    if before is not None:
        known.append(before.interval.end_ns)
    if known:
        return max(known)
    return (attempt.start_ns if attempt.start_ns is not None else attempt.created_ns) + HALF_SECOND_NS


def _interval(
    facts: _Facts, step_class: StepClass, attempt: Attempt, start_ns: int, floor_ns: int
) -> tuple[Interval, TimeSource]:
    if step_class is StepClass.NEVER_RAN:
        return point(start_ns, floor_ns), TimeSource.ATTEMPT_END
    if step_class is StepClass.SKIPPED:
        return point(start_ns, floor_ns), TimeSource.START
    end_ns, source = facts.finished_ns, TimeSource.CONTAINER
    if step_class is StepClass.CUT_OFF or end_ns is None:
        end_ns, source = attempt.completion_ns, TimeSource.ATTEMPT_END
    if end_ns is None:  # only of a container without an end in a Pod that was lost
        return point(start_ns, floor_ns), source
    return clamp(start_ns, end_within_second(end_ns, max(start_ns, floor_ns)), floor_ns), source


def _disruption(facts: _Facts, seen: SeenPod | None) -> Disruption | None:
    """Say what took the Pod away, if that can have ended this step."""
    if seen is None or facts.own_end is None or not facts.exit_code:
        return None
    found = disruption_of(seen.pod)
    if (
        found is not None
        and found.at_ns is not None
        and (facts.finished_ns is None or found.at_ns <= facts.finished_ns + SECOND_NS)
    ):
        return found
    if facts.message is None and seen.pod.status.reason:
        return found or Disruption(seen.pod.status.reason, None)
    return None


def _judge_end(
    facts: _Facts, step_class: StepClass, attempt: Attempt, of_attempt: Judgement, disruption: Disruption | None
) -> Judgement:
    """Judge how the step ended: the first row of span-model 7.1 that matches."""
    rows = (
        (step_class in {StepClass.SKIPPED, StepClass.NEVER_RAN}, SKIPPED),
        (step_class is StepClass.CUT_OFF or _was_ended_by_attempt(facts, attempt), replace(of_attempt, is_tolerated=False)),
        (facts.is_oom_killed, Judgement(Result.ERROR, reasons.OOM_KILLED)),
        (facts.said == reasons.TIMEOUT_EXCEEDED, Judgement(Result.TIMEOUT, reasons.TIMEOUT_EXCEEDED)),
        (facts.is_continued, Judgement(Result.FAILURE, "exit_code", is_tolerated=True)),
        (disruption is not None, Judgement(Result.ERROR, disruption.reason if disruption is not None else None)),
        (facts.reason in reasons.LOST_CONTAINER_REASONS, Judgement(Result.ERROR, facts.reason)),
        (bool(facts.exit_code), Judgement(Result.FAILURE, "exit_code")),
    )
    return next((judgement for holds, judgement in rows if holds), Judgement(Result.SUCCESS))


def _was_ended_by_attempt(facts: _Facts, attempt: Attempt) -> bool:
    """Say whether the step was killed because its attempt was cancelled, timed out or deleted, and not by itself just before."""
    completion_ns = attempt.completion_ns
    if completion_ns is None or facts.own_end is None or facts.is_passed:
        return False
    if not (facts.is_rewritten or facts.said == reasons.CANCELLED or attempt.ending is Ending.DELETED):
        return False
    finished_ns = facts.finished_ns
    return finished_ns is None or finished_ns >= completion_ns - SECOND_NS
