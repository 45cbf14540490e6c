"""What do a PipelineRun and a CustomRun say? The fields we use and no others."""

import msgspec

from tracer.tekton import names
from tracer.tekton.meta import Condition, ObjectMeta, SpanContext, condition
from tracer.tekton.taskrun import TaskRef
from tracer.tekton.times import Time


class ChildReference(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A child that the PipelineRun made, without any state."""

    kind: str = ""
    name: str = ""


class SkippedTask(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A task for which no object was ever made."""

    name: str = ""
    reason: str = ""


class ParameterLength(int):
    """How many values a matrix parameter has; 1 where only the cluster knows. The values themselves are not kept."""


class MatrixParameter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One dimension of a matrix."""

    value: ParameterLength = ParameterLength(1)


class _MatrixInclude(msgspec.Struct, frozen=True, gc=False):
    pass


class Matrix(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Over which values a pipeline task fans out."""

    params: tuple[MatrixParameter, ...] = ()
    include: tuple[_MatrixInclude, ...] = ()

    @property
    def combinations(self) -> int:
        """How many TaskRuns the pipeline task becomes, as far as the spec tells."""
        product = 1
        for parameter in self.params:
            product *= parameter.value
        return product if self.params else max(1, len(self.include))


class PipelineTask(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A task of a pipeline."""

    name: str = ""
    matrix: Matrix | None = None


class PipelineSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The pipeline as it was resolved."""

    tasks: tuple[PipelineTask, ...] = ()
    finally_tasks: tuple[PipelineTask, ...] = msgspec.field(default=(), name="finally")

    @property
    def all_tasks(self) -> tuple[PipelineTask, ...]:
        """The tasks and the finally tasks."""
        return self.tasks + self.finally_tasks


class RunStatus(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What PipelineRuns and CustomRuns have in common."""

    conditions: tuple[Condition, ...] = ()
    start_time: Time | None = None
    completion_time: Time | None = None

    @property
    def succeeded(self) -> Condition | None:
        """The condition that tells how it ended, or that it has not."""
        return condition(self.conditions, names.CONDITION_SUCCEEDED)


class PipelineRunStatus(RunStatus, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The status of a PipelineRun."""

    child_references: tuple[ChildReference, ...] = ()
    skipped_tasks: tuple[SkippedTask, ...] = ()
    pipeline_spec: PipelineSpec | None = None
    span_context: SpanContext | None = None


class PipelineRunSpec(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the PipelineRun should do."""

    pipeline_ref: TaskRef | None = None


class PipelineRun(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A PipelineRun."""

    metadata: ObjectMeta
    spec: PipelineRunSpec = PipelineRunSpec()
    status: PipelineRunStatus = PipelineRunStatus()


class _Retry(msgspec.Struct, frozen=True, gc=False):
    pass


class CustomRunStatus(RunStatus, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The status of a CustomRun; its retries are counted, not drawn."""

    retries_status: tuple[_Retry, ...] = ()


class CustomRunSpec(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the CustomRun should do."""

    status_message: str = ""


class CustomRun(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A CustomRun: a task that a controller other than Tekton's runs."""

    metadata: ObjectMeta
    spec: CustomRunSpec = CustomRunSpec()
    status: CustomRunStatus = CustomRunStatus()
