"""What a replay tells is what it delivers, whatever the recording lacks."""

import asyncio
import json
import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.kit import HERE, RECORDINGS, SCENARIOS, ManualClock, at, at_ns, succeeded, task_run
from tracer.delivery.outcome import Delivered, Outcome, Rejected
from tracer.replay import Delivery, Replay
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord

LINES = [(path / "watch.jsonl").read_text().splitlines() for path in [*RECORDINGS, *SCENARIOS]]
CANCEL = HERE / "recordings" / "cancel" / "watch.jsonl"


class Memory:
    """A backend that takes everything but a request with a span that it cannot bear."""

    def __init__(self, poison: bytes = b"") -> None:
        """Begin with nothing."""
        self.taken: list[tuple[bytes, bytes]] = []
        self._poison = poison

    def shared(self, _: SpanRecord) -> None:
        """Say that any spans may share a request."""

    def encode(self, spans: tuple[SpanRecord, ...]) -> bytes:
        """Write a request."""
        return otlp.encode(spans)

    async def send(self, body: bytes, timeout_s: float) -> Outcome:  # noqa: ARG002 - it answers at once
        """Take it, or not."""
        await asyncio.sleep(0)
        spans = otlp.read_spans(body)
        if self._poison in {span_id for span_id, _ in spans}:
            return Rejected("poison")
        self.taken += spans
        return Delivered()


def deliver(backend: Memory, *paths: Path) -> tuple[Delivery, list[SpanRecord]]:
    """Send recordings; give the account, and what was told."""
    told: list[SpanRecord] = []
    delivery = Delivery(backend, ManualClock(), 5, told.extend)
    asyncio.run(delivery.send([(path, Replay()) for path in paths]))
    return delivery, told


@given(st.integers(0, len(LINES) - 1), st.integers(0, 2**32))
def test_what_is_told_is_delivered(number: int, seed: int) -> None:
    """Of a recording with holes, too, every span that a dry run prints is delivered, once, with the same bytes."""
    rng = random.Random(seed)
    share = rng.choice([1, 0.9, 0.6])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watch.jsonl"
        kept = [line for line in LINES[number] if rng.random() < share] or LINES[number][:1]
        path.write_text("\n".join(kept) + "\n")
        backend = Memory()
        delivery, told = deliver(backend, path)
        dry = [span for batch in Replay().batches(path) for span in batch.spans]
    assert told == dry
    assert sorted(backend.taken) == sorted(otlp.read_spans(otlp.encode(told)))
    assert (delivery.told, delivery.delivered, delivery.rejected, delivery.lost) == (len(told), len(told), 0, 0)


def test_a_recording_that_is_refused_keeps_no_other_waiting() -> None:
    """A span that no backend takes is found out by what passes beside it, and nothing else is lost."""
    one = HERE / "recordings" / "exit-two" / "watch.jsonl"
    (first, *_) = [span for batch in Replay().batches(one) for span in batch.spans]
    delivery, told = deliver(Memory(first.span_id), one, CANCEL)
    assert (delivery.rejected, delivery.lost, delivery.has_given_up) == (1, 0, False)
    assert delivery.delivered == len(told) - 1


def test_deadlines_pass_between_two_lines(tmp_path: Path) -> None:
    """A run is told when it has been at rest for a while, not only when something else happens later."""
    times = {"startTime": at(1), "completionTime": at(9)}
    ended = task_run({**times, "conditions": succeeded("True", "Succeeded")})
    other = task_run({}, uid="other")
    lines = [{"at": at_ns(second) / 1e9, "type": "ADDED", "object": one} for second, one in ((10, ended), (600, other))]
    (tmp_path / "watch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (batch,) = Replay().batches(tmp_path / "watch.jsonl")
    assert at_ns(10) < batch.now_ns < at_ns(60)
