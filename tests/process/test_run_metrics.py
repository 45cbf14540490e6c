"""What do the metrics say of runs? Each step once, whoever counts, however often it was started, with or without a backend."""

import math
from collections import Counter
from itertools import repeat

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.process.performance import Performance
from tests.process.test_replicas import OBJECTS, TAKEN_S, leaders, stand_by
from tests.process.test_restarts import CONFIG_MAP, NAMES, play, restart
from tests.replies import says
from tests.telemetry.test_measures import count
from tracer.clock import breathe
from tracer.demo.faults import Refuse
from tracer.demo.protocol import Verb
from tracer.demo.stage import Replica
from tracer.health.counting import COUNTED, additions
from tracer.health.families import Type
from tracer.kube.checkpoints import INTERVAL_S
from tracer.settings import load
from tracer.tekton.names import Kind, OwnKind

COUNTERS = {one.name for one in COUNTED if one.type is Type.COUNTER}
TWO_PODS = {"pod-deleted-recreated"}
"""Where a step runs twice, as its first Pod is lost."""
Samples = Counter[tuple[str, ...]]
"""By the name of the metric and its labels, in order."""


async def scraped(replica: Replica) -> Samples:
    """Give what a scrape of a replica says of runs, without what is zero."""
    _, body = await replica.app.metrics.render("")
    return Samples(
        {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in parse_text(body.decode())
            for sample in family.samples
            if sample.name.startswith("tekton_") and sample.value
        }
    )


async def counted(*replicas: Replica) -> Samples:
    """Add the counters of some replicas up."""
    found = sum([await scraped(one) for one in replicas], Samples())
    return Samples({key: value for key, value in found.items() if key[0] in COUNTERS})


async def finish(played: Performance) -> None:
    """Play what is left, and let every Pod settle; nobody loses a Lease, as it would in a leap."""
    await played.play()
    await played.one.clock.move_on(120)
    await played.one.delivered()


