"""What is due? The newest reading of every object, minus what was acknowledged.

Keeps: due = desired - acknowledged, by slot; a span that became due never changes its bytes; an object that was told to its end
is frozen; nothing is forgotten before everything below its run was acknowledged; what is left out is counted.
Must not know: how a span is encoded, who receives it, what the clock says: time is a parameter (Unix nanoseconds).
Source: span-model 2.3, 4, 6.5, 11.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tracer.delivery.readings import Cell, Loss, Readings, Run
from tracer.lifecycle.attempts import Attempt, SeenPod, attempts_of, final_completion_ns, is_pod_settled, settle_deadline_ns
from tracer.lifecycle.judgement import DELETED, is_final, judge_condition, judge_unfinished
from tracer.lifecycle.tasks import AttemptStory, Unfinished, tell_attempt
from tracer.tekton import names
from tracer.tekton.decode import Namespace, Object, kind_by_type
from tracer.tekton.event import Event
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.reasons import says_pipeline_run_timed_out
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS, instant_ns
from tracer.telemetry.places import (
    DEFAULT_SETTINGS,
    UNTOLD,
    Place,
    SpanSettings,
    has_begun,
    place_below_task,
    place_of_children,
    start_ns,
    top_place,
)
from tracer.telemetry.records import Slot, SpanRecord
from tracer.telemetry.spans import Close, Summary, custom_run_spans, pipeline_run_spans, task_run_spans

AT_REST_NS = 2 * SECOND_NS  # Tekton writes a start and a completion twice, up to 1 s apart
CHILDREN_WAIT_NS = 15 * 60 * SECOND_NS  # a CustomRun that nobody serves never ends; its run is told without it
REMEMBERED_NS = 60 * SECOND_NS  # after the last acknowledgement: the other kinds' watches lag by seconds
END_OF_TIME_NS = 1 << 63  # later than any deadline of any object: after the last line of a recording


@dataclass(frozen=True, slots=True)
class Unended:
    """A run that has not been told to its end, with what is below it and not told to its end either."""

    value: Run
    place: Place | None
    pods: tuple[SeenPod, ...]
    children: tuple["Unended", ...]


class Ledger:
    """What is due of all that was read, and what was acknowledged."""

    def __init__(self, settings: SpanSettings = DEFAULT_SETTINGS) -> None:
        """Begin with nothing known."""
        self._settings = settings
        self._readings = Readings()
        self._cluster_uid = ""
        self._dirty: dict[str, None] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._forgetting: deque[tuple[int, str]] = deque()
        self._fresh: dict[str, list[SpanRecord]] = {}

    @property
    def losses(self) -> Counter[Loss]:
        """What was left out on purpose."""
        return self._readings.losses

    # ------------------------------------------------------------ facts in

    def observe(self, observation: Observation, now_ns: int) -> None:
        """Take a fact in. The newest reading of an object wins; what was told to its end no longer changes."""
        match observation:
            case Synced(kind, begun_ns):
                listed = self._readings.listed_ns
                listed[kind] = max(begun_ns, listed.get(kind, 0))
                self._dirty.update(dict.fromkeys(uid for uid, cell in self._readings.cells.items() if cell.summary is None))
            case Seen(value):
                self._take(value, now_ns, is_gone=False)
            case Gone(value):
                self._take(value, now_ns, is_gone=True)

    def _take(self, value: Object, now_ns: int, *, is_gone: bool) -> None:
        finished = self._readings.finished
        if value.metadata.uid in finished:
            if is_gone:
                finished.discard(value.metadata.uid)
            return
        news: str | None = None
        match value:
            case Event():
                news = None if is_gone else self._readings.take_event(value, now_ns)
            case Pod():
                news = self._readings.take_pod(value, now_ns, is_gone=is_gone)
            case PipelineRun() | TaskRun() | CustomRun():
                self._take_run(value, now_ns, is_gone=is_gone)
            case Namespace():
                if value.metadata.name == names.CLUSTER_NAMESPACE:
                    self._cluster_uid = value.metadata.uid
        if news is not None and news in self._readings.cells:
            self._dirty[news] = None

    def _take_run(self, value: Run, now_ns: int, *, is_gone: bool) -> None:
        cell = self._readings.cells.get(value.metadata.uid)
        inner = None
        if cell is None:
            cell = self._readings.add_run(value, now_ns)
        elif cell.value == value and cell.is_gone == is_gone:
            return
        else:
            inner = self._inner(cell)
        if cell.summary is not None:
            self.losses[Loss.LATE_READING] += cell.value != value
            if is_gone:
                self._forget_later(cell, now_ns)
        cell.read(value, now_ns, is_gone=is_gone)
        if self._inner(cell) != inner:
            self._look_below(cell)
        self._dirty[cell.uid] = None

    def _look_below(self, cell: Cell) -> None:
        """Look again at everything below an object: where it hangs may be known now, or be another place."""
        for child in self._readings.children_of(cell):
            if child.summary is None:
                child.place = child.inner = None
                self._dirty[child.uid] = None
                self._look_below(child)

    # ------------------------------------------------------------ what is due

    def due(self, now_ns: int) -> list[str]:
        """List the UIDs of which something is due that was not listed before, children before their parents."""
        cells = self._readings.cells
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            _, uid = heapq.heappop(self._deadlines)
            if uid in cells:
                cells[uid].wake_ns = None
                self._dirty[uid] = None
        self._fresh = {}
        while self._dirty:
            uid = next(iter(self._dirty))
            del self._dirty[uid]
            cell = cells.get(uid)
            if cell is None:
                continue
            before = cell.open_slots
            spans = self._look(cell, now_ns)
            if not cell.open_slots <= before:
                self._fresh[uid] = spans
        self._sweep(now_ns)
        return sorted(self._fresh, key=lambda uid: -sum(1 for _ in self._readings.above(cells[uid])))

    def spans(self, uid: str, now_ns: int) -> list[SpanRecord]:
        """Build the spans of an object that are due and not acknowledged, children before their parents."""
        fresh = self._fresh.pop(uid, None)
        if fresh is not None:
            return fresh
        cell = self._readings.cells.get(uid)
        return self._look(cell, now_ns) if cell is not None else []

    def acknowledge(self, uid: str, slots: Iterable[Slot], now_ns: int) -> None:
        """Note what a destination has confirmed."""
        cell = self._readings.cells.get(uid)
        if cell is None:
            return
        cell.acknowledged.update(slots)
        cell.open_slots = cell.open_slots - cell.acknowledged
        self._note_told(cell, now_ns)

    def next_deadline_ns(self) -> int | None:
        """Say when something may become due without any new fact."""
        return self._deadlines[0][0] if self._deadlines else None

    @property
    def unacknowledged(self) -> int:
        """How many spans are due and not acknowledged."""
        return sum(len(cell.open_slots) for cell in self._readings.cells.values())

    def unfinished(self) -> Iterator[Unended]:
        """Give the top runs that have not been told to their end, for people."""
        for cell in self._readings.cells.values():
            if cell.summary is None and cell.owner is None and not isinstance(cell.value, CustomRun):
                yield self._unended(cell)

    def _unended(self, cell: Cell) -> Unended:
        pods = tuple(pod.seen() for pod in cell.pods.values())
        below = tuple(self._unended(child) for child in self._readings.children_of(cell) if child.summary is None)
        return Unended(cell.value, self._place(cell), pods, below)

    def _look(self, cell: Cell, now_ns: int) -> list[SpanRecord]:
        """Say what of an object is due and not acknowledged, and close it if everything is."""
        place = self._place(cell)
        if place is None:
            return []
        was_open = cell.summary is None
        match cell.value:
            case TaskRun() as value:
                told, summary = self._tell_task_run(cell, value, place, now_ns)
            case value:
                told, summary = self._tell_run(cell, value, place, now_ns)
        if was_open and summary is not None:
            cell.summary = summary
            if not place.is_told:
                self.losses[Loss.UNSAMPLED if place.trace_id else Loss.NOT_A_PIPELINE] += len(told)
            if cell.owner is not None:
                self._dirty[cell.owner.uid] = None
        due = [span for span in told if not cell.covers(span.slot)] if place.is_told else []
        cell.open_slots = {span.slot for span in due}
        self._note_told(cell, now_ns)
        return due

    def _place(self, cell: Cell) -> Place | None:
        """Find where an object hangs; None while that cannot be known yet."""
        if cell.place is None:
            cell.place = self._find_place(cell)
        return cell.place

    def _find_place(self, cell: Cell) -> Place | None:
        if cell.owner is not None:
            above = self._readings.cells.get(cell.owner.uid)
            if above is not None:
                return self._inner(above)
            is_forgotten = cell.owner.uid in self._readings.finished
            if not is_forgotten and not self._readings.is_listed_after(cell.owner.kind, cell.first_seen_ns):
                return None
            self._readings.orphan(cell)
        if isinstance(cell.value, CustomRun):
            return UNTOLD
        return top_place(cell.value, self._settings, self._cluster_uid, is_gone=cell.is_gone)

    def _inner(self, cell: Cell) -> Place | None:
        """Find where those below an object hang."""
        if cell.inner is None and (place := self._place(cell)) is not None:
            if isinstance(cell.value, PipelineRun):
                if has_begun(cell.value, is_gone=cell.is_gone):
                    cell.inner = place_of_children(cell.value, place)
            elif isinstance(cell.value, CustomRun):
                cell.inner = place_below_task(cell.value, place)
        return cell.inner

    # ------------------------------------------------------------ telling

    def _tell_task_run(self, cell: Cell, value: TaskRun, place: Place, now_ns: int) -> tuple[list[SpanRecord], Summary | None]:
        message = value.spec.status_message
        begin_ns = start_ns(value, place)
        is_closed = cell.summary is not None or cell.forced_ns is not None
        at_rest = is_closed or self._is_at_rest(cell, now_ns)
        start_fixed = is_closed or self._is_past(cell, cell.start_changed_ns + AT_REST_NS, now_ns)
        attempts = self._attempts(cell, value)
        stories: list[AttemptStory] = []
        for attempt in attempts:
            unfinished = None
            if cell.forced_ns is not None and not attempt.is_final:
                unfinished = Unfinished(judge_unfinished(message), cell.forced_ns)
            settled = attempt.is_final and (is_closed or self._is_settled(cell, attempt, now_ns))
            stories.append(
                tell_attempt(
                    attempt,
                    begin_ns,
                    message,
                    is_done=settled and at_rest,
                    is_start_fixed=start_fixed or attempt.number < len(attempts),
                    unfinished=unfinished,
                )
            )
        close = self._close_task_run(cell, value, stories)
        return task_run_spans(value, stories, place, close)

    def _close_task_run(self, cell: Cell, value: TaskRun, stories: list[AttemptStory]) -> Close | None:
        succeeded = value.status.succeeded
        if not all(story.is_done for story in stories):
            return None
        if succeeded is not None and is_final(succeeded):
            judgement = stories[-1].judgement or judge_condition(succeeded)
            return Close(judgement, final_completion_ns(value.status), succeeded.reason, succeeded.message)
        return self._close_unfinished(cell, value.spec.status_message)

    def _close_unfinished(self, cell: Cell, status_message: str) -> Close | None:
        """Close what is told without having ended: it was deleted, or its run does not wait for it."""
        if cell.is_gone:
            return Close(DELETED, None, is_partial=True)
        if cell.forced_ns is None:
            return None
        said = status_message if says_pipeline_run_timed_out(status_message) else ""
        return Close(judge_unfinished(status_message), cell.forced_ns, message=said, is_partial=True)

    def _tell_run(
        self, cell: Cell, value: PipelineRun | CustomRun, place: Place, now_ns: int
    ) -> tuple[list[SpanRecord], Summary | None]:
        close = self._close_run(cell, value, now_ns)
        if close is None:
            return [], None
        if cell.summary is None:
            cell.children_told = tuple(child.summary for child in self._readings.children_of(cell) if child.summary is not None)
        told, summary = (
            pipeline_run_spans(value, place, cell.children_told, close)
            if isinstance(value, PipelineRun)
            else custom_run_spans(value, place, cell.children_told, close)
        )
        return told, summary

    def _close_run(self, cell: Cell, value: PipelineRun | CustomRun, now_ns: int) -> Close | None:
        """Close a PipelineRun or a CustomRun, if it has ended and so has everything below it, or the wait is over."""
        succeeded = value.status.succeeded
        ended = is_final(succeeded)
        if not ended and not cell.is_gone and cell.forced_ns is None:
            return None
        completion_ns = _completion_ns(value) if ended else None
        if cell.summary is None and cell.forced_ns is None and not self._is_complete(cell, value, completion_ns, now_ns):
            return None
        if ended and succeeded is not None:
            message = value.spec.status_message if isinstance(value, CustomRun) else ""
            return Close(judge_condition(succeeded, message), completion_ns, succeeded.reason, succeeded.message)
        return self._close_unfinished(cell, value.spec.status_message if isinstance(value, CustomRun) else "")

    def _is_complete(self, cell: Cell, value: PipelineRun | CustomRun, completion_ns: int | None, now_ns: int) -> bool:
        """Say whether everything below is told, or will not be waited for; then what is missing is told as it is."""
        if not self._is_at_rest(cell, now_ns):
            return False
        is_whole = all(child.summary is not None for child in self._readings.children_of(cell))
        if is_whole and self._are_references_seen(cell, value):
            return True
        ended_ns = completion_ns if completion_ns is not None else cell.gone_ns or now_ns
        if not self._is_past(cell, ended_ns + CHILDREN_WAIT_NS, now_ns):
            return False
        self._tell_missing(cell, value, completion_ns, now_ns)
        return True

    def _tell_missing(self, cell: Cell, value: PipelineRun | CustomRun, completion_ns: int | None, now_ns: int) -> None:
        """Tell what is below without waiting any longer: first what has ended, then what has not, cut off at the run's end."""
        children = self._readings.children_of(cell)
        for child in children:
            if child.summary is None and (child.is_gone or 0 in child.final_seen_ns):
                self._force(child, completion_ns or 0, now_ns)
        if completion_ns is None:
            ends = [child.summary.end_ns for child in children if child.summary is not None]
            completion_ns = max([value.metadata.created_ns, instant_ns(value.status.start_time) or 0, *ends])
        for child in children:
            if child.summary is None:
                self._force(child, completion_ns, now_ns)

    def _force(self, cell: Cell, completion_ns: int, now_ns: int) -> None:
        """Tell a child, and what is below it, as it is; one that has not ended ends at completion_ns."""
        cell.forced_ns = completion_ns
        if not isinstance(cell.value, TaskRun):
            own_ns = _completion_ns(cell.value) if is_final(cell.value.status.succeeded) else None
            self._tell_missing(cell, cell.value, own_ns if own_ns is not None else completion_ns, now_ns)
        self._look(cell, now_ns)
        cell.open_slots = set()  # so that `due` lists it
        self._dirty[cell.uid] = None

    def _are_references_seen(self, cell: Cell, value: PipelineRun | CustomRun) -> bool:
        if not isinstance(value, PipelineRun):
            return True
        seen = {(kind_by_type(child.value), child.value.metadata.name) for child in self._readings.children_of(cell)}
        since_ns = cell.final_seen_ns.get(0, cell.gone_ns or 0)
        return all(
            (reference.kind, reference.name) in seen or self._readings.is_listed_after(reference.kind, since_ns)
            for reference in value.status.child_references
        )

    # ------------------------------------------------------------ small questions

    def _attempts(self, cell: Cell, value: TaskRun) -> tuple[Attempt, ...]:
        named = [*(one.pod_name for one in value.status.retries_status), value.status.pod_name]
        namespace = value.metadata.namespace
        foreign = frozenset(name for name in named if self._readings.has_foreign_pod(cell, namespace, name))
        return attempts_of(value, (pod.seen() for pod in cell.pods.values()), foreign, is_gone=cell.is_gone)

    def _is_settled(self, cell: Cell, attempt: Attempt, now_ns: int) -> bool:
        seen_final_ns = cell.final_seen_ns.get(attempt.number, cell.gone_ns or now_ns)
        is_absent = self._readings.listed_ns.get(Kind.POD, 0) > seen_final_ns
        if is_pod_settled(attempt, now_ns, cell.gone_ns, is_absent=is_absent):
            return True
        self._wake(cell, settle_deadline_ns(attempt, cell.gone_ns))
        return False

    def _is_at_rest(self, cell: Cell, now_ns: int) -> bool:
        return self._is_past(cell, max(cell.changed_ns, cell.gone_ns or 0) + AT_REST_NS, now_ns)

    def _is_past(self, cell: Cell, deadline_ns: int, now_ns: int) -> bool:
        """Say whether a deadline has passed; if not, look again when it has."""
        if now_ns >= deadline_ns:
            return True
        self._wake(cell, deadline_ns)
        return False

    def _wake(self, cell: Cell, deadline_ns: int) -> None:
        """Look again then; an object has one deadline at a time, the next one, and finds the later ones when it is looked at."""
        if cell.wake_ns is None or deadline_ns < cell.wake_ns:
            cell.wake_ns = deadline_ns
            heapq.heappush(self._deadlines, (deadline_ns, cell.uid))

    # ------------------------------------------------------------ forgetting

    def _note_told(self, cell: Cell, now_ns: int) -> None:
        if cell.summary is None or cell.open_slots:
            cell.told_ns = None
        elif cell.told_ns is None:
            cell.told_ns = now_ns
            self._forget_later(cell, now_ns)

    def _forget_later(self, cell: Cell, now_ns: int) -> None:
        self._forgetting.append((now_ns + REMEMBERED_NS, self._readings.top(cell).uid))

    def _sweep(self, now_ns: int) -> None:
        """Forget what was told whole and acknowledged a while ago, and what belongs to nothing."""
        while self._forgetting and self._forgetting[0][0] <= now_ns:
            _, uid = self._forgetting.popleft()
            top = self._readings.cells.get(uid)
            if top is not None and self._is_over(top, now_ns):
                self._readings.forget(top)
        self._readings.sweep(now_ns)

    def _is_over(self, cell: Cell, now_ns: int) -> bool:
        """Say whether a run and all below it were acknowledged a while ago, and nothing more of it is to come."""
        if cell.told_ns is None or now_ns < cell.told_ns + REMEMBERED_NS:
            return False
        is_whole = cell.is_gone or isinstance(cell.value, TaskRun) or self._are_references_seen(cell, cell.value)
        return is_whole and all(self._is_over(child, now_ns) for child in self._readings.children_of(cell))


def _completion_ns(value: PipelineRun | CustomRun) -> int | None:
    completion = instant_ns(value.status.completion_time)
    if completion is None and value.status.succeeded is not None:
        return instant_ns(value.status.succeeded.last_transition_time)
    return completion
