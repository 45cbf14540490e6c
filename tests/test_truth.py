"""The claim of the whole product: what the trace says is what the steps' own scripts say.

`truth.json` holds what each step's script wrote when it began and ended, read from the kernel's uptime. Nothing here comes from a
golden file.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.kit import RECORDINGS, SCENARIOS, replay
from tracer.telemetry.records import SpanRecord

START_WITHIN_S, END_WITHIN_S, INFERRED_WITHIN_S = 0.06, 0.55, 1.0
TRACED = [path for path in [*RECORDINGS, *SCENARIOS] if path.name != "not-sampled"]

# The entrypoint had let this step go and written its StartedAt, but the cancel killed it before its script's first line.
KILLED_BEFORE_FIRST_LINE = {("keep-pod-on-cancel", "step-fetch")}
# The first Pod was taken away without a last word: `lost pod` stands for this step.
LOST_WITH_POD = {("pod-deleted-recreated", "step-compile")}
# A run that was still unfinished when the recording ended has no span of its own yet.
UNFINISHED = {"nested-cancel"}
# These were recorded with a second run beside the one of interest, or with none that reached a Pod.
TOP_RUNS = {"generate-name": 2, "run-deleted": 2, "run-deleted-foreground": 2, "nested-cancel": 1, "validation-failure": 3}


def by_id(paths: list[Path]) -> list[object]:
    """Name the cases by their folders."""
    return [pytest.param(path, id=path.name) for path in paths]


def truth_of(path: Path) -> list[dict[str, object]]:
    """Read what the steps said of themselves."""
    told: list[dict[str, object]] = json.loads((path / "truth.json").read_text())
    return told


class Step(Protocol):
    """What is held against the truth of a step's span, wherever it was read."""

    @property
    def start_ns(self) -> int:
        """Its start."""

    @property
    def end_ns(self) -> int:
        """Its end."""

    def attribute(self, key: str) -> object:
        """Look up one attribute."""


def check_step(name: str, truth: Mapping[str, object], span: Step) -> None:
    """Hold one step's span against what the step said of itself; `name` is the recording's, for what is known of it."""
    container, begin, end = str(truth["container"]), truth.get("begin"), truth.get("end")
    claims_to_have_run = span.attribute("tekton.step.class") in {"ran", "cut_off"}
    if (name, container) in KILLED_BEFORE_FIRST_LINE:
        assert (claims_to_have_run, begin, span.attribute("process.exit.code")) == (True, None, 9)
        return
    assert claims_to_have_run == (begin is not None), f"{container}: {span.attribute('tekton.step.class')}"
    if isinstance(begin, float):
        source = span.attribute("tekton.time.start_source")
        within_s = START_WITHIN_S if source == "termination_message" else INFERRED_WITHIN_S
        assert abs(span.start_ns / 1e9 - begin) <= within_s, container
    if isinstance(end, float):
        assert abs(span.end_ns / 1e9 - end) <= END_WITHIN_S, container


def check_steps(name: str, truths: Iterable[Mapping[str, object]], spans: Mapping[tuple[str, str], Step]) -> None:
    """Hold the spans of steps, by Pod UID and container, against what all steps said of themselves."""
    for truth in truths:
        span = spans.get((str(truth["pod"]), str(truth["container"])))
        if (name, truth["container"]) in LOST_WITH_POD and "end" not in truth:
            assert span is None
            continue
        if span is None:
            assert name in UNFINISHED or "begin" not in truth, f"{truth['container']} ran and is not told"
            continue
        check_step(name, truth, span)


@pytest.mark.parametrize("path", by_id(TRACED))
def test_steps_are_told_as_they_say_themselves(path: Path) -> None:
    """Every step that ran begins and ends when its script did; none that never ran says it ran."""
    spans = {(span.slot.pod_uid, span.slot.name): span for span in replay(path / "watch.jsonl") if span.slot.kind == "step"}
    check_steps(path.name, truth_of(path), spans)


@pytest.mark.parametrize("path", by_id(RECORDINGS))
def test_a_late_lister_tells_the_same_of_what_is_still_there(path: Path) -> None:
    """From `objects.json` alone the same holds: to the millisecond where the Pod is left, to the second where it has gone."""
    live = {span.slot: span for span in replay(path / "watch.jsonl")}
    late = replay(path / "objects.json")
    steps = {span.slot.name: span for span in late if span.slot.kind == "step"}
    pods = {span.slot.pod_uid for span in late} - {""}
    for span in late:
        if span.slot.pod_uid in pods and span.slot in live and span.slot.kind == "step":
            assert (span.start_ns, span.end_ns, span.name) == (live[span.slot].start_ns, live[span.slot].end_ns, span.name)
    for truth in truth_of(path):
        if truth["pod"] in pods:
            place = ("step", truth["pod"], truth["container"])
            check_step(path.name, truth, next(one for one in late if (one.slot.kind, one.slot.pod_uid, one.slot.name) == place))
        elif "end" in truth:
            span = steps[str(truth["container"])]
            assert span.attribute("tekton.step.class") in {"ran", "cut_off"} or path.name in UNKNOWABLE_WITHOUT_POD


