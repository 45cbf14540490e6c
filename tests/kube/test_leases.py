"""Leading by a Lease, against an API server that fails in every way: who leads stops in time, and another one takes over."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.kit import Json
from tests.kube.test_reflector import Account
from tracer.clock import Clock, PlayedClock, breathe
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import ALWAYS, Break, Fault, Refuse, Say
from tracer.demo.protocol import Verb
from tracer.events import Event, What
from tracer.kube.leases import Leadership
from tracer.kube.named import NamedObject, own_path
from tracer.tekton.names import OwnKind
from tracer.transport import Transport, TransportSettings

LEASE = OwnKind.LEASE
WITHIN_S = 20
STEP_S = 0.25
BEGAN_NS = 1_787_220_000_000_000_000
DAY_NS = 86_400_000_000_000


class Sleepless(PlayedClock):
    """A played clock that knows whether its replica waits for its next try."""

    def __init__(self, began_ns: int) -> None:
        """Begin at a time of day."""
        super().__init__(began_ns)
        self.is_resting = False

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.is_resting = True
        try:
            await super().sleep(seconds)
        finally:
            self.is_resting = False


class Replica:
    """One that takes part, with a clock of its own."""

    def __init__(self, world: "World", name: str, began_ns: int = BEGAN_NS) -> None:
        """Prepare."""
        self.name, self.clock = name, Sleepless(began_ns)
        self.reported: list[Event] = []
        self.terms: list[tuple[float, float | None]] = []
        """From when to when it led, by its clock."""
        path = own_path(LEASE, "ci", "leader")
        lease = NamedObject(Account(world.server.url), world.transport, path)
        self.leadership = Leadership(lease, name, self.clock, self.reported.append)
        self.task: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        """Lead until cancelled."""
        began_s = self.clock.now_s()
        self.terms.append((began_s, None))
        try:
            await asyncio.Event().wait()
        finally:
            self.terms[-1] = (began_s, self.clock.now_s())

    @property
    def leads(self) -> bool:
        """Whether it does, and says so."""
        leads = bool(self.terms) and self.terms[-1][1] is None
        assert leads == self.leadership.leads
        return leads

    @property
    def said(self) -> list[What]:
        """What it reported."""
        return [one.what for one in self.reported]

    async def die(self) -> None:
        """Stop without a word."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


class World:
    """A server and those who would lead."""

    def __init__(self, server: ApiServer, transport: Transport, tasks: asyncio.TaskGroup) -> None:
        """Begin with nobody."""
        self.server, self.transport = server, transport
        self.replicas: list[Replica] = []
        self._tasks = tasks

    def put(self, **spec: object) -> None:
        """Write the Lease, as a chart or a person does."""
        metadata = {"name": "leader", "namespace": "ci", "labels": {"app": "tracer"}}
        self.server.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})

    @property
    def lease(self) -> Json:
        """Give the Lease as it is."""
        found = self.server.store.get(LEASE, "ci/leader")
        assert found is not None
        said: Json = json.loads(found.whole)
        return said

    async def start(self, name: str) -> Replica:
        """Start one, and wait for the end of its first try."""
        replica = Replica(self, name)
        await self.begin(replica)
        return replica

    async def begin(self, *replicas: Replica) -> None:
        """Start some at once, and wait for the end of their first tries."""
        for one in replicas:
            one.task = self._tasks.create_task(one.leadership.run(one.lead))
        self.replicas += replicas
        await self.rest()

    async def rest(self) -> None:
        """Wait until every one that runs waits for its next try."""
        running = [one for one in self.replicas if one.task is not None and not one.task.done()]
        while not all(one.clock.is_resting for one in running):  # noqa: ASYNC110 - the loop goes on meanwhile
            await asyncio.sleep(0)
        await breathe()

    async def passes(self, seconds: float, *, frozen: Replica | None = None) -> None:
        """Let time pass, in steps, for all but one that is frozen."""
        for _ in range(round(seconds / STEP_S)):
            for one in self.replicas:
                if one is not frozen:
                    await one.clock.move_on(STEP_S)
            await self.rest()
            assert sum(one.leads for one in self.replicas if one is not frozen) <= 1


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Open it."""
    async with (
        asyncio.timeout(WITHIN_S),
        ApiServer() as server,
        Transport(TransportSettings(), Clock()) as transport,
        asyncio.TaskGroup() as tasks,
    ):
        one = World(server, transport, tasks)
        yield one
        for replica in one.replicas:
            await replica.die()


def tell(story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story of a world."""

    async def main() -> None:
        async with world() as one:
            await story(one)

    asyncio.run(main())


