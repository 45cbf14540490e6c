"""What do recordings come to? Drives the ledger with a recording, on the recording's own clock.

Keeps: after the last line time passes every deadline, so all that is final is told.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tracer.delivery.ledger import END_OF_TIME_NS, Ledger
from tracer.kube.recording import Fact, HalfLine, Progress, read_recording
from tracer.tekton.decode import Malformed, Unread
from tracer.tekton.names import Kind
from tracer.tekton.observation import Synced
from tracer.telemetry.records import SpanRecord


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

    def batches(self, path: Path, progress: Progress = lambda _: None) -> Iterator[tuple[int, list[SpanRecord]]]:
        """Give the spans as they become due, each batch with its time in the recording.

        A batch is acknowledged when the next one is asked for.

        Raises InputError if the file cannot be used.
        """
        for reading in read_recording(path, progress):
            match reading:
                case Fact(at_ns, observation):
                    self.until_ns = max(self.until_ns, at_ns or 0)
                    self.ledger.observe(observation, self.until_ns)
                    if at_ns is not None:
                        yield from self._due(self.until_ns)
                case Malformed(kind, where, _):
                    self.malformed[kind, where] += 1
                case HalfLine(number):
                    self.half_line = number
                case Unread():
                    pass
        for kind in Kind:
            self.ledger.observe(Synced(kind, END_OF_TIME_NS), END_OF_TIME_NS)
        yield from self._due(END_OF_TIME_NS)

    def _due(self, now_ns: int) -> Iterator[tuple[int, list[SpanRecord]]]:
        while uids := self.ledger.due(now_ns):
            for uid in uids:
                spans = self.ledger.spans(uid, now_ns)
                yield now_ns, spans
                self.ledger.acknowledge(uid, [span.slot for span in spans], now_ns)
