"""What is due? The newest reading of every object, minus what was acknowledged.

Keeps: due = desired - acknowledged, by slot; a span that became due never changes its bytes; an object that was told to its end
is frozen, but for Events that come late; nothing is forgotten before everything below its run was acknowledged; what is left out
is counted.
Must not know: how a span is encoded, who receives it, what the clock says: time is a parameter (Unix nanoseconds).
Source: span-model 2.3, 4, 6.5, 11.
"""

import heapq
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tracer.delivery.checkpoint import NOTHING, Checkpoint, each
from tracer.delivery.marks import Noted, mark_of
from tracer.delivery.readings import Cell, Loss, Readings, Run, owner_of
from tracer.lifecycle.attempts import Attempt, SeenPod, attempts_of, has_pod_settled, settles_within_ns
from tracer.lifecycle.judgement import is_success, judge_unfinished
from tracer.lifecycle.runs import Close, close_run, close_task_run
from tracer.lifecycle.tasks import AttemptStory, Unfinished, tell_attempt
from tracer.tekton import names
from tracer.tekton.decode import Namespace, Object, encode, kind_by_type
from tracer.tekton.event import Event
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced, Vanished
from tracer.tekton.pipelinerun import ChildReference, CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS, instant_ns
from tracer.telemetry.measures import (
    Measure,
    Subject,
    pipeline_run_measure,
    pipeline_run_subject,
    task_run_measures,
    task_run_subjects,
)
from tracer.telemetry.places import (
    DEFAULT_SETTINGS,
    UNTOLD,
    Place,
    SpanSettings,
    has_begun,
    ignored_context,
    place_below_task,
    place_of_children,
    start_ns,
    top_place,
)
from tracer.telemetry.records import Slot, SpanRecord
from tracer.telemetry.spans import Summary, custom_run_spans, pipeline_run_spans, task_run_spans

AT_REST_NS = 2 * SECOND_NS  # Tekton writes a start and a completion twice, up to 1 s apart
OWNER_WAIT_NS = 15 * 60 * SECOND_NS  # an owner that may not be listed, or cannot be read, never comes
CHILDREN_WAIT_NS = 15 * 60 * SECOND_NS  # a CustomRun that nobody serves never ends; its run is told without it
REMEMBERED_NS = 60 * SECOND_NS  # after the last acknowledgement: the other kinds' watches lag by seconds
MOST_AT_ONCE = 256  # UIDs in one answer: a first list of 10,000 runs must not become spans all at once
END_OF_TIME_NS = 1 << 63  # later than any deadline of any object: after the last line of a recording


@dataclass(frozen=True, slots=True)
class Unended:
    """A run that has not been told to its end, with what is below it and not told to its end either."""

    value: Run
    place: Place | None
    pods: tuple[SeenPod, ...]
    children: tuple["Unended", ...]


class Incomplete(StrEnum):
    """Why a run that is told never ended."""

    DELETED_RUNNING = "deleted_running"
    """It was deleted while it was running."""
    GAP = "gap"
    """It was deleted while nobody watched; how it ended is not known."""


