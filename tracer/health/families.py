"""Which metrics are there? Every one of them, with its type, its labels and what it counts.

Keeps: a name here is a promise to dashboards and alerts; no run's own name is among the label values, and where others choose
them the series are limited; a counter whose label values are known is there from the beginning, at zero.
Must not know: where the numbers come from, and how they are written.
Source: operations 9.
"""

from dataclasses import dataclass
from enum import StrEnum

from tracer.kube.wire import feeds
from tracer.tekton.names import RUN_KINDS
from tracer.tekton.reasons import Result


class Type(StrEnum):
    """What sort of metric it is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label, with the values that it is known to take."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    type: Type
    labels: tuple[Label, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Of a histogram: the upper bounds, without infinity."""
    most: int = 0
    """How many sets of label values there may be; 0 where all are known beforehand."""


WATCHED_KINDS = tuple(dict.fromkeys(str(feed.kind) for feed in feeds("")))
WATCH_REASONS = (
    "unreachable", "lost", "slow", "unusable", "credentials", "unauthorized", "forbidden", "not_served", "throttled", "http_5xx",
    "http_other", "idle", "empty", "gone", "restored", "decode", "too_large",
)  # fmt: skip
_KIND = Label("kind", WATCHED_KINDS)
OTHER = "other"
FAILURE_REASONS = (
    "exit_code", "OOMKilled", "TimeoutExceeded", "TaskRunTimeout", "PipelineRunTimeout", "Evicted", "EvictionByEvictionAPI",
    "DeletionByTaintManager", "PreemptionByScheduler", "TerminationByKubelet", "ContainerStatusUnknown", "ContainerCannotRun",
    "StartError", OTHER,
)  # fmt: skip
WAITING_REASONS = (
    "Unschedulable", "SchedulingGated", "ContainerCreating", "PodInitializing", "ErrImagePull", "ImagePullBackOff",
    "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "CrashLoopBackOff", OTHER,
)  # fmt: skip
_NAMESPACE, _PIPELINE, _TASK, _STEP = Label("namespace"), Label("pipeline"), Label("task"), Label("step")
_RESULT = Label("result", tuple(Result))
_RUN_KIND = Label("kind", tuple(sorted(RUN_KINDS)))
_DURATIONS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


def _counter(name: str, help_text: str, *labels: Label, most: int = 0) -> Family:
    return Family(name, Type.COUNTER, labels, help_text, most=most)


def _gauge(name: str, help_text: str, *labels: Label, most: int = 0) -> Family:
    return Family(name, Type.GAUGE, labels, help_text, most=most)


def _durations(name: str, help_text: str, *labels: Label, most: int) -> Family:
    return Family(name, Type.HISTOGRAM, labels, help_text, _DURATIONS_S, most)


def _histogram(name: str, help_text: str, *buckets: float) -> Family:
    return Family(name, Type.HISTOGRAM, (), help_text, buckets)


STEPS = _counter(
    "tekton_steps_total",
    "Steps that have ended, those of each attempt, also those that onError let pass.",
    *(_NAMESPACE, _PIPELINE, _TASK, _STEP, _RESULT),
    most=2_000,
)
STEP_FAILURES = _counter(
    "tekton_step_failures_total",
    "Steps that failed and were not let pass by onError, by why.",
    *(_NAMESPACE, Label("reason", FAILURE_REASONS)),
    most=1_000,
)
STEP_LAST_FAILURE = _gauge(
    "tekton_step_last_failure_timestamp_seconds",
    "When a step failed last and was not let pass by onError.",
    *(_NAMESPACE, _PIPELINE, _TASK, _STEP),
    most=2_000,
)
STEP_LAST_SUCCESS = _gauge(
    "tekton_step_last_success_timestamp_seconds",
    "When a step succeeded last.",
    *(_NAMESPACE, _PIPELINE, _TASK, _STEP),
    most=2_000,
)
TASK_RUNS = _counter(
    "tekton_taskruns_total",
    "TaskRuns that have ended, each attempt of them.",
    *(_NAMESPACE, _PIPELINE, _TASK, _RESULT),
    most=2_000,
)
PIPELINE_RUNS = _counter(
    "tekton_pipelineruns_total", "PipelineRuns that have ended.", *(_NAMESPACE, _PIPELINE, _RESULT), most=1_000
)
TASK_RUN_DURATION = _durations(
    "tekton_taskrun_duration_seconds",
    "How long attempts of TaskRuns took, from their start to their completion.",
    *(_NAMESPACE, _TASK, _RESULT),
    most=250,
)
PIPELINE_RUN_DURATION = _durations(
    "tekton_pipelinerun_duration_seconds",
    "How long PipelineRuns took, from their start to their completion.",
    *(_NAMESPACE, _PIPELINE, _RESULT),
    most=200,
)
STEP_DURATION = _durations(
    "tekton_step_duration_seconds",
    "How long steps took that ran, from when their command began to its end.",
    *(_NAMESPACE, _TASK, _STEP),
    most=250,
)
TASK_RUNS_RUNNING = _gauge("tekton_taskruns_running", "TaskRuns that have started and not ended.", _NAMESPACE, most=500)
STEPS_WAITING = _gauge(
    "tekton_steps_waiting",
    "Steps whose container has not started, by why it waits.",
    *(_NAMESPACE, Label("reason", WAITING_REASONS)),
    most=1_000,
)
RUN_OLDEST_AGE = _gauge(
    "tekton_run_oldest_age_seconds",
    "How long ago the oldest run was created that has not ended.",
    *(_NAMESPACE, _RUN_KIND),
    most=500,
)
RUNS_STUCK = _gauge(
    "tekton_runs_stuck",
    "Runs that were created longer ago than stuck_after_s and have not ended.",
    *(_NAMESPACE, _RUN_KIND),
    most=500,
)

