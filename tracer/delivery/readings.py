"""What was read last of every object, and what belongs to what?

Keeps: the newest reading of an object wins; every object is held once, until it is forgotten; what belongs to nothing is held
for a bounded time; nothing is above itself.
Must not know: what is due.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from tracer.delivery.deleted import Deleted
from tracer.delivery.marks import Noted, mark_of
from tracer.lifecycle.attempts import SeenPod
from tracer.lifecycle.facts import waiting_reasons
from tracer.lifecycle.judgement import is_final
from tracer.tekton import names
from tracer.tekton.event import Event
from tracer.tekton.meta import OwnerReference
from tracer.tekton.names import Kind
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.places import Place
from tracer.telemetry.records import Slot
from tracer.telemetry.spans import Summary

STRAY_EVENTS_NS = 60 * SECOND_NS  # Events come for all Pods, and only a Pod's own reading tells whether it is Tekton's
STRAY_PODS_NS = 15 * 60 * SECOND_NS  # a Pod that is gone and whose TaskRun never came

MOST_STRAY = 20_000  # Pods with such Events, for time may stand still; about 20 MB
DEEPEST = 50  # owners above owners; ownerReferences are a user's to write, and no pipeline is nested like this

Run = PipelineRun | TaskRun | CustomRun
EventKey = tuple[str, str | None]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Loss(StrEnum):
    """What is left out on purpose, and counted."""

    LATE_READING = "late reading"
    """A reading of an object that was already told to its end, or whose TaskRun never came."""
    LATE_EVENT = "late event"
    """An Event of a Pod that was already told and forgotten; one that is older than we are was told before us."""
    STRAY_EVENT = "stray event"
    """An Event of a Pod that never came: most are of Pods that have nothing to do with Tekton."""
    OWNER_UNKNOWN = "owner unknown"
    """A run whose owner is not there: told as if nothing were above it."""
    CHILD_MISSING = "child missing"
    """A child that a run names and that was not seen before the run was told."""
    UNSAMPLED = "unsampled"
    """A span of a run whose caller asked for no trace."""
    NOT_A_PIPELINE = "not a pipeline"
    """A span of a CustomRun that no PipelineRun owns."""
    TOO_OLD = "too old"
    """A run that had ended before the time to which the first start was told to look back."""


@dataclass(slots=True)
class PodCell:
    """One Pod, with the Events about it."""

    pod: Pod
    seen_ns: int
    events: dict[EventKey, Event] = field(default_factory=dict)
    """The earliest of each reason and container: others say nothing more."""
    is_gone: bool = False
    waiting: tuple[str, ...] = ()
    """Why each of its steps waits that does."""

    @property
    def task_run_uid(self) -> str:
        """The TaskRun that controls it."""
        owner = self.pod.metadata.controller
        return owner.uid if owner is not None else ""

    def seen(self) -> SeenPod:
        """Give it as a frozen value."""
        return SeenPod(self.pod, tuple(self.events.values()), self.is_gone)


@dataclass(slots=True)
class Cell:
    """One PipelineRun, TaskRun or CustomRun."""

    value: Run
    owner: OwnerReference | None
    """The PipelineRun or CustomRun that controls it, as it was first seen; None for a top run."""
    first_seen_ns: int
    changed_ns: int
    start_changed_ns: int
    gone_ns: int | None = None
    """When its deletion was seen."""
    has_vanished: bool = False
    """Whether nobody saw how it was at its deletion."""
    final_seen_ns: dict[int, int] = field(default_factory=dict)
    """When each attempt, or the run itself (as 0), was first seen final."""
    late: Run | None = None
    """The last reading that came too late to be told."""
    pods: dict[str, PodCell] = field(default_factory=dict)
    foreign_pod_names: frozenset[str] = frozenset()
    """The names of its attempts whose Pods belong to other TaskRuns; frozen with it."""
    acknowledged: Noted = field(default_factory=Noted)
    counted: Noted = field(default_factory=Noted)
    """What of it the metrics have counted."""
    announced: int = 0
    """A hash of what the metrics know to expect of it."""
    is_history: bool = False
    """Whether what can be counted of it now was there before anybody counted."""
    open_slots: set[Slot] = field(default_factory=set)
    """Due and not acknowledged, at the last look."""
    summary: Summary | None = None
    """Set once the object was told to its end: it is frozen then."""
    children_told: tuple[Summary, ...] = ()
    """What it was told with of those below it."""
    is_hurried: bool = False
    """Whether its run did not wait for it any longer."""
    forced_ns: int | None = None
    """The completion that it was told with, if it had not ended then."""
    wake_ns: int | None = None
    """When it will be looked at again without any new fact."""
    told_ns: int | None = None
    """When the last of its spans was acknowledged."""
    place: Place | None = None
    inner: Place | None = None
    """Where those below it hang."""

    @property
    def uid(self) -> str:
        """The object's UID."""
        return self.value.metadata.uid

    @property
    def mark(self) -> bytes:
        """How it is remembered once it is held no more."""
        return mark_of(self.uid)

    @property
    def is_gone(self) -> bool:
        """Whether the object was deleted."""
        return self.gone_ns is not None

    def ended_ns(self, number: int, completion_ns: int | None) -> int:
        """Say when an attempt that has ended, or the run itself (as 0), did so, for waiting: by our clock, if we saw it end.

        Only of what had ended before we came must the cluster's clock be believed, and never that it is later than it is.
        """
        if number not in self.final_seen_ns:
            return self.gone_ns if self.gone_ns is not None else self.changed_ns
        seen_ns = self.final_seen_ns[number]
        return seen_ns if seen_ns > self.first_seen_ns or completion_ns is None else min(seen_ns, completion_ns)

    @property
    def has_ended(self) -> bool:
        """Whether the object was seen final, or deleted."""
        return 0 in self.final_seen_ns or self.is_gone

    def acknowledge(self, slots: Iterable[Slot]) -> None:
        """Note what was confirmed."""
        self.acknowledged.add(slots)
        self.open_slots = {slot for slot in self.open_slots if slot not in self.acknowledged}

    def note_late(self, value: Run) -> bool:
        """Note a reading that tells something new of what was already told to its end; False for any other."""
        if (
            self.summary is None
            or value.status == self.value.status
            or (self.late is not None and value.status == self.late.status)
        ):
            return False
        self.late = value
        return True

    def read(self, value: Run, now_ns: int, *, is_gone: bool) -> None:
        """Take a new reading; what was told to its end keeps the one it was told with."""
        if self.summary is None and self.value != value:
            self.changed_ns = now_ns
            if self.value.status.start_time != value.status.start_time:
                self.start_changed_ns = now_ns
            self.value = value
            self.place = self.inner = None
        if is_gone != self.is_gone:
            self.gone_ns = now_ns if is_gone else None
        self.mark_finals(value, now_ns)

    def mark_finals(self, value: Run, now_ns: int) -> None:
        """Note when the run, and each attempt of a TaskRun, was first seen final; also of one that was told without its end."""
        ended = is_final(value.status.succeeded)
        if ended:
            self.final_seen_ns.setdefault(0, now_ns)
        if isinstance(value, TaskRun):
            attempts = len(value.status.retries_status) + ended
            for number in range(1, attempts + 1):
                self.final_seen_ns.setdefault(number, now_ns)


