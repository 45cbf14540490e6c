"""How runs and tasks are said: names, resources, links, events, limits."""

import pytest

from tests.kit import (
    RUN_UID,
    TASK_UID,
    Json,
    at,
    at_ns,
    drive,
    ended,
    message,
    meta,
    owner,
    pipeline_run,
    pod,
    read,
    succeeded,
    task_run,
    tell,
)
from tracer.tekton.observation import Seen
from tracer.telemetry.ids import span_id
from tracer.telemetry.records import Slot

DONE: Json = {"startTime": at(1), "completionTime": at(20), "conditions": succeeded("True", "Succeeded")}
OF_RUN = owner("PipelineRun", RUN_UID, "ci-x")


@pytest.mark.parametrize(
    ("labels", "spec", "generate", "expected"),
    [
        ({"tekton.dev/pipeline": "ci"}, {}, "", "RUN ci"),
        ({"tekton.dev/pipeline": "ci-x"}, {}, "", "RUN"),
        ({"tekton.dev/pipeline": "ci-x"}, {"pipelineRef": {"name": "ref"}}, "gen-", "RUN ref"),
        ({}, {}, "gen-", "RUN gen"),
    ],
)
def test_pipeline_name(labels: Json, spec: Json, generate: str, expected: str) -> None:
    """A run is named by its pipeline, never by its own name."""
    run = {**pipeline_run(DONE, labels=labels, generateName=generate), "spec": spec}
    assert tell(run)["run"].name == expected


def test_resource_of_the_top_run() -> None:
    """What Pipelines-as-Code wrote and the service's annotations stand on the resource; nobody poses as another service."""
    notes = {
        "pipelinesascode.tekton.dev/repo-url": "https://git.example/r",
        "resource.opentelemetry.io/service.version": "1.2",
        "resource.opentelemetry.io/service.name": "bank",
    }
    resource = dict(tell(pipeline_run(DONE, annotations=notes, labels={"pipelinesascode.tekton.dev/sha": "abc"}))["run"].resource)
    assert resource == {
        "cicd.pipeline.run.id": RUN_UID,
        "k8s.namespace.name": "ns",
        "service.name": "tekton",
        "service.version": "1.2",
        "vcs.ref.head.revision": "abc",
        "vcs.repository.url.full": "https://git.example/r",
    }


def test_standalone_task_run() -> None:
    """A TaskRun alone is run and task in one span."""
    status = {**DONE, "podName": "build-pod"}
    told = tell(task_run(status, labels={"tekton.dev/task": "lint"}), pod({"a": ended(0, 5, message(4))}))
    run = told["run"]
    assert (run.name, int(run.kind), run.span_id) == ("RUN lint", 2, span_id("run", TASK_UID, ""))
    assert (run.attribute("tekton.run.kind"), run.attribute("tekton.task.ref")) == ("TaskRun", "lint")
    assert run.attribute("tekton.trace.spans_declared") == 2
    assert told["queue"].attribute("cicd.pipeline.run.state") == "pending"
    assert told["step:step-a"].parent_span_id == run.span_id


def test_matrix_index() -> None:
    """The combination stands in the name alone, and only of a task that has a matrix."""
    spec = {"tasks": [{"name": "build", "matrix": {"params": [{"name": "p", "value": ["a", "b"]}]}}, {"name": "other"}]}
    run = pipeline_run({**DONE, "pipelineSpec": spec})
    for name, label, expected in (("ci-x-build-1", "build", 1), ("ci-x-build-x", "build", None), ("ci-x-other-1", "other", None)):
        task = task_run(DONE, owner=OF_RUN, labels={"tekton.dev/pipelineTask": label})
        task["metadata"]["name"] = name
        assert tell(run, task)["task"].attribute("tekton.matrix.index") == expected


