"""What can be told of a TaskRun: its attempts, each with its Pods, phases and steps, as far as they can no longer change?

Keeps: what is in a story once stays in it, unchanged, whatever the objects say later.
Must not know: span names, attribute keys, the present time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tracer.lifecycle.attempts import Attempt, Ending, SeenPod
from tracer.lifecycle.facts import has_oom_step
from tracer.lifecycle.judgement import DELETED, Judgement, judge_condition
from tracer.lifecycle.pods import Phase, are_phases_known, judge_lost_pod, judge_phases
from tracer.lifecycle.steps import Step, judge_passed_steps, judge_steps
from tracer.tekton import reasons
from tracer.tekton.pod import Pod


@dataclass(frozen=True, slots=True)
class PodStory:
    """What can be told of one Pod of an attempt; without a Pod, of an attempt whose Pod was never seen."""

    pod: Pod | None
    steps: tuple[Step, ...]
    phases: tuple[Phase, ...] = ()
    lost: Phase | None = None
    """Set if the Pod was deleted and another took its place."""


@dataclass(frozen=True, slots=True)
class AttemptStory:
    """What can be told of one attempt."""

    attempt: Attempt
    start_ns: int
    """Where the attempt's children may begin at the earliest."""
    pods: tuple[PodStory, ...]
    judgement: Judgement | None
    """How it ended; None while it is not done."""
    completion_ns: int | None
    """When it was complete; None while it is not done."""
    are_phases_due: bool
    """Whether what came before the first step can no longer change."""
    is_partial: bool = False
    """Whether it was deleted, or told, before it was final."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be told of it."""
        return self.judgement is not None

    @property
    def message(self) -> str:
        """What the cluster said about its end."""
        return self.attempt.condition.message if self.attempt.condition is not None else ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How an attempt is told that will not be waited for any longer."""

    judgement: Judgement
    completion_ns: int


def tell_attempt(
    attempt: Attempt,
    floor_ns: int,
    status_message: str,
    *,
    is_done: bool,
    is_start_fixed: bool,
    unfinished: Unfinished | None = None,
) -> AttemptStory:
    """Tell one attempt.

    floor_ns: the start of the task's span. status_message: the TaskRun's `spec.statusMessage`. is_done: the attempt is final, its
    Pod is settled and the TaskRun is at rest. is_start_fixed: Tekton, which writes a start twice, will not move it any more.
    unfinished: set if its run is told now, whether or not the attempt is final.
    """
    start_ns = floor_ns
    if attempt.number > 1 and attempt.start_ns is not None:
        start_ns = max(attempt.start_ns, floor_ns)
    lost = [
        _tell_lost(attempt, seen, before, start_ns)
        for before, seen in zip([None, *attempt.pods], attempt.pods[:-1], strict=False)
    ]
    if is_done:
        return _tell_done(attempt, start_ns, status_message, lost)
    if not is_start_fixed and unfinished is None:
        return AttemptStory(attempt, start_ns, (), None, None, are_phases_due=False)
    pods = (*lost, *_tell_current(attempt, start_ns))
    due = any(are_phases_known(seen.pod) for seen in attempt.pods)
    if unfinished is None:
        return AttemptStory(attempt, start_ns, pods, None, None, are_phases_due=due)
    return AttemptStory(
        attempt, start_ns, pods, unfinished.judgement, unfinished.completion_ns, are_phases_due=due, is_partial=True
    )


def _judge_attempt(attempt: Attempt, status_message: str) -> Judgement:
    """Judge a final attempt by its own condition."""
    if attempt.condition is None:
        return DELETED
    # `spec.statusMessage` says why the TaskRun was cancelled, which ends its last attempt; the reason says whether it did.
    return judge_condition(attempt.condition, status_message, has_oom_step=has_oom_step(attempt))


def _tell_done(attempt: Attempt, start_ns: int, status_message: str, lost: list[PodStory]) -> AttemptStory:
    judgement = _judge_attempt(attempt, status_message)
    steps = judge_steps(attempt, judgement, start_ns)
    judgement = _blame_disruption(attempt, judgement, steps)
    current = attempt.current
    if current is None:
        story = PodStory(None, steps)
    else:
        phases = judge_phases(attempt, current, _before(attempt), start_ns, steps, judgement)
        story = PodStory(current.pod, steps, phases)
    return AttemptStory(
        attempt,
        start_ns,
        (*lost, story),
        judgement,
        attempt.completion_ns,
        are_phases_due=True,
        is_partial=attempt.ending is Ending.DELETED,
    )


def _tell_lost(attempt: Attempt, seen: SeenPod, before: SeenPod | None, start_ns: int) -> PodStory:
    """Tell of a Pod whose place another took: what had passed, and that it was lost."""
    phases = judge_phases(attempt, seen, before, start_ns, (), None) if are_phases_known(seen.pod) else ()
    return PodStory(seen.pod, judge_passed_steps(attempt, seen, start_ns), phases, judge_lost_pod(seen, start_ns))


def _tell_current(attempt: Attempt, start_ns: int) -> list[PodStory]:
    """Tell at once what has passed in the Pod of an attempt that goes on, unless the Pod is on its way out."""
    seen = attempt.current
    if seen is None:
        return []
    metadata = seen.pod.metadata
    is_leaving = metadata.deletion_timestamp is not None or metadata.annotations.cancel is not None
    steps = () if is_leaving else judge_passed_steps(attempt, seen, start_ns)
    phases = judge_phases(attempt, seen, _before(attempt), start_ns, (), None) if are_phases_known(seen.pod) else ()
    return [PodStory(seen.pod, steps, phases)]


def _before(attempt: Attempt) -> SeenPod | None:
    return attempt.pods[-2] if len(attempt.pods) > 1 else None


def _blame_disruption(attempt: Attempt, judgement: Judgement, steps: Sequence[Step]) -> Judgement:
    """Judge a failed attempt by what took its Pod away: Tekton says `StepFailed` of an evicted step."""
    if attempt.ending is not Ending.FINAL or judgement.error_type != reasons.STEP_FAILED:
        return judgement
    return next((step.judgement for step in steps if step.disruption is not None), judgement)
