"""What does the backend hold with two replicas, whoever of them ends, and however? The same spans, each with one content."""

from itertools import repeat

import pytest

from tests.process.performance import Performance
from tests.process.test_restarts import CONFIG_MAP, LEASE, NAMES, play
from tests.replies import says
from tests.tally import Tally
from tracer.delivery.ledger import REMEMBERED_NS
from tracer.events import What
from tracer.kube.checkpoints import INTERVAL_S
from tracer.kube.election import LEASE_S, RETRY_S, read_lease
from tracer.kube.named import LEASE_NAME
from tracer.settings import load
from tracer.tekton.names import OwnKind
from tracer.tekton.times import SECOND_NS

OBJECTS = (CONFIG_MAP, LEASE)
TAKEN_S = LEASE_S + 5.0  # with a few tries


def leaders(played: Performance) -> list[bool]:
    """Say who leads."""
    return [replica.app.controller.leads for replica in played.one.replicas]


async def stand_by(played: Performance) -> None:
    """Start a second replica, which stands by."""
    await played.one.start()
    await played.one.clock.move_on(INTERVAL_S)
    assert leaders(played) == [True, False]


@pytest.mark.parametrize("name", NAMES)
def test_one_of_two_sends(name: str, tally: Tally) -> None:
    """A standby sends nothing, and the backend has everything once; a minute later the standby holds nothing either."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        await played.end()
        tally(played.receiver, played.expected)
        await played.one.clock.move_on(REMEMBERED_NS / SECOND_NS + 2 * INTERVAL_S)
        assert leaders(played) == [True, False]
        for replica in played.one.replicas:
            assert not [key for key, count in replica.app.controller.held_objects.items() if count and key[1] != "done"]

    play(name, test, objects=OBJECTS)


@pytest.mark.row("P5")
@pytest.mark.parametrize("name", NAMES)
def test_a_planned_take_over_repeats_nothing(name: str, tally: Tally) -> None:
    """Ended gracefully, the leader gives the Lease back, and the standby goes on within seconds from where it was."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        await played.play(len(played.left) // 2)
        await played.one.lose_replica(played.one.replicas[0], gracefully=True)
        await played.one.clock.move_on(3.0)
        assert leaders(played) == [True]
        await played.end()
        tally(played.receiver, played.expected)

    play(name, test, objects=OBJECTS)


@pytest.mark.row("P5")
def test_who_ends_slowly_says_so_in_the_lease(tally: Tally) -> None:
    """While the backend refuses what is due: who begins in its place learns that the standby knows more, which sends it then."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        played.receiver.reply_with(repeat(says(503)))
        await played.play()
        leader = played.one.replicas[0]
        leader.stop.ask()
        await played.one.clock.move_on(2 * RETRY_S)
        found = played.server.store.get(OwnKind.LEASE, f"tracer/{LEASE_NAME}")
        assert found is not None
        held = read_lease(found.whole)
        assert held is not None
        assert (leader.task.done(), held.is_ending) == (False, True)
        await played.one.lose_replica(leader, gracefully=True)
        played.receiver.reply_with(())
        await played.end()
        assert leaders(played) == [True]
        tally(played.receiver, played.expected)

    play("success", test, objects=OBJECTS)


@pytest.mark.row("P2")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7, 0.9])
def test_a_killed_leader_costs_no_truth(name: str, part: float, tally: Tally) -> None:
    """Killed at any time, with Pods and runs deleted before anybody takes over: the standby has their last words."""

    async def test(played: Performance) -> None:
        await stand_by(played)
        await played.play(int(len(played.left) * part))
        await played.one.lose_replica(played.one.replicas[0])
        sent = played.receiver.times_taken.total()
        await played.play()
        await played.one.clock.move_on(TAKEN_S)
        assert leaders(played) == [True]
        await played.end()
        tally(played.receiver, played.expected, repeats_at_most=sent)
        assert not played.one.app.controller.lost_spans

    play(name, test, objects=OBJECTS)


@pytest.mark.row("P7")
def test_without_election_both_send_the_same(tally: Tally) -> None:
    """Each of them sends everything, with the same bytes, and each takes in what the other was acknowledged."""

    async def test(played: Performance) -> None:
        await played.one.start()
        assert leaders(played) == [True, True]
        await played.end()
        tally(played.receiver, played.expected, repeats_at_most=len(played.expected))
        await played.one.clock.move_on(2 * INTERVAL_S)
        count = played.receiver.times_taken.total()
        for _ in range(2):
            await played.one.lose_replica(played.one.replicas[0])
            await played.one.start()
        await played.one.end()
        assert played.receiver.times_taken.total() == count

    play("retries", test, settings=load({"leader.enabled": "false"}, {}), objects=OBJECTS)


def test_without_a_lease_each_leads_and_says_so() -> None:
    """A Lease that is not there stops nobody."""

    async def test(played: Performance) -> None:
        await played.one.start()
        assert leaders(played) == [True, True]
        assert len(played.sentences(What.LEASE_MISSING)) == 2
        await played.end()
        assert {len(contents) for contents in played.receiver.spans.values()} == {1}

    play("success", test, objects=(CONFIG_MAP,))
