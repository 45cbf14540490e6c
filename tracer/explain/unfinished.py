"""What is there to show of a run that goes on: what was told of it, and where the rest stands by the newest readings?

Must not know: the terminal, colours, widths, the present time.
"""

from collections.abc import Iterator, Mapping, Sequence

from tracer.delivery.ledger import Unended
from tracer.explain.rows import Row, RowKind, draw_row, place_in_time
from tracer.lifecycle.attempts import SeenPod
from tracer.lifecycle.facts import State, read_steps
from tracer.tekton import names
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import instant_ns
from tracer.telemetry.ids import span_id
from tracer.telemetry.places import pipeline_name, task_name
from tracer.telemetry.records import Slot, SpanRecord, first_line


def _own_id(value: PipelineRun | TaskRun | CustomRun, *, is_top: bool) -> bytes:
    kind = "run" if is_top or isinstance(value, PipelineRun) else "task"
    return span_id(kind, value.metadata.uid, "")


def draw_open_row(one: Unended, by_parent: Mapping[bytes, Sequence[SpanRecord]], *, is_top: bool) -> Row:
    """Draw an object that goes on: what was told below it, what goes on below it, and where its steps stand."""
    value = one.value
    told = [draw_row(span, by_parent) for span in by_parent.get(_own_id(value, is_top=is_top), ())]
    below = [draw_open_row(child, by_parent, is_top=False) for child in one.children]
    if isinstance(value, TaskRun):
        told += _open_attempts(value, by_parent, {row.span.span_id for row in told if row.span is not None})
        slots = {row.span.slot for top in told for row in top.walk() if row.span is not None}
        below += _open_steps(value, one.pods, slots)
    started_ns = instant_ns(value.status.start_time)
    pipeline = pipeline_name(value) if not isinstance(value, CustomRun) else ""
    succeeded = value.status.succeeded
    return Row(
        kind=RowKind.RUN if is_top else RowKind.TASK,
        name=(f"RUN {pipeline}" if pipeline else "RUN") if is_top else task_name(value),
        start_ns=value.metadata.created_ns,
        end_ns=None,
        state=State.RUNNING if started_ns is not None else State.WAITING,
        note=succeeded.reason if succeeded is not None and succeeded.reason.lower() != str(State.RUNNING) else "",
        message=first_line(succeeded.message) if succeeded is not None else "",
        children=tuple(sorted([*told, *below], key=place_in_time)),
    )


def _open_attempts(value: TaskRun, by_parent: Mapping[bytes, Sequence[SpanRecord]], told: set[bytes]) -> Iterator[Row]:
    """Draw what was told below a retry that itself goes on. told: the ids of the retries that were told."""
    for attempt in (*value.status.retries_status[1:], value.status):
        id_ = span_id("retry", value.metadata.uid, attempt.pod_name)
        if id_ not in told:
            yield from (draw_row(span, by_parent) for span in by_parent.get(id_, ()))


def _open_steps(value: TaskRun, pods: Sequence[SeenPod], told: set[Slot]) -> Iterator[Row]:
    """Draw the steps of the current Pod that were not told yet."""
    current = [seen.pod for seen in pods if seen.pod.metadata.name == value.status.pod_name]
    if not current:
        return
    pod = current[-1]
    for reading in read_steps(pod):
        if Slot("step", value.metadata.uid, pod.metadata.name, pod.metadata.uid, reading.container) in told:
            continue
        ended = reading.state is State.TERMINATED
        yield Row(
            kind=RowKind.STEP,
            name=reading.container.removeprefix(names.STEP_PREFIX),
            start_ns=reading.since_ns if reading.state is State.RUNNING else None,
            end_ns=None,
            state=reading.state,
            note=f"exit {reading.exit_code}" if ended else reading.reason,
            reason=reading.reason,
            exit_code=reading.exit_code,
        )
