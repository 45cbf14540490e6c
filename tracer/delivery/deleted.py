"""What do only we still have? Deleted objects that wait to be told or acknowledged; and which go first when there are too many.

Keeps: nothing is dropped while all fit; successes go before failures, the oldest first.
Must not know: what is due of them.
Source: operations 2.7, 2.8; design 4.
"""

from collections.abc import Iterator

MOST_BYTES = 28 << 20  # as JSON; decoded it takes 2.2 times as much, so 64 MiB of memory


class Deleted:
    """Deleted objects, by UID, with their sizes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Begin with none."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._successes: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._successes) + len(self._failures)

    @property
    def fits(self) -> bool:
        """Whether nothing needs to be dropped."""
        return self._bytes <= self._most_bytes

    def add(self, uid: str, size_bytes: int, *, has_failed: bool) -> None:
        """Hold an object from now on."""
        self.discard(uid)
        (self._failures if has_failed else self._successes)[uid] = size_bytes
        self._bytes += size_bytes

    def discard(self, uid: str) -> None:
        """Hold an object no longer, if it was."""
        for held in (self._successes, self._failures):
            self._bytes -= held.pop(uid, 0)

    def in_order(self) -> Iterator[str]:
        """Give them in the order in which they are to be dropped."""
        yield from list(self._successes)
        yield from list(self._failures)
