"""The classes, times and results of steps, row by row of the span model's tables 6.3, 6.4 and 7.1."""

from typing import Any

import pytest

from tests.kit import POD_UID, Json, at, at_ns, ended, message, pod, running, succeeded, task_run, tell
from tracer.telemetry.records import SpanRecord

FAILED = ("False", "StepFailed", '"step-b" exited')
CANCELLED = ("False", "TaskRunCancelled", "cancelled")
TIMED_OUT = ("False", "TaskRunTimeout", "timed out")
PASSED = ended(0, 5, message(4.25))


def steps(
    states: dict[str, Json] | None,
    how: tuple[str, str, str] = FAILED,
    entries: list[Json] | None = None,
    completion: float = 20,
    **more: Any,  # noqa: ANN401 - goes to the Pod as it is
) -> dict[str, SpanRecord]:
    """Tell the steps of a final TaskRun; states None: its Pod was never seen."""
    status: Json = {"startTime": at(1), "completionTime": at(completion), "podName": "build-pod"}
    status |= {"conditions": succeeded(*how), "steps": entries or []}
    objects = [task_run(status), *([pod(states, **more)] if states is not None else [])]
    told = tell(*objects)
    return {key.removeprefix("step:step-"): span for key, span in told.items() if key.startswith("step:")}


def entry(name: str, state: Json, reason: str = "") -> Json:
    """Make an entry of `status.steps`."""
    return {"name": name, "container": f"step-{name}", **state, **({"terminationReason": reason} if reason else {})}


def said(span: SpanRecord, *keys: str) -> tuple[object, ...]:
    """Look up attributes by the last part of their keys."""
    known = {key.removeprefix("tekton.").removeprefix("cicd.pipeline.task.run."): value for key, value in span.attributes}
    return tuple(known.get(key) for key in keys)


@pytest.mark.row("O5", "O7")
def test_ran_with_its_own_start() -> None:
    """A step with a termination message began when that says, and ended in the middle of what is left of its last second."""
    (one,) = steps({"a": ended(0, 5, message(4.25))}, ("True", "Succeeded", "")).values()
    assert said(one, "step.class", "result", "time.start_source", "time.grain") == ("ran", "success", "termination_message", "ms")
    assert (one.start_ns, one.end_ns) == (at_ns(4.25), at_ns(5.5))
    (short,) = steps({"a": ended(0, 5, message(5.5))}, ("True", "Succeeded", "")).values()
    assert (short.start_ns, short.end_ns) == (at_ns(5.5), at_ns(5.75))
    (backward,) = steps({"a": ended(0, 5, message(6.5))}, ("True", "Succeeded", "")).values()
    assert (backward.end_ns - backward.start_ns, said(backward, "time.adjusted")) == (1, ("end",))


def test_never_ran_but_was_killed_waiting() -> None:
    """Exit code 2 without a message is the entrypoint, killed before its turn; a command that exits with 2 leaves a message."""
    told = steps({"a": PASSED, "b": ended(2, 9), "c": ended(2, 9)}, CANCELLED)
    assert said(told["b"], "step.class", "result", "step.termination_reason") == ("never_ran", "skip", None)
    assert told["b"].attribute("process.exit.code") is None
    assert (told["b"].start_ns, told["b"].end_ns) == (at_ns(20), at_ns(20) + 1)
    told = steps({"a": PASSED, "b": ended(2, 9, message(6))})
    assert said(told["b"], "step.class", "result") == ("ran", "failure")


def test_ran_without_a_message() -> None:
    """An entrypoint that was killed at its turn ran: from the end of the step before it, or the start of all containers."""
    told = steps({"a": PASSED, "b": ended(137, 9, reason="OOMKilled"), "c": running()}, ("False", "StepOOM", "oom"))
    assert said(told["b"], "step.class", "result", "time.start_source", "time.grain") == ("ran", "error", "inferred", "s")
    assert told["b"].attribute("error.type") == "OOMKilled"
    assert told["b"].start_ns == told["a"].end_ns
    assert said(told["c"], "step.class", "result") == ("never_ran", "skip")
    told = steps({"a": ended(137, 9, reason="OOMKilled"), "side": running(3)}, ("False", "StepOOM", "oom"))
    assert told["a"].start_ns == at_ns(3.5)


