"""What is due to one backend, and which request is next?

Keeps: an object is in one place at a time, waiting or taken, so none of its spans is under way twice; namespaces take turns, so a
flood from one waits and the others do not; what waits is references, and what is built for sending is bounded in spans and bytes;
offered = delivered + rejected + held.
Must not know: how a request is sent, what its answer was, what the time is.
Source: deficit round robin, Shreedhar and Varghese 1995.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from tracer.delivery.ledger import Due
from tracer.delivery.policy import IN_FLIGHT, REQUEST_SPANS
from tracer.telemetry.records import SpanRecord

MOST_WAITING = 200_000  # twice the TaskRuns that one cluster is expected to hold; about 40 MB of references
REQUEST_BYTES = 2 << 20  # before compression; receivers usually take 4 MiB
HELD_SPANS = IN_FLIGHT * REQUEST_SPANS
HELD_BYTES = IN_FLIGHT * REQUEST_BYTES
_TURN_SPANS = 64  # what a namespace may send before the next one's turn: a few TaskRuns

SpansOf = Callable[[str], list[SpanRecord]]
"""Build what is due of an object and not acknowledged, by its UID."""
Encode = Callable[[tuple[SpanRecord, ...]], bytes]
Shared = Callable[[SpanRecord], Hashable]
"""Say what all spans of a request must have in common with one."""


@dataclass(slots=True, eq=False)
class Request:
    """Spans that are sent together, always as the same bytes; they have in common what the backend wants to be shared."""

    spans: tuple[SpanRecord, ...]
    body: bytes
    blames: int = 0
    """How often the backend's answer blamed this request."""
    passed_before: int | None = None
    """How many requests had passed when this one, or the one that it is a part of, was first blamed."""


@dataclass(slots=True)
class Books:
    """What became of the spans that were built for sending."""

    offered: int = 0
    delivered: int = 0
    rejected: int = 0

    @property
    def held(self) -> int:
        """How many are not answered for."""
        return self.offered - self.delivered - self.rejected


