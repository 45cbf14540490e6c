"""The worked example of the span model, section 14, span by span."""

import pytest

from tests.kit import Json, at, at_ns, drive, ended, message, meta, owner, pipeline_run, pod, read, succeeded, task_run
from tracer.tekton.observation import Seen
from tracer.telemetry.ids import span_id, trace_id
from tracer.telemetry.records import SpanRecord

RUN, BUILD, DEPLOY = "run-uid", "build-uid", "deploy-uid"
POD_1, POD_2, POD_3 = "pod-1", "pod-2", "pod-3"


def event(name: str, pod_uid: str, reason: str, path: str = "", **times: object) -> Json:
    """Make an Event about a Pod."""
    about = {"kind": "Pod", "uid": pod_uid, **({"fieldPath": path} if path else {})}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "uid": name},
        "involvedObject": about,
        "reason": reason,
    } | times


def prepared(began: float, finished: float, scheduled: float = 99) -> Json:
    """Make what a Pod says of its init container `prepare`, which ended well, and of when it was scheduled."""
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(scheduled)}
    states = [{"name": "prepare", "state": ended(0, finished, began=began)}]
    return {
        "spec": {"initContainers": [{"name": "prepare"}]},
        "status": {"initContainerStatuses": states, "conditions": [condition]},
    }


@pytest.fixture(name="spans", scope="module")
def spans_fixture() -> dict[tuple[str, str, str], SpanRecord]:
    """Tell the example; the spans by kind, Pod UID and name."""
    run_meta = meta("ci-x", RUN, 0, labels={"tekton.dev/pipeline": "ci"})
    run_status: Json = {"startTime": at(1), "completionTime": at(55), "conditions": succeeded("True", "Succeeded")}
    run_status["childReferences"] = [
        {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name} for name in ("ci-x-build", "ci-x-deploy")
    ]
    run = {**pipeline_run(run_status), "metadata": run_meta}
    of_run = owner("PipelineRun", RUN, "ci-x")
    first: Json = {"startTime": at(1), "completionTime": at(21), "podName": "ci-x-build-pod"}
    first["conditions"] = succeeded("False", "StepFailed", '"step-test" exited with code 3: Error')
    last: Json = {"startTime": at(21), "completionTime": at(41), "podName": "ci-x-build-pod-retry1", "retriesStatus": [first]}
    last["conditions"] = succeeded("True", "Succeeded")
    build = task_run(last, uid=BUILD, created=1, owner=of_run, labels={"tekton.dev/pipelineTask": "build"})
    deployed = {
        "startTime": at(42),
        "completionTime": at(55),
        "podName": "ci-x-deploy-pod",
        "conditions": succeeded("True", "Succeeded"),
    }
    deploy = task_run(deployed, uid=DEPLOY, created=42, owner=of_run, labels={"tekton.dev/pipelineTask": "deploy"})
    deploy["metadata"]["name"] = "ci-x-deploy"
    of_build, of_deploy = owner("TaskRun", BUILD), owner("TaskRun", DEPLOY)
    pod_1 = pod(
        {
            "compile": ended(0, 12, message(9.204)),
            "test": ended(3, 20, message(12.731)),
            "publish": ended(1, 20, message(20.988, Reason="Skipped")),
        },
        POD_1,
        "ci-x-build-pod",
        created=1,
        owner=of_build,
        **prepared(2, 3),
    )
    pod_2 = pod(
        {
            "compile": ended(0, 30, message(27.35)),
            "test": ended(0, 40, message(30.712)),
            "publish": ended(0, 41, message(41.12)),
        },
        POD_2,
        "ci-x-build-pod-retry1",
        created=22,
        owner=of_build,
        **prepared(23, 24, scheduled=23),
    )
    pod_3 = pod(
        {"apply": ended(0, 54, message(47.018))}, POD_3, "ci-x-deploy-pod", created=42, owner=of_deploy, **prepared(43, 44)
    )
    pulling, pulled = f"{at_ns(3.31):x}", f"{at_ns(7.951):x}"
    events = [
        event("scheduled-1", POD_1, "Scheduled", eventTime="2026-08-20T10:00:01.662000Z", firstTimestamp=None),
        event("scheduled-3", POD_3, "Scheduled", eventTime="2026-08-20T10:00:42.540000Z", firstTimestamp=None),
        event(f"ci-x-build-pod.{pulling}", POD_1, "Pulling", "spec.containers{step-test}", firstTimestamp=at(3)),
        event(f"ci-x-build-pod.{pulled}", POD_1, "Pulled", "spec.containers{step-test}", firstTimestamp=at(7)),
    ]
    values = [*events, run, build, deploy, pod_1, pod_2, pod_3]
    spans = drive([(1, Seen(read(value))) for value in values]).spans
    return {(slot.kind, slot.pod_uid or slot.pod_name or slot.owner_uid, slot.name): span for slot, span in spans.items()}


