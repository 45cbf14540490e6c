"""A model of the world around replicas, and replicas that take `Controller`'s and `Sender`'s steps one at a time.

They put the pure rooms together; what happens when, and what the backend answers, is up to who drives them. What they check is
said at each assertion: `tests/delivery/test_model.py` is about the rest.
"""

from dataclasses import dataclass, field, replace

from tests.kit import Timed, Told, drain
from tracer.delivery.checkpoint import NOTHING, Checkpoint, Texts, each, read, write
from tracer.delivery.ledger import Ledger
from tracer.delivery.marks import mark_of, slot_mark
from tracer.delivery.outbox import Outbox, Request
from tracer.delivery.outcome import Delivered, Outcome, Partly
from tracer.delivery.policy import Action, blames, judge
from tracer.kube.reflector import NECESSARY
from tracer.tekton.decode import Object, kind_by_type
from tracer.tekton.event import Event
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished
from tracer.tekton.pod import Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.measures import Measure
from tracer.telemetry.otlp import encode, read_spans
from tracer.telemetry.records import Slot, SpanRecord

KINDS = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN, Kind.POD, Kind.EVENT)
INTERVAL_NS = 10 * SECOND_NS
"""How often the checkpoint is written, or read."""
MOST_LAG_NS = 30 * SECOND_NS
"""A watch that is silent for longer is opened anew, and so reads on."""
SETTLED_NS = 20 * 60 * SECOND_NS
"""After this time without news every deadline has passed."""


BACKEND = "the backend"


@dataclass
class Sent:
    """One content of a span, as it stands in the backend."""

    slot: Slot
    missed: list[frozenset[str]] = field(default_factory=list)
    """What those who sent it had missed then, each time that it came."""


class World:
    """What is outside of the replicas: the API server with a ConfigMap, the backend, the time; and who sees everything."""

    def __init__(self, script: list[Timed]) -> None:
        """Begin before the first event of a script."""
        self.script = script
        self.now_ns = script[0][0] - INTERVAL_NS
        self.ticked_ns = self.now_ns
        self.history: dict[Kind, list[tuple[int, Seen | Gone]]] = {kind: [] for kind in KINDS}
        self.last: dict[str, Object] = {}
        self.gone: set[str] = set()
        self.owners: dict[str, set[str]] = {}
        """What controls an object; of a Pod also TaskRuns that name it as theirs."""
        self.users: dict[tuple[str, str], set[str]] = {}
        """The TaskRuns that name a Pod, by namespace and name."""
        self.texts, self.version = Texts({}, {}), 0
        self.said: frozenset[Slot] = frozenset()
        """What those who wrote the ConfigMap knew to be acknowledged, of objects that exist."""
        self.counted: set[Slot] = set()
        """What any process has counted."""
        self.said_counted: frozenset[Slot] = frozenset()
        """What those who wrote the ConfigMap had counted, of objects that exist."""
        self.has_history = False
        """Whether somebody began who knew nothing of what had been before."""
        self.stored: dict[bytes, dict[bytes, Sent]] = {}
        self.rejected: set[Slot] = set()
        self.told = Told({}, [], Ledger())
        self.told.ledger.recall(Checkpoint())
        self.told.ledger.count()
        for kind in KINDS:
            self.told.ledger.observe(Synced(kind, self.now_ns), self.now_ns)

    def happen(self, observation: Seen | Gone) -> None:
        """Let an object change or be deleted now."""
        value = observation.object
        uid = value.metadata.uid
        if uid in self.gone:
            return  # it was pruned
        self.history[kind_by_type(value)].append((self.now_ns, observation))
        self.last[uid] = value
        self._relate(value)
        if isinstance(observation, Gone):
            self.gone.add(uid)
        self.told.ledger.observe(observation, self.now_ns)
        drain(self.told, self.now_ns)

    def _relate(self, value: Object) -> None:
        """Note what an object belongs to."""
        if isinstance(value, Event):
            return
        meta = value.metadata
        owners = self.owners.setdefault(meta.uid, set())
        if isinstance(value, Pod):
            self.owners[meta.uid] = owners = self.users.setdefault((meta.namespace, meta.name), owners)
        elif isinstance(value, TaskRun):
            for one in (*value.status.retries_status, value.status):
                self.users.setdefault((meta.namespace, one.pod_name), set()).add(meta.uid)
        if meta.controller is not None:
            owners.add(meta.controller.uid)

    def above(self, uid: str) -> set[str]:
        """Give an object and what owns it."""
        return {uid}.union(*(self.above(owner) for owner in self.owners.get(uid, ())))

    def related(self, uid: str) -> set[str]:
        """Give an object, what owns it and what it owns: all that its spans rest on."""
        return self.above(uid) | self.below({uid})

    def below(self, uids: set[str]) -> set[str]:
        """Give objects and all that they own."""
        return {one for one in self.last if self.above(one) & uids}

    def store(self, request: Request, missed: dict[Slot, frozenset[str]], left_out: int = 0) -> None:
        """Let a request arrive in the backend, which takes all but the first few of its spans."""
        slots = {span.span_id: span.slot for span in request.spans[left_out:]}
        for span_id, content in read_spans(request.body):
            if (slot := slots.get(span_id)) is not None:
                self.stored.setdefault(span_id, {}).setdefault(content, Sent(slot)).missed.append(missed[slot])


