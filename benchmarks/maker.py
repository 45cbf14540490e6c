"""Which runs are measured? A seeded maker of PipelineRuns, written as the watch events that a recording holds.

A run has 1.4 TaskRuns in the mean (68, 25 and 7 % have 1, 2 and 3) of 2 to 5 steps (2.8), and is read far less often than a real
one (5, 6 and 10 times an object), so that 10,000 of them are 142,000 events and a file of 1.44 GB, or 144 kB a run:

    3.0 readings of the PipelineRun, 7.7 kB in the mean (9 kB when it ends)                            24 kB
    4.1 readings of TaskRuns,        7.2 kB in the mean (9 kB when they end)                           30 kB
    5.6 readings of Pods,           16.0 kB in the mean (15 kB with two steps, 21 kB with four)        90 kB
    1.4 Scheduled Events,            0.8 kB                                                             1 kB

85 % pass; 5 % have a step that fails, 4 % a task that is tried twice, 4 % are cancelled (the Pod's last words come after the
TaskRun's, then its DELETED), 2 % have a step that is killed for memory. Ten runs begin a second, so about 160 go on at once.

Keeps: the same seed gives the same bytes, and the first runs of a longer recording are those of a shorter one; memory holds the
runs that go on, and what is to be told of all of them.
"""

import heapq
import random
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import msgspec

from benchmarks.objects import (
    RUNNING,
    Json,
    Meta,
    PipelineRunObject,
    Step,
    StepTruth,
    TaskRunObject,
    condition,
    script,
)
from benchmarks.pods import PodObject, scheduled_event

FIRST_RUN_AT = 1_795_000_000
RUNS_PER_SECOND = 10
TASKS = ("build", "test", "deploy")
STEPS = ("fetch", "compile", "unit", "report", "push")
_CANCELLED_BY_RUN = "TaskRun cancelled as the PipelineRun it belongs to has been cancelled."
_STOPPING = "PipelineRun was stopping"

Watched = Generator[tuple[float, str, Json], None, float]
"""Watch events in order: when, which type, which object; at the end the moment that was reached."""


class Ending(StrEnum):
    """How a run ends."""

    SUCCESS = "success"
    FAILURE = "failure"
    RETRY = "retry"
    CANCEL = "cancel"
    OOM = "oom"


_PERCENT = {Ending.SUCCESS: 85, Ending.FAILURE: 5, Ending.RETRY: 4, Ending.CANCEL: 4, Ending.OOM: 2}
_RUN_ENDS = {
    Ending.SUCCESS: ("True", "Succeeded", "success"),
    Ending.FAILURE: ("False", "Failed", "failure"),
    Ending.RETRY: ("True", "Succeeded", "success"),
    Ending.CANCEL: ("False", "Cancelled", "cancellation"),
    Ending.OOM: ("False", "Failed", "failure"),
}
_TASK_ENDS = {
    Ending.SUCCESS: ("True", "Succeeded", "success"),
    Ending.FAILURE: ("False", "StepFailed", "failure"),
    Ending.CANCEL: ("False", "TaskRunCancelled", "cancellation"),
    Ending.OOM: ("False", "StepOOM", "error"),
}


@dataclass(slots=True)
class Made:
    """What was made, and what is to be told of it."""

    events: int = 0
    size_bytes: int = 0
    truth: dict[str, str] = field(default_factory=dict)
    """The result of every run, task, retry, step and skipped task by the id that its span has, and for a step when it began."""


def watch_lines(runs: int, seed: int, made: Made) -> Iterator[bytes]:
    """Make the lines of a recording of so many runs, in order of arrival, and note in `made` what they come to."""
    going: list[tuple[float, int, bytes, Watched]] = []
    for number in range(runs):
        events = one_run(number, seed, FIRST_RUN_AT + number / RUNS_PER_SECOND, made.truth)
        _wait(going, number, events)
        while going and going[0][0] < FIRST_RUN_AT + (number + 1) / RUNS_PER_SECOND:
            yield _next(going, made)
    while going:
        yield _next(going, made)


