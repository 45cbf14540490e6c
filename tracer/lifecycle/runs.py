"""How is a run, a task or a custom run told to its end: with which judgement, and complete when?

Must not know: whether it is time to tell it.
Source: span-model 4 (the 15 min clause), 7.2, 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tracer.lifecycle.attempts import final_completion_ns
from tracer.lifecycle.judgement import DELETED, Judgement, is_final, judge_condition, judge_unfinished
from tracer.lifecycle.tasks import AttemptStory
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.reasons import says_pipeline_run_timed_out
from tracer.tekton.taskrun import TaskRun


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


def close_task_run(value: TaskRun, stories: Sequence[AttemptStory], forced_ns: int | None, *, is_gone: bool) -> Close | None:
    """Close a TaskRun once all its attempts are done; with the result of its last one.

    forced_ns: the completion of a run that does not wait for it any longer.
    """
    if not all(story.is_done for story in stories):
        return None
    last = stories[-1].judgement if stories else None
    return _close(value, last, value.spec.status_message, forced_ns, is_gone=is_gone)


def close_run(value: PipelineRun | CustomRun, forced_ns: int | None, *, is_gone: bool) -> Close | None:
    """Close a PipelineRun or a CustomRun that is final, gone or not waited for; None for one that goes on."""
    message = value.spec.status_message if isinstance(value, CustomRun) else ""
    return _close(value, None, message, forced_ns, is_gone=is_gone)


def _close(
    value: PipelineRun | TaskRun | CustomRun,
    judged: Judgement | None,
    status_message: str,
    forced_ns: int | None,
    *,
    is_gone: bool,
) -> Close | None:
    succeeded = value.status.succeeded
    if succeeded is not None and is_final(succeeded):
        judgement = judged or judge_condition(succeeded, status_message)
        return Close(judgement, final_completion_ns(value.status), succeeded.reason, succeeded.message)
    if forced_ns is not None:
        said = status_message if says_pipeline_run_timed_out(status_message) else ""
        return Close(judge_unfinished(status_message), forced_ns, message=said, is_partial=True)
    return Close(DELETED, None, is_partial=True) if is_gone else None
