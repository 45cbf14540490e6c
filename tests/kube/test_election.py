"""Who leads: never two at once, whatever happens to clocks, requests and replicas, and soon somebody else when one is gone."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.kit import Json
from tracer.kube.election import (
    ENDING,
    HEAD_START_S,
    LEASE_S,
    RENEW_DEADLINE_S,
    RETRY_S,
    Lease,
    Sight,
    StandBy,
    Take,
    decide,
    given_back,
    held_by,
    leads_until_s,
    read_lease,
    see,
)

NOW_NS = 1_787_220_000_123_456_789


def lease(**spec: object) -> Json:
    """Make a Lease as a chart ships it."""
    metadata = {"name": "tracer-leader", "resourceVersion": "7", "labels": {"app": "tracer"}, "uid": "u"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def read(content: object) -> Lease:
    """Read it; it must be an object."""
    found = read_lease(json.dumps(content).encode())
    assert found is not None
    return found


def warm(lease: Lease, since_s: float) -> Sight:
    """Let one who has seen a leader at its work see the Lease as it is since a time."""
    return Sight(lease, since_s, is_newcomers=False)


def written(body: bytes) -> Json:
    """Read what is to be written."""
    said: Json = json.loads(body)
    return said


def test_a_lease_that_nobody_holds_is_taken_and_keeps_all_else() -> None:
    """As a chart ships it, with an empty spec or none; labels, version and what others put into the spec stay."""
    for shipped in (lease(strategy="OldestEmulationVersion"), {**lease(), "spec": None}):
        found = read(shipped)
        assert decide(see(None, found, 5), "me", 5) == Take()
        body = written(held_by(found, "me", NOW_NS))
        spec = body.pop("spec")
        assert body == {key: value for key, value in shipped.items() if key != "spec"}
        time = "2026-08-20T10:00:00.123456Z"
        ours = {"holderIdentity": "me", "leaseDurationSeconds": 15, "acquireTime": time, "renewTime": time, "leaseTransitions": 1}
        assert spec == {**(shipped["spec"] or {}), **ours}


def test_a_renewal_changes_the_time_alone() -> None:
    """Since when it is ours, and how often it changed hands, stays; giving it back leaves that count too."""
    first = held_by(read(lease(leaseTransitions=4)), "me", NOW_NS)
    mine = read(written(first))
    assert decide(see(None, mine, 5), "me", 5) == Take()
    again = written(held_by(mine, "me", NOW_NS + 2_000_000_000))
    assert again["spec"] == {**written(first)["spec"], "renewTime": "2026-08-20T10:00:02.123456Z"}
    back = written(given_back(mine, NOW_NS))["spec"]
    assert (back["holderIdentity"], back["leaseTransitions"]) == ("", 5)
    assert back["leaseDurationSeconds"] > 0  # or the API server refuses it
    assert decide(see(warm(mine, 0), read({"spec": back}), 5), "you", 5) == Take()


def test_a_foreign_lease_is_waited_for_since_it_was_seen_to_change() -> None:
    """What its times say is nothing to us: neither one of long ago nor one to come; other fields of the object are no change."""
    for renewed in ("1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"):
        theirs = lease(holderIdentity="you", leaseDurationSeconds=15, renewTime=renewed)
        sight = warm(read(theirs), 100)
        assert decide(sight, "me", 114.9) == StandBy(115)
        theirs["metadata"]["resourceVersion"] = "8"
        assert decide(see(sight, read(theirs), 110), "me", 115) == Take()
        theirs["spec"]["renewTime"] = "2026-08-20T10:00:00.000000Z"
        assert decide(see(sight, read(theirs), 110), "me", 115) == StandBy(125)


@pytest.mark.parametrize("is_given_back", [False, True])
@pytest.mark.parametrize("ends_for_s", [0, 2, 28])
def test_a_warm_standby_goes_before_a_newcomer(ends_for_s: int, is_given_back: bool) -> None:  # noqa: FBT001 - a table
    """However soon the newcomer sees the last word, and late the other one, who looks every two seconds; else it takes the Lease.

    One that begins while the leader ends, and sees it renew the Lease meanwhile, is a newcomer still.
    """
    first = read(written(held_by(read(lease()), "you", NOW_NS)))
    new = None
    for second in range(0, ends_for_s, 2):
        new = see(new, read(written(held_by(first, "you", NOW_NS + second * 1_000_000_000, is_ending=True))), float(second))
    said = given_back(first, NOW_NS + 1_000) if is_given_back else held_by(first, "you", NOW_NS + 1_000, is_ending=True)
    last, held_s, said_s = read(written(said)), 0 if is_given_back else LEASE_S, float(ends_for_s)
    new, old = see(new, last, said_s), see(warm(first, 0.0), last, said_s + RETRY_S + 0.5)
    assert decide(old, "old", old.since_s + held_s) == Take()
    assert decide(new, "new", old.since_s + held_s) == StandBy(said_s + HEAD_START_S + held_s)
    assert decide(see(new, last, old.since_s), "new", said_s + HEAD_START_S + held_s) == Take()


def test_who_has_seen_a_leader_at_its_work_is_warm() -> None:
    """A renewal by one that is not asked to end is enough, then or later."""
    first = read(written(held_by(read(lease()), "you", NOW_NS)))
    renewed = read(written(held_by(first, "you", NOW_NS + 2_000_000_000)))
    sight = see(see(None, first, 0.0), renewed, 2.0)
    assert sight == Sight(renewed, 2.0, is_newcomers=False)
    assert decide(see(sight, read(written(given_back(renewed, NOW_NS))), 4.0), "me", 4.0) == Take()


def test_who_ends_says_so_beside_what_others_note() -> None:
    """In an annotation, until it gives the Lease back or somebody else takes it; what was left by another one means nothing."""
    shipped = {**lease(), "metadata": {"name": "tracer-leader", "annotations": {"team": "ci"}}}
    mine = read(written(held_by(read(shipped), "me", NOW_NS)))
    ending = read(written(held_by(mine, "me", NOW_NS, is_ending=True)))
    assert (mine.is_ending, ending.is_ending) == (False, True)
    assert written(held_by(ending, "me", NOW_NS, is_ending=True))["metadata"]["annotations"] == {"team": "ci", ENDING: "me"}
    for body in (given_back(ending, NOW_NS), held_by(ending, "you", NOW_NS)):
        assert written(body)["metadata"] == shipped["metadata"]
        assert not read(written(body)).is_ending
    left = lease(holderIdentity="you", leaseDurationSeconds=15)
    assert not read({**left, "metadata": {"annotations": {ENDING: "me"}}}).is_ending
    for nonsense in ("[]", '{"annotations": []}', '{"annotations": {"tracer-ending": 5}}'):
        assert not read({**left, "metadata": json.loads(nonsense)}).is_ending


@pytest.mark.parametrize("asked_s", [1, 15, 3600])
def test_others_may_ask_for_another_time(asked_s: int) -> None:
    """From a second to an hour."""
    sight = warm(read(lease(holderIdentity="you", leaseDurationSeconds=asked_s)), 0)
    assert decide(sight, "me", asked_s - 0.1) == StandBy(asked_s)
    assert decide(sight, "me", asked_s) == Take()


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "you"},
        *({"holderIdentity": "you", "leaseDurationSeconds": number} for number in (-1, 0, 3601, 1 << 40, "15", None)),
        {"holderIdentity": 5},
        {"leaseTransitions": "many"},
        [],
        "held",
        5,
    ],
)
def test_nonsense_is_held_for_a_lease_and_then_written_over(spec: object) -> None:
    """It is waited for as for one of ours, and said."""
    found = read({**lease(), "spec": spec})
    assert found.fault
    sight = warm(found, 0)
    assert decide(sight, "me", LEASE_S - 0.1) == StandBy(LEASE_S)
    assert decide(sight, "me", LEASE_S) == Take()
    body = written(held_by(found, "me", NOW_NS))
    assert (body["spec"]["holderIdentity"], body["metadata"]["labels"]) == ("me", {"app": "tracer"})
    mine = read(body)
    assert (mine.holder, mine.fault, mine.spec.lease_transitions) == ("me", "", 1)


def test_what_is_no_object_is_none() -> None:
    """Nothing can be made of it, nor be written in its place."""
    nested = b'{"spec":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (b"", b"[]", b"null", b'{"spec":', b"\xff", b'{"\xff": 1}', nested):
        assert read_lease(body) is None


def test_half_a_character_is_nonsense() -> None:
    """It is waited for, and written over."""
    found = read_lease(b'{"spec": {"holderIdentity": "\xff"}}')
    assert found is not None
    assert found.fault
    assert written(held_by(found, "me", NOW_NS))["spec"]["holderIdentity"] == "me"


def test_a_count_that_is_full_begins_anew() -> None:
    """It is an int32; the API server refuses more, and what is less than nothing."""
    for count in (-1, (1 << 31) - 1, 1 << 31):
        said = written(held_by(read(lease(holderIdentity="", leaseTransitions=count)), "me", NOW_NS))
        assert said["spec"]["leaseTransitions"] == 1


# ---------------------------------------------------------------- several replicas, and one server


@dataclass
class Request:
    """A request on its way."""

    by: "Replica"
    asked_s: float
    """By the replica's clock."""
    body: bytes | None
    """What to replace the Lease by; None only reads it."""
    answer: bytes | None = None
    """The Lease as it is then; None for a conflict."""
    has_arrived: bool = False


