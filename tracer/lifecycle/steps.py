"""One step of one attempt: did it run, when, and how did it end?

Keeps: a step never ends before it starts; the answer depends on the objects alone; what a step that passed with a termination
message says rests on its Pod alone, so that it can be told at once.
Must not know: span names, attribute keys, the present time, any backend.
Source: span-model 6 and 7.1; tektoncd/pipeline pkg/entrypoint/entrypointer.go, pkg/reconciler/taskrun/taskrun.go (failTaskRun).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt, Ending, SeenPod
from tracer.lifecycle.facts import StepFacts, is_gate_open, pod_step_facts, started_ns, step_facts
from tracer.lifecycle.interval import HALF_SECOND_NS, Interval, clamp, end_within_second, point
from tracer.lifecycle.judgement import SKIPPED, Judgement
from tracer.tekton import names, reasons
from tracer.tekton.meta import condition
from tracer.tekton.pod import Pod
from tracer.tekton.reasons import Result
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


def judge_steps(attempt: Attempt, judgement: Judgement, floor_ns: int) -> tuple[Step, ...]:
    """Judge all steps of a final attempt, in the order in which they run.

    judgement: the attempt's, by its condition. floor_ns: the start of the span above them.
    """
    seen = attempt.current
    all_facts = step_facts(attempt, seen)
    gate_open = is_gate_open(attempt, seen, all_facts)
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
        for facts in pod_step_facts(seen.pod, {}, attempt)
        if facts.is_passed and facts.started_at_ns is not None and facts.finished_ns is not None
    )


def disruption_of(pod: Pod) -> Disruption | None:
    """Say why the cluster took the Pod away, by its `DisruptionTarget` condition."""
    found = condition(pod.status.conditions, names.CONDITION_DISRUPTION_TARGET)
    if found is None or found.status != "True":
        return None
    return Disruption(found.reason or names.CONDITION_DISRUPTION_TARGET, instant_ns(found.last_transition_time))


def _classify(facts: StepFacts, attempt: Attempt, *, may_run: bool) -> StepClass:
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
    facts: StepFacts,
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
    facts: StepFacts, step_class: StepClass, attempt: Attempt, seen: SeenPod | None, before: Step | None
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


def _inferred_start_ns(facts: StepFacts, attempt: Attempt, seen: SeenPod | None, before: Step | None) -> int:
    """Infer the start: not before the container's, the end of the step before, and the start of all containers at a gate."""
    seconds = [facts.container_started_ns] if facts.container_started_ns is not None else []
    if before is None and seen is not None and seen.pod.has_ready_gate:
        seconds += [instant for status in seen.pod.status.container_statuses for instant in started_ns(status)]
    known = [second + HALF_SECOND_NS for second in seconds]
    if before is not None:
        known.append(before.interval.end_ns)
    if known:
        return max(known)
    return (attempt.start_ns if attempt.start_ns is not None else attempt.created_ns) + HALF_SECOND_NS


def _interval(
    facts: StepFacts, step_class: StepClass, attempt: Attempt, start_ns: int, floor_ns: int
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


def _disruption(facts: StepFacts, seen: SeenPod | None) -> Disruption | None:
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
    facts: StepFacts, step_class: StepClass, attempt: Attempt, of_attempt: Judgement, disruption: Disruption | None
) -> Judgement:
    """Judge how the step ended: the first row of span-model 7.1 that matches."""
    rows = (
        (step_class in {StepClass.SKIPPED, StepClass.NEVER_RAN}, SKIPPED),
        (step_class is StepClass.CUT_OFF or _was_ended_by_attempt(facts, attempt), replace(of_attempt, is_tolerated=False)),
        (facts.is_oom_killed, Judgement(Result.ERROR, reasons.OOM_KILLED)),
        (facts.said == reasons.TIMEOUT_EXCEEDED, Judgement(Result.TIMEOUT, reasons.TIMEOUT_EXCEEDED)),
        (facts.is_continued, Judgement(Result.FAILURE, reasons.EXIT_CODE, is_tolerated=True)),
        (disruption is not None, Judgement(Result.ERROR, disruption.reason if disruption is not None else None)),
        (facts.reason in reasons.LOST_CONTAINER_REASONS, Judgement(Result.ERROR, facts.reason)),
        (bool(facts.exit_code), Judgement(Result.FAILURE, reasons.EXIT_CODE)),
    )
    return next((judgement for holds, judgement in rows if holds), Judgement(Result.SUCCESS))


def _was_ended_by_attempt(facts: StepFacts, attempt: Attempt) -> bool:
    """Say whether the step was killed because its attempt was cancelled, timed out or deleted, and not by itself just before."""
    completion_ns = attempt.completion_ns
    if completion_ns is None or facts.own_end is None or facts.is_passed:
        return False
    if not (facts.is_rewritten or facts.said == reasons.CANCELLED or attempt.ending is Ending.DELETED):
        return False
    finished_ns = facts.finished_ns
    return finished_ns is None or finished_ns >= completion_ns - SECOND_NS