SPANS_ACKNOWLEDGED = _counter("tracer_spans_acknowledged_total", "Spans that the backend acknowledged.")
SPANS_SENT = _counter("tracer_spans_sent_total", "Spans in requests that were sent, repeats too.")
SPANS_LOST = _counter(
    "tracer_spans_lost_total",
    "Spans that were due and will never be sent.",
    Label("reason", ("memory_cap", "restart")),
)
SPANS_REJECTED = _counter("tracer_spans_rejected_total", "Spans that the backend rejected for good.")
EDGE_FACTS_DROPPED = _counter(
    "tracer_edge_facts_dropped_total",
    "Events that came for Pods that are not there, or no longer.",
    Label("reason", ("late_event",)),
)
REQUESTS = _counter(
    "tracer_requests_total",
    "Requests to the backend that came to an end, by what came of them.",
    Label("outcome", ("acknowledged", "partly", "retried", "refused", "rejected")),
)
REQUEST_DURATION = _histogram(
    "tracer_request_duration_seconds",
    "How long one try to send a request took.",
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60),
)
DELIVERY_LAG = _histogram(
    "tracer_delivery_lag_seconds",
    "How long it took from when a span was due until it was acknowledged.",
    *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
OUTBOX_RUNS = _gauge(
    "tracer_outbox_runs",
    "Runs and tasks with spans that are due: those that wait, and those in requests.",
    Label("state", ("pending", "in_flight")),
)
OUTBOX_OLDEST_AGE = _gauge("tracer_outbox_oldest_age_seconds", "For how long the oldest of what is due has been due.")
RUNS_INCOMPLETE = _counter(
    "tracer_runs_incomplete_total",
    "Runs that were told without their end, as nobody saw it.",
    Label("reason", ("deleted_running", "gap")),
)
LATE_CHANGES = _counter("tracer_late_changes_total", "Changes of what was already told to its end, which are not sent.")
SPANS_NOT_SAMPLED = _counter(
    "tracer_spans_not_sampled_total", "Spans left out because whoever started their run asked for no trace."
)
CHECKPOINT_LAST_WRITE = _gauge(
    "tracer_checkpoint_last_write_timestamp_seconds", "When the checkpoint was written last; absent before it ever was."
)
IS_LEADER = _gauge("tracer_is_leader", "Whether this replica sends (1) or stands by (0).")
LAST_ACKNOWLEDGED = _gauge(
    "tracer_last_acknowledged_timestamp_seconds", "When the backend acknowledged something last; absent before it ever did."
)

WATCH_EVENTS = _counter(
    "tracer_watch_events_total",
    "Watch events read.",
    _KIND,
    Label("type", ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "other")),
)
WATCH_BYTES = _counter("tracer_watch_bytes_total", "Bytes read of lists and watches.", _KIND)
WATCH_LAST_EVENT = _gauge(
    "tracer_watch_last_event_timestamp_seconds",
    "When the API server answered or sent something last, on the watch that was silent for the longest time.",
    _KIND,
)
WATCH_ERRORS = _counter("tracer_watch_errors_total", "How often a list or a watch failed.", _KIND, Label("reason", WATCH_REASONS))
RELISTS = _counter("tracer_relists_total", "Full lists begun after the first one.", _KIND)
OBJECTS = _gauge(
    "tracer_objects",
    "Objects by what is still to be told of them.",
    Label("kind"),
    Label("state", ("watched", "pending", "done", "deleted")),
)
OBJECTS_SKIPPED = _counter(
    "tracer_objects_skipped_total",
    "Readings of objects that cannot be read, or are too large.",
    _KIND,
    Label("reason", ("malformed", "too_large")),
)
LOOP_STALL = _histogram(
    "tracer_loop_stall_seconds",
    "How late the heartbeat was, which comes once a second.",
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TRACE_CONTEXT_IGNORED = _counter(
    "tracer_trace_context_ignored_total",
    "Trace contexts given with a run that could not be used.",
    Label("reason", ("malformed", "oversize", "late")),
)
SERIES_CAPPED = _counter(
    "tracer_series_capped_total",
    "Changes of a metric that were put together under the names __other__, as it has as many series as it may.",
    Label("metric"),
)
BUILD_INFO = _gauge("tracer_build_info", "Always 1; the label says which version this is.", Label("version"))

FAMILIES = tuple(one for one in list(globals().values()) if isinstance(one, Family))
"""All of them, in this order."""