@dataclass
class Replica:
    """One that would lead; it has one request on its way at most, but those that it gave up may arrive yet."""

    name: str
    ahead_s: float
    rate: float
    sight: Sight | None = None
    waits: Request | None = None
    is_current: bool = False
    """Whether its last answer said how the Lease is."""
    leads_until_s: float = float("-inf")

    def now_s(self, true_s: float) -> float:
        """Read its clock."""
        return self.ahead_s + self.rate * true_s

    def leads(self, true_s: float) -> bool:
        """Say whether it believes so."""
        return self.now_s(true_s) < self.leads_until_s

    def request(self, true_s: float) -> Request:
        """Begin what is to be asked next."""
        body, now_s = None, self.now_s(true_s)
        if self.is_current and self.sight is not None and decide(self.sight, self.name, now_s) == Take():
            body = held_by(self.sight.lease, self.name, int(now_s * 1e9) + NOW_NS)
        self.is_current = False
        self.waits = Request(self, now_s, body)
        return self.waits

    def take(self, request: Request, true_s: float) -> None:
        """Take the answer in."""
        self.waits = None
        if request.answer is None:
            return
        found = read_lease(request.answer)
        assert found is not None
        self.sight, self.is_current = see(self.sight, found, self.now_s(true_s)), True
        if request.body is not None and found.holder == self.name:
            self.leads_until_s = leads_until_s(request.asked_s)
        elif found.holder != self.name:
            self.leads_until_s = float("-inf")


