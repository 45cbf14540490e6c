"""How did a run, a task or an attempt end, by the reason of its condition?"""

from dataclasses import dataclass

from tracer.tekton import reasons
from tracer.tekton.meta import Condition
from tracer.tekton.reasons import Result

_ERRORS = frozenset({Result.FAILURE, Result.ERROR, Result.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A result, and for one that is an error its class."""

    result: Result
    error_type: str | None = None
    is_tolerated: bool = False
    """Whether the pipeline went on in spite of it."""

    @property
    def is_error(self) -> bool:
        """Whether it counts as an error: a cancel and a skip do not."""
        return self.result in _ERRORS


SKIPPED = Judgement(Result.SKIP)
DELETED = Judgement(Result.CANCELLATION)


def is_final(condition: Condition | None) -> bool:
    """Say whether the `Succeeded` condition tells an end."""
    return condition is not None and condition.status in {"True", "False"}


def is_success(condition: Condition | None) -> bool:
    """Say whether a run has ended well."""
    return condition is not None and condition.status == "True"


def judge_condition(condition: Condition, status_message: str = "", *, has_oom_step: bool = False) -> Judgement:
    """Judge a final `Succeeded` condition.

    status_message is `spec.statusMessage`: of a TaskRun it alone tells a PipelineRun's time-out from a cancel. has_oom_step says
    whether a step was OOM killed, which Tekton before 1.12 called `Failed`.
    """
    if condition.status == "True":
        return Judgement(Result.SUCCESS)
    reason = condition.reason or "Unknown"
    if reason == reasons.TASK_RUN_CANCELLED and reasons.says_pipeline_run_timed_out(status_message):
        return Judgement(Result.TIMEOUT, reasons.PIPELINE_RUN_TIMEOUT)
    if reason == reasons.FAILED and has_oom_step:
        return Judgement(Result.ERROR, reasons.STEP_OOM)
    result = reasons.RESULTS_OF_FALSE.get(reason, Result.ERROR)
    return Judgement(result, reason if result in _ERRORS else None, is_tolerated=reason == reasons.FAILURE_IGNORED)


def judge_unfinished(status_message: str) -> Judgement:
    """Judge a child that was never finished, when its run is told without it. Source: span-model 4, the 15 min clause."""
    if reasons.says_pipeline_run_timed_out(status_message):
        return Judgement(Result.TIMEOUT, reasons.PIPELINE_RUN_TIMEOUT)
    return Judgement(Result.CANCELLATION)