def one_run(number: int, seed: int, begins_at: float, truth: dict[str, str]) -> Watched:
    """Make the events of one run that begins at a moment, and note in `truth` what is to be told of it."""
    return _Run(number, seed, begins_at, truth).events()


def write(path: Path, runs: int, seed: int) -> Made:
    """Write a recording as it is made."""
    made = Made()
    with path.open("wb") as file:
        file.writelines(watch_lines(runs, seed, made))
    return made


def _wait(going: list[tuple[float, int, bytes, Watched]], number: int, events: Watched) -> None:
    """Put a run's next event, if it has one, where its moment stands."""
    for at, of_type, value in events:
        line = _encode({"at": round(at, 4), "type": of_type, "object": value}) + b"\n"
        heapq.heappush(going, (at, number, line, events))
        return


def _next(going: list[tuple[float, int, bytes, Watched]], made: Made) -> bytes:
    _, number, line, events = heapq.heappop(going)
    _wait(going, number, events)
    made.events += 1
    made.size_bytes += len(line)
    return line


class _Run:
    """One PipelineRun and all that is below it."""

    def __init__(self, number: int, seed: int, begins_at: float, truth: dict[str, str]) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._truth = truth
        self._namespace = f"team-{number % 20}"
        self._ending = self._random.choices(list(_PERCENT), list(_PERCENT.values()))[0]
        tasks = {task: self._steps(task) for task in TASKS[: self._random.choices((1, 2, 3), (68, 25, 7))[0]]}
        self._turn = self._random.choice(list(tasks))
        name = f"pipeline-{number:06}"
        begun = self._moment(begins_at)
        meta = Meta("PipelineRun", name, self._namespace, self._uid(), begun, {"tekton.dev/pipeline": f"pipeline-{number % 50}"})
        self._pipeline = PipelineRunObject(meta, tasks)
        self._children: list[Meta] = []

    def events(self) -> Watched:
        """Tell the run from its beginning to its end."""
        pipeline, meta = self._pipeline, self._pipeline.meta
        at = meta.created
        yield at, "ADDED", pipeline.reading(at)
        skipped: dict[str, str] = {}
        for task, steps in pipeline.tasks.items():
            ending = self._ending if task == self._turn else Ending.SUCCESS
            at = yield from self._task(at + 0.02, task, steps, ending)
            if ending in {Ending.FAILURE, Ending.CANCEL, Ending.OOM}:
                skipped = dict.fromkeys(list(pipeline.tasks)[len(self._children) :], _STOPPING)
                break
        if self._ending is Ending.CANCEL:  # the run ended before its Pod's last words
            return at
        return (yield from self._end(at + 0.02, skipped))

    def _end(self, at: float, skipped: dict[str, str]) -> Watched:
        """Tell the end of the PipelineRun."""
        status, reason, result = _RUN_ENDS[self._ending]
        uid = self._pipeline.meta.uid
        self._truth[uid] = result
        self._truth |= {f"{uid}/{name}": "skip" for name in skipped}
        message = f"Tasks Completed: {len(self._children)}, Skipped: {len(skipped)}"
        said = self._pipeline.status(condition(status, reason, message, at), self._children, skipped, at)
        yield at, "MODIFIED", self._pipeline.reading(at, said, is_cancelled=self._ending is Ending.CANCEL)
        return at

    def _task(self, at: float, name: str, steps: Sequence[Step], ending: Ending) -> Watched:
        """Tell one TaskRun: its first attempt, and for a retry the second."""
        meta = self._child(name, at)
        task_run = TaskRunObject(meta, steps)
        self._children.append(meta)
        yield at, "ADDED", task_run.reading(at)
        if len(self._children) == 1:
            unknown = condition("Unknown", RUNNING, "Tasks Completed: 0, Incomplete: 1, Skipped: 0", at)
            yield at + 0.03, "MODIFIED", self._pipeline.reading(at, self._pipeline.status(unknown, self._children, {}, None))
        if ending is not Ending.RETRY:
            return (yield from self._attempt(at, task_run, f"{meta.name}-pod", ending, []))
        failed: list[Json] = []
        at = yield from self._attempt(at, task_run, f"{meta.name}-pod", Ending.FAILURE, failed, is_last=False)
        self._truth[f"{meta.uid}/{meta.name}-pod-retry1"] = "success"
        return (yield from self._attempt(at + 0.05, task_run, f"{meta.name}-pod-retry1", Ending.SUCCESS, failed))

    def _attempt(
        self, at: float, task_run: TaskRunObject, pod_name: str, ending: Ending, failed: list[Json], *, is_last: bool = True
    ) -> Watched:
        """Tell one attempt. failed: the statuses of the attempts before it, to which one that is not the last adds its own."""
        labels = {**task_run.meta.labels, "tekton.dev/taskRun": task_run.meta.name, "tekton.dev/taskRunUID": task_run.meta.uid}
        meta = Meta("Pod", pod_name, self._namespace, self._uid(), self._moment(at + 0.05), labels, task_run.meta)
        started = self._moment(at + self._random.uniform(1.5, 4))
        cancelled, truths = self._steps_truth(task_run.steps, started, ending)
        pod = PodObject(meta, started, truths)
        self._note_steps(task_run.meta.uid, meta.uid, truths, is_cancelled=ending is Ending.CANCEL)
        retries = {"retriesStatus": failed} if failed else {}

        yield at + 0.05, "ADDED", pod.reading(at + 0.05)
        yield at + 0.08, "ADDED", scheduled_event(meta, self._uid(), at + 0.07)
        yield started + 0.5, "MODIFIED", pod.reading(started)
        unknown = condition("Unknown", RUNNING, "Not all Steps in the Task have finished executing", started)
        entries = [truth.entry(started, started) for truth in truths]
        running = task_run.attempt_status(unknown, pod_name, at, entries, None) | retries
        yield started + 0.55, "MODIFIED", task_run.reading(started, running)
        first_end = truths[0].ended
        if first_end is not None and truths[0].exit_code == 0:
            yield max(first_end, started + 0.6), "MODIFIED", pod.reading(first_end)
        if cancelled is not None:
            return (yield from self._cancel(cancelled, task_run, pod, at))

        last_end = max(truth.ended for truth in truths if truth.ended is not None)
        at_end = max(last_end, started + 0.6) + 0.1
        yield at_end, "MODIFIED", pod.reading(at_end)
        status, reason, result = _TASK_ENDS[ending]
        final = condition(status, reason, "All Steps have completed executing" if status == "True" else "a step failed", at_end)
        said = task_run.attempt_status(final, pod_name, at, [one.entry(at_end, started) for one in truths], at_end)
        if is_last:
            self._truth[task_run.meta.uid] = result
            yield at_end + 0.05, "MODIFIED", task_run.reading(at_end, said | retries)
        else:
            failed.append(said)
        return at_end + 0.05

    def _cancel(self, at: float, task_run: TaskRunObject, pod: PodObject, begun: float) -> Watched:
        """Tell a cancel: the TaskRun is final before its containers die, and claims ends that never were."""
        status, reason, result = _TASK_ENDS[Ending.CANCEL]
        self._truth[task_run.meta.uid] = result
        unknown = condition("Unknown", RUNNING, "Tasks Completed: 0, Incomplete: 1, Skipped: 0", begun)
        going = self._pipeline.status(unknown, self._children, {}, None)
        yield at, "MODIFIED", self._pipeline.reading(at, going, is_cancelled=True)
        final = condition(status, reason, f'TaskRun "{task_run.meta.name}" was cancelled. {_CANCELLED_BY_RUN}', at)
        entries = [truth.invented_entry(at, pod.started, reason) for truth in pod.steps]
        said = task_run.attempt_status(final, pod.meta.name, begun, entries, at)
        yield at + 0.15, "MODIFIED", task_run.reading(at, said, _CANCELLED_BY_RUN)
        ended = yield from self._end(at + 0.2, {})
        last_words = pod.reading(ended + 1, deletion=ended + 30)
        yield ended + 1, "MODIFIED", last_words
        yield ended + 1.1, "DELETED", last_words
        return ended + 1.1

    def _steps_truth(self, steps: Sequence[Step], started: float, ending: Ending) -> tuple[float | None, list[StepTruth]]:
        """Decide what happens to the steps of an attempt; first when it is cancelled, if it is."""
        turn = len(steps) if ending is Ending.SUCCESS else self._random.randrange(len(steps))
        truths: list[StepTruth] = []
        cancelled, free = None, started + self._random.uniform(0.6, 1.2)
        for index, step in enumerate(steps):
            began, container = self._moment(free), f"containerd://{self._random.randbytes(32).hex()}"
            ended = self._moment(began + min(0.3 + self._random.expovariate(0.4), 12))
            if index == turn and ending is Ending.CANCEL:
                cancelled, ended = ended, self._moment(ended + 0.4)
            died = truths[-1].ended if truths else None
            truths.append(_told(StepTruth(step, container, began, ended), ending, index - turn, died))
            free = (truths[-1].ended or ended) + self._random.uniform(0.03, 0.3)
        return cancelled, truths

    def _note_steps(self, uid: str, pod_uid: str, truths: list[StepTruth], *, is_cancelled: bool) -> None:
        for truth in truths:
            result = "success" if truth.exit_code == 0 else "cancellation" if is_cancelled else "failure"
            result = "skip" if truth.began is None or truth.said else "error" if not truth.has_message else result
            began = f" {round(truth.began * 1000)}" if truth.began is not None and truth.has_message else ""
            self._truth[f"{uid}/{pod_uid}/{truth.container}"] = result + began

    def _child(self, task: str, at: float) -> Meta:
        above = self._pipeline.meta
        labels = {
            "app.kubernetes.io/managed-by": "tekton-pipelines",
            "tekton.dev/memberOf": "tasks",
            **above.labels,
            "tekton.dev/pipelineRun": above.name,
            "tekton.dev/pipelineRunUID": above.uid,
            "tekton.dev/pipelineTask": task,
        }
        return Meta("TaskRun", f"{above.name}-{task}", self._namespace, self._uid(), at, labels, above)

    def _steps(self, task: str) -> list[Step]:
        count = self._random.choices((2, 3, 4, 5), (50, 30, 12, 8))[0]
        return [Step(name, script(f"{task}-{name}", self._random.randint(4, 9))) for name in STEPS[:count]]

    def _uid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    @staticmethod
    def _moment(at: float) -> float:
        """Cut a moment to the millisecond: finer it is never told."""
        return int(at * 1000) / 1000


def _told(plain: StepTruth, ending: Ending, after: int, died: float | None) -> StepTruth:
    """Bend what happens to a step that would pass. after: how many steps it stands behind the one at which things turn.

    died: when the container of the step before ended.
    """
    bent: Json
    if after < 0:
        return plain
    if ending is Ending.FAILURE:
        skipped = {"ended": plain.began, "exit_code": 1, "reason": "Error", "said": "Skipped"}
        bent = skipped if after else {"exit_code": 3, "reason": "Error"}
    elif ending is Ending.CANCEL:
        killed_waiting = {"began": None, "ended": died, "exit_code": 2, "reason": "Error", "has_message": False}
        bent = killed_waiting if after else {"exit_code": 255, "reason": "Error"}
    else:
        lives_on = {"began": None, "ended": None}
        bent = lives_on if after else {"exit_code": 137, "reason": "OOMKilled", "has_message": False}
    return replace(plain, **bent)


_encode = msgspec.json.Encoder().encode


def main() -> None:
    """Write a recording and beside it, as `.truth.json`, what is to be told of it: `FILE RUNS SEED`."""
    path, runs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    made = write(path, runs, seed)
    path.with_suffix(".truth.json").write_bytes(_encode(made))


if __name__ == "__main__":
    main()
