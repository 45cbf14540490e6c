"""What came before the first step: how long did the Pod take to be made, scheduled, initialised, pulled and started?

Keeps: a phase without a length is left out, and so is one that would end after its attempt; the objects alone decide.
Must not know: span names, attribute keys, the present time.
Source: span-model 4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt, Ending, SeenPod
from tracer.lifecycle.facts import first_step_start_ns
from tracer.lifecycle.interval import Interval, clamp
from tracer.lifecycle.judgement import Judgement
from tracer.lifecycle.steps import Disruption, Step, disruption_of
from tracer.tekton import names
from tracer.tekton.event import Event, PullReport, parse_pull_report
from tracer.tekton.meta import condition
from tracer.tekton.pod import Pod
from tracer.tekton.reasons import Result
from tracer.tekton.times import SECOND_NS, Grain, instant_ns

POD_DELETED = "PodDeleted"
_SIDECAR_RESTART_POLICY = "Always"


class PhaseKind(StrEnum):
    """What happened between the start of an attempt and its first step."""

    QUEUE = "queue"
    CREATE_POD = "create_pod"
    SCHEDULE = "schedule"
    INIT = "init"
    PULL = "pull"
    START_CONTAINERS = "start_containers"
    LOST_POD = "lost_pod"


class ScheduleSource(StrEnum):
    """From where it is known when a Pod was scheduled."""

    EVENT = "event"
    CONDITION = "condition"
    ATTEMPT_END = "attempt_end"


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of one Pod."""

    kind: PhaseKind
    interval: Interval
    grain: Grain = Grain.SECOND
    """How finely the end is known."""
    container: str = ""
    source: ScheduleSource | None = None
    exit_code: int | None = None
    reason: str = ""
    image: str = ""
    pull: PullReport | None = None
    judgement: Judgement | None = None
    """Why it ended the attempt, if it did."""
    disruption: Disruption | None = None


def are_phases_known(pod: Pod) -> bool:
    """Say whether the phases can no longer change, because the first step has ended and told when it began."""
    return first_step_start_ns(pod) is not None


def judge_phases(
    attempt: Attempt,
    seen: SeenPod,
    before: SeenPod | None,
    floor_ns: int,
    steps: Sequence[Step],
    judgement: Judgement | None,
) -> tuple[Phase, ...]:
    """List the phases of one Pod of an attempt.

    before: the Pod that was lost before this one. floor_ns: the start of the span above. steps and judgement: of a final attempt,
    if the Pod is its current one; else the phases must be known (`are_phases_known`).
    """
    completion_ns = attempt.completion_ns if judgement is not None or attempt.ending is Ending.FINAL else None
    is_fruitless = judgement is not None and judgement.is_error and not any(step.has_start for step in steps)
    failed = judgement if is_fruitless else None
    found = [
        *_create_pod(attempt, seen, before, floor_ns),
        *_schedule(seen, floor_ns, completion_ns, failed),
        *_init_containers(seen.pod, floor_ns),
        *_pulls(seen, floor_ns),
        *_start_containers(seen.pod, floor_ns, steps, completion_ns, failed),
    ]
    bounded = {PhaseKind.CREATE_POD, PhaseKind.SCHEDULE, PhaseKind.PULL}
    return tuple(
        phase
        for phase in found
        if not phase.interval.is_empty
        and not (phase.kind in bounded and completion_ns is not None and phase.interval.end_ns > completion_ns)
    )


def judge_lost_pod(seen: SeenPod, floor_ns: int) -> Phase:
    """Tell of a Pod that was deleted and made anew."""
    disruption = disruption_of(seen.pod)
    error_type = disruption.reason if disruption is not None else seen.pod.status.reason or POD_DELETED
    return Phase(
        PhaseKind.LOST_POD,
        clamp(seen.pod.metadata.created_ns, lost_pod_end_ns(seen.pod), floor_ns),
        judgement=Judgement(Result.ERROR, error_type),
        disruption=disruption,
    )


