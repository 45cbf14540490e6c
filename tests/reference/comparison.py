"""What Tekton's own status says of each step, beside what `tracer` says and what the step's own script wrote.

The tables stand within pages that people write.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.kit import HERE, RECORDINGS, SCENARIOS, Json, replay
from tests.test_truth import KILLED_BEFORE_FIRST_LINE, LOST_WITH_POD, truth_of
from tracer.telemetry.records import SpanRecord

README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- The table is written by `make docs`. -->", "<!-- The table ends. -->"
SHOWN = {"cancel": ("build",), "task-timeout": (), "oom": ("build",), "retry-timeout": ()}
"""The recordings of the README's table, with the tasks whose steps are shown; all of them if none is named."""
MILLISECONDS_BELOW_S = 0.1
CUT_OFF = {"TaskRunTimeout": "timed out", "TaskRunCancelled": "cancelled"}
HANDLES_SIGTERM = ("handles-sigterm", "step-compile")
"""Its script ended by itself, but because it was cancelled: to call it cancelled is right."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one attempt, as three tell it."""

    recording: str
    task: str
    attempt: int
    container: str
    status: Json | None
    """Tekton's last word on it; None if it says nothing."""
    span: SpanRecord | None
    """Ours; None if there is none."""
    began_s: float | None
    """When its script began, in Unix seconds, by its own word; None if it never did."""
    ended_s: float | None
    """When its script ended; None if it was killed before."""

    @property
    def terminated(self) -> Json:
        """Tekton's word on how it ended, empty if there is none."""
        found: Json = (self.status or {}).get("terminated") or {}
        return found

    @property
    def is_called_run(self) -> bool:
        """Whether Tekton says that it ran, or runs."""
        is_skipped = (self.status or {}).get("terminationReason") == "Skipped"
        return bool("running" in (self.status or {}) or (self.terminated.get("startedAt") and not is_skipped))

    @property
    def is_called_cut_off(self) -> bool:
        """Whether Tekton says that a cancel or a time-out ended it."""
        return self.terminated.get("reason") in CUT_OFF

    @property
    def has_ended(self) -> bool:
        """Whether its script came to its end, and not because it was cancelled."""
        return self.ended_s is not None and (self.recording, self.container) != HANDLES_SIGTERM

    @property
    def is_told_run(self) -> bool:
        """Whether we say that it ran."""
        return self.span is not None and self.span.attribute("tekton.step.class") in {"ran", "cut_off"}

    @property
    def off_s(self) -> float | None:
        """How far from when it began Tekton says that it did, in seconds."""
        started = self.terminated.get("startedAt")
        return None if self.began_s is None or not started else abs(self.began_s - unix_s(started))


def unix_s(timestamp: str) -> float:
    """Read one of Kubernetes' times."""
    return datetime.fromisoformat(timestamp).timestamp()


def steps_of(path: Path) -> list[Step]:
    """Give all steps of a recording that said when they ran, or were seen never to, attempt by attempt."""
    pods, task_runs = dict[str, Json](), dict[str, Json]()
    for line in (path / "watch.jsonl").read_text().splitlines():
        one = json.loads(line)["object"]
        if one["kind"] == "Pod":
            pods[one["metadata"]["uid"]] = one["metadata"]
        elif one["kind"] == "TaskRun" and one.get("status"):
            task_runs[one["metadata"]["uid"]] = one
    spans = {(one.slot.pod_uid, one.slot.name): one for one in replay(path / "watch.jsonl") if one.slot.kind == "step"}
    truths = {(str(one["pod"]), str(one["container"])): one for one in truth_of(path)}
    found = []
    for pod_uid, pod in pods.items():
        attempts = [
            (one, number, attempt)
            for one in task_runs.values()
            for number, attempt in enumerate([*one["status"].get("retriesStatus", ()), one["status"]], start=1)
            if (attempt.get("podName"), one["metadata"]["namespace"]) == (pod["name"], pod["namespace"])
        ]
        for task_run, number, attempt in attempts[-1:]:
            said = {one["container"]: one for one in attempt.get("steps", ()) if "container" in one}
            labels = task_run["metadata"].get("labels", {})
            task = labels.get("tekton.dev/pipelineTask", task_run["metadata"]["name"])
            for container in [*said, *(name for uid, name in truths if uid == pod_uid and name not in said)]:
                if (truth := truths.get((pod_uid, container))) is None:
                    continue
                times = [float(str(truth[key])) if key in truth else None for key in ("begin", "end")]
                span = spans.get((pod_uid, container))
                found.append(Step(path.name, task, number, container, said.get(container), span, *times))
    return found


