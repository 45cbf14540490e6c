"""How is it remembered in eight bytes what was acknowledged, so that it survives the process?

Keeps: the same object and the same slot have the same mark in every process and every version; there are marks only of what was
acknowledged.
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


class Acknowledged:
    """Which slots of an object were acknowledged: by a backend that answered us, or as somebody remembers who sent before us."""

    def __init__(self, marks: Iterable[bytes] = (), *, is_whole: bool = False) -> None:
        """Begin with what is remembered: the marks of some slots, or that it was all of them."""
        self.is_whole = is_whole
        """Whether it is remembered that the object was told to its end and everything acknowledged."""
        self._slots: set[Slot] = set()
        """Each also without its Pod's UID: a step told from its Pod is not told again without it."""
        self._marks = dict.fromkeys(marks)
        self._remembered = frozenset(self._marks)

    def __contains__(self, slot: object) -> bool:
        """Say whether a slot was acknowledged."""
        if self.is_whole or slot in self._slots:
            return True
        return bool(self._remembered) and isinstance(slot, Slot) and slot_mark(slot) in self._remembered

    @property
    def marks(self) -> bytes:
        """The marks of all slots, one after the other."""
        return b"".join(self._marks)

    def add(self, slots: Iterable[Slot]) -> None:
        """Note what a backend has confirmed."""
        for slot in slots:
            if slot not in self._slots:
                forms = (slot, slot.without_pod_uid)
                self._slots.update(forms)
                self._marks.update(dict.fromkeys(map(slot_mark, forms)))

    def complete(self) -> None:
        """Note that it was all of them; which they were need not be known any more."""
        self.is_whole = True
        self._slots.clear()
        self._marks.clear()
        self._remembered = frozenset()

    def recall(self, marks: Iterable[bytes], *, is_whole: bool) -> bool:
        """Take in what somebody else remembers; say whether that is news."""
        known = len(self._marks), self.is_whole
        self._marks.update(dict.fromkeys(marks))
        self.is_whole = self.is_whole or is_whole
        is_news = (len(self._marks), self.is_whole) != known
        if is_news:
            self._remembered = frozenset(self._marks)
        return is_news