ROWS = [
    (("run", RUN, ""), span_id("run", RUN, ""), 0, 55),
    (("queue", RUN, ""), span_id("queue", RUN, ""), 0, 1),
    (("task", BUILD, ""), span_id("task", BUILD, ""), 1, 41.56),
    (("schedule", POD_1, ""), span_id("schedule", BUILD, POD_1, "event"), 1, 1.662),
    (("init", POD_1, "prepare"), span_id("init", BUILD, POD_1, "prepare"), 2, 3),
    (("start", POD_1, ""), span_id("start", BUILD, POD_1, ""), 3, 9.204),
    (("pull", POD_1, "step-test"), span_id("pull", BUILD, POD_1, "step-test"), 3.31, 7.951),
    (("step", POD_1, "step-compile"), span_id("step", BUILD, POD_1, "step-compile"), 9.204, 12.5),
    (("step", POD_1, "step-test"), span_id("step", BUILD, POD_1, "step-test"), 12.731, 20.5),
    (("step", POD_1, "step-publish"), span_id("step", BUILD, POD_1, "step-publish"), 20.988, None),
    (("retry", "ci-x-build-pod-retry1", ""), span_id("retry", BUILD, "ci-x-build-pod-retry1"), 21, 41.56),
    (("create", POD_2, ""), span_id("create", BUILD, POD_2, ""), 21, 22),
    (("schedule", POD_2, ""), span_id("schedule", BUILD, POD_2, "condition"), 22, 23),
    (("init", POD_2, "prepare"), span_id("init", BUILD, POD_2, "prepare"), 23, 24),
    (("start", POD_2, ""), span_id("start", BUILD, POD_2, ""), 24, 27.35),
    (("step", POD_2, "step-compile"), span_id("step", BUILD, POD_2, "step-compile"), 27.35, 30.5),
    (("step", POD_2, "step-test"), span_id("step", BUILD, POD_2, "step-test"), 30.712, 40.5),
    (("step", POD_2, "step-publish"), span_id("step", BUILD, POD_2, "step-publish"), 41.12, 41.56),
    (("task", DEPLOY, ""), span_id("task", DEPLOY, ""), 42, 55),
    (("schedule", POD_3, ""), span_id("schedule", DEPLOY, POD_3, "event"), 42, 42.54),
    (("init", POD_3, "prepare"), span_id("init", DEPLOY, POD_3, "prepare"), 43, 44),
    (("start", POD_3, ""), span_id("start", DEPLOY, POD_3, ""), 44, 47.018),
    (("step", POD_3, "step-apply"), span_id("step", DEPLOY, POD_3, "step-apply"), 47.018, 54.5),
]


@pytest.mark.parametrize(("key", "id_", "start", "end"), ROWS, ids=["/".join(filter(None, row[0])) for row in ROWS])
def test_span(
    spans: dict[tuple[str, str, str], SpanRecord], key: tuple[str, str, str], id_: bytes, start: float, end: float | None
) -> None:
    """Each span of the example has its id and its times; a point ends 1 ns after its start."""
    span = spans[key]
    assert span.span_id == id_
    assert span.trace_id == trace_id(RUN)
    assert (span.start_ns, span.end_ns) == (at_ns(start), at_ns(end) if end is not None else at_ns(start) + 1)


def test_there_is_nothing_else(spans: dict[tuple[str, str, str], SpanRecord]) -> None:
    """The example has these spans and no others, under these parents."""
    assert set(spans) == {row[0] for row in ROWS}
    below = {span.name: span.parent_span_id for span in spans.values() if span.slot.pod_uid == POD_2}
    assert set(below.values()) == {span_id("retry", BUILD, "ci-x-build-pod-retry1")}
    assert spans["run", RUN, ""].parent_span_id == b""
    assert spans["task", BUILD, ""].parent_span_id == span_id("run", RUN, "")
    assert spans["step", POD_1, "step-test"].parent_span_id == span_id("task", BUILD, "")


def test_what_the_example_says_of_results(spans: dict[tuple[str, str, str], SpanRecord]) -> None:
    """The failed first attempt is an error on its step alone; the task has the result of its last attempt."""
    run, build, test = spans["run", RUN, ""], spans["task", BUILD, ""], spans["step", POD_1, "step-test"]
    assert (run.name, int(run.kind), run.attribute("tekton.trace.spans_declared")) == ("RUN ci", 2, 11)
    assert (build.is_error, build.attribute("tekton.retries")) == (False, 1)
    assert (test.is_error, test.description, test.attribute("error.type")) == (True, "exit code 3: Error", "exit_code")
    publish = spans["step", POD_1, "step-publish"]
    assert (publish.attribute("cicd.pipeline.task.run.result"), publish.attribute("process.exit.code")) == ("skip", None)
    assert [one.name for one in test.events] == ["running", "terminated"]
    assert build.attribute("tekton.completion_time") is None
