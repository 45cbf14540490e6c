"""What happens to ourselves that people should know? Every event by its stable name, and how much it matters.

Keeps: a name here is a promise to whoever searches logs for it; what varies stands in fields, the message is a whole sentence.
Must not know: who is told, and how it is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How much an event matters."""

    DEBUG = "debug"
    INFO = "info"
    """The life of the process; never one for each run."""
    WARNING = "warning"
    """Recovered from, or worse than it should be."""
    ERROR = "error"
    """Something was lost, or a person is needed."""


class What(StrEnum):
    """What happened: the stable name."""

    STARTED = "started"
    SYNCED = "synced"
    """All that is watched was listed: from now on runs are told."""
    WATCH_FAILED = "watch_failed"
    WATCH_RECOVERED = "watch_recovered"
    OBJECT_SKIPPED = "object_skipped"
    """An object that cannot be read, or is too large; others are not touched by it."""
    CLUSTER_UNKNOWN = "cluster_unknown"
    """The cluster's UID may not be read; spans do without it."""
    LEADER_ACQUIRED = "leader_acquired"
    """This replica sends from now on."""
    LEADER_LOST = "leader_lost"
    """It stopped before its time was over; it goes on as a candidate."""
    LEADER_STANDBY = "leader_standby"
    """Another replica leads."""
    LEASE_MISSING = "lease_missing"
    """The Lease is not there, or may not be used: this replica leads anyway."""
    LEASE_FAILED = "lease_failed"
    """The Lease cannot be asked for now, or makes no sense."""
    LEASE_RECOVERED = "lease_recovered"
    BACKEND_FAILED = "backend_failed"
    """The backend, or the way to it, does not take anything now; everything is kept."""
    BACKEND_REFUSED = "backend_refused"
    """Nothing will pass before a person mends something; everything is kept."""
    BACKEND_RECOVERED = "backend_recovered"
    BACKEND_WARNED = "backend_warned"
    """The backend took a request and has something to say."""
    CHECKPOINT_MISSING = "checkpoint_missing"
    """There is no ConfigMap for it, or no right to it: a restart sends again what still exists."""
    CHECKPOINT_UNREADABLE = "checkpoint_unreadable"
    """Somebody else wrote it, or a later version: it counts as absent."""
    CHECKPOINT_FAILED = "checkpoint_failed"
    CHECKPOINT_RECOVERED = "checkpoint_recovered"
    SPANS_REJECTED = "spans_rejected"
    SPANS_LOST = "spans_lost"
    STOPPING = "stopping"
    STOPPED = "stopped"
    LIBRARY = "library"
    """Something that a library has to say."""


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
}
"""What is not named here is `info`."""


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