def test_nothing_runs_before_its_turn() -> None:
    """A container that ended before an earlier step had passed, or before the gate opened, never ran its command."""
    told = steps({"a": ended(1, 5, message(4)), "b": ended(137, 9)})
    assert said(told["b"], "step.class") == ("never_ran",)
    told = steps({"a": ended(137, 9)}, ready=False)
    assert said(told["a"], "step.class") == ("never_ran",)
    told = steps({"a": ended(137, 9)}, ready=False, spec={"volumes": []})
    assert said(told["a"], "step.class") == ("ran",)


def test_cut_off() -> None:
    """A step that was at work when its Pod was last seen is cut off at the attempt's end, with the attempt's result."""
    told = steps({"a": PASSED, "b": running(), "c": running()}, TIMED_OUT)
    assert said(told["b"], "step.class", "result", "time.end_source") == ("cut_off", "timeout", "attempt_end")
    assert (told["b"].end_ns, told["b"].description) == (at_ns(20.5), "TaskRunTimeout")
    assert told["b"].attribute("process.exit.code") is None
    assert said(told["c"], "step.class") == ("never_ran",)
    told = steps({"a": PASSED, "b": running()}, CANCELLED)
    assert (said(told["b"], "result"), told["b"].is_error) == (("cancellation",), False)


@pytest.mark.row("O7")
def test_skipped() -> None:
    """`Skipped` is two things: after a failure (exit 1), or by the step's own `when` (exit 0); both are points."""
    told = steps(
        {
            "a": ended(0, 5, message(5, Reason="Skipped")),
            "b": ended(1, 7, message(6)),
            "c": ended(1, 7, message(7, Reason="Skipped")),
        }
    )
    assert said(told["a"], "step.class", "result", "time.end_source") == ("skipped", "skip", "start")
    assert told["a"].attribute("process.exit.code") == 0
    assert told["c"].attribute("process.exit.code") is None
    assert (told["c"].start_ns, told["c"].end_ns, told["c"].is_error) == (at_ns(7), at_ns(7) + 1, False)
    assert said(told["b"], "step.class") == ("ran",)


def test_continued() -> None:
    """With `onError: continue` the real exit code stands in the message, and the failure is tolerated."""
    told = steps({"a": ended(0, 5, message(4, ExitCode="7")), "b": PASSED}, ("True", "Succeeded", ""))
    assert said(told["a"], "result", "step.tolerated", "step.termination_reason") == ("failure", True, "Continued")
    assert (told["a"].attribute("process.exit.code"), told["a"].description) == (7, "exit code 7: Continued")
    assert said(told["b"], "step.class") == ("ran",)


def test_step_timeout() -> None:
    """A step's own timeout is a timeout, not a failure."""
    told = steps({"a": ended(1, 5, message(4, Reason="TimeoutExceeded"))})
    assert (said(told["a"], "result"), told["a"].attribute("error.type")) == (("timeout",), "TimeoutExceeded")


def test_killed_by_the_attempts_end() -> None:
    """A step that was killed has the attempt's result, unless it had ended by itself more than a second before."""
    entries = [entry(name, ended(1, 20, reason="TaskRunTimeout"), "TaskRunTimeout") for name in "ab"]
    told = steps({"a": PASSED, "b": ended(255, 20, message(6))}, TIMED_OUT, entries)
    assert said(told["a"], "step.class", "result") == ("ran", "success")
    assert said(told["b"], "step.class", "result") == ("ran", "timeout")
    assert told["b"].attribute("process.exit.code") == 255
    told = steps({"a": PASSED, "b": ended(3, 18, message(6))}, TIMED_OUT, entries)
    assert said(told["b"], "result") == ("failure",)


@pytest.mark.row("O21")
@pytest.mark.parametrize(
    ("transition", "result", "error"),
    [(9, "error", "EvictionByEvictionAPI"), (10, "error", "EvictionByEvictionAPI"), (11, "failure", "exit_code")],
)
def test_disrupted(transition: float, result: str, error: str) -> None:
    """A step that the cluster took away is an error of the cluster, and so is its attempt; later, it was the step's own."""
    taken = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "lastTransitionTime": at(transition),
    }
    status: Json = {"startTime": at(1), "completionTime": at(20), "podName": "build-pod", "conditions": succeeded(*FAILED)}
    states = {"a": ended(255, 9, message(6))}
    made = pod(states)
    made["status"]["conditions"] = [taken]
    told = tell(task_run(status), made)
    assert (told["step:step-a"].attribute("cicd.pipeline.task.run.result"), told["step:step-a"].attribute("error.type")) == (
        result,
        error,
    )
    assert told["run"].attribute("error.type") == (error if result == "error" else "StepFailed")
    assert ("disruption" in [one.name for one in told["step:step-a"].events]) == (result == "error")