def expected(name: str) -> Samples:
    """Count what happens in a recording."""
    found = Samples()
    for one in count(name).counted:
        for addition in additions(one):
            if addition.family.name in COUNTERS and addition.value:
                names = (label.name for label in addition.family.labels)
                labels = sorted(zip(names, addition.labels, strict=True))
                found[addition.family.name, *(f"{name}={value}" for name, value in labels)] += 1
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_counts_nothing_twice(name: str) -> None:
    """Ended and started again in the middle and at the end: together the processes count each step, attempt and run once."""

    async def test(played: Performance) -> None:
        found = Samples()
        for _ in range(2):
            await played.play(len(played.left) // 2 + 1)
            await played.one.clock.move_on(3.0)
            (before,) = played.one.replicas
            await restart(played, gracefully=True)
            found += await counted(before)
        await finish(played)
        assert found + await counted(*played.one.replicas) == expected(name)

    play(name, test)


@pytest.mark.parametrize("name", NAMES)
def test_a_take_over_counts_nothing_twice(name: str) -> None:
    """Whoever stands by says nothing of runs; ended gracefully, the leader hands over what it has counted."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        await played.play(len(played.left) // 2)
        first, second = played.one.replicas
        assert await scraped(second) == {}
        await played.one.lose_replica(first, gracefully=True)
        await played.one.clock.move_on(3.0)
        assert leaders(played) == [True]
        await finish(played)
        assert await counted(first, second) == expected(name)

    play(name, test, objects=OBJECTS)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.7, 0.9])
def test_what_a_killed_leader_counted_may_be_repeated(part: float) -> None:
    """What it counted after its last checkpoint is counted again by whoever leads next; nothing is missed."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        first, second = played.one.replicas
        await played.play(int(len(played.left) * part))
        await played.one.lose_replica(first)
        before = await counted(first)
        await played.play()
        await played.one.clock.move_on(TAKEN_S)
        await finish(played)
        after, whole = await counted(second), expected("retries")
        assert after | whole == whole
        assert (before + after) | whole == before + after

    play("retries", test, objects=OBJECTS)


def test_who_leads_again_counts_nothing_twice() -> None:
    """Who loses the lead forgets what it counted; leading again it counts what nobody has."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        await played.play(len(played.left) // 2)
        await played.one.clock.move_on(INTERVAL_S)
        (first, second), before = played.one.replicas, await counted(*played.one.replicas)
        played.server.fail(Refuse(500), OwnKind.LEASE, Verb.UPDATE, times=math.inf)
        while first.app.controller.leads:
            await played.one.clock.move_on(1.0)
        assert await scraped(first) == {}
        played.server.heal()
        await played.one.clock.move_on(TAKEN_S)
        assert sorted(leaders(played)) == [False, True]
        await finish(played)
        assert before
        assert before + await counted(first, second) == expected("retries")

    play("retries", test, objects=OBJECTS)


def test_who_leads_again_alone_counts_what_ended_meanwhile() -> None:
    """Also in its first life, when nobody had counted before: what ended while it did not lead is no history."""

    async def test(played: Performance) -> None:
        await played.play(len(played.left) // 3)
        await played.one.clock.move_on(INTERVAL_S)
        (one,) = played.one.replicas
        before = await counted(one)
        played.server.fail(Refuse(500), OwnKind.LEASE, Verb.UPDATE, times=math.inf)
        while one.app.controller.leads:
            await played.one.clock.move_on(1.0)
        await played.play()
        played.server.heal()
        await played.one.clock.move_on(TAKEN_S)
        await finish(played)
        assert before + await counted(one) == expected("retries")

    play("retries", test, objects=OBJECTS)


def test_a_backend_that_is_away_hides_nothing() -> None:
    """Counted is what was judged; after a restart, with everything still to be delivered, nothing is counted again."""

    async def test(played: Performance) -> None:
        played.receiver.reply_with(repeat(says(503)))
        await played.play()
        await played.one.clock.move_on(10)
        (first,) = played.one.replicas
        assert await counted(first) == expected("failing-step")
        await restart(played, gracefully=True)
        assert not played.receiver.spans
        played.receiver.reply_with(())
        await finish(played)
        assert played.receiver.spans.keys() == played.expected.keys()
        assert await counted(*played.one.replicas) == {}

    play("failing-step", test)


def test_what_had_ended_before_the_first_start_is_history() -> None:
    """It is told, and not counted, for nobody can say that it was not; what ends from then on is."""

    async def test(played: Performance) -> None:
        await finish(played)
        assert await counted(*played.one.replicas) == expected("success")
        await played.one.lose_replica(played.one.replicas[0])
        played.server.put(CONFIG_MAP)  # as it is shipped: nothing is remembered
        again = await played.one.start()
        await finish(played)
        assert max(played.receiver.times_taken.values()) > 1
        assert await scraped(again) == {}

    play("success", test)


def test_before_everything_was_listed_nothing_is_said_of_runs() -> None:
    """What is half known would be a lie: neither what has ended nor how many run; then both."""

    async def test(played: Performance) -> None:
        await played.play(len(played.left) // 3)
        await played.one.lose_replica(played.one.replicas[0], gracefully=True)
        played.server.fail(Refuse(500), Kind.POD, times=math.inf)
        again = await played.one.start(is_awaited=False)
        while not again.app.controller.leads:
            await breathe()  # no time may pass for the answer on which it waits
        assert await scraped(again) == {}
        played.server.heal()
        while not again.app.is_synced:
            await played.one.clock.move_on(0.5)
        await played.one.clock.move_on(3)
        found = await scraped(again)
        assert found["tekton_taskruns_running", "namespace=scenario-success"] == 1
        assert found["tekton_run_oldest_age_seconds", "kind=PipelineRun", "namespace=scenario-success"] > 1

    play("success", test, settings=load({"leader.enabled": "false"}, {}))
