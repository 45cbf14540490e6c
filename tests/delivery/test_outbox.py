"""What waits, what is ready, what is under way; and that the books balance."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.kit import RECORDINGS, SCENARIOS, span_record
from tracer.delivery.ledger import Due
from tracer.delivery.outbox import HELD_BYTES, HELD_SPANS, REQUEST_BYTES, Outbox, Request
from tracer.kube.recording import find_recording
from tracer.replay import Replay
from tracer.telemetry.records import Slot, SpanRecord


def outbox_of(spans: dict[str, list[SpanRecord]], span_bytes: int = 1) -> Outbox:
    """Make an outbox over spans by UID, each so many bytes large."""
    return Outbox(lambda uid: spans.get(uid, []), lambda taken: b"x" * (span_bytes * len(taken)))


def test_namespaces_take_turns() -> None:
    """A flood of one namespace does not keep another waiting: what that offers goes out in the next turn."""
    spans = {uid: [span_record(uid, str(number)) for number in range(10)] for uid in [*(f"a{n}" for n in range(500)), "b"]}
    outbox = outbox_of(spans)
    for uid in spans:
        outbox.offer(Due(uid, uid[0], 10))
    first = outbox.next_request(512)
    assert first is not None
    assert "b" in {span.slot.owner_uid for span in first.spans}


def test_turns_are_fair_in_spans_not_in_objects() -> None:
    """A namespace of large objects gets no more than one of small ones."""
    spans = {f"large{n}": [span_record(f"large{n}", str(i)) for i in range(200)] for n in range(50)}
    spans |= {f"small{n}": [span_record(f"small{n}", str(i)) for i in range(4)] for n in range(2_500)}
    outbox = outbox_of(spans)
    for uid, built in spans.items():
        outbox.offer(Due(uid, uid[:5], len(built)))
    sent = Counter[str]()
    for _ in range(8):
        request = outbox.next_request(512)
        assert request is not None
        sent.update(span.slot.owner_uid[:5] for span in request.spans)
        outbox.settle(request, 0)
    assert 0.8 < sent["large"] / sent["small"] < 1.25


def test_requests_are_split_by_bytes() -> None:
    """No request is larger than 2 MiB, but for a single span that is; every span is in exactly one."""
    spans = {"a": [span_record("a", str(number)) for number in range(300)]}
    outbox = outbox_of(spans, 100_000)
    outbox.offer(Due("a", "ns", 300))
    seen = list[Slot]()
    while (request := outbox.next_request(512)) is not None:
        assert len(request.body) <= REQUEST_BYTES
        seen += [span.slot for span in request.spans]
        outbox.settle(request, 0)
    assert sorted(seen) == sorted(span.slot for span in spans["a"])


def test_a_span_larger_than_a_request_goes_alone() -> None:
    """A span of more than 2 MiB is sent by itself."""
    outbox = outbox_of({"a": [span_record("a", "1"), span_record("a", "2")]}, REQUEST_BYTES + 1)
    outbox.offer(Due("a", "ns", 2))
    first = outbox.next_request(512)
    assert first is not None
    assert len(first.spans) == 1


def test_what_becomes_due_while_it_is_under_way_waits_for_that() -> None:
    """An object that is offered again is sent again only when all of it that is under way was answered, and only what is left."""
    spans = {"a": [span_record("a", "1")]}
    outbox = outbox_of(spans)
    outbox.offer(Due("a", "ns", 1))
    first = outbox.next_request(512)
    assert first is not None
    outbox.offer(Due("a", "ns", 2))
    assert outbox.next_request(512) is None
    spans["a"] = [span_record("a", "2")]
    outbox.settle(first, 0)
    second = outbox.next_request(512)
    assert second is not None
    assert [span.slot.name for span in second.spans] == ["2"]


def test_room_ends_where_the_limit_is() -> None:
    """Whoever offers is told when to stop."""
    outbox = Outbox(lambda _: [], lambda _: b"", most_waiting=2)
    outbox.offer(Due("a", "ns", 1))
    assert outbox.has_room
    outbox.offer(Due("b", "ns", 1))
    assert not outbox.has_room


class Books(RuleBasedStateMachine):
    """Whatever is offered, sent, answered, held and halved, in any order, no span is lost, doubled or forgotten."""

    under_way: Bundle[Request] = Bundle("under_way")

    def __init__(self) -> None:
        """Begin with nothing due."""
        super().__init__()
        self.due: dict[str, dict[Slot, SpanRecord]] = {}
        self.made = 0
        self.settled = 0
        self.flying = list[Request]()
        self.outbox = Outbox(
            lambda uid: list(self.due[uid].values()), lambda spans: b"x" * (len(spans) * 9_000), lambda span: span.name[-1] < "3"
        )

    @rule(uid=st.sampled_from("abcdefgh"), spans=st.integers(0, 700))
    def become_due(self, uid: str, spans: int) -> None:
        """More of an object becomes due."""
        fresh = [span_record(uid, str(self.made + number)) for number in range(spans)]
        self.made += spans
        self.due.setdefault(uid, {}).update({span.slot: span for span in fresh})
        self.outbox.offer(Due(uid, "even" if uid in "aceg" else "odd", len(self.due[uid])))

    @rule(target=under_way, most_spans=st.integers(1, 512))
    def send(self, most_spans: int) -> Request:
        """Let a request go out."""
        request = self.outbox.next_request(most_spans)
        if request is None:
            return Request((), b"")
        slots = {span.slot for span in request.spans}
        assert len(slots) == len(request.spans)
        assert len({span.name[-1] < "3" for span in request.spans}) == 1
        for other in self.flying:
            assert slots.isdisjoint(span.slot for span in other.spans)
        self.flying.append(request)
        return request

    @rule(request=consumes(under_way), share=st.floats(0, 1))
    def settle(self, request: Request, share: float) -> None:
        """Let it be answered."""
        if request in self.flying:
            self.flying.remove(request)
            self.settled += len(request.spans)
            for uid, spans in self.outbox.settle(request, int(share * len(request.spans))).items():
                for span in spans:
                    del self.due[uid][span.slot]  # raises if it was settled before

    @rule(request=consumes(under_way))
    def hold(self, request: Request) -> None:
        """Let it fail."""
        if request in self.flying:
            self.flying.remove(request)
            self.outbox.hold(request)

    @rule(request=consumes(under_way))
    def halve(self, request: Request) -> None:
        """Let it fail, and be taken apart."""
        if request in self.flying and len(request.spans) > 1:
            self.flying.remove(request)
            self.outbox.halve(request)

    @invariant()
    def the_books_balance(self) -> None:
        """Offered = delivered + rejected + held."""
        books = self.outbox.books
        assert books.delivered + books.rejected == self.settled
        assert sum(len(request.spans) for request in self.flying) <= books.held
        assert self.made - self.settled == sum(map(len, self.due.values()))

    def teardown(self) -> None:
        """In the end everything goes out, once."""
        for request in self.flying:
            self.outbox.hold(request)
        self.flying.clear()
        while (last := self.outbox.next_request(512)) is not None:
            self.settled += len(last.spans)
            for uid, spans in self.outbox.settle(last, 0).items():
                for span in spans:
                    del self.due[uid][span.slot]
        assert self.outbox.is_empty
        assert self.outbox.books.held == 0
        assert self.settled == self.made == self.outbox.books.offered


TestBooks = Books.TestCase


def test_what_is_built_for_sending_is_bounded() -> None:
    """While nothing is answered, no more is built than four full requests and one object beyond."""
    for span_bytes in (1, 20_000):
        spans = {f"a{n}": [span_record(f"a{n}", str(i)) for i in range(10)] for n in range(2_000)}
        outbox = outbox_of(spans, span_bytes)
        for uid in spans:
            outbox.offer(Due(uid, "ns", 10))
        flying = []
        for _ in range(50):
            request = outbox.next_request(512)
            if request is not None:
                flying.append(request)
        assert outbox.books.held <= HELD_SPANS + 512
        assert sum(len(request.body) for request in flying) <= HELD_BYTES + 512 * span_bytes


def test_a_request_holds_what_may_share_one() -> None:
    """Where spans need something in common, none shares a request with one that has it not; the books are the same."""
    outbox = Outbox(
        lambda uid: [span_record(uid, f"{uid}/{number}") for number in range(3)],
        lambda taken: b"x" * len(taken),
        lambda span: span.name.rpartition("/")[2],
    )
    for uid in ("a", "b"):
        outbox.offer(Due(uid, "ns", 3))
    requests = [request for _ in range(4) if (request := outbox.next_request(512)) is not None]
    assert [[span.name for span in request.spans] for request in requests] == [[f"a/{n}", f"b/{n}"] for n in range(3)]
    assert outbox.books.held == 6
    for request in requests:
        outbox.settle(request, 0)
    assert outbox.is_empty
    assert outbox.books.delivered == 6


@pytest.mark.parametrize("path", [*RECORDINGS, *SCENARIOS], ids=lambda path: path.name)
def test_children_go_before_their_parents_though_they_share_no_request(path: Path) -> None:
    """A run has its resource in common with its tasks, and not with their steps: it still comes after all of them."""
    due = dict[str, list[SpanRecord]]()
    outbox = Outbox(lambda uid: due.pop(uid, []), lambda _: b"", lambda span: span.resource)
    for _, one, spans in Replay().batches(find_recording(path)):
        due.setdefault(one.uid, []).extend(spans)
        outbox.offer(one)
    sent = set[bytes]()
    while (request := outbox.next_request(512)) is not None:
        for span in request.spans:
            assert span.parent_span_id not in sent, span.name
            sent.add(span.span_id)
        outbox.settle(request, 0)
    assert outbox.books.delivered == len(sent)
