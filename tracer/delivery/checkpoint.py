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
_MOST = (1 << 8 * _COUNT_BYTES) - 1


class UnreadableError(ValueError):
    """What was kept is no checkpoint; says why."""


class ElsewhereError(UnreadableError):
    """What was kept is of another destination."""

    def __init__(self, destination: str, checkpoint: "Checkpoint") -> None:
        """Keep what is true of it all the same."""
        super().__init__(f"it is of what was sent to {destination[:200]!r}")
        self.for_others = checkpoint.for_others


class Texts(NamedTuple):
    """A checkpoint as a ConfigMap holds it: its `data` and its `binaryData`, the latter before base64."""

    data: Mapping[str, str]
    binary: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was acknowledged, and what was counted, as marks (`delivery/marks.py`)."""

    done: dict[bytes, None] = field(default_factory=dict)
    """Objects of which, and of what is below them, nothing is to be sent any more, the oldest first, parents before children."""
    slots: dict[bytes, bytes] = field(default_factory=dict)
    """Of each other object the marks of its acknowledged slots, one after the other."""
    only_here: dict[bytes, int] = field(default_factory=dict)
    """How many spans were due of objects that exist no more, so that only the writer's memory had them."""
    counted: dict[bytes, bytes] = field(default_factory=dict)
    """Of each object that is not done the marks of what the metrics have counted of it, as in `slots`; none if that is all.

    It is true of every destination; what is done counts as counted, too.
    """
    counts_known: bool = True
    """Whether it says what was counted before; False if nobody knows."""

    def __or__(self, other: "Checkpoint") -> "Checkpoint":
        """Join what two have written: both are true."""
        slots, counted = dict(self.slots), dict(self.counted)
        for mark, theirs in other.slots.items():
            slots[mark] = _joined(slots.get(mark, b""), theirs)
        for mark, theirs in other.counted.items():
            ours = counted.get(mark, theirs)
            counted[mark] = _joined(ours, theirs) if ours and theirs else b""
        counts_known = self.counts_known or other.counts_known
        return Checkpoint(self.done | other.done, slots, self.only_here | other.only_here, counted, counts_known)

    @property
    def for_others(self) -> "Checkpoint":
        """What is true of it for another destination: what was counted."""
        return Checkpoint(counted=dict.fromkeys(self.done, b"") | self.counted, counts_known=self.counts_known)


NOTHING = Checkpoint(counts_known=False)
"""Nothing is remembered, whatever there may have been."""


def each(marks: bytes) -> Iterator[bytes]:
    """Give the marks that stand one after the other."""
    return (marks[start : start + MARK_BYTES] for start in range(0, len(marks), MARK_BYTES))


def write(checkpoint: Checkpoint, destination: str, most_bytes: int = MOST_BYTES) -> Texts:
    """Write a checkpoint of what a destination has, of at most so many bytes.

    First comes what only memory has, then the newest of what was counted and is not done, then of what is acknowledged and not
    done, then of what is done.
    """
    entries = (mark + min(spans, _MOST).to_bytes(_COUNT_BYTES, "big") for mark, spans in checkpoint.only_here.items())
    only_here = b"".join(islice(entries, most_bytes // (MARK_BYTES + _COUNT_BYTES)))
    left = most_bytes - len(only_here)
    counted = _write_groups(checkpoint.counted, left) if checkpoint.counts_known else b""
    left -= len(counted)
    slots = _write_groups(checkpoint.slots, left)
    most_done = (left - len(slots)) // MARK_BYTES
    done = b"".join(islice(checkpoint.done, max(0, len(checkpoint.done) - most_done), None))
    data = {"format": FORMAT, "destination": destination, "spansOnlyInMemory": str(sum(checkpoint.only_here.values()))}
    binary = {"done": done, "slots": slots, "onlyInMemory": only_here}
    return Texts(data, binary | ({"counted": counted} if checkpoint.counts_known else {}))


def read(texts: Texts, destination: str) -> Checkpoint | None:
    """Read a checkpoint of what a destination has; None if nothing was ever written.

    Raises ElsewhereError if it is one of another destination, UnreadableError if it is none, or one of a version that writes what
    this one cannot read.
    """
    if not texts.data and not texts.binary:
        return None
    if (found := texts.data.get("format", "")) != FORMAT:
        raise UnreadableError(f"its format is {found[:20]!r} instead of {FORMAT!r}")
    done, only_here = texts.binary.get("done", b""), texts.binary.get("onlyInMemory", b"")
    if len(done) % MARK_BYTES:
        raise UnreadableError(f"its key done has {len(done)} bytes, which is no multiple of {MARK_BYTES}")
    if len(only_here) % (size := MARK_BYTES + _COUNT_BYTES):
        raise UnreadableError(f"its key onlyInMemory has {len(only_here)} bytes, which is no multiple of {size}")
    counts = (only_here[at : at + size] for at in range(0, len(only_here), size))
    held = {entry[:MARK_BYTES]: int.from_bytes(entry[MARK_BYTES:], "big") for entry in counts}
    groups = {name: _read_groups(name, texts.binary.get(name, b"")) for name in ("slots", "counted")}
    counts_known = "counted" in texts.binary  # no version before this one wrote it
    checkpoint = Checkpoint(dict.fromkeys(each(done)), groups["slots"], held, groups["counted"], counts_known)
    if (found := texts.data.get("destination", "")) != destination:
        raise ElsewhereError(found, checkpoint)
    return checkpoint


def _joined(ours: bytes, theirs: bytes) -> bytes:
    return b"".join(dict.fromkeys([*each(ours), *each(theirs)]))


def _write_groups(groups: dict[bytes, bytes], most_bytes: int) -> bytes:
    """Write objects with marks of their own, the newest of them if not all have room."""
    entries: list[bytes] = []
    for mark, marks in reversed(groups.items()):
        kept = marks[: _MOST * MARK_BYTES]
        entry = mark + (len(kept) // MARK_BYTES).to_bytes(_COUNT_BYTES, "big") + kept
        most_bytes -= len(entry)
        if most_bytes < 0:
            break
        entries.append(entry)
    return b"".join(reversed(entries))


def _read_groups(name: str, content: bytes) -> dict[bytes, bytes]:
    groups, at = {}, 0
    while at < len(content):
        begin = at + MARK_BYTES + _COUNT_BYTES
        end = begin + int.from_bytes(content[at + MARK_BYTES : begin], "big") * MARK_BYTES
        if end > len(content) or begin > len(content):
            raise UnreadableError(f"its key {name} ends in the middle of an entry")
        groups[content[at : at + MARK_BYTES]] = content[begin:end]
        at = end
    return groups