def test_one_leads_and_the_other_stands_by() -> None:
    """The first takes the Lease that was shipped empty, with its labels; the second waits as long as it is renewed."""

    async def story(world: World) -> None:
        world.put()
        one, two = await world.start("one"), await world.start("two")
        await world.passes(60)
        assert (one.leads, two.leads) == (True, False)
        assert (one.leadership.holder, two.leadership.holder) == ("one", "one")
        assert len(one.terms) == 1
        assert (one.said, two.said) == ([What.LEADER_ACQUIRED], [What.LEADER_STANDBY])
        assert world.lease["metadata"]["labels"] == {"app": "tracer"}
        assert world.lease["spec"]["leaseTransitions"] == 1
        assert world.server.count(LEASE, Verb.UPDATE) <= 34  # a renewal each 1.8 to 2.2 s, and no reading in between

    tell(story)


def test_a_silent_holder_is_followed_after_its_time() -> None:
    """Not before 15 s after its last renewal, and within a retry and a little then; who comes back stands by."""

    async def story(world: World) -> None:
        world.put()
        one, two = await world.start("one"), await world.start("two")
        await world.passes(20)
        await one.die()
        await world.passes(12.5)
        assert not two.leads
        await world.passes(5)
        assert two.leads
        assert world.lease["spec"]["leaseTransitions"] == 2
        three = await world.start("three")
        await world.passes(20)
        assert (two.leads, three.leads) == (True, False)

    tell(story)


def test_a_lease_that_is_given_back_is_soon_taken() -> None:
    """Within 3 s; who gave it back leads no more, and who holds nothing gives nothing back."""

    async def story(world: World) -> None:
        world.put()
        one, two = await world.start("one"), await world.start("two")
        await world.passes(10)
        await two.leadership.release()
        assert world.lease["spec"]["holderIdentity"] == "one"
        await one.die()
        await one.leadership.release()
        assert (world.lease["spec"]["holderIdentity"], one.leads) == ("", False)
        await world.passes(3)
        assert two.leads

    tell(story)


