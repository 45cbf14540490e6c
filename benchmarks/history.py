"""What happens in the cluster that the lanes of watching measure? The maker's runs as an API server tells them: `FILE RUNS SEED`.

Keeps: every entrant is told the same lines; what they come to is counted here by reading whole objects, with nothing of tracer's.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec

from benchmarks.maker import FIRST_RUN_AT, STEPS, Made, watch_lines
from benchmarks.objects import RUNNING, Json, Meta, Step, StepTruth, TaskRunObject, condition, script
from benchmarks.pods import PodObject
from tracer.tekton.names import LABEL_TASK_RUN, STEP_PREFIX, Kind

KINDS = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.POD)
"""What is told; Events are left out, for no peer has a use for them."""
STEADY_RUNS = 500
_FINAL = {"True", "False"}


@dataclass(slots=True)
class History:
    """Watch events in order, and what they come to."""

    lines: list[tuple[Kind, bytes]] = field(default_factory=list)
    ended_at: float = 0.0
    """When the last of them happened, Unix seconds."""
    truth: dict[str, str] = field(default_factory=dict)
    """The maker's, as in `Made`."""
    attempts: set[str] = field(default_factory=set)
    """The attempts that ended, by TaskRun and number."""
    steps: set[str] = field(default_factory=set)
    """The steps that ended by a Pod's word, by Pod and container."""
    entries: set[str] = field(default_factory=set)
    """The steps that ended by a TaskRun's word, by TaskRun, Pod and container."""

    @property
    def counts(self) -> "Counts":
        """Count all that."""
        events = Counter(kind for kind, _ in self.lines)
        return Counts(dict(events), self.ended_at, len(self.attempts), len(self.steps), len(self.entries))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a history comes to, in numbers."""

    events: dict[Kind, int]
    ended_at: float
    attempts: int
    steps: int
    entries: int


class _Line(msgspec.Struct):
    at: float
    type: str
    object: msgspec.Raw


def make(runs: int, seed: int) -> History:
    """Make the history of so many PipelineRuns."""
    history, made = History(), Made()
    for line in watch_lines(runs, seed, made):
        said = msgspec.json.decode(line, type=_Line)
        content = json.loads(bytes(said.object))
        if content["kind"] in KINDS:
            history.lines.append((Kind(content["kind"]), _event(said.type, bytes(said.object))))
            history.ended_at = said.at
            _count(history, content)
    history.truth = made.truth
    return history


def _count(history: History, content: Json) -> None:
    """Note what ended by an object's word."""
    uid, status = content["metadata"]["uid"], content.get("status") or {}
    if content["kind"] == Kind.POD:
        statuses = [one for one in status.get("containerStatuses", ()) if one["name"].startswith(STEP_PREFIX)]
        history.steps.update(f"{uid}/{one['name']}" for one in statuses if "terminated" in one["state"])
    elif content["kind"] == Kind.TASK_RUN:
        attempts = [*status.get("retriesStatus", ()), status]
        for number, attempt in enumerate(attempts, 1):
            if any(one["status"] in _FINAL for one in attempt.get("conditions", ())):
                history.attempts.add(f"{uid}/{number}")
            ended = [one["container"] for one in attempt.get("steps", ()) if "terminated" in one]
            history.entries.update(f"{uid}/{attempt['podName']}/{container}" for container in ended)


def steady() -> list[tuple[Kind, bytes]]:
    """Make two readings of each of so many TaskRuns and their Pods that run and do not get any further.

    What differs is when a condition changed last; so each is news to who has read the other.
    """
    readings: list[tuple[Kind, bytes]] = []
    runs = [_Steady(number) for number in range(STEADY_RUNS)]
    for at in (FIRST_RUN_AT + 10.0, FIRST_RUN_AT + 20.0):
        for run in runs:
            readings += [(Kind.TASK_RUN, run.task_run(at)), (Kind.POD, run.pod(at))]
    return readings


class _Steady:
    """A TaskRun of four steps, of which the first has ended."""

    def __init__(self, number: int) -> None:
        name, uids = f"steady-{number:06}", [str(UUID(int=1 << 120 | number << 8 | one, version=4)) for one in (1, 2)]
        steps = [Step(one, script(one, 6)) for one in STEPS[:4]]
        began = FIRST_RUN_AT + 2.0
        meta = Meta("TaskRun", name, f"team-{number % 20}", uids[0], FIRST_RUN_AT, {"tekton.dev/task": "steady"})
        labels = {**meta.labels, LABEL_TASK_RUN: name}
        pod = Meta("Pod", f"{name}-pod", meta.namespace, uids[1], FIRST_RUN_AT + 1.0, labels, meta)
        self._truths = [
            StepTruth(one, f"containerd://{at:064x}", began, began + 1 if not at else None) for at, one in enumerate(steps)
        ]
        self._task_run, self._pod = TaskRunObject(meta, steps), PodObject(pod, began, self._truths)

    def task_run(self, at: float) -> bytes:
        """Read the TaskRun; its condition changed just now."""
        entries = [one.entry(at, self._pod.started) for one in self._truths]
        going = condition("Unknown", RUNNING, "Not all Steps in the Task have finished executing", at)
        return _event(
            "MODIFIED",
            _encode(
                self._task_run.reading(at, self._task_run.attempt_status(going, self._pod.meta.name, FIRST_RUN_AT, entries, None))
            ),
        )

    def pod(self, at: float) -> bytes:
        """Read the Pod; its conditions changed just now."""
        reading = self._pod.reading(at)
        for one in reading["status"]["conditions"]:
            one["lastTransitionTime"] = f"2026-11-18T00:00:{int(at) % 60:02}Z"
        return _event("MODIFIED", _encode(reading))


def finished_task_runs(lines: list[tuple[Kind, bytes]], count: int) -> Iterator[Json]:
    """Give so many finished TaskRuns: the last readings of a history's, again and again under other names and UIDs."""
    last: dict[str, bytes] = {}
    for kind, line in lines:
        if kind is Kind.TASK_RUN:
            whole = bytes(msgspec.json.decode(line, type=_Event).object)
            last[_META.decode(whole).metadata.uid] = whole
    finished = [(uid, content) for uid, content in last.items() if b'"completionTime"' in content]
    for number in range(count):
        uid, content = finished[number % len(finished)]
        round_ = number // len(finished)
        other = f"{round_:08x}{uid[8:]}"
        written: Json = json.loads(content.replace(uid.encode(), other.encode()).replace(b"pipeline-", b"pipeline-%d-" % round_))
        yield written


class _Event(msgspec.Struct):
    object: msgspec.Raw


class _Uid(msgspec.Struct):
    uid: str


class _Meta(msgspec.Struct):
    metadata: _Uid


_META = msgspec.json.Decoder(_Meta)
_encode = msgspec.json.Encoder().encode


def _event(of_type: str, content: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (of_type.encode(), content)


def read(path: Path) -> History:
    """Read what `main` has written."""
    return msgspec.msgpack.decode(path.read_bytes(), type=History)


def main() -> None:
    """Write the history; print its numbers, so that the parent, whose memory its children begin with, stays small."""
    history = make(int(sys.argv[2]), int(sys.argv[3]))
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(history))
    sys.stdout.buffer.write(msgspec.json.encode(history.counts))


if __name__ == "__main__":
    main()
