"""What happens to ourselves that people should know? Every event by its stable name, and how much it matters.

Keeps: a name here is a promise to whoever searches logs for it; what varies stands in fields, the message is a whole sentence.
Must not know: who is told, and how it is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    """The life of the process; never one for each run."""
    WARNING = "warning"
    """Recovered from, or worse than it should be."""
    ERROR = "error"
    """Something was lost, or a person is needed."""


class What(StrEnum):
    """What happened: the stable name."""

    STARTED = "started"
    """The process has begun; the sentence names what is watched, and where spans are sent."""
    SYNCED = "synced"
    """All that is watched was listed: from now on runs are told."""
    WATCH_FAILED = "watch_failed"
    """A kind is not watched now; it is tried again."""
    WATCH_RECOVERED = "watch_recovered"
    """The kind is watched again."""
    OBJECT_SKIPPED = "object_skipped"
    """An object that cannot be read, or is too large; others are not touched by it."""
    CLUSTER_UNKNOWN = "cluster_unknown"
    """The cluster's UID may not be read; spans do without it."""
    LEADER_ACQUIRED = "leader_acquired"
    """This replica sends from now on."""
    LEADER_LOST = "leader_lost"
    """This replica stopped sending before its time was over; it goes on as a candidate."""
    LEADER_STANDBY = "leader_standby"
    """Another replica leads."""
    LEASE_MISSING = "lease_missing"
    """The Lease is not there, or may not be used: this replica leads anyway."""
    LEASE_FAILED = "lease_failed"
    """The Lease cannot be asked for now, or makes no sense."""
    LEASE_RECOVERED = "lease_recovered"
    """The Lease can be used again."""
    BACKEND_FAILED = "backend_failed"
    """The backend, or the way to it, does not take anything now; everything is kept."""
    BACKEND_REFUSED = "backend_refused"
    """Nothing will pass before a person mends something; everything is kept."""
    BACKEND_RECOVERED = "backend_recovered"
    """The backend takes spans again."""
    BACKEND_WARNED = "backend_warned"
    """The backend took a request and has something to say."""
    CHECKPOINT_MISSING = "checkpoint_missing"
    """There is no ConfigMap for the checkpoint, or no right to it: a restart sends again what still exists."""
    CHECKPOINT_UNREADABLE = "checkpoint_unreadable"
    """Somebody else wrote the checkpoint, or a later version: it counts as absent."""
    CHECKPOINT_FAILED = "checkpoint_failed"
    """The checkpoint cannot be read or written now; it is tried again."""
    CHECKPOINT_RECOVERED = "checkpoint_recovered"
    """The checkpoint can be read or written again."""
    SPANS_REJECTED = "spans_rejected"
    """The backend will never take some spans, and says why."""
    SPANS_LOST = "spans_lost"
    """Spans of deleted objects will never be sent."""
    STOPPING = "stopping"
    """The process was asked to end; what is due is sent first."""
    STOPPED = "stopped"
    """The process ends, and says what became of everything."""
    LIBRARY = "library"
    """Something that a library has to say; an `error` where the library says so."""


LEVELS = {
    What.WATCH_FAILED: Level.WARNING,
    What.OBJECT_SKIPPED: Level.WARNING,
    What.CLUSTER_UNKNOWN: Level.WARNING,
    What.LEADER_LOST: Level.WARNING,
    What.LEASE_MISSING: Level.WARNING,
    What.LEASE_FAILED: Level.WARNING,
    What.BACKEND_FAILED: Level.WARNING,
    What.BACKEND_REFUSED: Level.ERROR,
    What.BACKEND_WARNED: Level.WARNING,
    What.CHECKPOINT_MISSING: Level.WARNING,
    What.CHECKPOINT_UNREADABLE: Level.WARNING,
    What.CHECKPOINT_FAILED: Level.WARNING,
    What.SPANS_REJECTED: Level.ERROR,
    What.SPANS_LOST: Level.ERROR,
    What.LIBRARY: Level.WARNING,
}
"""What is not named here is `info`."""

FIELDS = {
    What.SYNCED: ("objects",),
    What.WATCH_FAILED: ("events", "kind", "namespace", "reason"),
    What.WATCH_RECOVERED: ("events", "kind", "namespace"),
    What.OBJECT_SKIPPED: ("events", "kind", "namespace", "reason"),
    What.LEADER_ACQUIRED: ("identity",),
    What.LEADER_LOST: ("identity",),
    What.LEADER_STANDBY: ("holder",),
    What.LEASE_MISSING: ("reason",),
    What.LEASE_FAILED: ("reason",),
    What.SPANS_REJECTED: ("spans",),
    What.SPANS_LOST: ("kind", "name", "namespace", "reason", "spans", "uid"),
    What.STOPPED: ("acknowledged", "only_in_memory", "rejected", "waiting"),
    What.LIBRARY: ("exception", "logger", "traceback"),
}
"""The fields that an event may have; what is not named here has none."""

FIELD_MEANINGS = {
    "acknowledged": "how many spans the backend acknowledged",
    "events": "of which reason the Events are that are watched",
    "exception": "the class of an exception; its text may hold anything and is left out",
    "holder": "the replica that leads",
    "identity": "this replica",
    "kind": "the kind of object",
    "logger": "the library, or the part of it",
    "name": "the object's name",
    "namespace": "the object's namespace, or the one that is watched",
    "objects": "how many there are",
    "only_in_memory": "how many spans of deleted objects only this process had",
    "reason": "why, in a word that does not change",
    "rejected": "how many spans the backend rejected for good",
    "spans": "how many spans",
    "traceback": "where an exception came from",
    "uid": "the object's UID",
    "waiting": "how many spans were not acknowledged",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    what: What
    message: str
    """A sentence for a person. Params, environment, scripts and tokens are never in it."""
    fields: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """How much it matters."""
        return LEVELS.get(self.what, Level.INFO)


def sentence(clause: str) -> str:
    """End a clause as a sentence, once."""
    return clause if clause.endswith(("?", ".")) else f"{clause}."


Report = Callable[[Event], None]
"""Told what happens; it neither waits nor raises."""