class Readings:
    """The newest reading of every object, by UID, with owners, Pods and Events put together."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.cells: dict[str, Cell] = {}
        self.losses: Counter[Loss] = Counter()
        self.listed_ns: dict[Kind, int] = {}
        self.unended: dict[str, Cell] = {}
        """The runs that have not ended, by UID."""
        self.finished: dict[bytes, None] = {}
        """The marks of runs of which nothing is to be told any more, that are held no more and still exist, the oldest first."""
        self.deleted = Deleted()
        """What no longer exists, and is not forgotten."""
        self._children: dict[str, dict[str, None]] = {}
        self._pods: dict[str, PodCell] = {}
        self._pods_of: dict[str, dict[str, PodCell]] = {}
        self._pods_named: dict[tuple[str, str], dict[str, None]] = {}
        self._stray_events: dict[str, tuple[int, dict[EventKey, Event]]] = {}
        self._finished_pods: set[bytes] = set()
        self._events_since_ns = 0
        self._swept_ns = 0

    # ------------------------------------------------------------ what comes in

    def add_run(self, value: Run, now_ns: int) -> Cell:
        """Hold a run that is seen for the first time."""
        uid, owner = value.metadata.uid, owner_of(value)
        cell = self.cells[uid] = Cell(value, owner, now_ns, now_ns, now_ns, pods=self._pods_of.setdefault(uid, {}))
        cell.mark_finals(value, now_ns)
        self.sort(cell)
        if owner is not None:
            self._children.setdefault(owner.uid, {})[uid] = None
        if cell.owner is not None and self._is_too_deep(cell):
            self.orphan(cell)
        return cell

    def sort(self, cell: Cell) -> None:
        """Note whether a run has ended by now."""
        if cell.has_ended:
            self.unended.pop(cell.uid, None)
        else:
            self.unended[cell.uid] = cell

    def _is_too_deep(self, cell: Cell) -> bool:
        """Say whether an object would be above itself, or too many would be above each other."""
        depth = 0
        for depth, above in enumerate(self.above(cell), start=1):  # noqa: B007 - the last one counts
            if above is cell:
                return True
        below = [cell]
        while below and depth <= DEEPEST:
            below = [child for one in below for child in self.children_of(one)]
            depth += 1
        return depth > DEEPEST

    def take_pod(self, value: Pod, now_ns: int, *, is_gone: bool) -> str | None:
        """Take a reading of a Pod; the UID of the TaskRun for which it is news."""
        owner = value.metadata.controller
        if owner is None or owner.kind != Kind.TASK_RUN or not _is_tekton(owner):
            return None
        uid = value.metadata.uid
        pod, cell = self._pods.get(uid), self.cells.get(owner.uid)
        if pod is None and cell is None and self._is_pod_finished(uid, owner.uid, is_gone=is_gone):
            return None
        if cell is not None and cell.summary is not None:
            self.losses[Loss.LATE_READING] += pod is None or _ends(pod.pod) != _ends(value)
            if pod is not None:
                pod.is_gone = is_gone
            return None
        if pod is None:
            pod = self._pods[uid] = PodCell(value, now_ns)
            self._pods_of.setdefault(owner.uid, {})[uid] = pod
            self._pods_named.setdefault((value.metadata.namespace, value.metadata.name), {})[uid] = None
            _, pod.events = self._stray_events.pop(uid, (0, {}))
        elif pod.pod == value and pod.is_gone == is_gone:
            return None
        pod.pod, pod.is_gone, pod.seen_ns, pod.waiting = value, is_gone, now_ns, waiting_reasons(value)
        return owner.uid

    def take_event(self, value: Event, now_ns: int) -> str | None:
        """Take an Event about a Pod, its first reading; the UID of the TaskRun for which it is news."""
        about = value.involved_object
        if about.kind != Kind.POD or value.reason not in names.EVENT_REASONS or not about.uid:
            return None
        pod = self._pods.get(about.uid)
        self._events_since_ns = self._events_since_ns or now_ns
        if pod is None and mark_of(about.uid) in self._finished_pods:
            self.losses[Loss.LATE_EVENT] += value.instant is None or value.instant[0] >= self._events_since_ns
            return None
        events = pod.events if pod is not None else self._stray_events.setdefault(about.uid, (now_ns, {}))[1]
        if len(self._stray_events) > MOST_STRAY:
            self.losses[Loss.STRAY_EVENT] += len(self._stray_events.pop(next(iter(self._stray_events)))[1])
        key, instant = (value.reason, value.container), value.instant
        known = events.get(key)
        if instant is None or (known is not None and known.instant is not None and known.instant <= instant):
            return None
        events[key] = value
        return pod.task_run_uid if pod is not None else None

    def _is_pod_finished(self, uid: str, task_run_uid: str, *, is_gone: bool) -> bool:
        """Say whether a Pod that is not held was told whole, and remember it as long as it exists."""
        mark = mark_of(uid)
        if mark not in self._finished_pods and mark_of(task_run_uid) not in self.finished:
            return False
        (self._finished_pods.discard if is_gone else self._finished_pods.add)(mark)
        return True

    def last_of(self, uid: str) -> Run | Pod | None:
        """Give the last reading of a run or a Pod that is held."""
        if (cell := self.cells.get(uid)) is not None:
            return cell.value
        pod = self._pods.get(uid)
        return pod.pod if pod is not None else None

    # ------------------------------------------------------------ what belongs to what

    def children_of(self, cell: Cell) -> list[Cell]:
        """List the runs that an object controls."""
        return self.children_by(cell.uid)

    def children_by(self, owner_uid: str) -> list[Cell]:
        """List the runs that are held and that the object of this UID controls, whether it is held or not."""
        return [child for uid in self._children.get(owner_uid, ()) if (child := self.cells.get(uid)) is not None]

    def above(self, cell: Cell) -> Iterator[Cell]:
        """Give what owns an object, upward, as far as it was seen."""
        seen = {cell.uid}
        while cell.owner is not None and cell.owner.uid in self.cells:
            cell = self.cells[cell.owner.uid]
            yield cell
            if cell.uid in seen:
                return
            seen.add(cell.uid)

    def below(self, cell: Cell) -> Iterator[Cell]:
        """Give what is below an object, and then the object itself."""
        for child in self.children_of(cell):
            yield from self.below(child)
        yield cell

    def top(self, cell: Cell) -> Cell:
        """Find the run at the top."""
        return [cell, *self.above(cell)][-1]

    def orphan(self, cell: Cell) -> None:
        """Take an object as if nothing were above it."""
        self._leave_owner(cell)
        cell.owner = None
        self.losses[Loss.OWNER_UNKNOWN] += 1

    def find_foreign_pods(self, cell: Cell, value: TaskRun) -> frozenset[str]:
        """Name those of a TaskRun's attempts whose Pod was seen and belongs to another TaskRun; frozen once it was told."""
        if cell.summary is None:
            namespace, statuses = value.metadata.namespace, (*value.status.retries_status, value.status)
            cell.foreign_pod_names = frozenset(
                one.pod_name
                for one in statuses
                if any(uid not in cell.pods for uid in self._pods_named.get((namespace, one.pod_name), ()))
            )
        return cell.foreign_pod_names

    def is_listed_after(self, kind: str, since_ns: int) -> bool:
        """Say whether a list of the kind was begun later; what is not listed at all is never waited for."""
        return kind not in names.RUN_KINDS or self.listed_ns.get(Kind(kind), 0) > since_ns

    # ------------------------------------------------------------ what goes out

    def is_finished(self, uid: str) -> bool:
        """Say whether a run was told whole, and still exists."""
        return mark_of(uid) in self.finished

    def finish(self, uid: str) -> None:
        """Take it that a run that exists and is not held was told whole."""
        self._forget_pods(uid)
        self.finished[mark_of(uid)] = None

    def lose(self, uid: str) -> bool:
        """Take it that something that is not held exists no more; say whether it was told whole."""
        mark = mark_of(uid)
        was_finished = mark in self.finished or mark in self._finished_pods
        self.finished.pop(mark, None)
        self._finished_pods.discard(mark)
        return was_finished

    def forget(self, cell: Cell) -> None:
        """Let go of a run and of all below it; what still exists is remembered by its mark, a parent before its children."""
        if not cell.is_gone:
            self.finished[cell.mark] = None
        for child in self.children_of(cell):
            self.forget(child)
        self._forget_pods(cell.uid)
        self.deleted.discard(cell.uid)
        del self.cells[cell.uid]
        self.unended.pop(cell.uid, None)
        self._children.pop(cell.uid, None)
        self._leave_owner(cell)

    def sweep(self, now_ns: int) -> None:
        """Let go of what belongs to nothing."""
        if now_ns - self._swept_ns < STRAY_EVENTS_NS:
            return
        self._swept_ns = now_ns
        for uid in [uid for uid, (since_ns, _) in self._stray_events.items() if now_ns - since_ns >= STRAY_EVENTS_NS]:
            self.losses[Loss.STRAY_EVENT] += len(self._stray_events.pop(uid)[1])
        for pod in [pod for pod in self._pods.values() if pod.task_run_uid not in self.cells]:
            is_alone = pod.is_gone or self.listed_ns.get(Kind.TASK_RUN, 0) > pod.seen_ns
            if is_alone and now_ns - pod.seen_ns >= STRAY_PODS_NS:
                self.losses[Loss.LATE_READING] += 1
                self._forget_pod(pod)

    def _forget_pods(self, task_run_uid: str) -> None:
        for pod in list(self._pods_of.get(task_run_uid, {}).values()):
            self._forget_pod(pod)
        self._pods_of.pop(task_run_uid, None)

    def _forget_pod(self, pod: PodCell) -> None:
        meta = pod.pod.metadata
        if not pod.is_gone:
            self._finished_pods.add(mark_of(meta.uid))
        self._pods.pop(meta.uid, None)
        _discard(self._pods_of, pod.task_run_uid, meta.uid)
        _discard(self._pods_named, (meta.namespace, meta.name), meta.uid)

    def _leave_owner(self, cell: Cell) -> None:
        if cell.owner is not None:
            _discard(self._children, cell.owner.uid, cell.uid)


def _discard(index: dict[_Key, dict[str, _Value]], key: _Key, uid: str) -> None:
    """Take a UID out of an index, and its entry with the last one."""
    held = index.get(key, {})
    held.pop(uid, None)
    if not held:
        index.pop(key, None)


def _is_tekton(owner: OwnerReference) -> bool:
    return owner.api_version.startswith(f"{names.TEKTON_GROUP}/")


def owner_of(value: Run) -> OwnerReference | None:
    """Find the run that controls an object; a TaskRun owns only Pods."""
    found = value.metadata.controller
    if found is None or not _is_tekton(found):
        return None
    return found if found.kind in {Kind.PIPELINE_RUN, Kind.CUSTOM_RUN} else None


def _ends(pod: Pod) -> list[object]:
    """List how a Pod's steps ended: what can still matter of it once its TaskRun was told to its end."""
    states = pod.container_states
    return [states[step.name].state.terminated if step.name in states else None for step in pod.steps]
