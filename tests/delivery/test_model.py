"""Any interleaving of readings, answers, crashes, restarts and two replicas: the backend holds what follows from the objects.

The model puts the pure rooms together as the controller and the sender do. What it compares them with is one ledger that saw
everything at once, whose every span was taken at once.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.delivery.replica import INTERVAL_NS, KINDS, SETTLED_NS, Process, World
from tests.delivery.test_checkpoint import LEVEL, as_facts
from tests.delivery.test_ledger import FACTS, recordings
from tests.kit import drain, the_end
from tracer.delivery.ledger import END_OF_TIME_NS
from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry, Trouble
from tracer.lifecycle.judgement import is_final
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen
from tracer.tekton.pipelinerun import PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.otlp import encode, read_spans

BUSY, REFUSED, REJECTED = Retry("429"), Refused("401"), Rejected("400")
SLOW, BROKEN = Retry("no answer", Trouble.SLOW), Retry("500", Trouble.BROKEN)
ANSWERS: tuple[tuple[Outcome, bool], ...] = (
    *((Delivered(), True) for _ in range(10)),
    (Partly(1, "?"), True),
    (SLOW, True),
    (SLOW, False),
    *((one, False) for one in (BUSY, BROKEN, REFUSED, REJECTED)),
)
"""What a backend may answer, and whether it has stored the request."""

HARD = (
    *("cancelled-finally", "custom-run-unserved", "evicted", "handles-sigterm", "injected-sidecars-false", "keep-pod-on-cancel"),
    *("missing-secret", "nested", "pod-deleted-recreated", "retries", "retry-timeout", "run-deleted", "taskrun-deleted"),
)
"""Recordings that take long, or whose Pods end, or are deleted, when it matters."""
RESTING_ON_PODS = {"run", "task", "retry", "create"}
"""What may differ under one id if a Pod was missed: an end may have been raised by the Pod's facts (span-model 2.3), and
`create pod` of a Pod begins when the one before it was lost."""
scripts = st.lists(st.sampled_from(HARD) | recordings, min_size=1, max_size=3, unique=True)
whos = st.integers(0, 1)
answers = st.sampled_from(ANSWERS)


class Model(RuleBasedStateMachine):
    """Everything that may happen to one or two replicas."""

    world: World
    replicas: list[Process | None]

    @initialize(names=scripts, has_standby=st.booleans())
    def begin(self, names: list[str], has_standby: bool) -> None:  # noqa: FBT001
        """Begin with some recordings, whose events happen when they did."""
        self.world = World(sorted((one for name in names for one in FACTS[name]), key=lambda one: one[0]))
        self.replicas = [Process(self.world), Process(self.world) if has_standby else None]
        self.has_standby = has_standby
        for one in self.replicas:
            if one is not None:
                one.read_all()
        self.lead(0, is_election=True, arrived=0)

    def process(self, who: int) -> Process | None:
        """Find a replica, if it is up."""
        return self.replicas[who if self.has_standby else 0]

    # ------------------------------------------------------------ the world

    @rule(count=st.integers(1, 15))
    def happen(self, count: int) -> None:
        """Let the next events happen, each at its time."""
        events, self.world.script = self.world.script[:count], self.world.script[count:]
        for at_ns, observation in events:
            self.pass_time(at_ns)
            assert isinstance(observation, Seen | Gone)
            self.world.happen(observation)

    @rule(seconds=st.sampled_from([1, 5, 30, 70, 1000]))
    def wait(self, seconds: int) -> None:
        """Let time pass, at most until the next event."""
        next_ns = self.world.script[0][0] if self.world.script else END_OF_TIME_NS
        self.pass_time(min(next_ns, self.world.now_ns + seconds * SECOND_NS))
        drain(self.world.told, self.world.now_ns)

    def pass_time(self, to_ns: int) -> None:
        """Let time pass."""
        world, quiet_ns = self.world, self.world.now_ns + SETTLED_NS
        while world.ticked_ns + INTERVAL_NS <= min(to_ns, quiet_ns):
            world.ticked_ns += INTERVAL_NS
            world.now_ns = max(world.now_ns, world.ticked_ns)
            drain(world.told, world.now_ns)
            for one in self.replicas:
                if one is not None:
                    one.tick()
        world.now_ns = max(world.now_ns, to_ns)
        world.ticked_ns = max(world.ticked_ns, world.now_ns - INTERVAL_NS)

    @rule(since=st.integers(0, 3), only_pods=st.booleans())
    def prune(self, since: int, only_pods: bool) -> None:  # noqa: FBT001
        """Delete runs that have ended with all that they own, owners first, or only the Pods of TaskRuns that have."""
        world, coming = self.world, {one.object.metadata.uid for _, one in self.world.script if isinstance(one, Seen | Gone)}
        found = list[str]()
        for uid, value in world.last.items():
            if isinstance(value, PipelineRun | TaskRun) and is_final(value.status.succeeded):
                is_wanted = isinstance(value, TaskRun) if only_pods else not world.owners[uid]
                below = world.below({uid}) - world.gone
                if is_wanted and below and not below & coming:
                    found += sorted(below, key=lambda uid: len(world.above(uid)))
        for uid in found[since:]:
            if not only_pods or isinstance(world.last[uid], Pod):
                world.happen(Gone(world.last[uid]))

    # ------------------------------------------------------------ a replica

    @rule(who=whos, kinds=st.sets(st.sampled_from(KINDS), min_size=1), most=st.integers(0, 40))
    def read_some(self, who: int, kinds: set[Kind], most: int) -> None:
        """Read some of what is new, of some kinds; the others lag."""
        if (one := self.process(who)) is not None:
            for kind in sorted(kinds):
                one.read(kind, most)

    @rule(who=whos, kind=st.sampled_from(KINDS))
    def list_again(self, who: int, kind: Kind) -> None:
        """List a kind anew, after a gap."""
        if (one := self.process(who)) is not None:
            one.list_all(kind)

    @rule(who=whos, most_spans=st.sampled_from([1, 7, 512]), number=st.integers(0, 3), answer=st.none() | answers)
    def send(self, who: int, most_spans: int, number: int, answer: tuple[Outcome, bool] | None) -> None:
        """Let a request go out, and maybe the backend answer it, or another one."""
        if (one := self.process(who)) is not None:
            one.step()
            one.take(most_spans)
            if one.flying and answer is not None:
                one.answer(number % len(one.flying), answer[0], is_stored=answer[1])

    @rule(who=whos, answer=answers)
    def flush(self, who: int, answer: tuple[Outcome, bool]) -> None:
        """Read everything, and let the backend answer all requests alike, until something is to be sent again."""
        if (one := self.process(who)) is not None:
            one.read_all()
            one.flush(answer[0], is_stored=answer[1])

    @rule(who=whos)
    def remember(self, who: int) -> None:
        """Write the checkpoint, or read it."""
        if (one := self.process(who)) is not None:
            one.remember()

    @rule(who=whos, is_election=st.booleans(), arrived=st.integers(0, 4))
    def lead(self, who: int, is_election: bool, arrived: int) -> None:  # noqa: FBT001
        """Take the lead; without an election the other one goes on sending, too."""
        if (one := self.process(who)) is not None:
            for other in self.replicas:
                if other is not None and other is not one and is_election:
                    other.stand_by(arrived)
            one.lead()

    @rule(who=whos, arrived=st.integers(0, 4), answer=st.none() | answers)
    def kill(self, who: int, arrived: int, answer: tuple[Outcome, bool] | None) -> None:
        """Take a replica's memory away, maybe when everything was just sent; some of what was under way has arrived."""
        if answer is not None:
            self.flush(who, answer)
        if (one := self.process(who)) is not None:
            one.stand_by(arrived)
            self.replicas[self.replicas.index(one)] = None

    @rule(who=whos, answer=answers)
    def stop(self, who: int, answer: tuple[Outcome, bool]) -> None:
        """Stop a replica as SIGTERM does, with a backend that answers so."""
        if (one := self.process(who)) is not None:
            one.stop(answer[0], is_stored=answer[1])
            self.replicas[self.replicas.index(one)] = None

    @precondition(lambda self: None in self.replicas[: 1 + self.has_standby])
    @rule(leads=st.booleans())
    def start(self, leads: bool) -> None:  # noqa: FBT001
        """Start a replica that is down."""
        one = self.replicas[self.replicas.index(None)] = Process(self.world)
        if leads:
            one.lead()

    # ------------------------------------------------------------ the end

    def teardown(self) -> None:
        """Let everything happen and be read, the replicas lead in turn, and time pass; then look at the backend."""
        if not hasattr(self, "world"):
            return
        world = self.world
        self.happen(len(world.script))
        while None in self.replicas[: 1 + self.has_standby]:
            self.start(leads=False)
        up = [one for one in self.replicas if one is not None]
        leader, *standbys = sorted(up, key=lambda one: not one.leads)
        for one in standbys:
            one.stand_by()
        leader.lead()
        for one in up:
            one.read_all()
        for _ in range(12):
            leader.flush(Delivered(), is_stored=True)
            self.pass_time(world.now_ns + INTERVAL_NS)
        self.wait(1000)
        for one in standbys:
            one.check_standby(leader)
        for at_ns, synced in the_end():
            world.now_ns = at_ns
            for ledger in (world.told.ledger, *(one.ledger for one in up)):
                ledger.observe(synced, at_ns)
        drain(world.told, END_OF_TIME_NS)
        for one in (leader, *standbys):  # what a standby saw alone it sends when it leads
            one.lead()
            one.flush(Delivered(), is_stored=True)
            one.remember()
            assert one.outbox.is_empty
            assert one.ledger.unacknowledged == 0
        self.compare(up)

    def compare(self, up: list[Process]) -> None:
        """Compare the backend with what one ledger told that saw everything."""
        world = self.world
        assert world.told.again == []
        expected = dict(content for span in world.told.spans.values() for content in read_spans(encode([span])))
        for span_id, contents in world.stored.items():
            kinds = {sent.slot.kind for sent in contents.values()}
            assert len(contents) == 1 or kinds <= RESTING_ON_PODS, "two contents, though nothing of the Pod's is in it"
            for content, sent in contents.items():
                if content != expected.get(span_id):
                    related = world.related(sent.slot.owner_uid)
                    assert all(missed & related for missed in sent.missed), f"{sent.slot} is not what follows from the objects"
        delivered = set(as_facts([*world.rejected, *(one.slot for same in world.stored.values() for one in same.values())]))
        whole = [world.last.keys() - world.gone, *(one.seen.keys() - world.below(set(one.missed)) for one in up)]
        for slot in world.told.spans:
            if slot.kind in LEVEL and not set(as_facts([slot])) <= delivered:
                assert not any(slot.owner_uid in uids for uids in whole), f"{slot} is not in the backend"
        counted = set(as_facts(world.counted))
        for slot in () if world.has_history else (one.slot for one in world.told.measures):
            if not set(as_facts([slot])) <= counted:
                assert not any(slot.owner_uid in uids for uids in whole), f"{slot} was counted by nobody"


TestModel = Model.TestCase


def test_the_exception_that_is_named() -> None:
    """A task whose end its Pod has raised differs if the Pod is deleted while nobody knows that it was sent."""
    model = Model()
    model.begin(["keep-pod-on-cancel"], has_standby=False)
    while model.world.script:
        model.happen(15)
    model.wait(70)
    model.kill(0, 0, (Delivered(), True))
    model.prune(0, only_pods=True)
    model.start(leads=True)
    model.teardown()
    assert {sent.slot.kind for same in model.world.stored.values() if len(same) > 1 for sent in same.values()} == {"run", "task"}
