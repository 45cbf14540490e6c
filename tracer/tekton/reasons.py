"""What does a reason mean? Tables from Tekton's and Kubernetes' reasons to a result.

Source: tektoncd/pipeline pkg/apis/pipeline/v1 (taskrun_types.go, pipelinerun_types.go), pkg/apis/run/v1beta1.
"""

from enum import StrEnum


class Result(StrEnum):
    """How something ended, in the words of OpenTelemetry's `cicd.pipeline.result`."""

    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLATION = "cancellation"
    SKIP = "skip"


RESULTS_OF_FALSE = {
    "StepFailed": Result.FAILURE,
    "SidecarFailed": Result.FAILURE,
    "Failed": Result.FAILURE,
    "FailureIgnored": Result.FAILURE,
    "TaskRunTimeout": Result.TIMEOUT,
    "PipelineRunTimeout": Result.TIMEOUT,
    "CustomRunTimedOut": Result.TIMEOUT,
    "TaskRunCancelled": Result.CANCELLATION,
    "Cancelled": Result.CANCELLATION,
    "CancelledRunningFinally": Result.CANCELLATION,
    "StoppedRunningFinally": Result.CANCELLATION,
    "CustomRunCancelled": Result.CANCELLATION,
    "RunCancelled": Result.CANCELLATION,
}
"""The result of a condition that is False, by its reason; any other reason is `error`."""

FAILED = "Failed"
STEP_FAILED = "StepFailed"
STEP_OOM = "StepOOM"
FAILURE_IGNORED = "FailureIgnored"
TASK_RUN_CANCELLED = "TaskRunCancelled"
PIPELINE_RUN_TIMEOUT = "PipelineRunTimeout"

# Of a step: what the entrypoint says in its termination message, and Tekton in `terminationReason`.
SKIPPED = "Skipped"
CONTINUED = "Continued"
CANCELLED = "Cancelled"
TIMEOUT_EXCEEDED = "TimeoutExceeded"

# Of a container: what the kubelet and the runtime say.
OOM_KILLED = "OOMKilled"
LOST_CONTAINER_REASONS = frozenset({"ContainerStatusUnknown", "ContainerCannotRun", "StartError"})

EXIT_CODE = "exit_code"
"""The class of an error that a step's own command made."""

# A command that exits with 2 leaves a termination message; the entrypoint killed while it waited leaves none.
EXIT_CODE_KILLED_WAITING = 2

_PIPELINE_RUN_TIMED_OUT = "the PipelineRun it belongs to has timed out"


def says_pipeline_run_timed_out(status_message: str) -> bool:
    """Tell whether a cancel came from the PipelineRun's time-out: only this message says so.

    Source: tektoncd/pipeline pkg/apis/pipeline/v1/taskrun_types.go (TaskRunCancelledByPipelineTimeoutMsg).
    """
    return _PIPELINE_RUN_TIMED_OUT in status_message


RUN_EVENTS = {
    "Cancelled": "cancel_requested",
    "CancelledRunningFinally": "cancel_requested",
    "StoppedRunningFinally": "stop_requested",
    "PipelineRunTimeout": "timeout",
}
"""What happened to a PipelineRun, by its final reason."""
