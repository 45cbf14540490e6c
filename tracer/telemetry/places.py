"""Where does a run hang: in which trace, below which span, with which resource?

Keeps: the answer for an object follows from the objects above it and the settings alone.
Source: span-model 2.1, 5.1, 10.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tracer.lifecycle.judgement import is_final
from tracer.tekton.decode import Schema, schema_of
from tracer.tekton.meta import ObjectMeta, SpanContext, read_span_context
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRef, TaskRun
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import TraceContext, parse_context, span_id, trace_id
from tracer.telemetry.mappings import DEFAULT_MAPPINGS, RUN, Mappings, action, resource_values, run_span_values
from tracer.telemetry.records import Attributes, AttributeValue, attributes
from tracer.telemetry.urls import object_url

# Jaeger's screen slows beyond 2,000 spans in a trace; a task has about 12, so above this many the phases stay away.
PHASES_TASK_LIMIT = 150


class ParentPolicy(StrEnum):
    """What to do with the trace context that a run was given."""

    TEKTON = "tekton"
    LINK = "link"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """What the configuration says about spans. It enters the bytes, so all replicas must have the same."""

    parent: ParentPolicy = ParentPolicy.TEKTON
    honour_sampled_flag: bool = True
    service_name: str = "tekton"
    cluster_name: str = ""
    mappings: Mappings = DEFAULT_MAPPINGS
    """Without an error (`mappings_error`)."""
    run_url: str = ""
    """A template without an error (`run_url_error`); empty for no URLs."""

    @property
    def schema(self) -> Schema:
        """What must be read of the objects."""
        return schema_of(frozenset(source for source, _ in self.mappings))


DEFAULT_SETTINGS = SpanSettings()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the spans of an object hang."""

    trace_id: bytes
    trace_state: str
    parent_span_id: bytes
    """Empty for a root."""
    has_remote_parent: bool
    floor_ns: int
    """The start of the parent; 0 for a top run, whose start is never raised."""
    resource: Attributes
    """Of the nearest run."""
    shared: tuple[tuple[str, AttributeValue | None], ...]
    """What all resources of the trace have."""
    shared_by_runs: tuple[tuple[str, AttributeValue | None], ...]
    """What all run spans of the trace have."""
    action: str
    """What all runs of the trace do."""
    settings: SpanSettings
    with_phases: bool
    run_name: str
    """Of the nearest PipelineRun; empty without one."""
    matrix_tasks: frozenset[str]
    """The names of its tasks that have a matrix."""
    caller: TraceContext | None
    """The context that the top run was given, whether it is the parent or not."""
    link_to_caller: bool
    is_told: bool = True
    """False for what is known and not told: its caller asked for no trace, or no PipelineRun is above it."""

    @property
    def is_top(self) -> bool:
        """Whether it is the place of a top run."""
        return self.floor_ns == 0


def has_begun(run: PipelineRun | TaskRun, *, is_gone: bool) -> bool:
    """Say whether what hangs below a run can be told: not before it has a start, is final or is gone.

    Tekton fills in the trace context in the same update as the start, and the labels before it.
    """
    return run.status.start_time is not None or is_final(run.status.succeeded) or is_gone


def top_place(run: PipelineRun | TaskRun, settings: SpanSettings, cluster_uid: str, *, is_gone: bool) -> Place | None:
    """Find the place of a top run; None before it has begun."""
    if not has_begun(run, is_gone=is_gone):
        return None
    caller, own = _contexts(run)
    is_parent = caller is not None and settings.parent is ParentPolicy.TEKTON
    chosen = None if settings.parent is ParentPolicy.NONE else caller or own
    is_unsampled = caller is not None and chosen is caller and settings.honour_sampled_flag and not caller.is_sampled
    meta = run.metadata
    shared: dict[str, AttributeValue | None] = {
        **resource_values(meta, settings.mappings),
        keys.SERVICE_NAME: settings.service_name,
        keys.SERVICE_NAMESPACE: meta.annotations.service_namespace,
        keys.SERVICE_VERSION: meta.annotations.service_version,
        keys.CLUSTER_NAME: settings.cluster_name,
        keys.CLUSTER_UID: cluster_uid,
    }
    place = Place(
        trace_id=chosen.trace_id if chosen is not None else trace_id(meta.uid),
        trace_state=chosen.trace_state if chosen is not None else "",
        parent_span_id=caller.span_id if caller is not None and is_parent else b"",
        has_remote_parent=is_parent,
        floor_ns=0,
        resource=(),
        shared=tuple(shared.items()),
        shared_by_runs=tuple(run_span_values(meta, settings.mappings).items()),
        action=action(meta, settings.mappings),
        settings=settings,
        with_phases=True,
        run_name="",
        matrix_tasks=frozenset(),
        caller=caller,
        link_to_caller=caller is not None and settings.parent is ParentPolicy.LINK,
        is_told=not is_unsampled,
    )
    return own_place(run, place)