class Dropped(NamedTuple):
    """A deleted object that is given up, with all below it."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    spans: int
    """How many of its spans nobody will ever see."""


class Due(NamedTuple):
    """An object of which something is due."""

    uid: str
    namespace: str
    spans: int
    """How many."""


class Standing(NamedTuple):
    """How a run stands that has not ended."""

    kind: Kind
    namespace: str
    created_ns: int
    has_started: bool
    waiting: tuple[str, ...]
    """Why each of its steps waits for its container to start; empty where that is not known."""


class Ledger:
    """What is due of all that was read, and what was acknowledged."""

    def __init__(self, settings: SpanSettings = DEFAULT_SETTINGS) -> None:
        """Begin with nothing known."""
        self.settings = settings
        self._readings = Readings()
        self._cluster_uid = ""
        self._has_told = False
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self._deadlines: list[tuple[int, str]] = []
        self._forgetting: deque[tuple[int, str]] = deque()
        self._fresh: dict[str, list[SpanRecord]] = {}
        self._recalled = NOTHING
        self._not_before_ns = 0
        self._measures: list[Measure | Subject] = []
        self._counts = self._is_counting = self._has_counted = False
        self.incomplete: Counter[str] = Counter()
        """While counting, how many runs were told though they never ended, by `Incomplete`."""
        self.ignored_contexts: Counter[str] = Counter()
        """While counting, how many top runs were given a trace context that was not taken, by reason."""

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
            case Vanished(_, uid):
                self._vanish(uid, now_ns)

    def _vanish(self, uid: str, now_ns: int) -> None:
        """Take it that an object is gone, as it was last read."""
        value = self._readings.last_of(uid)
        if value is not None:
            if (cell := self._readings.cells.get(uid)) is not None:
                cell.has_vanished = not cell.is_gone
            self._take(value, now_ns, is_gone=True)
        else:
            self._readings.lose(uid)

    def _take(self, value: Object, now_ns: int, *, is_gone: bool) -> None:
        news: str | None = None
        match value:
            case Event():
                news = None if is_gone else self._readings.take_event(value, now_ns)
            case Pod():
                news = self._readings.take_pod(value, now_ns, is_gone=is_gone)
            case PipelineRun() | TaskRun() | CustomRun():
                self._take_run(value, now_ns, is_gone=is_gone)
            case Namespace():
                self._take_cluster(value)
        if news is not None and news in self._readings.cells:
            self._dirty[news] = None

    def _take_cluster(self, value: Namespace) -> None:
        """Take the cluster's UID, unless something was told without it: a resource does not change in the middle of a trace."""
        if value.metadata.name == names.CLUSTER_NAMESPACE and not self._has_told:
            self._cluster_uid = value.metadata.uid
            for cell in self._readings.cells.values():
                cell.place = cell.inner = None

    def _take_run(self, value: Run, now_ns: int, *, is_gone: bool) -> None:
        cell = self._readings.cells.get(value.metadata.uid)
        inner = None
        if cell is None:
            if self._is_told_already(value, is_gone=is_gone):
                return
            cell = self._readings.add_run(value, now_ns)
            cell.acknowledged = self._remembered(cell)
            cell.counted = self._counted_before(cell)
        elif cell.value == value and cell.is_gone == is_gone:
            return
        else:
            inner = self._inner(cell)
        self.losses[Loss.LATE_READING] += cell.note_late(value)
        cell.read(value, now_ns, is_gone=is_gone)
        self._readings.sort(cell)
        if is_gone:
            size_bytes = sum(len(encode(one)) for one in (value, *(pod.pod for pod in cell.pods.values())))
            self._readings.deleted.add(cell.uid, size_bytes, has_failed=not is_success(value.status.succeeded))
        else:
            self._readings.deleted.discard(cell.uid)
        if self._inner(cell) != inner:
            self._look_below(cell)
        self._dirty[cell.uid] = None

    def _is_told_already(self, value: Run, *, is_gone: bool) -> bool:
        """Say whether a run that is not held needs not be: it was told to its end, and nothing above it asks for it."""
        uid, owner = value.metadata.uid, owner_of(value)
        if is_gone and self._readings.lose(uid):
            return True
        if self._readings.is_finished(uid):
            return True
        was_told = mark_of(uid) in self._recalled.done
        if not was_told and not self._is_too_old(value):
            return False
        if owner is not None and not self._readings.is_finished(owner.uid):
            return False
        self.losses[Loss.TOO_OLD] += not was_told
        if not is_gone:
            self._readings.finish(uid)
            self._pass_over_below(uid)
        return True

    def _is_too_old(self, value: Run) -> bool:
        ended_ns = instant_ns(value.status.completion_time)
        return ended_ns is not None and ended_ns < self._not_before_ns

    def _pass_over_below(self, owner_uid: str) -> None:
        """Hold what an object controls no longer than the object itself; what was not told with it is told alone."""
        for child in self._readings.children_by(owner_uid):
            if child.acknowledged.is_whole or self._is_too_old(child.value):
                self.losses[Loss.TOO_OLD] += not child.acknowledged.is_whole
                self._pass_over_below(child.uid)
                self._readings.forget(child)
            else:
                self._readings.orphan(child)
                child.place = child.inner = None
                self._dirty[child.uid] = None

    def _remembered(self, cell: Cell) -> Noted:
        """Find what is remembered of an object."""
        mark = cell.mark
        return Noted(each(self._recalled.slots.get(mark, b"")), is_whole=mark in self._recalled.done)

    def _counted_before(self, cell: Cell) -> Noted:
        """Find what is remembered to have been counted of an object: what is done was, too."""
        marks = self._recalled.counted.get(cell.mark)
        return Noted(each(marks or b""), is_whole=marks == b"" or cell.mark in self._recalled.done)

    def _look_below(self, cell: Cell) -> None:
        """Look again at everything below an object: where it hangs may be known now, or be another place."""
        for child in self._readings.children_of(cell):
            if child.summary is None:
                child.place = child.inner = None
                self._dirty[child.uid] = None
                self._look_below(child)

    # ------------------------------------------------------------ what was acknowledged before

    def recall(self, checkpoint: Checkpoint, not_before_ns: int = 0) -> None:
        """Take in what was acknowledged to others: to a process before this one, or to another replica.

        What ended before not_before_ns (Unix) and was read before anybody asks what is due is not told either.
        """
        self._recalled, self._not_before_ns = checkpoint, max(not_before_ns, self._not_before_ns)
        for cell in list(self._readings.cells.values()):
            mark = cell.mark
            marks, is_whole = checkpoint.slots.get(mark, b""), mark in checkpoint.done
            if cell.acknowledged.recall(each(marks), is_whole=is_whole):
                self._dirty[cell.uid] = None
            counted = checkpoint.counted.get(mark)
            if is_whole or counted == b"":
                cell.counted.complete()
            elif counted is not None and not cell.counted.is_whole:
                cell.counted.recall(each(counted), is_whole=False)
            if cell.owner is None and self._is_too_old(cell.value):
                self._pass_over_below(cell.uid)
                self._readings.forget(cell)
                self.losses[Loss.TOO_OLD] += 1

    @property
    def checkpoint(self) -> Checkpoint:
        """What whoever comes after us must know."""
        done, slots, only_here, counted = self._readings.finished.copy(), {}, {}, {}
        whole: dict[str, bool] = {}
        for cell in self._readings.cells.values():
            mark = cell.mark
            if self._is_whole(cell, whole):
                done[mark] = None
                continue
            if marks := cell.acknowledged.marks:
                slots[mark] = marks
            if cell.counted.is_whole or cell.counted.marks:
                counted[mark] = b"" if cell.counted.is_whole else cell.counted.marks
            if cell.is_gone and cell.open_slots:
                only_here[mark] = len(cell.open_slots)
        return Checkpoint(done, slots, only_here, counted, counts_known=self._recalled.counts_known or self._has_counted)

    def _is_whole(self, cell: Cell, known: dict[str, bool]) -> bool:
        """Say whether nothing is to be sent any more of an object and of all below it; what was found is noted by UID."""
        if cell.uid not in known:
            is_told = cell.told_ns is not None or cell.acknowledged.is_whole
            known[cell.uid] = is_told and all(self._is_whole(child, known) for child in self._readings.children_of(cell))
        return known[cell.uid]

    @property
    def held_marks(self) -> set[bytes]:
        """The marks of all objects that are held."""
        return {cell.mark for cell in self._readings.cells.values()}

    # ------------------------------------------------------------ what is due

    @property
    def is_behind(self) -> bool:
        """Whether there are objects to look at, so that `due` may list more."""
        return bool(self._dirty)

    def due(self, now_ns: int, most_looks: float = math.inf) -> list[Due]:
        """List objects of which something is due that was not listed before, children before their parents.

        At most about 256 at once, so that their spans can be held until they are asked for; ask again until there are none. Where
        others wait for the loop, let it look at so many objects alone; then ask again until it is no longer behind.
        """
        cells = self._readings.cells
        self._not_before_ns = 0  # who asks has listed everything: what is read from now on is new
        if self._counts and not self._is_counting:
            self._begin_counting()
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            _, uid = heapq.heappop(self._deadlines)
            if uid in cells:
                cells[uid].wake_ns = None
                self._dirty[uid] = None
        self._fresh = {}
        while self._dirty and len(self._fresh) < MOST_AT_ONCE and most_looks > 0:
            most_looks -= 1
            uid, _ = self._dirty.popitem(last=False)
            cell = cells.get(uid)
            if cell is None:
                continue
            before = cell.open_slots
            spans = self._look(cell, now_ns)
            if not cell.open_slots <= before:
                self._fresh[uid] = spans
        self._sweep(now_ns)
        self._fresh = {uid: spans for uid, spans in self._fresh.items() if spans}
        return self._children_first({uid: len(spans) for uid, spans in self._fresh.items()})

    def count(self) -> None:
        """Count for the metrics what is judged from now on: one replica does so, who leads."""
        self._counts = True

    def count_no_more(self) -> None:
        """Leave it to somebody else, with what was not asked for yet."""
        self._counts = self._is_counting = False
        self._measures.clear()

    def _begin_counting(self) -> None:
        """Count what others have not; if nobody knows what they have, only what happens from now on."""
        is_known = self._recalled.counts_known or self._has_counted
        self._is_counting = self._has_counted = True
        for cell in self._readings.cells.values():
            if not is_known and cell.has_ended:
                cell.counted.complete()
            if not cell.counted.is_whole:
                cell.announced, cell.is_history = 0, not is_known
                self._dirty[cell.uid] = None

    def take_measures(self) -> list[Measure | Subject]:
        """Give what is to be counted since it was last asked: what is expected now, and what has ended, each once."""
        taken, self._measures = self._measures, []
        return taken

    def outstanding(self) -> list[Due]:
        """List everything that was listed as due and is not acknowledged, children before their parents."""
        cells = self._readings.cells
        return self._children_first({uid: len(cell.open_slots) for uid, cell in cells.items() if cell.open_slots})

    def _children_first(self, spans: Mapping[str, int]) -> list[Due]:
        """List objects with the number of their spans that are due."""
        cells = self._readings.cells
        deepest_first = sorted(spans, key=lambda uid: -sum(1 for _ in self._readings.above(cells[uid])))
        return [Due(uid, cells[uid].value.metadata.namespace, spans[uid]) for uid in deepest_first]

    def spans(self, uid: str, now_ns: int) -> list[SpanRecord]:
        """Build the spans of an object that are due and not acknowledged, children before their parents."""
        fresh, cell = self._fresh.pop(uid, None), self._readings.cells.get(uid)
        if cell is None:
            return []
        if fresh is None:
            return self._look(cell, now_ns)
        return [span for span in fresh if span.slot not in cell.acknowledged]  # some may have been under way

    def acknowledge(self, uid: str, slots: Iterable[Slot], now_ns: int) -> None:
        """Note what a destination has confirmed."""
        cell = self._readings.cells.get(uid)
        if cell is None:
            return
        cell.acknowledge(slots)
        self._note_told(cell, now_ns)

    def next_deadline_ns(self) -> int | None:
        """Say when something may become due without any new fact."""
        return self._deadlines[0][0] if self._deadlines else None

    def shed(self, is_taken: Callable[[str], bool], now_ns: int) -> Iterator[Dropped]:
        """Drop deleted objects until the others fit, and give each; what a request holds (`is_taken`, by UID) is kept.

        What still exists stays with the API server, and is not dropped, but for what stands below a run that is.
        """
        deleted, cells = self._readings.deleted, self._readings.cells
        for uid in deleted.in_order() if not deleted.fits else ():
            cell = cells.get(uid)
            if cell is None:
                continue
            above = [one for one in self._readings.above(cell) if one.is_gone]
            top = above[-1] if above else cell
            tree = list(self._readings.below(top))
            if not any(is_taken(one.uid) for one in tree):
                yield self._drop(top, tree, now_ns)
            if deleted.fits:
                return

    def hurry_deleted(self) -> None:
        """Let deleted objects be due as they are known now, without waiting for what may still come of them."""
        for uid in self._readings.deleted.in_order():
            for cell in self._readings.below(self._readings.cells[uid]):
                cell.is_hurried = True
                self._dirty[cell.uid] = None

    def _drop(self, top: Cell, tree: list[Cell], now_ns: int) -> Dropped:
        spans = 0
        for cell in tree:
            cell.is_hurried = True
            spans += len(self._look(cell, now_ns))
        self._readings.forget(top)
        meta = top.value.metadata
        return Dropped(kind_by_type(top.value), meta.namespace, meta.name, meta.uid, spans)

    def held(self) -> Counter[tuple[str, str]]:
        """Count what is held, by kind and state: `deleted`, or `watched` until all was told, then `pending` while some is due."""
        found: Counter[tuple[str, str]] = Counter()
        for cell in self._readings.cells.values():
            if cell.summary is None or cell.open_slots:
                state = "deleted" if cell.is_gone else "watched" if cell.summary is None else "pending"
                found[kind_by_type(cell.value), state] += 1
        return found

    @property
    def unacknowledged(self) -> int:
        """How many spans are due and not acknowledged."""
        return sum(len(cell.open_slots) for cell in self._readings.cells.values())

    def standing(self) -> Iterator[Standing]:
        """Say of each run that has not ended how it stands, for people and their alerts."""
        for cell in self._readings.unended.values():
            value = cell.value
            pods = [pod for pod in cell.pods.values() if not pod.is_gone]
            yield Standing(
                kind_by_type(value),
                value.metadata.namespace,
                value.metadata.created_ns,
                has_started=value.status.start_time is not None,
                waiting=tuple(reason for pod in pods for reason in pod.waiting),
            )

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
        if place is None and self._is_owner_given_up(cell, now_ns):
            self._readings.orphan(cell)
            self._look_below(cell)
            place = self._place(cell)
        if place is None:
            return []
        was_open = cell.summary is None
        match cell.value:
            case TaskRun() as value:
                told, summary = self._tell_task_run(cell, value, place, now_ns)
            case value:
                told, summary = self._tell_run(cell, value, place, now_ns)
        if summary is not None and self._is_counting and not cell.counted.is_whole:
            cell.counted.complete()
            self._count_oddities(cell)
        if was_open and summary is not None:
            cell.summary = summary
            if not place.is_told:
                self.losses[Loss.UNSAMPLED if place.trace_id else Loss.NOT_A_PIPELINE] += len(told)
            if cell.owner is not None:
                self._dirty[cell.owner.uid] = None
        due = [span for span in told if span.slot not in cell.acknowledged] if place.is_told else []
        self._has_told = self._has_told or bool(due)
        cell.open_slots = {span.slot for span in due}
        self._note_told(cell, now_ns)
        return due

    def _count_oddities(self, cell: Cell) -> None:
        """Count what is odd about an object that was told to its end."""
        if cell.is_gone and 0 not in cell.final_seen_ns:
            self.incomplete[Incomplete.GAP if cell.has_vanished else Incomplete.DELETED_RUNNING] += 1
        if cell.owner is None and not isinstance(cell.value, CustomRun) and (reason := ignored_context(cell.value)):
            self.ignored_contexts[reason] += 1

    def _place(self, cell: Cell) -> Place | None:
        """Find where an object hangs; None while that cannot be known yet."""
        if cell.place is None:
            cell.place = self._find_place(cell)
        return cell.place

    def _find_place(self, cell: Cell) -> Place | None:
        if cell.owner is not None:
            above = self._readings.cells.get(cell.owner.uid)
            if above is not None and not isinstance(above.value, TaskRun):
                return self._inner(above)
            is_missing = above is not None or self._readings.is_finished(cell.owner.uid)
            if not is_missing and not self._readings.is_listed_after(cell.owner.kind, cell.first_seen_ns):
                return None
            self._readings.orphan(cell)
        if isinstance(cell.value, CustomRun):
            return UNTOLD
        return top_place(cell.value, self.settings, self._cluster_uid, is_gone=cell.is_gone)

    def _is_owner_given_up(self, cell: Cell, now_ns: int) -> bool:
        """Say whether an owner that was never seen is not waited for any longer."""
        is_missing = cell.owner is not None and cell.owner.uid not in self._readings.cells
        return is_missing and (cell.is_hurried or self._is_past(cell, cell.first_seen_ns + OWNER_WAIT_NS, now_ns))

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
        is_gone = cell.is_gone and cell.forced_ns is None
        is_closed = cell.summary is not None or cell.is_hurried
        at_rest = is_closed or self._is_at_rest(cell, now_ns)
        start_fixed = is_closed or self._is_past(cell, cell.start_changed_ns + AT_REST_NS, now_ns)
        message, begin_ns = value.spec.status_message, start_ns(value, place)
        foreign = self._readings.find_foreign_pods(cell, value)
        attempts = attempts_of(value, (pod.seen() for pod in cell.pods.values()), foreign, is_gone=is_gone)
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
        if self._is_counting and not cell.counted.is_whole:
            self._count(cell, task_run_measures(value, stories, place), task_run_subjects(value, attempts, place))
        close = close_task_run(value, stories, cell.forced_ns, is_gone=is_gone)
        return task_run_spans(value, stories, place, close, cell.acknowledged)

    def _tell_run(
        self, cell: Cell, value: PipelineRun | CustomRun, place: Place, now_ns: int
    ) -> tuple[list[SpanRecord], Summary | None]:
        if self._is_counting and isinstance(value, PipelineRun) and not cell.counted.is_whole:
            self._count(cell, (), (pipeline_run_subject(value),))
        close = close_run(value, cell.forced_ns, is_gone=cell.is_gone)
        if close is None:
            return [], None
        if cell.summary is None:
            if not cell.is_hurried and not self._is_complete(cell, value, close, now_ns):
                return [], None
            cell.children_told = tuple(child.summary for child in self._readings.children_of(cell) if child.summary is not None)
            self.losses[Loss.CHILD_MISSING] += len(self._unseen_references(cell, value))
        if isinstance(value, PipelineRun):
            told, summary = pipeline_run_spans(value, place, cell.children_told, close)
            if self._is_counting:
                self._count(cell, (pipeline_run_measure(value, place, close, summary.end_ns),))
            return told, summary
        return custom_run_spans(value, place, cell.children_told, close)

    def _count(self, cell: Cell, measures: Iterable[Measure], subjects: Iterable[Subject] = ()) -> None:
        """Let be counted what was not yet."""
        expected = tuple(subjects)
        if expected and hash(expected) != cell.announced:
            self._measures += expected
            cell.announced = hash(expected)
        fresh = [one for one in measures if one.slot not in cell.counted]
        self._measures += () if cell.is_history else fresh
        cell.is_history = False
        cell.counted.add(one.slot for one in fresh)

    def _is_complete(self, cell: Cell, value: PipelineRun | CustomRun, close: Close, now_ns: int) -> bool:
        """Say whether everything below is told, or will not be waited for; then what is missing is told as it is."""
        if not self._is_at_rest(cell, now_ns):
            return False
        is_whole = all(child.summary is not None for child in self._readings.children_of(cell))
        if is_whole and self._are_references_seen(cell, value):
            return True
        if not self._is_past(cell, cell.ended_ns(0, close.completion_ns) + CHILDREN_WAIT_NS, now_ns):
            return False
        self._tell_missing(cell, value, close.completion_ns, now_ns)
        return True

    def _tell_missing(self, cell: Cell, value: PipelineRun | CustomRun, completion_ns: int | None, now_ns: int) -> None:
        """Tell what is below without waiting any longer: first what has ended, then what has not, cut off at the run's end."""
        children = self._readings.children_of(cell)
        for child in children:
            if child.summary is None and (child.is_gone or 0 in child.final_seen_ns):
                self._tell_ended(child, now_ns)
        if completion_ns is None:
            ends = [child.summary.end_ns for child in children if child.summary is not None]
            completion_ns = max([value.metadata.created_ns, instant_ns(value.status.start_time) or 0, *ends])
        for child in children:
            if child.summary is None:
                self._force(child, completion_ns, now_ns)

    def _tell_ended(self, cell: Cell, now_ns: int) -> None:
        """Tell a child that has ended, without waiting for what may still come of it."""
        cell.is_hurried = True
        if not isinstance(cell.value, TaskRun):
            close = close_run(cell.value, None, is_gone=cell.is_gone)
            self._tell_missing(cell, cell.value, close.completion_ns if close is not None else None, now_ns)
        self._fresh[cell.uid] = self._look(cell, now_ns)

    def _force(self, cell: Cell, completion_ns: int, now_ns: int) -> None:
        """Tell a child that has not ended, and what is below it, as it is: it ends at completion_ns."""
        cell.forced_ns, cell.is_hurried = completion_ns, True
        if not isinstance(cell.value, TaskRun):
            self._tell_missing(cell, cell.value, completion_ns, now_ns)
        self._fresh[cell.uid] = self._look(cell, now_ns)

    def _are_references_seen(self, cell: Cell, value: PipelineRun | CustomRun) -> bool:
        since_ns = cell.final_seen_ns.get(0, cell.gone_ns or 0)
        return all(self._readings.is_listed_after(one.kind, since_ns) for one in self._unseen_references(cell, value))

    def _unseen_references(self, cell: Cell, value: PipelineRun | CustomRun) -> list[ChildReference]:
        """List the children that a run names and that were not seen."""
        if not isinstance(value, PipelineRun):
            return []
        seen = {(kind_by_type(child.value), child.value.metadata.name) for child in self._readings.children_of(cell)}
        return [one for one in value.status.child_references if (one.kind, one.name) not in seen]

    # ------------------------------------------------------------ small questions

    def _is_settled(self, cell: Cell, attempt: Attempt, now_ns: int) -> bool:
        seen_final_ns = cell.final_seen_ns.get(attempt.number, cell.gone_ns or now_ns)
        is_absent = self._readings.listed_ns.get(Kind.POD, 0) > seen_final_ns
        if has_pod_settled(attempt, is_absent=is_absent):
            return True
        return self._is_past(cell, cell.ended_ns(attempt.number, attempt.completion_ns) + settles_within_ns(attempt), now_ns)

    def _is_at_rest(self, cell: Cell, now_ns: int) -> bool:
        return self._is_past(cell, max(cell.changed_ns, cell.gone_ns or 0) + AT_REST_NS, now_ns)

    def _is_past(self, cell: Cell, deadline_ns: int, now_ns: int) -> bool:
        """Say whether a deadline has passed; if not, look again when it has.

        An object has one deadline at a time, the next one, and finds the later ones when it is looked at.
        """
        if now_ns >= deadline_ns:
            return True
        if cell.wake_ns is None or deadline_ns < cell.wake_ns:
            cell.wake_ns = deadline_ns
            heapq.heappush(self._deadlines, (deadline_ns, cell.uid))
        return False

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
            elif top is not None and top.told_ns is not None:
                self._forget_later(top, now_ns)
        self._readings.sweep(now_ns)

    def _is_over(self, cell: Cell, now_ns: int) -> bool:
        """Say whether a run and all below it were acknowledged a while ago, and nothing more of it is to come."""
        if cell.told_ns is None or now_ns < cell.told_ns + REMEMBERED_NS:
            return False
        is_old = now_ns >= cell.told_ns + CHILDREN_WAIT_NS
        is_whole = cell.is_gone or is_old or isinstance(cell.value, TaskRun) or self._are_references_seen(cell, cell.value)
        return is_whole and all(self._is_over(child, now_ns) for child in self._readings.children_of(cell))
