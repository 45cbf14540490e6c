"""What is due? The newest reading of every object, minus what was acknowledged.

Keeps: due = desired - acknowledged, by slot; a span that became due never changes its bytes; an object that was told to its end is
frozen; nothing is forgotten before everything below its run was acknowledged; what is left out is counted.
Must not know: how a span is encoded, who receives it, what the clock says: time is a parameter (Unix nanoseconds).
Source: span-model 2.3, 4, 6.5, 11.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tracer.lifecycle.attempts import Attempt, SeenPod, attempts_of, final_completion_ns, is_pod_settled, settle_deadline_ns
from tracer.lifecycle.judgement import DELETED, is_final, judge_condition, judge_unfinished
from tracer.lifecycle.tasks import AttemptStory, Unfinished, tell_attempt
from tracer.telemetry.places import UNTOLD, Place, SpanSettings, place_below_task, place_of_children, start_ns, top_place
from tracer.telemetry.records import Slot, SpanRecord
from tracer.telemetry.spans import Close, Summary, custom_run_spans, pipeline_run_spans, task_run_spans
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

AT_REST_NS = 2 * SECOND_NS  # Tekton writes a start and a completion twice, up to 1 s apart
CHILDREN_WAIT_NS = 15 * 60 * SECOND_NS  # a CustomRun that nobody serves never ends; its run is told without it
REMEMBERED_NS = 60 * SECOND_NS  # after the last acknowledgement: the other kinds' watches lag by seconds
STRAYS_NS = 60 * SECOND_NS  # Events come for all Pods, and only a Pod's own reading tells whether it is Tekton's
END_OF_TIME_NS = 1 << 63  # later than any deadline of any object: after the last line of a recording

Run = PipelineRun | TaskRun | CustomRun


class Loss(StrEnum):
    """What is left out on purpose, and counted."""

    LATE_READING = "late reading"
    """A reading of an object that was already told to its end."""
    LATE_EVENT = "late event"
    """An Event or a Pod whose TaskRun was already forgotten, or never came."""
    OWNER_UNKNOWN = "owner unknown"
    """A run whose owner is not there: told as if nothing were above it."""
    UNSAMPLED = "unsampled"
    """A run whose caller asked for no trace."""
    NOT_A_PIPELINE = "not a pipeline"
    """A CustomRun that no PipelineRun owns."""


@dataclass(slots=True)
class _PodCell:
    """One Pod, with the Events about it."""

    pod: Pod
    seen_ns: int
    events: dict[str, Event] = field(default_factory=dict)
    is_gone: bool = False

    @property
    def task_run_uid(self) -> str:
        owner = self.pod.metadata.controller
        return owner.uid if owner is not None else ""

    def seen(self) -> SeenPod:
        return SeenPod(self.pod, tuple(self.events.values()), self.is_gone)


@dataclass(slots=True)
class _Cell:
    """One PipelineRun, TaskRun or CustomRun."""

    value: Run
    first_seen_ns: int
    changed_ns: int
    start_changed_ns: int
    gone_ns: int | None = None
    final_seen_ns: dict[int, int] = field(default_factory=dict)
    """When each attempt, or the run itself (as 0), was first seen final."""
    pods: dict[str, _PodCell] = field(default_factory=dict)
    acknowledged: set[Slot] = field(default_factory=set)
    open_slots: set[Slot] = field(default_factory=set)
    """Due and not acknowledged, at the last look."""
    summary: Summary | None = None
    """Set once the object was told to its end: it is frozen then."""
    forced_ns: int | None = None
    """The completion it was told with, if its run could not wait for it."""
    told_ns: int | None = None
    """When the last of its spans was acknowledged."""
    children_told: tuple[Summary, ...] = ()
    """What it was told with of those below it."""
    place: Place | None = None
    inner: Place | None = None
    """Where those below it hang."""
    is_orphan: bool = False

    @property
    def uid(self) -> str:
        return self.value.metadata.uid

    @property
    def owner_uid(self) -> str | None:
        owner = self.value.metadata.controller
        if owner is None or not owner.api_version.startswith(f"{names.TEKTON_GROUP}/"):
            return None
        return owner.uid if owner.kind in {Kind.PIPELINE_RUN, Kind.CUSTOM_RUN} and owner.uid != self.uid else None

    def covers(self, slot: Slot) -> bool:
        """Whether the slot was acknowledged, or its fact was under a Pod's UID that is no longer known."""
        if slot in self.acknowledged:
            return True
        return bool(slot.pod_name and not slot.pod_uid) and any(one.without_pod_uid == slot for one in self.acknowledged)


