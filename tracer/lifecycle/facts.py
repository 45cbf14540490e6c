"""What is known of one step before it is judged: its Pod's word, its entry in the TaskRun, its termination message?

Keeps: what Tekton invented is told apart from what it copied; the Pod's word comes before the TaskRun's.
Must not know: what follows from the facts.
Source: span-model 6.1 and 6.2.
"""

from dataclasses import dataclass
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt, SeenPod
from tracer.tekton import names, reasons
from tracer.tekton.meta import condition
from tracer.tekton.pod import Container, ContainerStatus, Pod, StateTerminated
from tracer.tekton.taskrun import StepState, StepTerminated, TaskSpec
from tracer.tekton.termination import TerminationMessage
from tracer.tekton.times import instant_ns


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
class StepFacts:
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
        """The container's reason."""
        end = self.own_end
        return end.reason if end is not None else ""

    @property
    def is_oom_killed(self) -> bool:
        """Whether the kernel killed it for its memory."""
        return self.own_end is not None and reasons.OOM_KILLED in {self.reason, self.said}

    @property
    def is_continued(self) -> bool:
        """Whether `onError: continue` let the task go on in spite of it."""
        if self.pod_end is None:
            return self.own_end is not None and self.said == reasons.CONTINUED
        return self.message is not None and self.message.exit_code is not None

    @property
    def is_passed(self) -> bool:
        """Whether the next step got its turn."""
        return self.own_end is not None and not self.is_oom_killed and (self.own_end.exit_code == 0 or self.is_continued)

    @property
    def exit_code(self) -> int | None:
        """The exit code of its command, as far as it is known."""
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
        in_pod = started_ns(self.status) if self.status is not None else []
        if in_pod:
            return in_pod[0]
        if self.entry.running is not None:
            return instant_ns(self.entry.running.started_at)
        end = self.entry.terminated
        is_corrected = not self.is_rewritten and bool(self.entry.termination_reason)
        return None if end is None or is_corrected or self.has_filler_start else instant_ns(end.started_at)


def step_facts(attempt: Attempt, seen: SeenPod | None) -> list[StepFacts]:
    """Collect what is known of the steps of an attempt, in the order in which they run. seen: its Pod, if one was seen."""
    if not attempt.status.pod_name:
        return []
    entries = attempt.entries
    if seen is not None:
        return pod_step_facts(seen.pod, entries, attempt)
    task_spec = attempt.status.task_spec
    images = dict(zip(container_names(task_spec), (step.image for step in task_spec.steps), strict=True)) if task_spec else {}
    return [
        StepFacts(
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


def container_names(task_spec: TaskSpec) -> list[str]:
    """Name the containers that Tekton makes of a task's steps."""
    return [f"{names.STEP_PREFIX}{step.name or f'unnamed-{index}'}" for index, step in enumerate(task_spec.steps)]


def pod_step_facts(pod: Pod, entries: dict[str, StepState], attempt: Attempt | None) -> list[StepFacts]:
    """Collect what a Pod says of its steps, and the entries of its attempt; without an attempt, what the Pod alone says."""
    states = pod.container_states
    facts = []
    for spec in {one.name: one for one in pod.steps}.values():
        status, entry = states.get(spec.name), entries.get(spec.name, _NO_ENTRY)
        end = status.state.terminated if status is not None else None
        facts.append(
            StepFacts(
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


def is_gate_open(attempt: Attempt, seen: SeenPod | None, all_facts: list[StepFacts]) -> bool:
    """Say whether the first step was let go; without its Pod, an invented start says that it was not."""
    if seen is not None:
        return seen.pod.is_gate_open
    return not any(_has_filler_start(facts.entry, attempt) for facts in all_facts)


def has_oom_step(attempt: Attempt) -> bool:
    """Say whether a step of the attempt was OOM killed."""
    return any(facts.is_oom_killed for facts in step_facts(attempt, attempt.current))


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
    may_run = pod.is_gate_open
    began = [instant for status in pod.status.container_statuses for instant in started_ns(status)]
    since_ns = max(began, default=None)
    for facts in pod_step_facts(pod, {}, None):
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


def waiting_reasons(pod: Pod) -> tuple[str, ...]:
    """Say why each step of a Pod waits whose container has not started; an empty text where nobody says it."""
    states, scheduled = pod.container_states, condition(pod.status.conditions, names.CONDITION_POD_SCHEDULED)
    unscheduled = scheduled.reason if scheduled is not None and scheduled.status != "True" else ""
    found = []
    for step in pod.steps:
        state = states[step.name].state if step.name in states else None
        if state is None or (state.running is None and state.terminated is None):
            found.append(state.waiting.reason if state is not None and state.waiting is not None else unscheduled)
    return tuple(found)


def started_ns(status: ContainerStatus) -> list[int]:
    """When a container started, as far as it did."""
    begun = status.state.terminated or status.state.running
    instant = instant_ns(begun.started_at) if begun is not None else None
    return [] if instant is None else [instant]


def _has_filler_start(entry: StepState, attempt: Attempt) -> bool:
    """Say whether a rewritten entry's start is made up: null, the TaskRun's creation, or its own end."""
    if not attempt.is_rewritten(entry) or entry.terminated is None:
        return False
    start = instant_ns(entry.terminated.started_at)
    return start in {None, attempt.created_ns, instant_ns(entry.terminated.finished_at)}


_NO_ENTRY = StepState()