class Process:
    """One run of the program: what `Controller` and `Sender` do, step by step."""

    def __init__(self, world: World) -> None:
        """Start, with what is remembered."""
        self.world = world
        self.ledger = Ledger()
        self.outbox = Outbox(self._build, encode)
        self.flying: list[Request] = []
        self.leads = False
        self.judged_ns: int | None = None
        self.known: set[Slot] = set()
        """What it knows to be acknowledged, as its own or as it was read."""
        self.counted: set[Slot] = set()
        """What it knows to be counted, likewise."""
        self.acknowledged: set[Slot] = set()
        self.seen: dict[str, Object] = {}
        self.gone: set[str] = set()
        self.missed: frozenset[str] = frozenset()
        """Objects whose last word was said when it did not watch."""
        self._missed_by: dict[Slot, frozenset[str]] = {}
        self._read_to: dict[Kind, int] = {}
        self._passed = 0
        self.recall()

    # ------------------------------------------------------------ readings

    @property
    def is_current(self) -> bool:
        """Whether everything was listed, and all that judgement rests on was read to its end."""
        ends = {kind: len(events) for kind, events in self.world.history.items()}
        return self._read_to.keys() == ends.keys() and all(self._read_to[kind] == ends[kind] for kind in NECESSARY)

    def read(self, kind: Kind, most: int) -> None:
        """Read some more events of a kind; list it first, as a process does that begins."""
        if kind not in self._read_to:
            self.list_all(kind)
        begin = self._read_to[kind]
        events = self.world.history[kind][begin : begin + most]
        self._read_to[kind] = begin + len(events)
        for _, observation in events:
            self._observe(observation)

    def read_all(self) -> None:
        """Read everything that there is."""
        for kind in KINDS:
            self.read(kind, len(self.world.history[kind]))

    def list_all(self, kind: Kind) -> None:
        """List what exists of a kind: what is not in it has vanished."""
        world, events = self.world, self.world.history[kind]
        self._read_to[kind] = len(events)
        uids = dict.fromkeys(observation.object.metadata.uid for _, observation in events)
        for uid in uids:
            if uid not in world.gone:
                self._observe(Seen(world.last[uid]))
        for uid in uids:
            if uid in world.gone and uid not in self.gone:
                if self.seen.get(uid) != world.last[uid]:
                    self.missed |= {uid}
                if uid in self.seen:
                    self.ledger.observe(Vanished(kind, uid), world.now_ns)
                self.gone.add(uid)
        self.ledger.observe(Synced(kind, world.now_ns), world.now_ns)

    def _observe(self, observation: Seen | Gone) -> None:
        self.seen[observation.object.metadata.uid] = observation.object
        if isinstance(observation, Gone):
            self.gone.add(observation.object.metadata.uid)
        self.ledger.observe(observation, self.world.now_ns)

    # ------------------------------------------------------------ judging and remembering

    def tick(self) -> None:
        """Do what is done every ten seconds."""
        for kind, events in self.world.history.items():
            begin = self._read_to.get(kind, 0)
            is_late = begin < len(events) and events[begin][0] < self.world.now_ns - MOST_LAG_NS
            if is_late or kind not in self._read_to:
                self.read(kind, len(events))
        self.step()
        self.remember()

    def step(self) -> None:
        """Find what is due, and offer it while leading. Time stands still while something was not read."""
        if self.is_current:
            self.judged_ns = self.world.now_ns
        if self.judged_ns is None:
            return
        is_behind = True
        while is_behind:
            for due in self.ledger.due(self.judged_ns):
                if self.leads:
                    self.outbox.offer(due)
            self._count()
            is_behind = self.ledger.is_behind

    def _count(self) -> None:
        for one in self.ledger.take_measures():
            if isinstance(one, Measure):
                assert self.leads, "counted by somebody who stands by"
                assert one.slot not in self.counted, "counted though it is known to be"
                self.counted |= {one.slot, one.slot.without_pod_uid}
        self.world.counted |= self.counted

    def recall(self) -> None:
        """Read the checkpoint."""
        self.version = self.world.version
        self._recalled = read(self.world.texts, BACKEND) or NOTHING
        self.world.has_history |= bool(self.world.last) and not self._recalled.counts_known
        self.ledger.recall(self._recalled)
        self.known = {slot for slot in self.known if slot.owner_uid in self.seen} | self.world.said
        self.counted = {slot for slot in self.counted if slot.owner_uid in self.seen} | self.world.said_counted

    def remember(self) -> None:
        """Write the checkpoint; whoever stands by reads it."""
        world = self.world
        if not self.leads or self.version != world.version:
            self.recall()
        if not self.leads:
            return
        found = self.ledger.checkpoint
        if self.judged_ns is None:
            found = replace(found | replace(self._recalled, only_here={}), counts_known=found.counts_known)
        world.texts, world.version = write(found, BACKEND), world.version + 1
        self.version = world.version
        assert sum(found.only_here.values()) == sum(due.spans for due in self.ledger.outstanding() if due.uid in self.gone)
        existing = {slot for slot in self.known if slot.owner_uid not in world.gone}
        world.said = frozenset(slot for slot in existing if slot.owner_uid in self.seen or self.judged_ns is None)
        world.said_counted = frozenset(
            slot
            for slot in self.counted
            if found.counts_known and slot.owner_uid not in world.gone and (slot.owner_uid in self.seen or self.judged_ns is None)
        )
        for slot in world.said:
            mark = mark_of(slot.owner_uid)
            assert mark in found.done or slot_mark(slot) in each(found.slots.get(mark, b"")), "forgotten though it exists"

    # ------------------------------------------------------------ sending

    def lead(self) -> None:
        """Send from now on, from where whoever led before has ended."""
        if not self.leads:
            self.recall()
            self.step()
            self.leads = True
            self.ledger.count()
            for due in self.ledger.outstanding():
                self.outbox.offer(due)

    def stand_by(self, arrived: int = 0) -> None:
        """Send no more; of what was under way some has arrived."""
        self.leads = False
        self.ledger.count_no_more()
        for request in self.flying[:arrived]:
            self.world.store(request, self._missed_by)
        self.outbox, self.flying = Outbox(self._build, encode), []

    def take(self, most_spans: int) -> None:
        """Let a request go out."""
        if self.leads and (request := self.outbox.next_request(most_spans)) is not None:
            self.flying.append(request)

    def answer(self, number: int, outcome: Outcome, *, is_stored: bool) -> Action:
        """Let a request be answered, and do what follows."""
        request = self.flying.pop(number)
        rejected = outcome.rejected if isinstance(outcome, Partly) else 0
        if is_stored:
            self.world.store(request, self._missed_by, rejected)
        if blames(outcome):
            request.blames += 1
            request.passed_before = self._passed if request.passed_before is None else request.passed_before
        others_pass = request.passed_before is not None and self._passed > request.passed_before
        verdict = judge(outcome, len(request.spans), request.blames, others_pass=others_pass)
        self._passed += isinstance(outcome, Delivered | Partly)
        if verdict.action is Action.HALVE:
            self.outbox.halve(request)
        elif verdict.action is Action.HOLD:
            self.outbox.hold(request)
        else:
            assert self.judged_ns is not None
            self.world.rejected |= {span.slot for span in request.spans[: verdict.rejected]}
            for uid, spans in self.outbox.settle(request, verdict.rejected).items():
                slots = [span.slot for span in spans]
                self.ledger.acknowledge(uid, slots, self.judged_ns)
                self.acknowledged |= {form for slot in slots for form in (slot, slot.without_pod_uid)}
            self.known |= self.acknowledged
        return verdict.action

    def flush(self, outcome: Outcome, *, is_stored: bool) -> None:
        """Send everything, until it is all answered for or something is to be sent again."""
        self.step()
        while self.flying or self.outbox.waiting or self.outbox.under_way:
            if not self.flying:
                self.take(512)
            if not self.flying or self.answer(0, outcome, is_stored=is_stored) is not Action.SETTLE:
                return

    def stop(self, outcome: Outcome, *, is_stored: bool) -> None:
        """Tell what is known of deleted objects, send what the backend takes, and write that down."""
        if self.leads:
            self.missed |= self.world.below(self.gone)
            self.ledger.hurry_deleted()
            self.flush(outcome, is_stored=is_stored)
            self.remember()
            if self.outbox.is_empty and self.judged_ns is not None:
                assert not [held for held in self.ledger.held() if held[1] == "deleted"], "kept to itself"

    def check_standby(self, leader: "Process") -> None:
        """Hold nothing of what the leader has delivered."""
        for due in self.ledger.outstanding():
            held = {span.slot for span in self.ledger.spans(due.uid, self.world.now_ns)}
            assert held, "held for nothing"
            assert not held & leader.acknowledged, "held though it was delivered"

    def _build(self, uid: str) -> list[SpanRecord]:
        assert self.judged_ns is not None
        spans = self.ledger.spans(uid, self.judged_ns)
        again = [span.slot for span in spans if span.slot in self.known]
        assert not again, "built though it is known to be acknowledged"
        self._missed_by |= {span.slot: self.missed for span in spans}
        return spans
