"""The backend is away, and runs are deleted: what fits is kept and told later, what does not is counted to the span."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from tests.kit import Json, at, at_ns, meta, succeeded, task_run
from tests.process.performance import WITHIN_S
from tests.replies import says
from tracer import controller
from tracer.controller import MEMORY_CAP
from tracer.delivery import readings
from tracer.delivery.deleted import Deleted
from tracer.delivery.outbox import Outbox
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver, Reply
from tracer.demo.stage import Stage, stage
from tracer.events import Event, What
from tracer.settings import load

RUNS = 40


def ended(number: int) -> Json:
    """Make a TaskRun that has ended; every third one failed."""
    how = succeeded("False", "Failed") if number % 3 == 0 else succeeded("True", "Succeeded")
    made = task_run({"startTime": at(1), "completionTime": at(9), "conditions": how}, uid=f"uid-{number}")
    made["metadata"] = meta(f"run-{number}", f"uid-{number}", 1)
    return made


class Backend:
    """Refuses until it is back."""

    def __init__(self) -> None:
        """Begin away."""
        self.is_away = True

    def replies(self) -> Iterator[Reply]:
        """Give the replies."""
        while self.is_away:
            yield says(503)


def play(deletes: int) -> tuple[Receiver, Stage, list[Event]]:
    """Let runs end while the backend is away, and delete so many of them; then it comes back."""

    async def main() -> tuple[Receiver, Stage, list[Event]]:
        said, backend = list[Event](), Backend()
        async with (
            asyncio.timeout(WITHIN_S),
            ApiServer() as server,
            Receiver(backend.replies()) as receiver,
            stage(at_ns(60), server, load({"otlp.endpoint": receiver.url}, {}), said.append) as one,
        ):
            for number in range(RUNS):
                await one.happen(ended(number), is_gone=number < deletes)
                await one.clock.move_on(3)
            await one.clock.move_on(10)
            backend.is_away = False
            while not one.app.controller.outbox.is_empty:
                await one.clock.move_on(1)
                await asyncio.sleep(0)
        return receiver, one, said

    return asyncio.run(main())


def test_what_fits_is_kept() -> None:
    """Deleted or not, all is told when the backend is back."""
    receiver, one, said = play(RUNS)
    assert set(receiver.times_taken.values()) == {1}
    assert len(receiver.spans) == one.app.controller.outbox.books.delivered
    assert not one.app.controller.lost_spans
    assert What.SPANS_LOST not in {event.what for event in said}


@pytest.mark.parametrize("most_bytes", [0, 2_000, 5_000])
def test_what_does_not_fit_is_counted(most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost + delivered is all there was; the oldest goes first, and none that is being sent."""
    everything = set(play(RUNS)[0].spans)
    monkeypatch.setattr(readings, "Deleted", partial(Deleted, most_bytes))
    receiver, one, said = play(RUNS)
    lost = [event for event in said if event.what is What.SPANS_LOST]
    assert one.app.controller.lost_spans[MEMORY_CAP] == len(everything) - len(receiver.spans) > 0
    assert one.app.controller.lost_spans[MEMORY_CAP] == sum(int(event.fields["spans"]) for event in lost)
    assert set(receiver.spans) < everything
    assert len(lost) == len({event.fields["uid"] for event in lost})
    books = one.app.controller.outbox.books
    assert (books.delivered, books.held, one.app.controller.checkpoint.only_here) == (len(receiver.spans), 0, {})
    numbers = [int(str(event.fields["name"]).removeprefix("run-")) for event in lost]
    assert all(of == sorted(of) for of in ([one for one in numbers if one % 3], [one for one in numbers if not one % 3]))


def test_what_still_exists_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any room, runs that the API server still has are told all the same."""
    monkeypatch.setattr(readings, "Deleted", partial(Deleted, 0))
    receiver, one, _ = play(0)
    assert not one.app.controller.lost_spans
    assert len(receiver.spans) == one.app.controller.outbox.books.delivered == RUNS


def test_a_full_outbox_drops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the outbox stays in the ledger, and is told later."""
    everything = set(play(0)[0].spans)
    monkeypatch.setattr(controller, "Outbox", partial(Outbox, most_waiting=3))
    receiver, one, _ = play(0)
    assert set(receiver.spans) == everything
    assert not one.app.controller.lost_spans
