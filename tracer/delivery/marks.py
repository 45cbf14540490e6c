"""How is it remembered in eight bytes what was acknowledged, or counted, so that it survives the process?

Keeps: the same object and the same slot have the same mark in every process and every version.
Must not know: where marks are kept.
Source: design 4 (what survives a restart), span-model 2.3 (slots). That two of 100,000 marks are the same by chance: 3 in 10^10.
"""

from collections.abc import Iterable
from hashlib import blake2b

from tracer.telemetry.records import Slot

MARK_BYTES = 8


def mark_of(uid: str) -> bytes:
    """Give the mark of an object."""
    return blake2b(uid.encode(), digest_size=MARK_BYTES, person=b"object").digest()


def slot_mark(slot: Slot) -> bytes:
    """Give the mark of a slot."""
    return blake2b("\0".join(slot).encode(), digest_size=MARK_BYTES, person=b"slot").digest()


class Noted:
    """Which slots of an object are noted: those that were acknowledged, or those that were counted, by us or by others."""

    __slots__ = ("_marks", "_remembered", "_slots", "is_whole")

    def __init__(self, marks: Iterable[bytes] = (), *, is_whole: bool = False) -> None:
        """Begin with what is remembered: the marks of some slots, or that it is all of them."""
        self.is_whole = is_whole
        """Whether it is all of them, the object told to its end."""
        self._slots: set[Slot] | None = None
        """Each also without its Pod's UID: a step told from its Pod is not told again without it."""
        self._marks = dict.fromkeys(marks) or None
        self._remembered = frozenset(self._marks or ())

    def __contains__(self, slot: object) -> bool:
        """Say whether a slot is noted."""
        if self.is_whole or (self._slots is not None and slot in self._slots):
            return True
        return bool(self._remembered) and isinstance(slot, Slot) and slot_mark(slot) in self._remembered

    @property
    def marks(self) -> bytes:
        """The marks of all slots, one after the other."""
        return b"".join(self._marks or ())

    def add(self, slots: Iterable[Slot]) -> None:
        """Note some."""
        for slot in slots:
            noted, marks = self._slots or set[Slot](), self._marks or {}
            if slot not in noted:
                forms = (slot, slot.without_pod_uid)
                noted.update(forms)
                marks.update(dict.fromkeys(map(slot_mark, forms)))
                self._slots, self._marks = noted, marks

    def complete(self) -> None:
        """Note that it is all of them; which they are need not be known any more."""
        self.is_whole = True
        self._slots = self._marks = None
        self._remembered = frozenset()

    def recall(self, marks: Iterable[bytes], *, is_whole: bool) -> bool:
        """Take in what somebody else remembers; say whether that is news."""
        ours = self._marks or {}
        known = len(ours), self.is_whole
        ours.update(dict.fromkeys(marks))
        self._marks = ours or None
        self.is_whole = self.is_whole or is_whole
        is_news = (len(ours), self.is_whole) != known
        if is_news:
            self._remembered = frozenset(ours)
        return is_news
