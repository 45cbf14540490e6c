"""What changed between two readings of an object? For waking, counting and following; no span is built from it.

Keeps: comparing a reading with itself gives nothing, and nothing goes back: a resync, a relist or a rewrite is no transition.
The metrics and the following of logs are the consumers.
"""

from dataclasses import dataclass

from tracer.lifecycle.facts import State, read_steps
from tracer.lifecycle.judgement import is_final
from tracer.tekton.meta import Condition
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import AttemptStatus, TaskRun

Readable = PipelineRun | TaskRun | CustomRun | Pod


@dataclass(frozen=True, slots=True)
class Transition:
    """A step of a Pod, an attempt of a TaskRun, or a run that now waits, runs or has terminated."""

    uid: str
    """Of the object that was read."""
    part: str
    """The step's container, or the attempt's number; empty for a run."""
    state: State
    exit_code: int | None = None
    reason: str = ""


def observe(previous: Readable | None, current: Readable) -> tuple[Transition, ...]:
    """List what moved forward from one reading to the next; previous is None for an object that is seen for the first time."""
    before = _states(previous) if previous is not None and previous.metadata.uid == current.metadata.uid else {}
    return tuple(
        now for part, now in _states(current).items() if part not in before or _RANK[before[part].state] < _RANK[now.state]
    )


def _states(value: Readable) -> dict[str, Transition]:
    uid = value.metadata.uid
    match value:
        case Pod():
            return {
                step.container: Transition(uid, step.container, step.state, step.exit_code, step.reason)
                for step in read_steps(value)
            }
        case TaskRun():
            attempts: tuple[AttemptStatus, ...] = (*value.status.retries_status, value.status)
            return {
                str(number): _state(uid, str(number), attempt.succeeded, is_started=attempt.start_time is not None)
                for number, attempt in enumerate(attempts, start=1)
            }
        case PipelineRun() | CustomRun():
            return {"": _state(uid, "", value.status.succeeded, is_started=value.status.start_time is not None)}


def _state(uid: str, part: str, condition: Condition | None, *, is_started: bool) -> Transition:
    if condition is not None and is_final(condition):
        return Transition(uid, part, State.TERMINATED, reason=condition.reason)
    return Transition(uid, part, State.RUNNING if is_started else State.WAITING)


_RANK = {State.WAITING: 0, State.RUNNING: 1, State.TERMINATED: 2}
