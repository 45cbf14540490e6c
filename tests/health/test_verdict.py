"""Whether we are alive and ready, and the heart that is listened to."""

import asyncio

from tests.kit import ManualClock
from tracer.health.heartbeat import Heartbeat
from tracer.health.verdict import LONGEST_STALL_S, live, ready


def test_alive_is_who_was_felt_lately() -> None:
    """A heart that has not beaten for half a minute is a loop that hangs."""
    (young,), (old,) = live(LONGEST_STALL_S - 0.1), live(LONGEST_STALL_S)
    assert (young.is_ok, old.is_ok, old.why) == (True, False, "was last felt 30 s ago")


def test_ready_is_who_has_listed_everything_once() -> None:
    """Until then it says what is awaited, and what keeps it from coming."""
    synced, running = ready({"pods": "no answer", "taskruns": ""}, was_synced=False, is_stopping=False)
    assert (synced.is_ok, running.is_ok) == (False, True)
    assert synced.why == "waits for pods: no answer; taskruns: being listed"


def test_an_outage_later_does_not_make_it_unready() -> None:
    """It would only hide the metrics."""
    assert all(check.is_ok for check in ready({"customruns": "no answer"}, was_synced=True, is_stopping=False))


def test_who_stops_is_not_ready() -> None:
    """Whatever was listed."""
    assert [check.is_ok for check in ready({}, was_synced=True, is_stopping=True)] == [True, False]


def test_a_heart_feels_how_long_the_loop_was_held() -> None:
    """A beat comes once a second; what came between makes it late by so much."""

    async def main() -> None:
        clock, stalls, has_beaten = ManualClock(), list[float](), asyncio.Event()

        def observe(stall_s: float) -> None:
            stalls.append(stall_s)
            if len(stalls) == 3:
                has_beaten.set()

        heart = Heartbeat(clock, observe)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(heart.run())
            await clock.sleep(40)  # begins before the heart does
            await has_beaten.wait()
            beating.cancel()
        assert stalls[:3] == [40, 0, 0]
        assert heart.age_s <= 1

    asyncio.run(main())


def test_a_heart_that_stands_still_grows_old() -> None:
    """Nobody has to beat for that to be known."""

    async def main() -> float:
        clock = ManualClock()
        heart = Heartbeat(clock, lambda _: None)
        await clock.sleep(31)
        return heart.age_s

    assert asyncio.run(main()) == 31