def clock(instant_s: float, digits: int = 0) -> str:
    """Write the time of day."""
    ticks = round(instant_s * 10**digits)
    whole = datetime.fromtimestamp(ticks // 10**digits, UTC).strftime("%H:%M:%S")
    return f"{whole}.{ticks % 10**digits:0{digits}}" if digits else whole


def tekton_says(step: Step) -> str:
    """Say Tekton's status in words."""
    if not step.is_called_run:
        return "never ran"
    end = step.terminated
    if not end:
        return "is still running"
    how = CUT_OFF.get(end["reason"]) or {"Completed": "success", "OOMKilled": "OOM"}.get(end["reason"], "failed")
    return f"{how}, exit {end['exitCode']}, {clock(unix_s(end['startedAt']))} to {clock(unix_s(end['finishedAt']))}"


def tracer_says(step: Step) -> str:
    """Say our span in words."""
    if step.span is None:
        return "nothing"
    if not step.is_told_run:
        return "never ran"
    result, code = step.span.attribute("cicd.pipeline.task.run.result"), step.span.attribute("process.exit.code")
    return f"{result}, exit {code}, {clock(step.span.start_ns / 1e9, 3)} to {clock(step.span.end_ns / 1e9, 3)}"


def script_says(step: Step) -> str:
    """Say what the script wrote in words."""
    if step.began_s is None:
        return "never ran"
    return f"{clock(step.began_s, 2)}{', then killed' if step.ended_s is None else f' to {clock(step.ended_s, 2)}'}"


def readme_table() -> list[str]:
    """Write the steps of the recordings that are shown, without those that Tekton calls a success."""
    lines = ["| recording | step | Tekton's own status | `tracer` | the step's own script |", "|---|---|---|---|---|"]
    paths = {path.name: path for path in [*RECORDINGS, *SCENARIOS]}
    for name, tasks in SHOWN.items():
        shown = (one for one in steps_of(paths[name]) if not tasks or one.task in tasks)
        for step in (one for one in shown if one.terminated.get("reason") != "Completed"):
            retry = f", attempt {step.attempt}" if step.attempt > 1 else ""
            named = f"`{step.container.removeprefix('step-')}`{retry}"
            lines.append(f"| `{name}` | {named} | {tekton_says(step)} | {tracer_says(step)} | {script_says(step)} |")
    return lines


GROUPS = {
    "cancelled": (
        *("cancel", "cancel-at-once", "cancelled-finally", "handles-sigterm", "injected-sidecars-false"),
        *("keep-pod-on-cancel", "nested-cancel", "retry-cancel", "stopped", "tekton-tracing-retry-cancel"),
    ),
    "timed out": ("pipeline-timeout", "retry-timeout", "step-timeout", "task-timeout", "tasks-timeout-finally"),
    "killed: out of memory, or by a signal": (
        "kill-entrypoint",
        "kill-nine",
        "kill-nine-continue",
        "oom",
        "oom-on-error-continue",
    ),
    "gone with their Pod: deleted, evicted": (
        *("evicted", "pod-deleted-graceful", "pod-deleted-recreated", "pod-deleted-short-grace"),
        *("run-deleted", "run-deleted-foreground", "taskrun-deleted"),
    ),
}
"""What happened to steps, with the recordings of it."""
OTHERS = "none of it: success, failure, retries, pulls, sidecars"


def totals_table() -> list[str]:
    """Count over all recordings, by what happened in them, how often and how far each is off."""
    steps = [one for path in [*RECORDINGS, *SCENARIOS] if path.name != "not-sampled" for one in steps_of(path)]
    steps = [one for one in steps if (one.recording, one.container) not in KILLED_BEFORE_FIRST_LINE]
    heads = (
        *("what happened", "steps", "Tekton: ran, but never did", "Tekton: cut off, but had ended", "Tekton: start off by"),
        *("`tracer`: wrong in either", "`tracer`: start off by"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    grouped = {name for names in GROUPS.values() for name in names}
    for title, names in GROUPS.items():
        lines.append(_row(title, [one for one in steps if one.recording in names]))
    return [*lines, _row(OTHERS, [one for one in steps if one.recording not in grouped]), _row("**all**", steps)]


def _row(title: str, steps: Sequence[Step]) -> str:
    ghosts = sum(one.began_s is None and one.is_called_run for one in steps)
    cut_off = sum(one.is_called_cut_off for one in steps if one.has_ended)
    ours = sum(is_wrong(one) for one in steps)
    tekton_off = _of([one.off_s for one in steps])
    ours_off = _of(
        [abs(one.span.start_ns / 1e9 - one.began_s) for one in steps if one.span is not None and one.began_s is not None]
    )
    return f"| {title} | {len(steps)} | {ghosts} | {cut_off} | {tekton_off} | {ours} | {ours_off} |"


def is_wrong(step: Step) -> bool:
    """Say whether our span says it ran and it did not, the other way round, or that it was cut off though it had ended."""
    if step.span is None:
        return (step.recording, step.container) not in LOST_WITH_POD or step.ended_s is not None
    is_cut_off = step.span.attribute("cicd.pipeline.task.run.result") in {"timeout", "cancellation"}
    return step.is_told_run != (step.began_s is not None) or (step.has_ended and is_cut_off)


def _of(seconds: Iterable[float | None]) -> str:
    known = sorted(one for one in seconds if one is not None)
    return ", ".join(
        f"{one:.2f} s" if one >= MILLISECONDS_BELOW_S else f"{one * 1000:.0f} ms" for one in (median(known), known[-1])
    )


def readme() -> str:
    """Write the README, whose table this is; the rest is as it stands."""
    return _with_table(README.read_text(), readme_table())


def page() -> str:
    """Write the page, whose table this is; the rest is as it stands."""
    return _with_table(PAGE.read_text(), totals_table())


def _with_table(text: str, table: Iterable[str]) -> str:
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n".join([head + BEGIN, "", *table, "", END + tail])
