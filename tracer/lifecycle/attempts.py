"""Which attempts has a TaskRun, which Pods had each, when was it complete, and has its Pod said its last word?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from tracer.lifecycle.judgement import is_final
from tracer.tekton.event import Event
from tracer.tekton.meta import Condition
from tracer.tekton.pipelinerun import RunStatus
from tracer.tekton.pod import ContainerStatus, Pod
from tracer.tekton.taskrun import AttemptStatus, StepState, StepTerminated, TaskRun
from tracer.tekton.times import SECOND_NS, instant_ns

DEFAULT_GRACE_PERIOD_S = 30  # Kubernetes' default for terminationGracePeriodSeconds
# After the grace period the kubelet kills, reports and deletes; a node that is slow by more than this is lost to us.
SETTLE_MARGIN_S = 30


class Ending(Enum):
    """Whether an attempt has ended."""

    OPEN = "open"
    FINAL = "final"
    DELETED = "deleted"
    """Its TaskRun was deleted before it was final."""


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A Pod as it was last read, with the Events about it."""

    pod: Pod
    events: tuple[Event, ...] = ()
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a TaskRun."""

    number: int
    """Counted from 1."""
    status: AttemptStatus
    ending: Ending
    created_ns: int
    """When the TaskRun was created."""
    pods: tuple[SeenPod, ...]
    """Its Pods in time. The last one is current, the others are lost; none if no Pod was seen."""
    entries: dict[str, StepState]
    """The entries of a final attempt's `status.steps` by container, the last of duplicates, a stale one without its state."""
    completion_ns: int | None
    """When it was complete, cut to the second; None while it is open.

    Of a deleted one the latest time that its status and its Pod's containers tell: no time of the deletion is trusted.
    """

    @property
    def current(self) -> SeenPod | None:
        """The Pod that counts."""
        return self.pods[-1] if self.pods else None

    @property
    def start_ns(self) -> int | None:
        """When Tekton started it, cut to the second."""
        return instant_ns(self.status.start_time)

    @property
    def condition(self) -> Condition | None:
        """The condition that it ended with; None for one that has not, or was deleted."""
        return self.status.succeeded if self.ending is Ending.FINAL else None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.ending is not Ending.OPEN

    def is_rewritten(self, entry: StepState) -> bool:
        """Say whether an entry's end was invented: Tekton's `failTaskRun` writes the TaskRun's reason there."""
        how = self.condition
        return (
            entry.terminated is not None and how is not None and how.status == "False" and entry.terminated.reason == how.reason
        )


def attempts_of(
    task_run: TaskRun, pods: Iterable[SeenPod], foreign_pod_names: frozenset[str], *, is_gone: bool
) -> tuple[Attempt, ...]:
    """List the attempts of a TaskRun, first to last. pods: those that it controls, in order of arrival."""
    status = task_run.status
    by_name: dict[str, list[SeenPod]] = {}
    for seen in sorted(pods, key=lambda seen: seen.pod.metadata.created_ns):
        by_name.setdefault(seen.pod.metadata.name, []).append(seen)
    last = Ending.FINAL if is_final(status.succeeded) else Ending.DELETED if is_gone else Ending.OPEN
    attempts = []
    before: AttemptStatus | None = None
    for number, one in enumerate((*status.retries_status, status), start=1):
        own = tuple(by_name.get(one.pod_name, ())) if one.pod_name else ()
        is_foreign = not own and one.pod_name in foreign_pod_names
        ending = Ending.FINAL if number <= len(status.retries_status) else last
        entries = {} if ending is Ending.OPEN or is_foreign else _entries(one, before)
        attempts.append(
            Attempt(
                number=number,
                status=one,
                ending=ending,
                created_ns=task_run.metadata.created_ns,
                pods=own,
                entries=entries,
                completion_ns=_completion_ns(one, ending, entries, own, task_run.metadata.created_ns),
            )
        )
        before = one
    return tuple(attempts)


