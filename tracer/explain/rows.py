"""What is one line of the picture, and what does a span say in it?

Must not know: the terminal, colours, widths, the present time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracer.lifecycle.facts import State
from tracer.lifecycle.steps import StepClass
from tracer.tekton import reasons
from tracer.tekton.reasons import Result
from tracer.telemetry import attributes as keys
from tracer.telemetry.records import AttributeValue, SpanRecord


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

    @property
    def went_well(self) -> bool:
        """Whether it is a task with nothing below it that is worth a look."""
        return self.kind is RowKind.TASK and self.result == Result.SUCCESS and not any(below.is_error for below in self.walk())

    def walk(self) -> Iterator["Row"]:
        """Give the row and all below it, in the order of the picture."""
        yield self
        for child in self.children:
            yield from child.walk()


def is_top(span: SpanRecord) -> bool:
    """Say whether a span is a top run's: a root, or the child of its caller's span, which may well be told here too."""
    return span.slot.kind == "run" and (span.has_remote_parent or not span.parent_span_id)


def row_of(span: SpanRecord) -> Row:
    """Draw one span without what is below it."""
    return draw_row(span, {})


def draw_row(span: SpanRecord, by_parent: Mapping[bytes, Sequence[SpanRecord]]) -> Row:
    """Draw a span and what is below it, by the ids of the parents."""
    kind = _KINDS.get(span.slot.kind, RowKind.PHASE)
    children = [draw_row(child, by_parent) for child in by_parent.get(span.span_id, ())]
    exit_code, index = span.attribute(keys.EXIT_CODE), span.attribute(keys.MATRIX_INDEX)
    code = exit_code if isinstance(exit_code, int) and kind is RowKind.STEP else None
    return Row(
        kind=kind,
        name=span.name if index is None else f"{span.name} [{index}]",
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        state=State.TERMINATED,
        result=attribute_text(span, keys.TASK_RUN_RESULT) or attribute_text(span, keys.PIPELINE_RESULT),
        note=_note(span, code),
        reason=_reason(span),
        message="" if kind is RowKind.STEP else span.description,
        exit_code=code,
        is_error=span.is_error,
        span=span,
        children=tuple(sorted(children, key=place_in_time)),
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
    if step_class == StepClass.NEVER_RAN:
        notes.append("never ran")
    elif step_class == StepClass.CUT_OFF:
        notes.append("cut off")
    elif step_class == StepClass.SKIPPED:
        notes.append("skipped by its when" if exit_code == 0 else "skipped")
    elif span.slot.kind == "skipped":
        notes.append(f"skipped: {attribute_text(span, keys.REASON)}")
    elif exit_code:
        is_clusters = attribute_text(span, keys.TASK_RUN_RESULT) == Result.ERROR
        notes.append(attribute_text(span, keys.ERROR_TYPE) if is_clusters else f"exit {exit_code}")
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
    error_type = attribute_text(span, keys.ERROR_TYPE)
    if span.slot.kind == "step" and error_type and error_type != reasons.EXIT_CODE:
        return error_type  # what ended it, where its own container knows only that it was killed
    keys_of_reasons = (keys.STEP_TERMINATION_REASON, keys.CONTAINER_STATUS_REASON, keys.REASON, keys.ERROR_TYPE)
    said = next((text for key in keys_of_reasons if (text := attribute_text(span, key))), "")
    return said or ("deleted, or never ended" if span.attribute(keys.OBSERVED) else "")


def attribute_text(span: SpanRecord, key: str) -> str:
    """Give an attribute as text, empty if it is absent."""
    value: AttributeValue | None = span.attribute(key)
    return str(value) if value is not None else ""


def place_in_time(row: Row) -> tuple[bool, bool, int, int, int]:
    """Order rows by their start; phases before steps that start with them, what has not begun last, and retries after all that.

    A step that never ran comes after those that did, and a retry after what it repeats, though the second that they are known to
    may seem earlier than the last word of those.
    """
    late = 1 << 63
    start = row.start_ns if row.start_ns is not None else late
    slot = row.span.slot.kind if row.span is not None else ""
    return (
        row.kind is RowKind.RETRY,
        row.span is not None and row.span.attribute(keys.STEP_CLASS) == StepClass.NEVER_RAN,
        start,
        _ORDER.index(slot) if slot in _ORDER else len(_ORDER),
        row.end_ns if row.end_ns is not None else late,
    )


_ORDER = ("queue", "create", "schedule", "init", "pull", "start", "step")