# The TaskRun calls every unfinished step timed out, with the container's start: only the first can have been at work.
UNKNOWABLE_WITHOUT_POD = {"task-timeout"}


FILES = [path / file for path in TRACED for file in ("watch.jsonl", "objects.json") if (path / file).exists()]


@pytest.mark.parametrize("file", [pytest.param(file, id=f"{file.parent.name}/{file.name}") for file in FILES])
def test_a_trace_is_well_formed(file: Path) -> None:
    """No span is told twice, no child leaves its parent, and each top run has one trace with one root of ours."""
    name = file.parent.name
    spans = replay(file)
    tops = check_tree(spans, is_finished=name not in UNFINISHED)
    if file.name == "watch.jsonl":
        assert len(tops) == TOP_RUNS.get(name, 1)


def check_tree(spans: list[SpanRecord], *, is_finished: bool = True) -> list[SpanRecord]:
    """Hold spans to what every trace is: told once, children within parents, as many as are declared. Give the top runs."""
    by_span_id = {span.span_id: span for span in spans}
    assert [id_ for id_, count in Counter(span.span_id for span in spans).items() if count > 1] == []
    assert [slot for slot, count in Counter(span.slot for span in spans).items() if count > 1] == []
    for span in spans:
        assert span.start_ns < span.end_ns
        parent = by_span_id.get(span.parent_span_id)
        if parent is not None:
            assert parent.start_ns <= span.start_ns, f"{span.name} starts before {parent.name}"
            assert span.end_ns <= parent.end_ns, f"{span.name} ends after {parent.name}"
            assert parent.trace_id == span.trace_id
    tops = [span for span in spans if span.slot.kind == "run" and span.parent_span_id not in by_span_id]
    declared = sum(value for top in tops if isinstance(value := top.attribute("tekton.trace.spans_declared"), int))
    lost_pods = {span.slot.pod_uid for span in spans if span.slot.kind == "lost"}
    kinds = {"run", "task", "skipped", "retry", "step"}
    told = sum(1 for span in spans if span.slot.kind in kinds and span.slot.pod_uid not in lost_pods)
    if is_finished:
        assert declared == told
    return tops


GIVEN = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
GIVEN_PARENT = bytes.fromhex("00f067aa0ba902b7")


@pytest.mark.parametrize(
    "name", ["given-parent", "nested-given-parent", "standalone-taskrun-with-parent", "tekton-tracing-given-parent"]
)
def test_the_callers_trace_is_joined(name: str) -> None:
    """A run that was given a trace context hangs below the caller's span, and so does all below it."""
    (path,) = [path for path in [*RECORDINGS, *SCENARIOS] if path.name == name]
    spans = replay(path / "watch.jsonl")
    assert {span.trace_id for span in spans} == {GIVEN}
    assert [span.slot.kind for span in spans if span.parent_span_id == GIVEN_PARENT] == ["run"]
    assert [span.slot.kind for span in spans if span.has_remote_parent] == ["run"]


@pytest.mark.parametrize("name", ["tekton-tracing", "nested-tekton-tracing", "tekton-tracing-retry-cancel"])
def test_tektons_own_trace_is_joined_as_a_second_root(name: str) -> None:
    """With Tekton's own tracing on, our run span is a root in Tekton's trace, and tasks link to what made them."""
    (path,) = [path for path in SCENARIOS if path.name == name]
    spans = replay(path / "watch.jsonl")
    own = {
        line["object"]["status"]["spanContext"]["traceparent"].split("-")[1]
        for line in map(json.loads, (path / "watch.jsonl").read_text().splitlines())
        if line["object"]["kind"] == "PipelineRun"
        and line["object"].get("status", {}).get("spanContext")
        and not line["object"]["metadata"].get("ownerReferences")
    }
    assert {span.trace_id.hex() for span in spans} == own
    assert [span.name for span in spans if not span.parent_span_id] == ["RUN"]
    linked = [span for span in spans if span.slot.kind == "task" and span.attribute("tekton.run.kind") == "TaskRun"]
    assert linked
    assert all(dict(span.links[0].attributes) == {"tekton.link": "reconcile"} for span in linked)


def test_a_run_that_its_caller_did_not_sample_is_not_told() -> None:
    """The caller's sampled flag 00 is honoured."""
    (path,) = [path for path in SCENARIOS if path.name == "not-sampled"]
    assert replay(path / "watch.jsonl") == []
