"""Which line of a recording says what was observed?

Keeps: only the fields that are read are written, so no param, script, environment, result or unlisted annotation ever is; what
changes none of them is left out; memory holds what exists, and of Events no more than a hash.
Must not know: where the observations come from, and where the lines go.
"""

from tracer.tekton.decode import Object, encode
from tracer.tekton.event import Event
from tracer.tekton.names import EVENT_REASONS, Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced, Vanished
from tracer.tekton.times import SECOND_NS


class Writer:
    """Writes watch events as lines, in the order in which they are observed."""

    def __init__(self) -> None:
        """Begin with nothing written."""
        self.objects = 0
        """How many objects lines were written of."""
        self._written: dict[str, bytes | int] = {}
        """By UID, what was written last of each object that exists: the object itself, or an Event's hash."""

    def line(self, observation: Observation, at_ns: int) -> bytes:
        """Write an observation at the time of its arrival, Unix nanoseconds; empty if it says nothing new, or nothing of use.

        What vanished unseen is written as deleted, as it was written last.
        """
        match observation:
            case Seen(value):
                return self._seen(value, at_ns) if _is_of_use(value) else b""
            case Gone(value):
                self._written.pop(value.metadata.uid, None)
                return _line("DELETED", encode(value), at_ns) if _is_of_use(value) else b""
            case Vanished(_, uid):
                content = self._written.pop(uid, None)
                return _line("DELETED", content, at_ns) if isinstance(content, bytes) else b""
            case Synced():
                return b""

    def _seen(self, value: Object, at_ns: int) -> bytes:
        uid, content = value.metadata.uid, encode(value)
        kept = hash(content) if isinstance(value, Event) else content  # many, and none is missed when it vanishes
        known = self._written.get(uid)
        if known == kept:
            return b""
        self._written[uid] = kept
        self.objects += known is None
        return _line("ADDED" if known is None else "MODIFIED", content, at_ns)


def _line(kind: str, content: bytes, at_ns: int) -> bytes:
    return b'{"at":%.4f,"type":"%s","object":%s}\n' % (at_ns / SECOND_NS, kind.encode(), content)


def _is_of_use(value: Object) -> bool:
    if not isinstance(value, Event):
        return True
    return value.involved_object.kind == Kind.POD and value.reason in EVENT_REASONS
