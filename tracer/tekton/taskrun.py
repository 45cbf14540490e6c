"""What does a TaskRun say? The fields we use and no others."""

import msgspec

from tracer.tekton import names
from tracer.tekton.meta import Condition, ObjectMeta, SpanContext, condition
from tracer.tekton.pod import ExitCode, StateRunning, StateWaiting
from tracer.tekton.times import Time


class StepTerminated(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A step's end as Tekton copied it, or invented it: `failTaskRun` writes the TaskRun's reason here."""

    exit_code: ExitCode
    reason: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    container_id: str = msgspec.field(default="", name="containerID")


class StepState(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One entry of `status.steps`; a placeholder has neither a container nor a state."""

    name: str = ""
    container: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StepTerminated | None = None
    termination_reason: str = ""

    @property
    def container_name(self) -> str:
        """The container of the step, also while Tekton has not filled it in."""
        return self.container or names.STEP_PREFIX + self.name


class TaskSpecStep(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A step as the task asks for it."""

    name: str = ""
    image: str = ""


class TaskSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The task as it was resolved."""

    steps: tuple[TaskSpecStep, ...] = ()


class AttemptStatus(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The status of one attempt: an entry of `retriesStatus`, or the top of the status."""

    conditions: tuple[Condition, ...] = ()
    start_time: Time | None = None
    completion_time: Time | None = None
    pod_name: str = ""
    steps: tuple[StepState, ...] = ()
    task_spec: TaskSpec | None = None

    @property
    def succeeded(self) -> Condition | None:
        """The condition that tells how it ended, or that it has not."""
        return condition(self.conditions, names.CONDITION_SUCCEEDED)


class TaskRunStatus(AttemptStatus, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The status of a TaskRun: that of its newest attempt, and the earlier ones."""

    retries_status: tuple[AttemptStatus, ...] = ()
    span_context: SpanContext | None = None


class TaskRef(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A reference to a Task or a Pipeline by name."""

    name: str = ""


class TaskRunSpec(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the TaskRun should do."""

    task_ref: TaskRef | None = None
    status_message: str = ""


class TaskRun(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A TaskRun."""

    metadata: ObjectMeta
    spec: TaskRunSpec = TaskRunSpec()
    status: TaskRunStatus = TaskRunStatus()