class Outbox:
    """What waits, what is ready and what is under way."""

    def __init__(
        self, spans_of: SpansOf, encode: Encode, shared: Shared = lambda _: None, most_waiting: int = MOST_WAITING
    ) -> None:
        """Begin with nothing due."""
        self.books = Books()
        self._spans_of = spans_of
        self._encode = encode
        self._shared = shared
        self._most_waiting = most_waiting
        self._waiting: dict[str, deque[Due]] = {}
        """By namespace, in the order of their turns."""
        self._credit: dict[str, int] = {}
        """How many spans a namespace may still send in its turn."""
        self._queued: set[str] = set()
        self._parts: Counter[str] = Counter()
        """How many spans of an object are taken."""
        self._offered_again: dict[str, Due] = {}
        self._ready: deque[Request] = deque()
        self._held_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more can be offered. Until then it stays where it is: nothing is dropped."""
        return len(self._queued) < self._most_waiting

    @property
    def waiting(self) -> int:
        """How many objects wait for their turn."""
        return len(self._queued)

    @property
    def under_way(self) -> int:
        """Of how many objects spans are taken and not answered for."""
        return len(self._parts)

    def has_taken(self, uid: str) -> bool:
        """Say whether spans of an object are taken and not answered for."""
        return uid in self._parts

    def holds(self, uid: str) -> bool:
        """Say whether an object waits or is taken."""
        return uid in self._queued or uid in self._parts

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is held."""
        return not self._queued and not self._parts

    def offer(self, due: Due) -> None:
        """Let an object wait for its turn; one that waits already keeps its place, one that is taken waits again afterwards."""
        if due.uid in self._parts:
            self._offered_again[due.uid] = due
        elif due.uid not in self._queued:
            self._queued.add(due.uid)
            self._waiting.setdefault(due.namespace, deque()).append(due)

    def next_request(self, most_spans: int) -> Request | None:
        """Give the request to send now, of at most so many spans; None if there is nothing to send."""
        if self.books.held < HELD_SPANS and self._held_bytes < HELD_BYTES:
            self._fill(most_spans)
        return self._ready.popleft() if self._ready else None

    def settle(self, request: Request, rejected: int) -> dict[str, list[SpanRecord]]:
        """Close the books on a request that was answered, with so many of its spans rejected; give its spans by UID."""
        self.books.rejected += rejected
        self.books.delivered += len(request.spans) - rejected
        self._held_bytes -= len(request.body)
        spans: dict[str, list[SpanRecord]] = {}
        for span in request.spans:
            spans.setdefault(span.slot.owner_uid, []).append(span)
        for uid, settled in spans.items():
            self._parts[uid] -= len(settled)
            if not self._parts[uid]:
                del self._parts[uid]
                if (due := self._offered_again.pop(uid, None)) is not None:
                    self.offer(due)
        return spans

    def withdraw(self) -> None:
        """Take everything back that is not under way: somebody else sends it now."""
        self.books.offered -= sum(len(request.spans) for request in self._ready)
        for held in (self._waiting, self._credit, self._queued, self._parts, self._offered_again, self._ready):
            held.clear()
        self._held_bytes = 0

    def hold(self, request: Request) -> None:
        """Send a request again, after the others."""
        self._ready.append(request)

    def halve(self, request: Request) -> None:
        """Send the halves of a request, before the others."""
        self._held_bytes -= len(request.body)
        middle = (len(request.spans) + 1) // 2
        halves = [self._request(part, request.passed_before) for part in (request.spans[:middle], request.spans[middle:])]
        self._ready.extendleft(reversed(halves))

    # ------------------------------------------------------------ filling requests

    def _fill(self, most_spans: int) -> None:
        """Build requests of what waits until one is full or nothing waits."""
        spans: list[SpanRecord] = []
        while len(spans) < most_spans and (due := self._next_due()) is not None:
            built = self._spans_of(due.uid)
            if built:
                self._parts[due.uid] = len(built)
                spans += built
        self.books.offered += len(spans)
        for group in self._groups(spans):
            for start in range(0, len(group), most_spans):
                self._ready.extend(self._requests(tuple(group[start : start + most_spans])))

    def _groups(self, spans: list[SpanRecord]) -> Iterable[list[SpanRecord]]:
        """Put together what may share a request, by its last span, so that a run stays behind all that is below it."""
        groups: dict[Hashable, list[SpanRecord]] = {}
        for span in spans:
            shared = self._shared(span)
            group = groups.pop(shared, [])
            group.append(span)
            groups[shared] = group
        return groups.values()

    def _next_due(self) -> Due | None:
        """Take the next object: a namespace gives way once it has sent its share; what it sent beyond counts in its next turn."""
        while self._waiting:
            namespace, waiting = next(iter(self._waiting.items()))
            if self._credit.get(namespace, _TURN_SPANS) <= 0:
                self._credit[namespace] += _TURN_SPANS
                self._waiting[namespace] = self._waiting.pop(namespace)
                continue
            due = waiting.popleft()
            self._queued.discard(due.uid)
            self._credit[namespace] = self._credit.get(namespace, _TURN_SPANS) - max(1, due.spans)
            if not waiting:
                del self._waiting[namespace]
                del self._credit[namespace]
            return due
        return None

    def _requests(self, spans: tuple[SpanRecord, ...]) -> Iterator[Request]:
        """Build the fewest requests that are each within the limit of bytes, if a single span is not larger than that."""
        request = self._request(spans)
        if len(request.body) <= REQUEST_BYTES or len(spans) == 1:
            yield request
            return
        self._held_bytes -= len(request.body)
        middle = (len(spans) + 1) // 2
        yield from self._requests(spans[:middle])
        yield from self._requests(spans[middle:])

    def _request(self, spans: tuple[SpanRecord, ...], passed_before: int | None = None) -> Request:
        request = Request(spans, self._encode(spans), passed_before=passed_before)
        self._held_bytes += len(request.body)
        return request