@pytest.mark.parametrize("ends_for_s", [0.0, 3.0, 28.0])
@pytest.mark.parametrize("phase_s", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_a_lease_that_is_given_back_is_not_a_newcomers(phase_s: float, ends_for_s: float) -> None:
    """A Pod that replaces the leader's knows less than the standby, whoever looked last, and however long the leader ends."""

    async def story(world: World) -> None:
        world.put()
        one, two = await world.start("one"), await world.start("two")
        await world.passes(10 + phase_s)
        one.leadership.is_ending = True
        await world.passes(2.25)
        new = await world.start("new") if ends_for_s else None
        await world.passes(ends_for_s)
        await one.die()
        await one.leadership.release()
        new = new or await world.start("new")
        assert not new.leads
        await world.passes(20)
        assert (two.leads, new.leads) == (True, False)
        assert not new.terms

    tell(story)


def test_a_lone_replica_takes_what_it_gave_back() -> None:
    """Begun anew, under another name, it leads within 3 s."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        await one.die()
        await one.leadership.release()
        again = await world.start("again")
        await world.passes(3.25)
        assert again.leads

    tell(story)


def test_a_lease_is_given_back_after_a_renewal_that_was_cut_off() -> None:
    """What was cancelled may have been written: the Lease is read again before it is given back."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        world.server.fail(Break.STALL, LEASE, Verb.UPDATE)
        asked = world.server.count(LEASE, Verb.UPDATE)
        await one.clock.move_on(2.5)
        await world.server.until(lambda: world.server.count(LEASE, Verb.UPDATE) > asked)
        await one.die()
        await one.leadership.release()
        assert world.lease["spec"]["holderIdentity"] == ""

    tell(story)


@pytest.mark.row("P6")
def test_who_cannot_renew_stops_before_the_deadline() -> None:
    """The API server hangs: within 10 s of the last renewal the leader has stopped, though its request still waits."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        await world.passes(20)
        renewals = world.server.count(LEASE, Verb.UPDATE)
        world.server.fail(Break.STALL, LEASE, times=ALWAYS)
        renewed_s = one.clock.now_s()
        await one.clock.move_on(2.5)
        await world.server.until(lambda: world.server.count(LEASE, Verb.UPDATE) > renewals)
        assert one.leads
        await one.clock.move_on(7.5)
        assert not one.leads
        _, ended_s = one.terms[-1]
        assert ended_s is not None
        assert renewed_s + 10 - 2.5 - 1 <= ended_s <= renewed_s + 9
        assert one.reported[-1].message == "This replica leads no more: the Lease was not renewed in time."
        assert one.said == [What.LEADER_ACQUIRED, What.LEADER_LOST]

    tell(story)


@pytest.mark.parametrize("fault", [Break.RESET, Break.LOSE, Refuse(500), Refuse(429), Say(409), Say(200, b"{"), Refuse(401)])
def test_a_short_failure_costs_nothing(fault: Fault) -> None:
    """Whatever it is, if it is over within some seconds the leader goes on, and has said so once at most."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        await world.passes(10)
        world.server.fail(fault, LEASE, times=ALWAYS)
        await world.passes(5)
        world.server.heal()
        await world.passes(20)
        assert one.leads
        assert one.said.count(What.LEADER_ACQUIRED) == 1
        assert one.said.count(What.LEASE_FAILED) == one.said.count(What.LEASE_RECOVERED) <= 1

    tell(story)


@pytest.mark.parametrize("fault", [Break.RESET, Refuse(500)])
def test_a_long_failure_ends_the_term_and_the_next_one_begins(fault: Fault) -> None:
    """It stops, says once why, and leads again when the API server is back: the Lease is still its own."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        world.server.fail(fault, LEASE, times=ALWAYS)
        await world.passes(60)
        assert not one.leads
        world.server.heal()
        await world.passes(3)
        assert one.leads
        assert one.said == [
            *(What.LEADER_ACQUIRED, What.LEASE_FAILED, What.LEADER_LOST),
            *(What.LEASE_RECOVERED, What.LEADER_ACQUIRED),
        ]

    tell(story)


@pytest.mark.row("P7")
@pytest.mark.parametrize("is_followed", [False, True])
def test_who_stood_still_loses_the_lease(is_followed: bool) -> None:  # noqa: FBT001 - a table
    """A process that was frozen stops as soon as it wakes; it leads again only if nobody has followed it."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        if is_followed:
            await world.start("two")
        await world.passes(10)
        await world.passes(20, frozen=one)
        await one.clock.leap(20)
        assert not one.leads or len(one.terms) == 2
        await world.rest()
        await world.passes(3)
        assert one.leads != is_followed
        assert [began_s for began_s, _ in one.terms[1:]] == ([] if is_followed else [30])

    tell(story)


def test_without_a_lease_everybody_leads_until_it_is_there() -> None:
    """That is said once; whoever asks when it was created leads alone then."""

    async def story(world: World) -> None:
        one, two = await world.start("one"), await world.start("two")
        for replica in (one, two):
            for _ in range(3):
                await replica.clock.move_on(15)
                await world.rest()
            assert replica.leads
            assert sorted(replica.said) == [What.LEADER_ACQUIRED, What.LEASE_MISSING]
        assert world.server.count(LEASE, Verb.GET) == 2 * 4
        world.put()
        for replica in (one, two):
            await replica.clock.move_on(15)
            await world.rest()
        await world.passes(3)
        assert (one.leads, two.leads) == (True, False)
        assert len(one.terms) == 1
        assert two.reported[-1].message == "This replica leads no more: one does."
        assert two.said[-3:] == [What.LEADER_STANDBY, What.LEASE_RECOVERED, What.LEADER_LOST]

    tell(story)


@pytest.mark.parametrize("verb", [Verb.GET, Verb.UPDATE])
def test_who_may_not_use_the_lease_leads_anyway(verb: Verb) -> None:
    """Who may not read it, and who may read it but not take it when it is free; it says once which right is missing."""

    async def story(world: World) -> None:
        world.put()
        world.server.forbid(LEASE, verb)
        one = await world.start("one")
        for _ in range(3):
            await one.clock.move_on(15)
            await world.rest()
        assert one.leads
        assert sorted(one.said) == [What.LEADER_ACQUIRED, What.LEASE_MISSING]
        missing = next(one for one in one.reported if one.what is What.LEASE_MISSING)
        assert missing.message.endswith(f" (403): grant {verb} on leases/leader in namespace ci.")

    tell(story)


def test_a_lease_that_vanishes_is_done_without() -> None:
    """Who leads goes on leading."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        await world.passes(10)
        world.server.delete(world.lease)
        await world.passes(20)
        assert one.leads
        assert one.said == [What.LEADER_ACQUIRED, What.LEASE_MISSING]
        assert len(one.terms) == 1

    tell(story)


@pytest.mark.row("S20")
def test_nonsense_is_waited_for_and_written_over() -> None:
    """It is said once, and held for 15 s, and for a head start."""

    async def story(world: World) -> None:
        world.put(holderIdentity="old", leaseDurationSeconds=-5)
        one = await world.start("one")
        await world.passes(17)
        assert not one.leads
        await world.passes(2)
        assert one.leads
        assert sorted(one.said) == [What.LEADER_ACQUIRED, What.LEADER_STANDBY, What.LEASE_FAILED]
        assert world.lease["metadata"]["labels"] == {"app": "tracer"}

    tell(story)


def test_a_race_has_one_winner() -> None:
    """Several that find the Lease free at the same moment: one takes it, the others' replacement is a conflict."""

    async def story(world: World) -> None:
        world.put()
        replicas = [Replica(world, name) for name in "abc"]
        await world.begin(*replicas)
        assert sum(one.leads for one in replicas) == 1
        await world.passes(10)
        assert sum(one.leads for one in replicas) == 1

    tell(story)


def test_a_change_by_somebody_else_costs_nothing() -> None:
    """A chart that is applied again replaces labels and version; the leader reads the Lease and renews it."""

    async def story(world: World) -> None:
        world.put()
        one = await world.start("one")
        await world.passes(10)
        changed = world.lease
        changed["metadata"]["labels"] = {"app": "tracer", "release": "2"}
        world.server.put(changed)
        await world.passes(20)
        assert one.leads
        assert one.said == [What.LEADER_ACQUIRED]
        assert world.lease["metadata"]["labels"]["release"] == "2"

    tell(story)


def test_a_term_that_fails_is_not_hidden() -> None:
    """What leading raises ends all of it: the process should not go on without."""

    async def story(world: World) -> None:
        world.put()
        one = Replica(world, "one")

        async def fail() -> None:
            raise ValueError(one.name)

        with pytest.raises(ExceptionGroup) as raised:
            await one.leadership.run(fail)
        assert raised.group_contains(ValueError, match="one")
        assert not one.leadership.leads

    tell(story)


@pytest.mark.parametrize("ahead_ns", [-DAY_NS, DAY_NS])
def test_the_time_of_day_decides_nothing(ahead_ns: int) -> None:
    """Replicas whose times of day are a day apart lead and follow as any others do."""

    async def story(world: World) -> None:
        world.put()
        one, two = Replica(world, "one"), Replica(world, "two", BEGAN_NS + ahead_ns)
        await world.begin(one)
        await world.begin(two)
        await world.passes(30)
        assert (one.leads, two.leads) == (True, False)
        await one.die()
        await world.passes(18)
        assert two.leads

    tell(story)
