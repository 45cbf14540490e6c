"""What does the backend hold after a restart, a kill, a take-over? The same spans, each with one content."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from itertools import repeat

import pytest

from tests.asked import own_objects
from tests.kit import Json, at, at_ns, meta, succeeded, task_run
from tests.process.performance import Performance, performance
from tests.replies import says
from tests.tally import Tally
from tracer.config import age_s
from tracer.delivery.marks import MARK_BYTES
from tracer.delivery.readings import Loss
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Refuse
from tracer.demo.protocol import Verb
from tracer.demo.receiver import Receiver
from tracer.demo.stage import stage
from tracer.events import What
from tracer.kube.checkpoints import INTERVAL_S
from tracer.kube.election import LEASE_S
from tracer.kube.named import CHECKPOINT_NAME
from tracer.settings import Settings, load
from tracer.tekton.names import OwnKind

CONFIG_MAP, LEASE = own_objects("tracer")
CONFIG_MAP["metadata"]["labels"] = LEASE["metadata"]["labels"] = {"app": "tracer"}
RUNS = 1_000
NAMES = ("success", "cancel", "retries", "run-deleted", "pod-deleted-recreated", "nested-given-parent", "matrix")


def play(
    name: str,
    test: Callable[[Performance], Awaitable[None]],
    *,
    settings: Settings | None = None,
    objects: tuple[Json, ...] = (CONFIG_MAP,),
) -> None:
    """Let a test play a recording for a controller that has a ConfigMap, or whatever objects of its own."""

    async def main() -> None:
        async with ApiServer() as server:
            for content in objects:
                server.put(content)
            async with performance(name, server, settings) as played:
                await test(played)

    asyncio.run(main())


def config_map(played: Performance) -> Json:
    """Give what stands in the ConfigMap."""
    found = played.server.store.get(OwnKind.CONFIG_MAP, f"tracer/{CHECKPOINT_NAME}")
    assert found is not None
    content: Json = json.loads(found.whole)
    return content


async def restart(played: Performance, *, gracefully: bool) -> None:
    """End the controller and start another."""
    await played.one.lose_replica(played.one.replicas[0], gracefully=gracefully)
    await played.one.start()


@pytest.mark.row("P1")
@pytest.mark.parametrize("name", NAMES)
def test_a_graceful_restart_repeats_nothing(name: str, tally: Tally) -> None:
    """Ended and started again in the middle and at the end, each span is sent once, with the bytes of the replay."""

    async def test(played: Performance) -> None:
        await played.play(len(played.left) // 2)
        await restart(played, gracefully=True)
        await played.end()
        await restart(played, gracefully=True)
        await played.one.end()
        await played.one.delivered()
        tally(played.receiver, played.expected)

    play(name, test)


@pytest.mark.row("P2", "P3")
def test_after_a_kill_only_what_is_new_repeats(tally: Tally) -> None:
    """Killed, what was acknowledged since the last checkpoint is sent again, with the same bytes; nothing is lost."""

    async def test(played: Performance) -> None:
        await played.play(len(played.left) // 2)
        await played.one.clock.move_on(INTERVAL_S)
        remembered = set(played.receiver.spans)
        played.server.fail(Refuse(500), OwnKind.CONFIG_MAP, Verb.UPDATE, times=math.inf)  # there is no next one
        await played.play()
        await played.one.clock.move_on(INTERVAL_S / 2)
        await played.one.delivered()
        played.server.heal()
        await restart(played, gracefully=False)
        await played.end()
        again = {key for key, times in played.receiver.times_taken.items() if times > 1}
        assert remembered
        assert again
        assert again.isdisjoint(remembered)
        tally(played.receiver, played.expected, repeats_at_most=len(again))

    play("success", test)


@pytest.mark.row("L2")
def test_what_was_told_costs_nothing_at_a_start() -> None:
    """Of a thousand runs that were told before nothing is sent again, and nothing is held."""

    async def main() -> None:
        async with asyncio.timeout(60), ApiServer() as server, Receiver() as receiver:
            for number in range(RUNS):
                done = task_run({"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")})
                done["metadata"] = meta(f"run-{number}", f"uid-{number}", 1)
                server.put(done)
            server.put(CONFIG_MAP)
            async with stage(at_ns(60), server, load({"otlp.endpoint": receiver.url}, {})) as one:
                await one.clock.move_on(5)
                await one.delivered()
                assert len(receiver.times_taken) == RUNS
                await one.lose_replica(one.replicas[0], gracefully=True)
                await one.start()
                await one.clock.move_on(5)
                kept = {state: count for (_, state), count in one.app.controller.held_objects.items() if count}
                assert kept == {"done": RUNS}
            assert set(receiver.times_taken.values()) == {1}

    asyncio.run(main())


def test_without_a_config_map_a_restart_repeats_and_says_so() -> None:
    """All goes on, one sentence says what to create, and what still exists is sent again with the same bytes."""

    async def test(played: Performance) -> None:
        await played.end()
        await restart(played, gracefully=True)
        await played.one.end()
        await played.one.delivered()
        assert set(played.receiver.times_taken.values()) == {2}
        assert {len(contents) for contents in played.receiver.spans.values()} == {1}
        (said, again) = played.sentences(What.CHECKPOINT_MISSING)
        assert said == again
        assert said.startswith("Nothing that was sent is remembered over a restart: http://")
        assert said.endswith(f"has no configmaps/{CHECKPOINT_NAME} in namespace tracer (404): create it.")

    play("success", test, objects=())


def test_what_only_memory_held_is_counted_after_a_kill() -> None:
    """Runs deleted while the backend is away exist in memory alone: killed, the next process counts what the last one had."""

    async def test(played: Performance) -> None:
        played.receiver.reply_with(repeat(says(503)))
        await played.play()
        await played.one.clock.move_on(60 + INTERVAL_S)
        held = sum(played.one.app.controller.checkpoint.only_here.values())
        assert held
        await restart(played, gracefully=False)
        assert played.one.app.controller.lost_spans == {"restart": held}
        await played.one.clock.move_on(INTERVAL_S + 1)
        await restart(played, gracefully=False)
        assert not played.one.app.controller.lost_spans

    play("run-deleted", test)


def test_what_only_memory_held_is_counted_once() -> None:
    """Ended while neither the backend nor the API server is there, it counts what no checkpoint names, the next one the rest."""

    async def test(played: Performance) -> None:
        played.receiver.reply_with(repeat(says(503)))
        await played.play()
        played.server.fail(Refuse(503), times=math.inf)
        await played.one.clock.move_on(60)
        controller = played.one.app.controller
        held = sum(controller.checkpoint.only_here.values())
        assert held
        await played.one.lose_replica(played.one.replicas[0], gracefully=True)
        played.server.heal()
        await played.one.start()
        await played.one.clock.move_on(LEASE_S + 5)  # nobody could give the Lease back
        assert controller.lost_spans + played.one.app.controller.lost_spans == {"restart": held}

    play("run-deleted", test, objects=(CONFIG_MAP, LEASE))


def test_what_another_backend_has_is_not_taken_for_delivered(tally: Tally) -> None:
    """A checkpoint of another endpoint counts as absent, and says so."""

    async def test(played: Performance) -> None:
        await played.end()
        elsewhere = config_map(played)
        elsewhere["data"]["destination"] = "http://elsewhere:4318/v1/traces"
        await played.one.lose_replica(played.one.replicas[0])
        played.server.put(elsewhere)
        await played.one.start()
        await played.one.end()
        await played.one.delivered()
        (said,) = played.sentences(What.CHECKPOINT_UNREADABLE)
        assert said.endswith("counts as absent: it is of what was sent to 'http://elsewhere:4318/v1/traces'.")
        tally(played.receiver, played.expected, repeats_at_most=len(played.expected))
        assert set(played.receiver.times_taken.values()) == {2}

    play("success", test)


def test_a_config_map_that_was_emptied_is_written_again(tally: Tally) -> None:
    """Somebody deletes it and creates it again: the last thing that a process does is to see that it stands there."""

    async def test(played: Performance) -> None:
        await played.end()
        await played.one.clock.move_on(INTERVAL_S + 1)
        played.server.delete(CONFIG_MAP)
        played.server.put(CONFIG_MAP)
        await restart(played, gracefully=True)
        await played.one.end()
        tally(played.receiver, played.expected)

    play("success", test)


def test_a_first_start_may_look_back_less_far() -> None:
    """What had ended before `lookback` is left out at the first start, and counted, and at no later start told either."""

    async def test(played: Performance) -> None:
        await played.end()  # an hour later
        played.server.put(CONFIG_MAP)
        played.receiver.spans.clear()
        await restart(played, gracefully=False)
        await played.one.end()
        runs = sum(one.course.existing for one in played.reflectors() if one.feed.kind in {"PipelineRun", "TaskRun"})
        assert played.one.app.controller.losses == {Loss.TOO_OLD: runs}
        await restart(played, gracefully=True)
        await played.one.end()
        assert not played.one.app.controller.losses
        assert played.receiver.spans == {}

    play("success", test, settings=load({"lookback": "30m"}, {}), objects=())


def test_the_config_map_is_small_and_its_metadata_stays() -> None:
    """It holds 8 bytes for each object that was told whole, no name of any, and what a chart wrote beside."""

    async def test(played: Performance) -> None:
        await played.end()
        await played.one.clock.move_on(INTERVAL_S + 1)
        said = config_map(played)
        assert said["metadata"]["labels"] == {"app": "tracer"}
        assert said["data"] == {"format": "1", "destination": played.receiver.url, "spansOnlyInMemory": "0"}
        objects = sum(one.course.existing for one in played.reflectors() if one.feed.kind in {"PipelineRun", "TaskRun"})
        assert len(said["binaryData"]["done"]) == math.ceil(objects * MARK_BYTES / 3) * 4
        assert said["binaryData"]["slots"] == ""
        version = said["metadata"]["resourceVersion"]
        await played.one.clock.move_on(10 * INTERVAL_S)
        assert config_map(played)["metadata"]["resourceVersion"] == version

    play("success", test)


def test_somebody_elses_config_map_is_written_over() -> None:
    """What is no checkpoint counts as absent, which is said once."""

    async def test(played: Performance) -> None:
        await played.end()
        await played.one.clock.move_on(INTERVAL_S + 1)
        (said,) = played.sentences(What.CHECKPOINT_UNREADABLE)
        assert said == f"The checkpoint {CHECKPOINT_NAME} counts as absent: its format is '' instead of '1'."
        assert config_map(played)["data"]["format"] == "1"

    play("success", test, objects=({**CONFIG_MAP, "data": {"theirs": "x"}},))


def test_ages() -> None:
    """`lookback` says an age in four units."""
    assert [age_s(one) for one in ("90s", "90m", "24h", "7d", "all")] == [90, 5400, 86400, 604800, math.inf]
    assert at_ns(0) > age_s("7d")