UNTOLD = Place(
    trace_id=b"",
    trace_state="",
    parent_span_id=b"",
    has_remote_parent=False,
    floor_ns=0,
    resource=(),
    shared=(),
    shared_by_runs=(),
    action=RUN,
    settings=DEFAULT_SETTINGS,
    with_phases=False,
    run_name="",
    matrix_tasks=frozenset(),
    caller=None,
    link_to_caller=False,
    is_told=False,
)
"""The place of a CustomRun that no PipelineRun owns: neither it nor what it owns is told."""


def own_place(run: PipelineRun | TaskRun, above: Place) -> Place:
    """Give the place of a run its own resource."""
    resource = {
        **dict(above.shared),
        keys.NAMESPACE_NAME: run.metadata.namespace,
        keys.PIPELINE_RUN_ID: run.metadata.uid,
        keys.PIPELINE_RUN_URL: object_url(above.settings.run_url, run),
        keys.PIPELINE_NAME: pipeline_name(run),
    }
    return replace(above, resource=attributes(resource), with_phases=_has_phases(run))


def below(place: Place, parent_span_id: bytes, start_ns: int) -> Place:
    """Find the place below a span that starts at start_ns."""
    return replace(place, parent_span_id=parent_span_id, has_remote_parent=False, floor_ns=start_ns, link_to_caller=False)


def start_ns(run: PipelineRun | TaskRun | CustomRun, place: Place) -> int:
    """Say when the span of an object begins: at its creation, raised to its parent's start."""
    return max(run.metadata.created_ns, place.floor_ns)


def place_of_children(run: PipelineRun, place: Place) -> Place:
    """Find the place of what a PipelineRun owns: below its run span, which for a nested one is below its task span."""
    own = place if place.is_top else own_place(run, place)
    spec = run.status.pipeline_spec
    return replace(
        below(own, span_id("run", run.metadata.uid, ""), start_ns(run, place)),
        run_name=run.metadata.name,
        matrix_tasks=frozenset(task.name for task in spec.all_tasks if task.matrix is not None)
        if spec is not None
        else frozenset(),
    )


def place_below_task(task: CustomRun | PipelineRun, place: Place) -> Place:
    """Find the place below the task span of an object."""
    return below(place, span_id("task", task.metadata.uid, ""), start_ns(task, place))


def pod_resource(place: Place, pod: Pod | None, pod_name: str) -> Attributes:
    """Say who did the work: the run's resource and the Pod's; of a Pod that was not seen the name alone."""
    return attributes(
        {
            **dict(place.resource),
            keys.POD_NAME: pod_name,
            keys.WORKER_NAME: pod_name,
            keys.POD_UID: pod.metadata.uid if pod is not None else None,
            keys.WORKER_ID: pod.metadata.uid if pod is not None else None,
            keys.NODE_NAME: pod.spec.node_name if pod is not None else None,
        }
    )


def pipeline_name(run: PipelineRun | TaskRun) -> str:
    """Name the pipeline, or a standalone TaskRun's task, with low cardinality; empty if it has no such name."""
    meta = run.metadata
    if isinstance(run, PipelineRun):
        label, ref = meta.labels.pipeline if meta.labels.pipeline != meta.name else None, run.spec.pipeline_ref
    else:
        label, ref = meta.labels.task, run.spec.task_ref
    return label or _ref_name(ref) or _trimmed(meta)


def task_name(run: PipelineRun | TaskRun | CustomRun) -> str:
    """Name a task as its pipeline does."""
    return run.metadata.labels.pipeline_task or run.metadata.labels.task or "task"


def context_of(annotation: str | None) -> TraceContext | None:
    """Read a trace context from an annotation."""
    return parse_context(read_span_context(annotation))


def _trimmed(meta: ObjectMeta) -> str:
    return meta.generate_name.removesuffix("-")


def _ref_name(ref: TaskRef | None) -> str:
    return ref.name if ref is not None else ""


def _contexts(run: PipelineRun | TaskRun) -> tuple[TraceContext | None, TraceContext | None]:
    """Find the caller's context and Tekton's own; the caller's counts unless the status names another."""
    notes = run.metadata.annotations
    text = notes.pipeline_run_context if isinstance(run, PipelineRun) else notes.task_run_context
    said: SpanContext | None = read_span_context(text)
    caller, own = parse_context(said), parse_context(run.status.span_context)
    is_given = own is None or (
        said is not None and run.status.span_context is not None and said.traceparent == run.status.span_context.traceparent
    )
    return (caller if is_given else None), own


def ignored_context(run: PipelineRun | TaskRun) -> str:
    """Say why the context that a run's annotation gives was not taken: `malformed`, or `late` if the run had another by then.

    Empty if there is none, or if it was taken.
    """
    notes = run.metadata.annotations
    text = notes.pipeline_run_context if isinstance(run, PipelineRun) else notes.task_run_context
    if text is None:
        return ""
    if context_of(text) is None:
        return "malformed"
    return "" if _contexts(run)[0] is not None else "late"


def _has_phases(run: PipelineRun | TaskRun) -> bool:
    if not isinstance(run, PipelineRun) or run.status.pipeline_spec is None:
        return True
    tasks = run.status.pipeline_spec.all_tasks
    return sum(task.matrix.combinations if task.matrix is not None else 1 for task in tasks) <= PHASES_TASK_LIMIT
