"""What a condition's reason comes to: the span model's table 7.2."""

import pytest

from tracer.lifecycle.judgement import judge_condition
from tracer.tekton.meta import Condition

BY_TIMEOUT = "TaskRun cancelled as the PipelineRun it belongs to has timed out."


@pytest.mark.row("O3", "O21")
@pytest.mark.parametrize(
    ("status", "reason", "message", "result", "error_type"),
    [
        ("True", "Completed", "", "success", None),
        ("False", "StepFailed", "", "failure", "StepFailed"),
        ("False", "Failed", "", "failure", "Failed"),
        ("False", "FailureIgnored", "", "failure", "FailureIgnored"),
        ("False", "TaskRunTimeout", "", "timeout", "TaskRunTimeout"),
        ("False", "PipelineRunTimeout", "", "timeout", "PipelineRunTimeout"),
        ("False", "CustomRunTimedOut", "", "timeout", "CustomRunTimedOut"),
        ("False", "TaskRunCancelled", BY_TIMEOUT, "timeout", "PipelineRunTimeout"),
        (
            "False",
            "TaskRunCancelled",
            "TaskRun cancelled as the PipelineRun it belongs to has been cancelled.",
            "cancellation",
            None,
        ),
        ("False", "StoppedRunningFinally", "", "cancellation", None),
        ("False", "RunCancelled", "", "cancellation", None),
        ("False", "StepOOM", "", "error", "StepOOM"),
        ("False", "CreateContainerConfigError", "", "error", "CreateContainerConfigError"),
        ("False", "SomethingOfNextYear", "", "error", "SomethingOfNextYear"),
    ],
)
def test_judge_condition(status: str, reason: str, message: str, result: str, error_type: str | None) -> None:
    """Each reason has its result; one that nobody knows yet is an error of that name."""
    judged = judge_condition(Condition("Succeeded", status, reason), message)
    assert (judged.result, judged.error_type) == (result, error_type)


def test_an_oom_before_tekton_1_12() -> None:
    """Older Tekton calls an OOM `Failed`; the step tells."""
    judged = judge_condition(Condition("Succeeded", "False", "Failed"), has_oom_step=True)
    assert (judged.result, judged.error_type) == ("error", "StepOOM")