@pytest.mark.row("O21")
@pytest.mark.parametrize("reason", ["ContainerStatusUnknown", "ContainerCannotRun", "StartError"])
def test_lost_container(reason: str) -> None:
    """A container that the runtime lost or never started is an error of the cluster."""
    told = steps({"a": PASSED, "b": ended(137, None, began=None, reason=reason)})
    assert (said(told["b"], "result"), told["b"].attribute("error.type")) == (("error",), reason)
    assert said(told["b"], "time.end_source") == ("attempt_end",)


@pytest.mark.row("O7", "O21")
def test_without_its_pod() -> None:
    """Of a Pod that was never seen the TaskRun tells whole seconds, drawn in the middle; what Tekton invented is not believed."""
    entries = [
        entry("a", ended(0, 5, began=4), "Completed"),
        entry("b", ended(1, 20, began=2, reason="TaskRunCancelled"), "TaskRunCancelled"),
        entry("c", ended(1, 20, began=2, reason="TaskRunCancelled"), "TaskRunCancelled"),
    ]
    told = steps(None, CANCELLED, entries)
    assert said(told["a"], "step.class", "time.start_source", "time.grain") == ("ran", "taskrun_status", "s")
    assert (told["a"].start_ns, told["a"].end_ns) == (at_ns(4.5), at_ns(5.5))
    assert said(told["b"], "step.class", "result") == ("cut_off", "cancellation")
    assert (told["b"].start_ns, told["b"].attribute("process.exit.code")) == (at_ns(5.5), None)
    assert said(told["c"], "step.class") == ("never_ran",)
    assert told["a"].attribute("cicd.pipeline.task.run.id") == "22222222-2222-4222-8222-222222222222/name:build-pod/step-a"


def test_fillers_close_the_gate() -> None:
    """An invented start, such as the TaskRun's creation, says that the gate never opened: nothing ran."""
    entries = [entry(name, ended(1, 20, began=0, reason="TaskRunTimeout"), "TaskRunTimeout") for name in "ab"]
    told = steps(None, TIMED_OUT, entries)
    assert {said(span, "step.class") for span in told.values()} == {("never_ran",)}


@pytest.mark.row("O14")
def test_stale_entries_of_the_attempt_before() -> None:
    """Tekton does not clear the list of steps for a retry: an entry that equals the one before counts as no end."""
    old = ended(3, 9, began=4)
    old["terminated"]["containerID"] = "containerd://old"
    first: Json = {"startTime": at(1), "completionTime": at(10), "podName": "pod-1", "conditions": succeeded(*FAILED)}
    first["steps"] = [entry("a", old, "Error")]
    last: Json = {"startTime": at(11), "completionTime": at(20), "podName": "pod-2", "conditions": succeeded(*CANCELLED)}
    last |= {"steps": [entry("a", old, "Error")], "retriesStatus": [first]}
    told = tell(task_run(last))
    assert told["retry"].attribute("tekton.attempt") == 2
    assert told["step:step-a"].attribute("tekton.step.class") == "never_ran"


def test_attributes_of_the_container() -> None:
    """Image, tag, digest and container id are told as the conventions ask."""
    made = pod({"a": PASSED})
    made["spec"]["containers"][0]["image"] = "registry:5000/team/app:1.2@sha256:" + "a" * 64
    made["status"]["containerStatuses"][0] |= {
        "imageID": "docker-pullable://registry:5000/team/app@sha256:" + "a" * 64,
        "containerID": "containerd://abc",
    }
    status: Json = {
        "startTime": at(1),
        "completionTime": at(20),
        "podName": "build-pod",
        "conditions": succeeded("True", "Succeeded"),
    }
    span = tell(task_run(status), made)["step:step-a"]
    assert span.attribute("container.image.name") == "registry:5000/team/app"
    assert span.attribute("container.image.tags") == ("1.2",)
    assert span.attribute("container.image.repo_digests") == ("registry:5000/team/app@sha256:" + "a" * 64,)
    assert span.attribute("container.id") == "abc"
    assert dict(span.resource)["k8s.pod.uid"] == POD_UID
    assert [one.name for one in span.events] == ["running", "terminated"]
    assert dict(span.events[0].attributes) == {"tekton.container.started_at": at(2)}