class Ledger:
    """The newest reading of every object, what is due of it, and what was acknowledged."""

    def __init__(self, settings: SpanSettings = SpanSettings()) -> None:
        """Begin with nothing known."""
        self.losses: Counter[Loss] = Counter()
        self._settings = settings
        self._cluster_uid = ""
        self._cells: dict[str, _Cell] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._pods: dict[str, _PodCell] = {}
        self._pods_of: dict[str, dict[str, _PodCell]] = {}
        self._pod_names: dict[tuple[str, str], dict[str, None]] = {}
        self._stray_events: dict[str, tuple[int, dict[str, Event]]] = {}
        self._listed_ns: dict[Kind, int] = {}
        self._finished: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._forgetting: deque[tuple[int, str]] = deque()
        self._fresh: dict[str, list[SpanRecord]] = {}
        self._swept_ns = 0

    # ------------------------------------------------------------ facts in

    def observe(self, observation: Observation, now_ns: int) -> None:
        """Take a fact in. The newest reading of an object wins; what was told to its end no longer changes."""
        match observation:
            case Synced(kind, begun_ns):
                self._listed_ns[kind] = max(begun_ns, self._listed_ns.get(kind, 0))
                self._dirty.update(dict.fromkeys(uid for uid, cell in self._cells.items() if cell.summary is None))
            case Seen(value):
                self._take(value, now_ns, is_gone=False)
            case Gone(value):
                self._take(value, now_ns, is_gone=True)

    def _take(self, value: Object, now_ns: int, *, is_gone: bool) -> None:
        if value.metadata.uid in self._finished:
            if is_gone:
                self._finished.discard(value.metadata.uid)
            return
        match value:
            case Event():
                if not is_gone:
                    self._take_event(value, now_ns)
            case Namespace():
                if value.metadata.name == names.CLUSTER_NAMESPACE:
                    self._cluster_uid = value.metadata.uid
            case Pod():
                self._take_pod(value, now_ns, is_gone=is_gone)
            case PipelineRun() | TaskRun() | CustomRun():
                self._take_run(value, now_ns, is_gone=is_gone)

    def _take_run(self, value: Run, now_ns: int, *, is_gone: bool) -> None:
        uid = value.metadata.uid
        cell = self._cells.get(uid)
        if cell is None:
            cell = self._cells[uid] = _Cell(value, now_ns, now_ns, now_ns, pods=self._pods_of.setdefault(uid, {}))
            if cell.owner_uid is not None:
                self._children.setdefault(cell.owner_uid, {})[uid] = None
            inner = None
        else:
            if cell.value == value and is_gone == (cell.gone_ns is not None):
                return
            inner = self._inner(cell, now_ns)
        if cell.summary is not None:
            self.losses[Loss.LATE_READING] += cell.value != value
        elif cell.value != value:
            cell.changed_ns = now_ns
            if cell.value.status.start_time != value.status.start_time:
                cell.start_changed_ns = now_ns
            cell.value = value
            cell.place = cell.inner = None
        if not is_gone:
            cell.gone_ns = None
        elif cell.gone_ns is None:
            cell.gone_ns = now_ns
            if cell.told_ns is not None:
                self._forgetting.append((now_ns + REMEMBERED_NS, self._top(cell).uid))
        self._mark_finals(cell, now_ns)
        if self._inner(cell, now_ns) != inner:
            self._dirty_below(uid)
        self._dirty[uid] = None

    def _mark_finals(self, cell: _Cell, now_ns: int) -> None:
        status = cell.value.status
        if is_final(status.succeeded):
            cell.final_seen_ns.setdefault(0, now_ns)
        if isinstance(cell.value, TaskRun):
            retries = len(cell.value.status.retries_status)
            for number in range(1, retries + 1):
                cell.final_seen_ns.setdefault(number, now_ns)
            if is_final(status.succeeded):
                cell.final_seen_ns.setdefault(retries + 1, now_ns)

    def _take_pod(self, value: Pod, now_ns: int, *, is_gone: bool) -> None:
        owner = value.metadata.controller
        if owner is None or owner.kind != Kind.TASK_RUN or not owner.api_version.startswith(f"{names.TEKTON_GROUP}/"):
            return
        uid = value.metadata.uid
        pod = self._pods.get(uid)
        owning = self._cells.get(owner.uid)
        if owning is not None and owning.summary is not None:
            self.losses[Loss.LATE_READING] += pod is None or _ends(pod.pod) != _ends(value)
            if pod is not None:
                pod.is_gone = is_gone
            return
        if pod is None:
            pod = self._pods[uid] = _PodCell(value, now_ns)
            self._pods_of.setdefault(owner.uid, {})[uid] = pod
            self._pod_names.setdefault((value.metadata.namespace, value.metadata.name), {})[uid] = None
            _, pod.events = self._stray_events.pop(uid, (0, {}))
        elif pod.pod == value and pod.is_gone == is_gone:
            return
        pod.pod, pod.is_gone, pod.seen_ns = value, is_gone, now_ns
        if owning is not None:
            self._dirty[owner.uid] = None

    def _take_event(self, value: Event, now_ns: int) -> None:
        about = value.involved_object
        if about.kind != Kind.POD or value.reason not in names.EVENT_REASONS or not about.uid:
            return
        if about.uid in self._finished:
            self.losses[Loss.LATE_EVENT] += 1
            return
        pod = self._pods.get(about.uid)
        if pod is None:
            _, waiting = self._stray_events.setdefault(about.uid, (now_ns, {}))
            waiting.setdefault(value.metadata.uid, value)
        elif value.metadata.uid not in pod.events:
            pod.events[value.metadata.uid] = value
            if pod.task_run_uid in self._cells:
                self._dirty[pod.task_run_uid] = None

    def _dirty_below(self, uid: str) -> None:
        """Look again at everything below an object: where it hangs may be known now."""
        for child in self._children.get(uid, ()):
            if child in self._cells and self._cells[child].summary is None:
                self._cells[child].place = self._cells[child].inner = None
                self._dirty[child] = None
                self._dirty_below(child)

    # ------------------------------------------------------------ what is due

    def due(self, now_ns: int) -> list[str]:
        """List the UIDs of which something is due now, children before their parents; each is listed when something new is."""
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            _, uid = heapq.heappop(self._deadlines)
            if uid in self._cells:
                self._dirty[uid] = None
        self._fresh = {}
        uids: dict[str, None] = {}
        while self._dirty:
            uid = next(iter(self._dirty))
            del self._dirty[uid]
            cell = self._cells.get(uid)
            if cell is None:
                continue
            before = set(cell.open_slots)
            spans = self._look(cell, now_ns)
            if spans and not {span.slot for span in spans} <= before:
                self._fresh[uid] = spans
                uids[uid] = None
        self._sweep(now_ns)
        return list(uids)

    def spans(self, uid: str, now_ns: int) -> list[SpanRecord]:
        """Build the spans of an object that are due and not acknowledged, children before their parents."""
        fresh = self._fresh.pop(uid, None)
        if fresh is not None:
            return fresh
        cell = self._cells.get(uid)
        return self._look(cell, now_ns) if cell is not None else []

    def acknowledge(self, uid: str, slots: Iterable[Slot], now_ns: int) -> None:
        """Note what a destination has confirmed."""
        cell = self._cells.get(uid)
        if cell is None:
            return
        cell.acknowledged.update(slots)
        cell.open_slots -= cell.acknowledged
        self._note_told(cell, now_ns)

    def next_deadline_ns(self) -> int | None:
        """Say when something may become due without any new fact."""
        return self._deadlines[0][0] if self._deadlines else None

    @property
    def unacknowledged(self) -> int:
        """How many spans are due and not acknowledged."""
        return sum(len(cell.open_slots) for cell in self._cells.values())

    def unfinished(self) -> Iterator["Unended"]:
        """Give the top runs that have not been told to their end, for people."""
        for cell in self._cells.values():
            if cell.summary is None and (cell.owner_uid is None or cell.is_orphan) and not isinstance(cell.value, CustomRun):
                yield self._unended(cell)

    def _unended(self, cell: _Cell) -> "Unended":
        children = (self._cells[uid] for uid in self._children.get(cell.uid, ()) if uid in self._cells)
        pods = tuple(pod.seen() for pod in cell.pods.values())
        below = tuple(self._unended(child) for child in children if child.summary is None)
        return Unended(cell.value, self._place(cell, END_OF_TIME_NS), pods, below)

    def _look(self, cell: _Cell, now_ns: int) -> list[SpanRecord]:
        """Say what of an object is due and not acknowledged, and close it if everything is."""
        place = self._place(cell, now_ns)
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
            if cell.owner_uid is not None:
                self._dirty[cell.owner_uid] = None
        due = [span for span in told if not cell.covers(span.slot)] if place.is_told else []
        cell.open_slots = {span.slot for span in due}
        self._note_told(cell, now_ns)
        return due

    def _place(self, cell: _Cell, now_ns: int) -> Place | None:
        """Find where an object hangs; None while that cannot be known yet."""
        if cell.place is None:
            cell.place = self._find_place(cell, now_ns)
        return cell.place

    def _find_place(self, cell: _Cell, now_ns: int) -> Place | None:
        owner_uid = cell.owner_uid
        if owner_uid is not None and not cell.is_orphan:
            owner = self._cells.get(owner_uid)
            if owner is not None and not self._is_below_itself(cell):
                return self._inner(owner, now_ns)
            if not self._is_owner_missing(cell, owner_uid):
                return None
            cell.is_orphan = True
            self.losses[Loss.OWNER_UNKNOWN] += 1
        if isinstance(cell.value, CustomRun):
            return UNTOLD
        return top_place(cell.value, self._settings, self._cluster_uid, is_gone=cell.gone_ns is not None)

    def _inner(self, cell: _Cell, now_ns: int) -> Place | None:
        """Find where those below an object hang."""
        if cell.inner is None and (place := self._place(cell, now_ns)) is not None:
            if isinstance(cell.value, PipelineRun):
                cell.inner = place_of_children(cell.value, place)
            elif isinstance(cell.value, CustomRun):
                cell.inner = place_below_task(cell.value, place)
        return cell.inner

    def _is_below_itself(self, cell: _Cell) -> bool:
        seen = {cell.uid}
        above = cell.owner_uid
        while above is not None and above in self._cells:
            if above in seen:
                return True
            seen.add(above)
            above = self._cells[above].owner_uid
        return False

    def _is_owner_missing(self, cell: _Cell, owner_uid: str) -> bool:
        if owner_uid in self._finished or owner_uid in self._cells:  # forgotten, or above itself
            return True
        owner = cell.value.metadata.controller
        return owner is not None and self._listed_ns.get(Kind(owner.kind), 0) > cell.first_seen_ns

    # ------------------------------------------------------------ telling

    def _tell_task_run(
        self, cell: _Cell, value: TaskRun, place: Place, now_ns: int
    ) -> tuple[list[SpanRecord], Summary | None]:
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

    def _close_task_run(self, cell: _Cell, value: TaskRun, stories: list[AttemptStory]) -> Close | None:
        succeeded = value.status.succeeded
        if not all(story.is_done for story in stories):
            return None
        if succeeded is not None and is_final(succeeded):
            judgement = stories[-1].judgement or judge_condition(succeeded)
            return Close(judgement, final_completion_ns(value.status), succeeded.reason, succeeded.message)
        return self._close_unfinished(cell, value.spec.status_message)

    def _close_unfinished(self, cell: _Cell, status_message: str) -> Close | None:
        """Close what is told without having ended: it was deleted, or its run does not wait for it."""
        if cell.forced_ns is not None:
            said = status_message if says_pipeline_run_timed_out(status_message) else ""
            return Close(judge_unfinished(status_message), cell.forced_ns, message=said, is_partial=True)
        return Close(DELETED, None, is_partial=True) if cell.gone_ns is not None else None

    def _tell_run(
        self, cell: _Cell, value: PipelineRun | CustomRun, place: Place, now_ns: int
    ) -> tuple[list[SpanRecord], Summary | None]:
        close = self._close_run(cell, value, now_ns)
        if close is None:
            return [], None
        if cell.summary is None:
            cell.children_told = tuple(child.summary for child in self._children_of(cell) if child.summary is not None)
        told, summary = (
            pipeline_run_spans(value, place, cell.children_told, close)
            if isinstance(value, PipelineRun)
            else custom_run_spans(value, place, cell.children_told, close)
        )
        return told, summary

    def _close_run(self, cell: _Cell, value: PipelineRun | CustomRun, now_ns: int) -> Close | None:
        """Close a PipelineRun or a CustomRun, if it has ended and so has everything below it, or the wait is over."""
        succeeded = value.status.succeeded
        ended = is_final(succeeded)
        if not ended and cell.gone_ns is None and cell.forced_ns is None:
            return None
        completion_ns = _completion_ns(value) if ended else None
        if cell.summary is None and cell.forced_ns is None and not self._is_complete(cell, value, completion_ns, now_ns):
            return None
        if ended and succeeded is not None:
            message = value.spec.status_message if isinstance(value, CustomRun) else ""
            return Close(judge_condition(succeeded, message), completion_ns, succeeded.reason, succeeded.message)
        return self._close_unfinished(cell, value.spec.status_message if isinstance(value, CustomRun) else "")

    def _is_complete(self, cell: _Cell, value: PipelineRun | CustomRun, completion_ns: int | None, now_ns: int) -> bool:
        """Say whether everything below is told, or will not be waited for; then what is missing is told as it is."""
        ended_ns = completion_ns if completion_ns is not None else cell.gone_ns or now_ns
        missing = [child for child in self._children_of(cell) if child.summary is None]
        if self._is_past(cell, ended_ns + CHILDREN_WAIT_NS, now_ns):
            known = [child.summary.end_ns for child in self._children_of(cell) if child.summary is not None]
            begun = [value.metadata.created_ns, instant_ns(value.status.start_time) or 0]
            for child in missing:
                self._force(child, completion_ns if completion_ns is not None else max([*begun, *known]), now_ns)
            return True
        return self._is_at_rest(cell, now_ns) and not missing and self._are_references_seen(cell, value)

    def _force(self, cell: _Cell, completion_ns: int, now_ns: int) -> None:
        """Tell a child, and what is below it, without waiting any longer."""
        cell.forced_ns = completion_ns
        for child in self._children_of(cell):
            if child.summary is None:
                self._force(child, completion_ns, now_ns)
        if not self._place(cell, now_ns):
            return
        self._look(cell, now_ns)
        self._dirty[cell.uid] = None  # so that `due` lists it
        cell.open_slots = set()

    def _are_references_seen(self, cell: _Cell, value: PipelineRun | CustomRun) -> bool:
        if not isinstance(value, PipelineRun):
            return True
        seen = {(kind_by_type(child.value), child.value.metadata.name) for child in self._children_of(cell)}
        since_ns = cell.final_seen_ns.get(0, cell.gone_ns or 0)
        return all(
            (reference.kind, reference.name) in seen or self._listed_after(reference.kind, since_ns)
            for reference in value.status.child_references
        )

    def _listed_after(self, kind: str, since_ns: int) -> bool:
        """Say whether a list of the kind was begun later; what we do not list is never waited for."""
        return kind not in names.RUN_KINDS or self._listed_ns.get(Kind(kind), 0) > since_ns

    # ------------------------------------------------------------ small questions

    def _children_of(self, cell: _Cell) -> list[_Cell]:
        uids = self._children.get(cell.uid, ())
        return [child for uid in uids if (child := self._cells.get(uid)) is not None and not child.is_orphan]

    def _attempts(self, cell: _Cell, value: TaskRun) -> tuple[Attempt, ...]:
        foreign = frozenset(
            name
            for name in (*(one.pod_name for one in value.status.retries_status), value.status.pod_name)
            if any(uid not in cell.pods for uid in self._pod_names.get((value.metadata.namespace, name), ()))
        )
        return attempts_of(value, (pod.seen() for pod in cell.pods.values()), foreign, is_gone=cell.gone_ns is not None)

    def _is_settled(self, cell: _Cell, attempt: Attempt, now_ns: int) -> bool:
        seen_final_ns = cell.final_seen_ns.get(attempt.number, cell.gone_ns or now_ns)
        is_absent = self._listed_ns.get(Kind.POD, 0) > seen_final_ns
        if is_pod_settled(attempt, now_ns, cell.gone_ns, is_absent=is_absent):
            return True
        self._wake(cell, settle_deadline_ns(attempt, cell.gone_ns), now_ns)
        return False

    def _is_at_rest(self, cell: _Cell, now_ns: int) -> bool:
        return self._is_past(cell, max(cell.changed_ns, cell.gone_ns or 0) + AT_REST_NS, now_ns)

    def _is_past(self, cell: _Cell, deadline_ns: int, now_ns: int) -> bool:
        """Say whether a deadline has passed; if not, look again when it has."""
        if now_ns >= deadline_ns:
            return True
        self._wake(cell, deadline_ns, now_ns)
        return False

    def _wake(self, cell: _Cell, deadline_ns: int, now_ns: int) -> None:
        if deadline_ns > now_ns:
            heapq.heappush(self._deadlines, (deadline_ns, cell.uid))

    # ------------------------------------------------------------ forgetting

    def _note_told(self, cell: _Cell, now_ns: int) -> None:
        if cell.summary is None or cell.open_slots:
            cell.told_ns = None
        elif cell.told_ns is None:
            cell.told_ns = now_ns
            self._forgetting.append((now_ns + REMEMBERED_NS, self._top(cell).uid))

    def _top(self, cell: _Cell) -> _Cell:
        seen: set[str] = set()
        while cell.owner_uid in self._cells and not cell.is_orphan and cell.uid not in seen:
            seen.add(cell.uid)
            cell = self._cells[cell.owner_uid]
        return cell

    def _sweep(self, now_ns: int) -> None:
        """Forget what was told whole and acknowledged a while ago, and what belongs to nothing."""
        while self._forgetting and self._forgetting[0][0] <= now_ns:
            _, uid = self._forgetting.popleft()
            top = self._cells.get(uid)
            if top is not None and self._is_over(top, now_ns):
                self._forget(top)
        if now_ns - self._swept_ns < STRAYS_NS:
            return
        self._swept_ns = now_ns
        for uid in [uid for uid, (since_ns, _) in self._stray_events.items() if now_ns - since_ns >= STRAYS_NS]:
            self.losses[Loss.LATE_EVENT] += len(self._stray_events.pop(uid)[1])
        for pod in [pod for pod in self._pods.values() if pod.is_gone and pod.task_run_uid not in self._cells]:
            if now_ns - pod.seen_ns >= CHILDREN_WAIT_NS:
                self.losses[Loss.LATE_READING] += 1
                self._forget_pod(pod)

    def _is_over(self, cell: _Cell, now_ns: int) -> bool:
        if cell.told_ns is None or now_ns < cell.told_ns + REMEMBERED_NS:
            return False
        is_whole = cell.gone_ns is not None or isinstance(cell.value, TaskRun) or self._are_references_seen(cell, cell.value)
        return is_whole and all(self._is_over(child, now_ns) for child in self._children_of(cell))

    def _forget(self, cell: _Cell) -> None:
        for child in self._children_of(cell):
            self._forget(child)
        for pod in list(cell.pods.values()):
            self._forget_pod(pod)
        self._pods_of.pop(cell.uid, None)
        if cell.gone_ns is None:
            self._finished.add(cell.uid)
        del self._cells[cell.uid]
        self._children.pop(cell.uid, None)
        siblings = self._children.get(cell.owner_uid or "")
        if siblings is not None:
            siblings.pop(cell.uid, None)
            if not siblings:
                del self._children[cell.owner_uid or ""]

    def _forget_pod(self, pod: _PodCell) -> None:
        meta = pod.pod.metadata
        if not pod.is_gone:
            self._finished.add(meta.uid)
        self._pods.pop(meta.uid, None)
        siblings = self._pods_of.get(pod.task_run_uid, {})
        siblings.pop(meta.uid, None)
        if not siblings:
            self._pods_of.pop(pod.task_run_uid, None)
        named = self._pod_names.get((meta.namespace, meta.name), {})
        named.pop(meta.uid, None)
        if not named:
            self._pod_names.pop((meta.namespace, meta.name), None)


@dataclass(frozen=True, slots=True)
class Unended:
    """A run that has not been told to its end, with what is below it and not told to its end either."""

    value: Run
    place: Place | None
    pods: tuple[SeenPod, ...]
    children: tuple["Unended", ...]


def _ends(pod: Pod) -> list[object]:
    """What can still matter of a Pod whose TaskRun was told to its end: how its steps ended."""
    states = pod.container_states
    return [states[step.name].state.terminated if step.name in states else None for step in pod.steps]


def _completion_ns(value: PipelineRun | CustomRun) -> int | None:
    completion = instant_ns(value.status.completion_time)
    if completion is None and value.status.succeeded is not None:
        return instant_ns(value.status.succeeded.last_transition_time)
    return completion
