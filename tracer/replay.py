"""What do recordings come to, and does a backend take it? Drives the ledger with a recording, on the recording's own clock.

Keeps: after the last line time passes every deadline, so all that is final is told; told = delivered + rejected + lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tracer.clock import Clock
from tracer.delivery.ledger import END_OF_TIME_NS, Due, Ledger
from tracer.delivery.outbox import HELD_SPANS, Outbox
from tracer.delivery.outcome import Backend, Refused
from tracer.delivery.policy import USUAL_PACE, Pace
from tracer.delivery.sender import Sender
from tracer.errors import InputError
from tracer.kube.recording import Fact, HalfLine, Progress, read_recording
from tracer.tekton.decode import Malformed, Unread
from tracer.tekton.names import Kind
from tracer.tekton.observation import Synced
from tracer.telemetry.records import Slot, SpanRecord


@dataclass(slots=True)
class Replay:
    """One recording on its way through the ledger, with the books of what could not be read."""

    ledger: Ledger = field(default_factory=Ledger)
    malformed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many objects of a kind failed at a path."""
    half_line: int | None = None
    """The number of the last line, if that was cut off."""
    until_ns: int = 0
    """When the last line arrived; 0 if no line says."""

    def moments(self, path: Path, progress: Progress = lambda _: None) -> Iterator[int]:
        """Take a recording in; give each time at which something may be due, the last one later than every deadline.

        Raises InputError if the file cannot be used.
        """
        for reading in read_recording(path, self.ledger.settings.schema, progress):
            match reading:
                case Fact(at_ns, observation):
                    self.until_ns = max(self.until_ns, at_ns or 0)
                    self.ledger.observe(observation, self.until_ns)
                    if at_ns is not None:
                        yield self.until_ns
                case Malformed(kind, where, _):
                    self.malformed[kind, where] += 1
                case HalfLine(number):
                    self.half_line = number
                case Unread():
                    pass
        for kind in Kind:
            self.ledger.observe(Synced(kind, END_OF_TIME_NS), END_OF_TIME_NS)
        yield END_OF_TIME_NS

    def due(self, now_ns: int) -> Iterator[tuple[Due, list[SpanRecord]]]:
        """Give what is due, until nothing is that was not given before."""
        while dues := self.ledger.due(now_ns):
            for due in dues:
                yield due, self.ledger.spans(due.uid, now_ns)

    def batches(self, path: Path, progress: Progress = lambda _: None) -> Iterator[tuple[int, list[SpanRecord]]]:
        """Give the spans as they become due, each batch with its time in the recording.

        A batch is acknowledged when the next one is asked for.

        Raises InputError if the file cannot be used.
        """
        for now_ns in self.moments(path, progress):
            for due, spans in self.due(now_ns):
                yield now_ns, spans
                self.ledger.acknowledge(due.uid, [span.slot for span in spans], now_ns)


class Delivery:
    """Sends what recordings come to, one after another: reads until enough is due for some requests, sends that, reads on."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        patience_s: float,
        tell: Callable[[Iterable[SpanRecord]], None] = lambda _: None,
        pace: Pace = USUAL_PACE,
    ) -> None:
        """Prepare. After patience_s without an answer the rest is given up; tell is shown every span, when it becomes due."""
        self.told = 0
        """How many spans became due."""
        self.has_given_up = False
        self._clock = clock
        self._patience_s = patience_s
        self._tell = tell
        self._due: dict[str, list[SpanRecord]] = {}
        self._seen: set[Slot] = set()
        self._replay = Replay()
        self._now_ns = 0
        self._outbox = Outbox(self._due.pop, backend.encode)
        self.sender = Sender(backend, self._outbox, self._acknowledge, clock, pace)

    @property
    def delivered(self) -> int:
        """How many spans the backend confirmed."""
        return self._outbox.books.delivered

    @property
    def rejected(self) -> int:
        """How many spans the backend will not take."""
        return self._outbox.books.rejected

    @property
    def lost(self) -> int:
        """How many spans were told and are not answered for; to be read at the end."""
        return self.told - self.delivered - self.rejected

    async def send(
        self, path: Path, replay: Replay, progress: Progress = lambda _: None, look: Callable[[], None] = lambda: None
    ) -> None:
        """Send one recording; look is called after each try. Raises InputError if the file cannot be used."""
        unusable: InputError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self.sender.run(), name="sender")
                try:
                    await self._send(path, replay, progress, look)
                finally:
                    sending.cancel()
        except* InputError as errors:  # the group wraps what is no fault of a task
            unusable = next(error for error in errors.exceptions if isinstance(error, InputError))
        if unusable is not None:
            raise unusable

    async def _send(self, path: Path, replay: Replay, progress: Progress, look: Callable[[], None]) -> None:
        self._replay = replay
        for now_ns in replay.moments(path, progress):
            self._now_ns = now_ns
            for due, spans in replay.due(now_ns):
                self._offer(due, spans)
                if len(self._seen) >= HELD_SPANS:
                    await self._deliver(look)
        await self._deliver(look)

    def _offer(self, due: Due, spans: list[SpanRecord]) -> None:
        fresh = [span for span in spans if span.slot not in self._seen]
        self._seen.update(span.slot for span in fresh)
        self._tell(fresh)
        self.told += len(fresh)
        self._due[due.uid] = spans
        if not self.has_given_up:
            self._outbox.offer(due)

    async def _deliver(self, look: Callable[[], None]) -> None:
        """Wait until everything is answered for, or is given up."""
        since_s = self._clock.now_s()
        self.sender.wake()
        while not self._outbox.is_empty and not self.has_given_up:
            left_s = max(since_s, self.sender.answered_s) + self._patience_s - self._clock.now_s()
            try:
                async with asyncio.timeout(left_s):
                    await self.sender.next_try()
            except TimeoutError:
                self.has_given_up = True
            look()
            self.has_given_up = self.has_given_up or isinstance(self.sender.trouble, Refused)
        if self.has_given_up:  # what is left is lost; the rest is still read, so that all that is lost is counted
            for slot in self._seen:
                self._acknowledge(slot.owner_uid, [slot])
        self._due.clear()
        self._seen.clear()

    def _acknowledge(self, uid: str, slots: list[Slot]) -> None:
        self._replay.ledger.acknowledge(uid, slots, self._now_ns)