def test_skipped_task() -> None:
    """A skipped task is a point at the run's end."""
    run = pipeline_run({**DONE, "skippedTasks": [{"name": "deploy", "reason": "When Expressions evaluated to false"}] * 2})
    told = tell(run)
    skipped = told["skipped:deploy"]
    assert (skipped.start_ns, skipped.end_ns) == (at_ns(20), at_ns(20) + 1)
    assert skipped.attribute("cicd.pipeline.task.run.id") == f"{RUN_UID}/deploy"
    assert told["run"].end_ns == skipped.end_ns
    assert told["run"].attribute("tekton.tasks.skip") == 1


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("Cancelled", "cancel_requested"),
        ("StoppedRunningFinally", "stop_requested"),
        ("PipelineRunTimeout", "timeout"),
        ("Failed", None),
    ],
)
def test_run_events(reason: str, event: str | None) -> None:
    """A run says what was asked of it, by its final reason."""
    (run,) = [
        span for key, span in tell(pipeline_run({**DONE, "conditions": succeeded("False", reason)})).items() if key == "run"
    ]
    assert [(one.name, one.at_ns) for one in run.events] == ([(event, at_ns(20))] if event else [])


def test_a_large_run_has_no_phases() -> None:
    """Above 150 tasks the phases stay away, and the run says so; steps never do."""
    spec = {"tasks": [{"name": "m", "matrix": {"params": [{"name": "p", "value": ["v"] * 151}]}}]}
    run = pipeline_run({**DONE, "pipelineSpec": spec})
    task = task_run({**DONE, "podName": "build-pod"}, owner=OF_RUN)
    told = tell(run, task, pod({"a": ended(0, 5, message(4))}, created=1))
    assert {key.partition(":")[0] for key in told} == {"run", "task", "step"}
    assert told["run"].attribute("tekton.trace.phases_left_out") is True
    assert "schedule" not in told


def test_nested_run() -> None:
    """A child PipelineRun is a task of its parent and a run of its own, of equal length; what it owns hangs below the latter."""
    child = {**pipeline_run(DONE), "metadata": meta("inner", "c", 2, OF_RUN, labels={"tekton.dev/pipelineTask": "sub"})}
    task = task_run(DONE, owner=owner("PipelineRun", "c", "inner"), created=3)
    values = (pipeline_run({**DONE, "completionTime": at(19)}), child, task)
    spans = drive([(1, Seen(read(value))) for value in values]).spans
    outer, sub, inner, leaf = (spans[Slot(*slot)] for slot in (("run", RUN_UID), ("task", "c"), ("run", "c"), ("task", TASK_UID)))
    assert [leaf.parent_span_id, inner.parent_span_id, sub.parent_span_id] == [inner.span_id, sub.span_id, outer.span_id]
    assert (sub.start_ns, sub.end_ns) == (inner.start_ns, inner.end_ns)
    assert outer.end_ns == inner.end_ns
    assert (sub.name, inner.name, int(inner.kind)) == ("sub", "RUN", 2)
    assert dict(sub.resource)["cicd.pipeline.run.id"] == RUN_UID
    assert dict(leaf.resource)["cicd.pipeline.run.id"] == "c"
    assert outer.attribute("tekton.trace.spans_declared") == 4


@pytest.mark.row("O5")
def test_an_end_before_its_start() -> None:
    """A run that ended before it was created is told at its creation, and says that its end was raised; nothing is left out."""
    told = tell(task_run({**DONE, "startTime": at(3), "completionTime": at(5)}, created=6))
    assert (told["run"].start_ns, told["run"].end_ns) == (at_ns(6), at_ns(6) + 1)
    assert told["run"].attribute("tekton.time.adjusted") == "end"
    assert all(span.start_ns < span.end_ns for span in told.values())


def test_failure_message_is_one_line() -> None:
    """The status says the first line of the condition's message, and only on an error."""
    text = "first\x07 line\nsecond"
    told = tell(pipeline_run({**DONE, "conditions": succeeded("False", "Failed", text)}))
    assert (told["run"].is_error, told["run"].description) == (True, "first  line")
    told = tell(pipeline_run({**DONE, "conditions": succeeded("False", "Cancelled", text)}))
    assert (told["run"].is_error, told["run"].description) == (False, "")


def test_config_error_without_a_completion() -> None:
    """`CreateContainerConfigError` leaves the completion out for good; the condition's transition stands for it."""
    condition = succeeded("False", "CreateContainerConfigError", "secret missing")
    condition[0]["lastTransitionTime"] = at(7)
    told = tell(task_run({"startTime": at(1), "conditions": condition}))
    assert (told["run"].end_ns, told["run"].attribute("error.type")) == (at_ns(7), "CreateContainerConfigError")
