"""What is there to show of a run: which rows, where the time went, and why it ended as it did?

Keeps: what is drawn of a finished run are the spans that are sent; what goes on is added from the newest readings.
Must not know: the terminal, colours, widths, the present time.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracer.delivery.ledger import Unended
from tracer.lifecycle.attempts import SeenPod
from tracer.lifecycle.facts import State, read_steps
from tracer.tekton import names
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.reasons import Result
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS, instant_ns
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import span_id, trace_id
from tracer.telemetry.places import pipeline_name
from tracer.telemetry.records import AttributeValue, Slot, SpanRecord, first_line


class RowKind(StrEnum):
    """What a row stands for."""

    RUN = "run"
    TASK = "task"
    RETRY = "retry"
    STEP = "step"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the picture: a span, or something that goes on."""

    kind: RowKind
    name: str
    start_ns: int | None
    """None for what has not begun."""
    end_ns: int | None
    """None for what goes on."""
    state: State
    result: str = ""
    note: str = ""
    """What is worth saying beside it, such as `exit 3` or `never ran`."""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    is_error: bool = False
    span: SpanRecord | None = None
    children: tuple["Row", ...] = ()

    @property
    def is_point(self) -> bool:
        """Whether it has a place in time and no duration."""
        return self.start_ns is not None and self.end_ns is not None and self.end_ns - self.start_ns <= 1

    def walk(self) -> Iterator["Row"]:
        """Give the row and all below it, in the order of the picture."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that made a run end as it did."""

    path: tuple[str, ...]
    """Names from the task down to the step."""
    result: str
    reason: str
    exit_code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of the critical path: what the run was waiting for, and how long."""

    path: tuple[str, ...]
    kind: RowKind
    duration_ns: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A run as a picture."""

    root: Row
    trace_id: str
    uid: str
    kind: str
    run_name: str
    namespace: str
    start_ns: int
    end_ns: int
    """Of a run that goes on, as far as is known."""
    causes: tuple[Cause, ...]
    critical_path: tuple[Leg, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the run was told to its end."""
        return self.root.end_ns is not None


def waterfalls(spans: Iterable[SpanRecord], unended: Iterable[Unended] = (), until_ns: int = 0) -> list[Waterfall]:
    """Draw every top run of which something is known, the oldest first.

    unended: the runs that go on. until_ns: when the last of the facts arrived, 0 if that is not known.
    """
    told = list(spans)
    by_parent: dict[bytes, list[SpanRecord]] = {}
    for span in told:
        if not is_top(span):
            by_parent.setdefault(span.parent_span_id, []).append(span)
    pictures = [_finished(span, by_parent) for span in told if is_top(span)]
    pictures += [_going_on(one, by_parent, until_ns) for one in unended]
    return sorted(pictures, key=lambda one: (one.start_ns, one.uid))


def is_top(span: SpanRecord) -> bool:
    """Say whether a span is a top run's: a root, or the child of its caller's span, which may well be told here too."""
    return span.slot.kind == "run" and (span.has_remote_parent or not span.parent_span_id)


# ---------------------------------------------------------------- what was told


def _finished(span: SpanRecord, by_parent: Mapping[bytes, Sequence[SpanRecord]]) -> Waterfall:
    root = _row(span, by_parent)
    resource = dict(span.resource)
    return Waterfall(
        root=root,
        trace_id=span.trace_id.hex(),
        uid=span.slot.owner_uid,
        kind=_text(span, keys.RUN_KIND),
        run_name=_text(span, keys.RUN_NAME),
        namespace=str(resource.get(keys.NAMESPACE_NAME, "")),
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        causes=tuple(_causes(root)),
        critical_path=_critical_path(root, span.end_ns),
    )


def row_of(span: SpanRecord) -> Row:
    """Draw one span without what is below it."""
    return _row(span, {})


def _row(span: SpanRecord, by_parent: Mapping[bytes, Sequence[SpanRecord]]) -> Row:
    kind = _KINDS.get(span.slot.kind, RowKind.PHASE)
    children = [_row(child, by_parent) for child in by_parent.get(span.span_id, ())]
    exit_code, index = span.attribute(keys.EXIT_CODE), span.attribute(keys.MATRIX_INDEX)
    code = exit_code if isinstance(exit_code, int) and kind is RowKind.STEP else None
    return Row(
        kind=kind,
        name=span.name if index is None else f"{span.name} [{index}]",
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        state=State.TERMINATED,
        result=_text(span, keys.TASK_RUN_RESULT) or _text(span, keys.PIPELINE_RESULT),
        note=_note(span, code),
        reason=_reason(span),
        message="" if kind is RowKind.STEP else span.description,
        exit_code=code,
        is_error=span.is_error,
        span=span,
        children=tuple(sorted(children, key=_place_in_time)),
    )


_KINDS = {
    "run": RowKind.RUN,
    "task": RowKind.TASK,
    "skipped": RowKind.TASK,
    "retry": RowKind.RETRY,
    "step": RowKind.STEP,
}


def _note(span: SpanRecord, exit_code: int | None) -> str:
    """Say in a few words what the result does not."""
    step_class = span.attribute(keys.STEP_CLASS)
    notes = []
    if step_class == "never_ran":
        notes.append("never ran")
    elif step_class == "cut_off":
        notes.append("cut off")
    elif step_class == "skipped":
        notes.append("skipped by its when" if exit_code == 0 else "skipped")
    elif span.slot.kind == "skipped":
        notes.append(f"skipped: {_text(span, keys.REASON)}")
    elif exit_code:
        is_clusters = _text(span, keys.TASK_RUN_RESULT) == Result.ERROR
        notes.append(_text(span, keys.ERROR_TYPE) if is_clusters else f"exit {exit_code}")
    if span.attribute(keys.STEP_TOLERATED) or span.attribute(keys.TASK_TOLERATED):
        notes.append("tolerated")
    if span.attribute(keys.OBSERVED):
        notes.append("unfinished")
    retries = span.attribute(keys.RETRIES)
    if isinstance(retries, int):
        notes.append(f"{retries} {'retry' if retries == 1 else 'retries'}")
    attempt = span.attribute(keys.ATTEMPT)
    if span.slot.kind == "retry":
        notes.append(f"attempt {attempt}")
    return ", ".join(notes)


def _reason(span: SpanRecord) -> str:
    error_type = _text(span, keys.ERROR_TYPE)
    if span.slot.kind == "step" and error_type and error_type != "exit_code":
        return error_type  # what ended it, where its own container knows only that it was killed
    keys_of_reasons = (keys.STEP_TERMINATION_REASON, keys.CONTAINER_STATUS_REASON, keys.REASON, keys.ERROR_TYPE)
    said = next((text for key in keys_of_reasons if (text := _text(span, key))), "")
    return said or ("deleted, or never ended" if span.attribute(keys.OBSERVED) else "")


def _text(span: SpanRecord, key: str) -> str:
    value: AttributeValue | None = span.attribute(key)
    return str(value) if value is not None else ""


def _place_in_time(row: Row) -> tuple[int, int, int]:
    """Order rows by their start; phases before steps that start with them, and what has not begun last."""
    late = 1 << 63
    start = row.start_ns if row.start_ns is not None else late
    slot = row.span.slot.kind if row.span is not None else ""
    return start, _ORDER.index(slot) if slot in _ORDER else len(_ORDER), row.end_ns if row.end_ns is not None else late


_ORDER = ("queue", "create", "schedule", "init", "pull", "start", "step")


# ---------------------------------------------------------------- what goes on


def _going_on(one: Unended, by_parent: Mapping[bytes, Sequence[SpanRecord]], until_ns: int) -> Waterfall:
    root = _open_row(one, by_parent, is_top=True)
    latest = [until_ns, one.value.metadata.created_ns]
    latest += [instant for row in root.walk() for instant in (row.start_ns, row.end_ns) if instant is not None]
    meta = one.value.metadata
    known = one.place.trace_id.hex() if one.place is not None and one.place.trace_id else trace_id(meta.uid).hex()
    return Waterfall(
        root=root,
        trace_id=known,
        uid=meta.uid,
        kind=type(one.value).__name__,
        run_name=meta.name,
        namespace=meta.namespace,
        start_ns=meta.created_ns,
        end_ns=max(latest) if until_ns else max(latest) + SECOND_NS,
        causes=(),
        critical_path=(),
    )


def _own_id(value: PipelineRun | TaskRun | CustomRun, *, is_top: bool) -> bytes:
    kind = "run" if is_top or isinstance(value, PipelineRun) else "task"
    return span_id(kind, value.metadata.uid, "")


def _open_row(one: Unended, by_parent: Mapping[bytes, Sequence[SpanRecord]], *, is_top: bool) -> Row:
    """Draw an object that goes on: what was told below it, what goes on below it, and where its steps stand."""
    value = one.value
    told = [_row(span, by_parent) for span in by_parent.get(_own_id(value, is_top=is_top), ())]
    below = [_open_row(child, by_parent, is_top=False) for child in one.children]
    if isinstance(value, TaskRun):
        told = [*told, *_open_attempts(value, by_parent)]
        below += _open_steps(value, one.pods, {row.span.slot for row in _all(told) if row.span is not None})
    started_ns = instant_ns(value.status.start_time)
    labels = value.metadata.labels
    task_name = labels.pipeline_task or labels.task or "task"
    pipeline = pipeline_name(value) if not isinstance(value, CustomRun) else ""
    succeeded = value.status.succeeded
    return Row(
        kind=RowKind.RUN if is_top else RowKind.TASK,
        name=(f"RUN {pipeline}" if pipeline else "RUN") if is_top else task_name,
        start_ns=value.metadata.created_ns,
        end_ns=None,
        state=State.RUNNING if started_ns is not None else State.WAITING,
        note=succeeded.reason if succeeded is not None and succeeded.reason.lower() != str(State.RUNNING) else "",
        message=first_line(succeeded.message) if succeeded is not None else "",
        children=tuple(sorted([*told, *below], key=_place_in_time)),
    )


def _all(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        yield from row.walk()


def _open_attempts(value: TaskRun, by_parent: Mapping[bytes, Sequence[SpanRecord]]) -> Iterator[Row]:
    """Draw what was told below a retry that itself goes on."""
    told_retries = {span.span_id for span in by_parent.get(_own_id(value, is_top=False), ()) if span.slot.kind == "retry"}
    told_retries |= {span.span_id for span in by_parent.get(_own_id(value, is_top=True), ()) if span.slot.kind == "retry"}
    for attempt in (*value.status.retries_status[1:], value.status):
        id_ = span_id("retry", value.metadata.uid, attempt.pod_name)
        if id_ not in told_retries and id_ in by_parent:
            yield from (_row(span, by_parent) for span in by_parent[id_])


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


# ---------------------------------------------------------------- why, and where the time went


def _causes(root: Row, path: tuple[str, ...] = ()) -> Iterator[Cause]:
    """Find what made a run end as it did: of everything that ended badly the lowest rows, in the order of the picture."""
    if root.result in {"success", "skip", ""} and root.kind is not RowKind.PHASE:
        return
    here = path if root.kind is RowKind.RUN and not path else (*path, root.name)
    blamed = [child for child in _last_attempt(root.children) if _is_to_blame(child, root)]
    below = [cause for child in blamed for cause in _causes(child, here)]
    # A run, an attempt, and a task that only repeats how its step ended, say less than what is below them.
    below = [cause for cause in below if not cause.message or cause.message != root.message]
    if not below or (root.kind is RowKind.TASK and not root.message.startswith(_STEP_ENDED)):
        yield Cause(here, root.result, root.reason, root.exit_code, root.message)
    yield from below


_STEP_ENDED = '"step-'


def _last_attempt(children: Sequence[Row]) -> Sequence[Row]:
    """Leave out earlier attempts: a task ends as its last one."""
    retries = [child for child in children if child.kind is RowKind.RETRY]
    return retries[-1:] or children


def _is_to_blame(child: Row, parent: Row) -> bool:
    if child.span is not None and (child.span.attribute(keys.STEP_TOLERATED) or child.span.attribute(keys.TASK_TOLERATED)):
        return False
    return child.is_error or (child.result == "cancellation" and parent.result == "cancellation")


def _critical_path(root: Row, until_ns: int, path: tuple[str, ...] = ()) -> tuple[Leg, ...]:
    """Walk back from the end: at every moment the run waited for the child that ended last."""
    here = path if root.kind is RowKind.RUN and not path else (*path, root.name)
    if root.start_ns is None:
        return ()
    cursor = min(until_ns, root.end_ns if root.end_ns is not None else until_ns)
    rest = [child for child in root.children if child.start_ns is not None and child.end_ns is not None and not child.is_point]
    if not rest:
        return (Leg(here, root.kind, cursor - root.start_ns),) if cursor > root.start_ns else ()
    ending = sorted(rest, key=lambda child: child.end_ns or 0)
    going_on: list[tuple[int, int, Row]] = []  # what had begun by the cursor and ended after it, the latest start first
    backward: list[tuple[Leg, ...]] = []
    while ending or going_on:
        if not going_on:
            cursor = min(cursor, ending[-1].end_ns or 0)
        while ending and (ending[-1].end_ns or 0) >= cursor:
            child = ending.pop()
            heapq.heappush(going_on, (-(child.start_ns or 0), len(ending), child))
        _, _, last = heapq.heappop(going_on)
        if last.start_ns is not None and last.start_ns < cursor:
            backward.append(_critical_path(last, cursor, here))
            cursor = last.start_ns
    return tuple(leg for legs in reversed(backward) for leg in legs)