def lost_pod_end_ns(pod: Pod) -> int:
    """Say when a lost Pod was over: when its last container ended, else when its deletion was asked for."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    states = [status.state.terminated for status in statuses if status.state.terminated is not None]
    ends = [end_ns for state in states if (end_ns := instant_ns(state.finished_at)) is not None]
    if ends:
        return max(ends)
    deletion_ns = instant_ns(pod.metadata.deletion_timestamp)
    if deletion_ns is None:
        return pod.metadata.created_ns
    grace_s = pod.metadata.deletion_grace_period_seconds
    if grace_s is None:
        grace_s = pod.spec.termination_grace_period_seconds or 0
    return deletion_ns - grace_s * SECOND_NS


def _create_pod(attempt: Attempt, seen: SeenPod, before: SeenPod | None, floor_ns: int) -> Iterator[Phase]:
    start_ns = lost_pod_end_ns(before.pod) if before is not None else attempt.start_ns
    if start_ns is not None:
        yield Phase(PhaseKind.CREATE_POD, clamp(start_ns, seen.pod.metadata.created_ns, floor_ns))


def _schedule(seen: SeenPod, floor_ns: int, completion_ns: int | None, failed: Judgement | None) -> Iterator[Phase]:
    created_ns = seen.pod.metadata.created_ns
    found = _earliest(event for event in seen.events if event.reason == names.EVENT_SCHEDULED)
    if found is not None:
        _, instant, grain = found
        yield Phase(PhaseKind.SCHEDULE, clamp(created_ns, instant, floor_ns), grain, source=ScheduleSource.EVENT)
        return
    scheduled = condition(seen.pod.status.conditions, names.CONDITION_POD_SCHEDULED)
    if scheduled is not None and scheduled.status == "True":
        scheduled_ns = instant_ns(scheduled.last_transition_time)
        if scheduled_ns is not None:
            yield Phase(PhaseKind.SCHEDULE, clamp(created_ns, scheduled_ns, floor_ns), source=ScheduleSource.CONDITION)
    elif completion_ns is not None:
        interval = clamp(created_ns, completion_ns, floor_ns)
        yield Phase(PhaseKind.SCHEDULE, interval, source=ScheduleSource.ATTEMPT_END, judgement=failed)


def _init_containers(pod: Pod, floor_ns: int) -> Iterator[Phase]:
    for status in pod.status.init_container_statuses:
        end = status.state.terminated
        start_ns, end_ns = (instant_ns(end.started_at), instant_ns(end.finished_at)) if end is not None else (None, None)
        if end is None or start_ns is None or end_ns is None or status.name not in _plain_init_containers(pod):
            continue
        interval = clamp(start_ns, end_ns, floor_ns)
        yield Phase(PhaseKind.INIT, interval, container=status.name, exit_code=end.exit_code, reason=end.reason)


def _pulls(seen: SeenPod, floor_ns: int) -> Iterator[Phase]:
    spec = seen.pod.spec
    images = {one.name: one.image for one in spec.init_containers} | {one.name: one.image for one in spec.containers}
    for container, image in images.items():
        about = [event for event in seen.events if event.container == container]
        pulling = _earliest(event for event in about if event.reason == names.EVENT_PULLING)
        pulled = _earliest(event for event in about if event.reason == names.EVENT_PULLED)
        if pulling is None or pulled is None:
            continue
        event, end_ns, grain = pulled
        interval = clamp(pulling[1], end_ns, floor_ns)
        yield Phase(PhaseKind.PULL, interval, grain, container, image=image, pull=parse_pull_report(event.message))


def _start_containers(
    pod: Pod, floor_ns: int, steps: Sequence[Step], completion_ns: int | None, failed: Judgement | None
) -> Iterator[Phase]:
    ends = [
        end_ns
        for status in pod.status.init_container_statuses
        if status.state.terminated is not None
        and status.name in _plain_init_containers(pod)
        and (end_ns := instant_ns(status.state.terminated.finished_at)) is not None
    ]
    first = next((step for step in steps if step.has_start), None)
    told_ns = first_step_start_ns(pod)
    if first is not None:
        end_ns, grain = first.interval.start_ns, first.grain
    elif not steps and told_ns is not None:
        end_ns, grain = told_ns, Grain.MILLISECOND
    elif completion_ns is not None:
        end_ns, grain = completion_ns, Grain.SECOND
    else:
        return
    if ends:
        yield Phase(PhaseKind.START_CONTAINERS, clamp(max(ends), end_ns, floor_ns), grain, judgement=failed)


def _plain_init_containers(pod: Pod) -> set[str]:
    """Name the init containers that end before the steps: one that may restart is a sidecar."""
    return {one.name for one in pod.spec.init_containers if one.restart_policy != _SIDECAR_RESTART_POLICY}


def _earliest(events: Iterator[Event]) -> tuple[Event, int, Grain] | None:
    timed = [(event, *event.instant) for event in events if event.instant is not None]
    return min(timed, key=lambda one: (one[1], one[0].metadata.uid), default=None)