def has_pod_settled(attempt: Attempt, *, is_absent: bool) -> bool:
    """Say whether a final attempt's Pod has said its last word.

    is_absent: whether a list that was begun after the attempt was seen final held no such Pod.
    """
    current = attempt.current
    if not attempt.status.pod_name:
        return True
    if current is None or _speaks_of_another(attempt, current.pod):
        return is_absent
    return current.is_gone or _has_ended(current.pod)


def settles_within_ns(attempt: Attempt) -> int:
    """Say how long after its end more may be expected of an attempt's Pod."""
    grace_s = DEFAULT_GRACE_PERIOD_S
    if attempt.current is not None and attempt.current.pod.spec.termination_grace_period_seconds is not None:
        grace_s = attempt.current.pod.spec.termination_grace_period_seconds
    return (grace_s + SETTLE_MARGIN_S) * SECOND_NS


def final_completion_ns(status: AttemptStatus | RunStatus) -> int | None:
    """Say when a final status was complete: a `CreateContainerConfigError` leaves `completionTime` out for good."""
    completion = instant_ns(status.completion_time)
    if completion is None and status.succeeded is not None:
        return instant_ns(status.succeeded.last_transition_time)
    return completion


def _container_instants(status: ContainerStatus) -> Iterator[int]:
    """Give the start and the end of a container, as far as they are known."""
    state = status.state
    times = []
    if state.running is not None:
        times.append(state.running.started_at)
    if state.terminated is not None:
        times += [state.terminated.started_at, state.terminated.finished_at]
    return (instant for time in times if (instant := instant_ns(time)) is not None)


def _speaks_of_another(attempt: Attempt, pod: Pod) -> bool:
    """Say whether the status tells the end of a container that the Pod never had: Tekton made another Pod, not seen yet."""
    states = pod.container_states
    for entry in attempt.entries.values():
        end = entry.terminated
        if end is None or not end.container_id or attempt.is_rewritten(entry):
            continue
        state = states.get(entry.container_name)
        if state is None or end.container_id not in {state.container_id, _ended_id(state)}:
            return True
    return False


def _ended_id(status: ContainerStatus) -> str:
    return status.state.terminated.container_id if status.state.terminated is not None else ""


def _has_ended(pod: Pod) -> bool:
    states = pod.container_states
    return all(step.name in states and states[step.name].state.terminated is not None for step in pod.steps)


def _entries(status: AttemptStatus, before: AttemptStatus | None) -> dict[str, StepState]:
    """Find the entries of an attempt: one that equals that of the attempt before was not cleared, and says nothing."""
    earlier = {entry.container_name: entry.terminated for entry in before.steps} if before is not None else {}
    return {
        entry.container_name: StepState(entry.name, entry.container)
        if _is_same_end(earlier.get(entry.container_name), entry.terminated)
        else entry
        for entry in status.steps
    }


def _is_same_end(before: StepTerminated | None, now: StepTerminated | None) -> bool:
    if before is None or now is None:
        return False
    if before.container_id and now.container_id:
        return before.container_id == now.container_id
    return (before.started_at, before.finished_at, before.exit_code) == (now.started_at, now.finished_at, now.exit_code)


def _completion_ns(
    status: AttemptStatus, ending: Ending, entries: dict[str, StepState], pods: tuple[SeenPod, ...], created_ns: int
) -> int | None:
    if ending is Ending.OPEN:
        return None
    if ending is Ending.FINAL and (known := final_completion_ns(status)) is not None:
        return known
    times = [status.start_time]
    for entry in entries.values():
        times.append(entry.running.started_at if entry.running is not None else None)
        times += [entry.terminated.started_at, entry.terminated.finished_at] if entry.terminated is not None else []
    told = [instant for time in times if (instant := instant_ns(time)) is not None]
    if pods:
        containers = pods[-1].pod.status
        for container in (*containers.init_container_statuses, *containers.container_statuses):
            told += _container_instants(container)
    return max([created_ns, *told])
