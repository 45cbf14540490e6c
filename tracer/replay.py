"""What do recordings come to, and does a backend take it? Drives the ledger with a recording, on the recording's own clock.

A cluster that is read once is a recording too: of objects that all came at once.
Keeps: between two lines deadlines pass as they do while one watches; after the last line time passes every deadline, so all that
is final is told; told = delivered + rejected + lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tracer.clock import Clock
from tracer.delivery.ledger import END_OF_TIME_NS, Due, Ledger
from tracer.delivery.outbox import HELD_SPANS, Outbox
from tracer.delivery.outcome import Backend, Refused
from tracer.delivery.policy import USUAL_PACE, Pace
from tracer.delivery.sender import Sender
from tracer.errors import TracerError
from tracer.kube.recording import Fact, HalfLine, Progress, Reading, read_recording
from tracer.kube.reflector import Api
from tracer.kube.watches import Watches
from tracer.kube.wire import Expired, Failed, Told, TooLong
from tracer.tekton.decode import Malformed, Unread
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished
from tracer.telemetry.records import SpanRecord
from tracer.transport import Transport


class Batch(NamedTuple):
    """What became due of one object at a time."""

    now_ns: int
    due: Due
    spans: list[SpanRecord]


@dataclass(slots=True)
class Replay:
    """One recording on its way through the ledger, with the books of what could not be read."""

    ledger: Ledger = field(default_factory=Ledger)
    malformed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many objects of a kind failed at a path, and why."""
    half_line: int | None = None
    """The number of the last line, if that was cut off."""
    until_ns: int = 0
    """When the last line arrived, or the cluster was read; 0 if no line says."""

    def batches(self, path: Path, progress: Progress = lambda _: None) -> Iterator[Batch]:
        """Give the spans as they become due; a batch is acknowledged to the ledger when the next one is asked for.

        Between two lines the deadlines pass as they do while one watches. Raises InputError if the file cannot be used.
        """
        return self.follow(read_recording(path, self.ledger.settings.schema, progress))

    def follow(self, readings: Iterable[Reading]) -> Iterator[Batch]:
        """Give the spans of what was read, from wherever, as `batches` does."""
        for reading in readings:
            if isinstance(reading, Fact) and reading.at_ns is not None:
                yield from self._pass_deadlines(reading.at_ns)
                self.take(reading)
                yield from self._due(self.until_ns)
            else:
                self.take(reading)
        yield from self.rest()

    def take(self, reading: Reading) -> None:
        """Take in what was read."""
        match reading:
            case Fact(at_ns, observation):
                self.until_ns = max(self.until_ns, at_ns or 0)
                self.ledger.observe(observation, self.until_ns)
            case Malformed(kind, where, why):
                self.malformed[kind, where, why] += 1
            case HalfLine(number):
                self.half_line = number
            case Unread():
                pass

    def hear(self, told: Told) -> None:
        """Take in what a watch says, as something that has no time of its own."""
        match told:
            case Seen() | Gone() | Vanished():
                self.ledger.observe(told, self.until_ns)
            case Malformed():
                self.take(told)
            case TooLong(size_bytes):
                self.malformed["watch event", "$", f"Longer than any object can be: {size_bytes} bytes"] += 1
            case Synced() | Unread() | Expired() | Failed():
                pass

    def rest(self) -> Iterator[Batch]:
        """Give what is due when everything was taken in and time has passed every deadline."""
        for kind in Kind:
            self.ledger.observe(Synced(kind, END_OF_TIME_NS), END_OF_TIME_NS)
        yield from self._due(END_OF_TIME_NS)

    def _pass_deadlines(self, before_ns: int) -> Iterator[Batch]:
        while (deadline_ns := self.ledger.next_deadline_ns()) is not None and deadline_ns < before_ns:
            yield from self._due(max(deadline_ns, self.until_ns))

    def _due(self, now_ns: int) -> Iterator[Batch]:
        while dues := self.ledger.due(now_ns):
            for due in dues:
                spans = self.ledger.spans(due.uid, now_ns)
                yield Batch(now_ns, due, spans)
                self.ledger.acknowledge(due.uid, [span.slot for span in spans], now_ns)


async def read_cluster(replay: Replay, api: Api, transport: Transport, clock: Clock, namespaces: Sequence[str]) -> list[str]:
    """Take in all that is in some namespaces of a cluster now; say, a sentence each, what had to be left out.

    Raises what `Watches.listed` does.
    """
    watches = Watches(namespaces, replay.ledger.settings.schema, api, transport, clock, replay.hear)
    async with watches.running():
        await watches.listed()
    replay.until_ns = clock.unix_ns()
    return watches.left_out()


class Delivery:
    """Sends what recordings come to: reads until enough is due for some requests, sends that, reads on."""

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
        """What is to be sent, by UID; a recording tells nothing twice, so nothing else needs to be asked."""
        self._due_spans = 0
        self._outbox = Outbox(lambda uid: self._due.pop(uid, []), backend.encode, backend.shared)
        self.sender = Sender(backend, self._outbox, lambda _uid, _spans: None, clock, pace)

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
        self,
        recordings: Iterable[tuple[Path, Replay]],
        progress: Progress = lambda _: None,
        look: Callable[[], None] = lambda: None,
        end: Callable[[Replay], None] = lambda _: None,
    ) -> None:
        """Send recordings, one after another; look is called after each try, end after each recording.

        Raises InputError if a file cannot be used; what was read before it is sent all the same.
        """
        failure: TracerError | OSError | None = None
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self.sender.run(), name="sender")
            try:
                for path, replay in recordings:
                    for batch in replay.batches(path, progress):
                        self._offer(batch)
                        if self._due_spans >= HELD_SPANS:
                            await self._deliver(look)
                    end(replay)
            except (TracerError, OSError) as error:  # the group would wrap what is no fault of a task
                failure = error
            try:
                await self._deliver(look)
            finally:
                sending.cancel()
        if failure is not None:
            raise failure

    def _offer(self, batch: Batch) -> None:
        self._tell(batch.spans)
        self.told += len(batch.spans)
        if not self.has_given_up:
            self._due.setdefault(batch.due.uid, []).extend(batch.spans)
            self._due_spans += len(batch.spans)
            self._outbox.offer(batch.due)

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
        self._due.clear()  # what is left after giving up is lost; the rest is still read, so that all that is lost is counted
        self._due_spans = 0