@dataclass
class Server:
    """Holds the Lease, with optimistic locking."""

    version: int = 1
    spec: Json = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """Write the Lease."""
        return json.dumps({"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec}).encode()

    def arrive(self, request: Request) -> None:
        """Do what a request asks."""
        request.has_arrived = True
        if request.body is not None:
            said = written(request.body)
            if said["metadata"]["resourceVersion"] != str(self.version):
                return
            self.version, self.spec = self.version + 1, said["spec"]
        request.answer = self.body


class Election(RuleBasedStateMachine):
    """Three replicas whose clocks differ by ten percent; requests are late, lost and overtaken, replicas freeze and give up."""

    def __init__(self) -> None:
        """Begin with a Lease that nobody holds."""
        super().__init__()
        self.true_s = 0.0
        self.server = Server()
        self.replicas = [Replica("slow", 5000, 0.9), Replica("fast", -300, 1.1), Replica("right", 0, 1)]
        self.on_their_way: list[Request] = []

    which = st.integers(0, 2)

    @rule(seconds=st.sampled_from([0.1, 2, 9, 11, 13.7, 16]))
    def time_passes(self, seconds: float) -> None:
        """Let nobody do anything for a while: a freeze of all."""
        self.true_s += seconds

    @rule(number=which)
    def a_replica_asks(self, number: int) -> None:
        """Ask; what it waited for is given up, though it may arrive yet."""
        self.on_their_way.append(self.replicas[number].request(self.true_s))

    @rule(data=st.data())
    def a_request_arrives(self, data: st.DataObject) -> None:
        """Let it arrive, in any order."""
        if waiting := [one for one in self.on_their_way if not one.has_arrived]:
            self.server.arrive(data.draw(st.sampled_from(waiting)))

    @rule(number=which)
    def an_answer_arrives(self, number: int) -> None:
        """Take the answer in, however late; one that was given up never comes."""
        replica = self.replicas[number]
        if replica.waits is not None and replica.waits.has_arrived:
            replica.take(replica.waits, self.true_s)

    @rule(number=which, seconds=st.sampled_from([0, 0, 0, 2]))
    def a_replica_is_served(self, number: int, seconds: float) -> None:
        """Let one ask twice, so that it may take the Lease, and be answered after a while."""
        replica = self.replicas[number]
        for _ in range(2):
            request = replica.request(self.true_s)
            self.server.arrive(request)
            self.true_s += seconds
            replica.take(request, self.true_s)

    @rule(number=which)
    def a_replica_goes(self, number: int) -> None:
        """Let one give the Lease back, if it knows that it is its own; it leads no more before it says so."""
        replica = self.replicas[number]
        replica.leads_until_s = float("-inf")
        if replica.is_current and replica.sight is not None and replica.sight.lease.holder == replica.name:
            request = Request(replica, replica.now_s(self.true_s), given_back(replica.sight.lease, NOW_NS))
            replica.is_current, replica.waits = False, None
            self.on_their_way.append(request)

    @rule(number=which)
    def a_replica_starts_anew(self, number: int) -> None:
        """Let one forget everything, under another name."""
        old = self.replicas[number]
        self.replicas[number] = Replica(f"{old.name}+", old.ahead_s, old.rate)

    @invariant()
    def nobody_leads_beside_another(self) -> None:
        """Never do two believe that they lead at the same true moment."""
        assert sum(one.leads(self.true_s) for one in self.replicas) <= 1


TestElection = Election.TestCase
TestElection.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("holder_rate", [0.9, 1, 1.1])
@pytest.mark.parametrize("other_rate", [0.9, 1, 1.1])
def test_clocks_may_differ_by_ten_percent(holder_rate: float, other_rate: float) -> None:
    """Who saw the last renewal the moment it was asked for takes the Lease only when its holder has stopped."""
    server, holder, other = Server(), Replica("holder", 0, holder_rate), Replica("other", 50, other_rate)
    for replica in (holder, holder, other):
        server.arrive(request := replica.request(0))
        replica.take(request, 0)
    assert other.sight is not None
    true_s = 0.0
    while decide(other.sight, "other", other.now_s(true_s)) != Take():
        true_s += 0.01
    assert not holder.leads(true_s)


@given(
    phase_s=st.floats(0, RETRY_S),
    rate=st.floats(0.9, 1.1),
    is_given_back=st.booleans(),
    trip_s=st.floats(0, 0.5),
)
def test_a_lease_without_a_holder_is_soon_taken(phase_s: float, rate: float, trip_s: float, *, is_given_back: bool) -> None:
    """By a newcomer, on a slow clock, too: within the Lease's time if its holder is gone, within some seconds if given back."""
    server, gone, next_one = Server(), Replica("gone", 0, 1), Replica("next", 77, rate)
    for _ in range(2):
        server.arrive(request := gone.request(0))
        gone.take(request, 0)
    assert gone.leads(0)
    if is_given_back:
        assert gone.sight is not None
        server.arrive(Request(gone, 0, given_back(gone.sight.lease, NOW_NS)))
    true_s = phase_s
    while not next_one.leads(true_s):
        request = next_one.request(true_s)
        server.arrive(request)
        true_s += trip_s
        next_one.take(request, true_s)
        assert next_one.sight is not None
        if request.body is None and decide(next_one.sight, "next", next_one.now_s(true_s)) != Take():
            true_s += RETRY_S / rate
    held_s = 0 if is_given_back else LEASE_S
    assert true_s <= (held_s + HEAD_START_S + RETRY_S) / rate + phase_s + 3 * trip_s
    assert is_given_back or true_s > RENEW_DEADLINE_S
