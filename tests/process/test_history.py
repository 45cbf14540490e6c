"""The API server is not where it was: it lags, was restored, or lost a kind with its objects; or our clock is wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.kit import Json, at, at_ns, meta, succeeded, task_run
from tests.process.performance import WITHIN_S, Performance, performance
from tests.process.test_faults import WATCHED, play
from tests.tally import Tally, due
from tracer.clock import Clock
from tracer.delivery.ledger import Incomplete
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break
from tracer.demo.receiver import Receiver
from tracer.demo.stage import Stage, stage
from tracer.events import Event, What
from tracer.settings import load
from tracer.tekton.names import RUN_KINDS


def run(name: str, *, has_ended: bool = True) -> Json:
    """Make a TaskRun."""
    final = {"completionTime": at(9), "conditions": succeeded("True", "Succeeded")} if has_ended else {}
    made = task_run({"startTime": at(1), **final}, uid=f"uid-{name}")
    made["metadata"] = meta(name, f"uid-{name}", 1)
    return made


def tell(story: Callable[[Stage], Awaitable[None]]) -> tuple[Receiver, Stage, list[Event]]:
    """Tell a story to a controller, let every deadline pass, and deliver."""

    async def main() -> tuple[Receiver, Stage, list[Event]]:
        said = list[Event]()
        async with (
            asyncio.timeout(WITHIN_S),
            ApiServer() as server,
            Receiver() as receiver,
            stage(at_ns(60), server, load({"otlp.endpoint": receiver.url}, {}), said.append) as one,
        ):
            await story(one)
            await one.end()
            await one.delivered()
        return receiver, one, said

    return asyncio.run(main())


@pytest.mark.row("A10")
@pytest.mark.parametrize("begin", [5, 40, 80])
def test_a_server_that_lags_behind(begin: int, tally: Tally) -> None:
    """Watches are opened at another server, which has yet to reach their version: no object steps back, and none is listed."""

    async def story(played: Performance) -> None:
        await played.play(begin)
        before = played.relists
        for kind in WATCHED:
            played.server.withhold(kind)
        for _ in range(4):
            played.server.strike(Break.END)
            await played.play_unseen(5, WATCHED)
            await played.one.clock.move_on(10)
        for kind in WATCHED:
            played.server.release(kind)
        await played.catch_up()
        assert played.relists == before

    played = play("retries", story)
    tally(played.receiver, played.expected)


@pytest.mark.row("A12")
def test_a_server_that_was_restored_from_a_backup(tally: Tally) -> None:
    """Its version goes back, so a watch from the old one would be silent: all that is there now is told, and nothing twice."""

    async def story(one: Stage) -> None:
        await one.happen(run("before"), is_gone=False)
        version = one.server.store.version
        for number in range(20):
            await one.happen(run(f"lost-{number}"), is_gone=False)
        await one.clock.move_on(60)
        one.server.restore(version)
        one.server.put(run("after"))
        await one.until(lambda: any(each.errors["restored"] for each in one.reflectors))
        await one.until(lambda: all(each.errors["lost"] and each.is_current for each in one.reflectors))

    receiver, one, said = tell(story)
    tally(receiver, due(run("before"), run("after"), *(run(f"lost-{number}") for number in range(20))))
    assert one.app.controller.incomplete == {}
    assert any("is at an older version than it was" in event.message for event in said if event.what is What.WATCH_FAILED)


@pytest.mark.row("A15")
def test_a_kind_that_is_removed_with_its_objects(tally: Tally) -> None:
    """A kind that is not served is no list without objects; when it is back without them, what ran is told as far as is known."""

    async def story(one: Stage) -> None:
        ended, running = run("ended"), run("running", has_ended=False)
        await one.happen(ended, is_gone=False)
        await one.happen(running, is_gone=False)
        runs = [each for each in one.reflectors if each.feed.kind in RUN_KINDS]
        for kind in RUN_KINDS:
            one.server.uninstall(kind)
        await one.until(lambda: all(each.errors["not_served"] >= 3 for each in runs))
        assert sum(each.course.existing for each in runs) == 2
        one.server.delete(ended)
        one.server.delete(running)
        one.server.compact()
        for kind in RUN_KINDS:
            one.server.install(kind)
        await one.until(lambda: all(each.is_current for each in one.reflectors))
        assert sum(each.course.existing for each in runs) == 0

    receiver, one, _ = tell(story)
    tally(receiver, due(run("ended"), run("running", has_ended=False), gone=[run("running", has_ended=False)]))
    assert one.app.controller.incomplete == {Incomplete.GAP: 1}


@pytest.mark.row("A21")
@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0, 400 * 86400.0])
@pytest.mark.parametrize("name", ["cancel", "retries"])
def test_a_clock_that_is_wrong(name: str, ahead_s: float, tally: Tally) -> None:
    """Our own clock is an hour slow or fast, or a year: not a byte of any span comes from it, and no deadline is missed."""

    async def main() -> None:
        async with performance(name, ahead_s=ahead_s) as played:
            await played.end()
            tally(played.receiver, played.expected)

    asyncio.run(main())


@pytest.mark.row("A21")
@pytest.mark.parametrize("step_ns", [-3600 * 10**9, 3600 * 10**9])
def test_a_clock_that_is_set(step_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets the machine's clock: ours goes on as before, so no deadline comes early, late or twice."""
    clock = Clock()
    before_ns, set_ns = clock.unix_ns(), time.time_ns() + step_ns
    monkeypatch.setattr(time, "time_ns", lambda: set_ns)
    assert 0 <= clock.unix_ns() - before_ns < 60 * 10**9
