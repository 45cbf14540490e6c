"""What must survive a process, and how is it written?

Keeps: it is never larger than a ConfigMap may be; what is left out for that, the oldest first, costs a repeat, never a loss; a
later version may add keys, and this one does not mind.
Must not know: who keeps it, and when.
Source: design 4, operations 2.5.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from tracer.delivery.marks import MARK_BYTES

MOST_BYTES = 900 << 10  # a ConfigMap takes 1 MiB, with its names and whatever a chart adds
FORMAT = "1"  # raised when an older version could no longer read what is written: then it takes it for nothing
_COUNT_BYTES = 2
_MOST_SLOTS = (1 << 8 * _COUNT_BYTES) - 1


class UnreadableError(ValueError):
    """What was kept is no checkpoint; says why."""


class Texts(NamedTuple):
    """A checkpoint as a ConfigMap holds it: its `data` and its `binaryData`, the latter before base64."""

    data: Mapping[str, str]
    binary: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was acknowledged, as marks (`delivery/marks.py`)."""

    done: dict[bytes, None] = field(default_factory=dict)
    """Objects that were told to their end, with everything acknowledged, the oldest first."""
    slots: dict[bytes, bytes] = field(default_factory=dict)
    """Of each other object the marks of its acknowledged slots, one after the other."""
    only_here: int = 0
    """How many spans were due of objects that exist no more, so that only the writer's memory had them."""

    def __or__(self, other: "Checkpoint") -> "Checkpoint":
        """Join what two have written: both are true."""
        slots = dict(self.slots)
        for mark, theirs in other.slots.items():
            slots[mark] = b"".join(dict.fromkeys([*each(slots.get(mark, b"")), *each(theirs)]))
        return Checkpoint({**self.done, **other.done}, slots, max(self.only_here, other.only_here))


def each(marks: bytes) -> Iterator[bytes]:
    """Give the marks that stand one after the other."""
    return (marks[start : start + MARK_BYTES] for start in range(0, len(marks), MARK_BYTES))


def write(checkpoint: Checkpoint, most_bytes: int = MOST_BYTES) -> Texts:
    """Write a checkpoint, of at most so many bytes: the newest of what is not done, then the newest of what is."""
    left, slots = most_bytes, []
    for mark, marks in reversed(checkpoint.slots.items()):
        kept = marks[: _MOST_SLOTS * MARK_BYTES]
        entry = mark + (len(kept) // MARK_BYTES).to_bytes(_COUNT_BYTES, "big") + kept
        if len(entry) > left:
            break
        left -= len(entry)
        slots.append(entry)
    most_done = left // MARK_BYTES
    done = b"".join(islice(checkpoint.done, max(0, len(checkpoint.done) - most_done), None))
    data = {"format": FORMAT, "spansOnlyInMemory": str(checkpoint.only_here)}
    return Texts(data, {"done": done, "slots": b"".join(reversed(slots))})


def read(texts: Texts) -> Checkpoint | None:
    """Read a checkpoint; None if nothing was ever written.

    Raises UnreadableError if it is none, or one of a version that writes what this one cannot read.
    """
    if not texts.data and not texts.binary:
        return None
    if (found := texts.data.get("format", "")) != FORMAT:
        raise UnreadableError(f"its format is {found[:20]!r} instead of {FORMAT!r}")
    only_here = texts.data.get("spansOnlyInMemory", "0")
    done = texts.binary.get("done", b"")
    if len(done) % MARK_BYTES:
        raise UnreadableError(f"its key done has {len(done)} bytes, which is no multiple of {MARK_BYTES}")
    if not only_here.isascii() or not only_here.isdigit() or len(only_here) > 2 * MARK_BYTES:
        raise UnreadableError("its key spansOnlyInMemory is no number")
    return Checkpoint(dict.fromkeys(each(done)), _read_slots(texts.binary.get("slots", b"")), int(only_here))


def _read_slots(content: bytes) -> dict[bytes, bytes]:
    slots, at = {}, 0
    while at < len(content):
        begin = at + MARK_BYTES + _COUNT_BYTES
        end = begin + int.from_bytes(content[at + MARK_BYTES : begin], "big") * MARK_BYTES
        if end > len(content) or begin > len(content):
            raise UnreadableError("its key slots ends in the middle of an entry")
        slots[content[at : at + MARK_BYTES]] = content[begin:end]
        at = end
    return slots
