"""What do the components' own counts say now? Read when somebody asks, so that nobody who counts knows of metrics.

Must not know: how metrics are written.
"""

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tracer.delivery.ledger import Standing
from tracer.delivery.outbox import Books
from tracer.delivery.readings import Loss
from tracer.health import families
from tracer.health.caps import FOLDED
from tracer.health.families import OTHER, Family
from tracer.kube.reflector import Reflector
from tracer.tekton.names import Kind
from tracer.tekton.times import SECOND_NS

Values = Mapping[tuple[str, ...], float]
"""By the values of a family's labels, in their order."""
Readings = Mapping[Family, Values]

_HTTP_ERROR = re.compile("http_(5..)?.*")


class SenderCounts(Protocol):
    """What a sender counts."""

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests that ended, by outcome."""

    @property
    def sent_spans(self) -> int:
        """Spans in requests, repeats too."""

    @property
    def last_acknowledged_unix_s(self) -> float | None:
        """When something was acknowledged last."""


class OutboxCounts(Protocol):
    """What an outbox counts."""

    @property
    def books(self) -> Books:
        """What became of the spans."""

    @property
    def waiting(self) -> int:
        """How many objects wait for their turn."""

    @property
    def under_way(self) -> int:
        """How many objects are in requests."""


class ControllerCounts(Protocol):
    """What a controller counts."""

    @property
    def sender(self) -> SenderCounts:
        """The one who sends."""

    @property
    def outbox(self) -> OutboxCounts:
        """What is to be sent."""

    @property
    def losses(self) -> Mapping[Loss, int]:
        """What is left out on purpose."""

    @property
    def lost_spans(self) -> Mapping[str, int]:
        """Spans that were due and will never be sent, by reason."""

    @property
    def incomplete(self) -> Mapping[str, int]:
        """Runs that were told without their end, by reason."""

    @property
    def held_objects(self) -> Mapping[tuple[str, str], int]:
        """Objects in memory, by kind and state."""

    @property
    def ignored_contexts(self) -> Mapping[str, int]:
        """Trace contexts that could not be used, by reason."""

    @property
    def leads(self) -> bool:
        """Whether what is due is sent."""

    def oldest_due_age_s(self) -> float:
        """Say for how long the oldest of what is due has been due."""

    def standing(self) -> Iterable[Standing]:
        """Say how each run stands that has not ended."""


def read_delivery(controller: ControllerCounts) -> Readings:
    """Read what a controller counts."""
    sender, outbox, losses = controller.sender, controller.outbox, controller.losses
    last_s = sender.last_acknowledged_unix_s
    return {
        families.SPANS_ACKNOWLEDGED: {(): outbox.books.delivered},
        families.SPANS_SENT: {(): sender.sent_spans},
        families.SPANS_LOST: _labelled(controller.lost_spans),
        families.SPANS_REJECTED: {(): outbox.books.rejected},
        families.EDGE_FACTS_DROPPED: {("late_event",): losses.get(Loss.LATE_EVENT, 0)},
        families.REQUESTS: _labelled(sender.requests),
        families.OUTBOX_RUNS: {("pending",): outbox.waiting, ("in_flight",): outbox.under_way},
        families.OUTBOX_OLDEST_AGE: {(): controller.oldest_due_age_s()},
        families.RUNS_INCOMPLETE: _labelled(controller.incomplete),
        families.LATE_CHANGES: {(): losses.get(Loss.LATE_READING, 0)},
        families.SPANS_NOT_SAMPLED: {(): losses.get(Loss.UNSAMPLED, 0)},
        families.LAST_ACKNOWLEDGED: {} if last_s is None else {(): last_s},
        families.OBJECTS: {(kind, state): count for (kind, state), count in controller.held_objects.items()},
        families.TRACE_CONTEXT_IGNORED: _labelled(controller.ignored_contexts),
        families.IS_LEADER: {(): float(controller.leads)},
    }


def read_runs(controller: ControllerCounts, now_ns: int, stuck_after_s: float) -> Readings:
    """Read how runs stand now (Unix nanoseconds), if we are the one who says so."""
    running, waiting, stuck = Counter[tuple[str, ...]](), Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    oldest_s: dict[tuple[str, ...], float] = {}
    for one in controller.standing() if controller.leads else ():
        of_kind, age_s = (one.namespace, one.kind), max(0.0, (now_ns - one.created_ns) / SECOND_NS)
        running[one.namespace,] += one.kind is Kind.TASK_RUN and one.has_started
        oldest_s[of_kind] = max(age_s, oldest_s.get(of_kind, 0.0))
        stuck[of_kind] += age_s > stuck_after_s
        waiting.update((one.namespace, reason if reason in families.WAITING_REASONS else OTHER) for reason in one.waiting)
    return {
        families.TASK_RUNS_RUNNING: _folded(families.TASK_RUNS_RUNNING, running),
        families.STEPS_WAITING: _folded(families.STEPS_WAITING, waiting),
        families.RUN_OLDEST_AGE: _folded(families.RUN_OLDEST_AGE, oldest_s, join=max),
        families.RUNS_STUCK: _folded(families.RUNS_STUCK, stuck),
    }


def _folded(family: Family, values: Values, join: Callable[[float, float], float] = operator.add) -> Values:
    """Put together what goes beyond the most of a metric: the last namespaces of the alphabet."""
    if len(values) <= family.most:
        return values
    most = family.most - math.prod(len(label.values) for label in family.labels[1:])
    kept = {labels: values[labels] for labels in sorted(values)[:most]}
    for labels in sorted(values)[most:]:
        folded = (FOLDED, *labels[1:])
        kept[folded] = join(kept[folded], values[labels]) if folded in kept else values[labels]
    return kept


def read_watches(reflectors: Iterable[Reflector]) -> Readings:
    """Read what reflectors count, those of a kind together."""
    counts = {
        family: Counter[tuple[str, ...]]()
        for family in (
            families.WATCH_EVENTS, families.WATCH_BYTES, families.WATCH_ERRORS, families.RELISTS, families.OBJECTS_SKIPPED,
        )
    }  # fmt: skip
    last_s: dict[tuple[str, ...], float] = {}
    for one in reflectors:
        kind = (one.feed.kind,)
        for of_type, count in one.course.events.items():
            counts[families.WATCH_EVENTS][*kind, of_type] += count
        for reason, count in one.errors.items():
            counts[families.WATCH_ERRORS][*kind, _bounded(reason)] += count
        for reason, count in one.skipped.items():
            counts[families.OBJECTS_SKIPPED][*kind, reason] += count
        counts[families.WATCH_BYTES][kind] += one.read_bytes
        counts[families.RELISTS][kind] += one.relists
        if one.course.is_synced or one.is_awaited:  # what this cluster does not serve, and nobody needs, is not stale
            last_s[kind] = min(last_s.get(kind, one.last_read_unix_s), one.last_read_unix_s)
    return {**counts, families.WATCH_LAST_EVENT: last_s}


def awaited(reflectors: Iterable[Reflector]) -> dict[str, str]:
    """Name what is still to be listed before anything is judged, with the reason that keeps it from that, as in the metrics.

    It is shown to whoever asks, so it is no sentence, in which the API server's address stands. Empty if nothing is awaited.
    """
    return {_name(one): _bounded(one.reason) for one in reflectors if one.is_awaited}


def _name(reflector: Reflector) -> str:
    feed = reflector.feed
    which, where = f" ({feed.reason})" if feed.reason else "", f" in namespace {feed.namespace}" if feed.namespace else ""
    return f"{feed.kind.plural}{which}{where}"


def _labelled(counts: Mapping[str, int]) -> Values:
    return {(label,): count for label, count in counts.items()}


def _bounded(reason: str) -> str:
    """Put HTTP errors together, as a server can send any number."""
    found = _HTTP_ERROR.fullmatch(reason)
    return reason if found is None else "http_5xx" if found[1] else "http_other"
