"""Every backend passes this, whatever protocol it speaks: what is confirmed is there, and what is not confirmed is kept."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise, repeat

import pytest

from tests.kit import ManualClock, span_record
from tests.replies import floods, hang, lies, refuses_span, rejects, reset, says, span_names, takes_at_most
from tracer.delivery.ledger import Due
from tracer.delivery.otlp_http import OtlpHttp
from tracer.delivery.outbox import Outbox
from tracer.delivery.outcome import Backend, Refused, Retry
from tracer.delivery.policy import LONGEST_WAIT_S, REFUSED_WAIT_S, Pace
from tracer.delivery.sender import Sender
from tracer.demo.receiver import Receiver, Reply, acknowledge
from tracer.telemetry.records import Slot, SpanRecord
from tracer.transport import Transport, TransportSettings


@dataclass(frozen=True, slots=True)
class Spoken:
    """A protocol: its backend, and a receiver of what it sends."""

    make: Callable[[Transport, str], Backend]
    receiver: type[Receiver] = Receiver
    names: Callable[[bytes], list[str]] = span_names
    """Name the spans of a request."""


OTLP: dict[str, Spoken] = {
    "OTLP/HTTP": Spoken(OtlpHttp),
    "OTLP/HTTP, gzip": Spoken(lambda transport, url: OtlpHttp(transport, url, is_compressed=True)),
}
BACKENDS = dict(OTLP)
if find_spec("thrift") is not None:  # in the environment of its own that tests/test_jaeger.py runs this file in
    from tests.jaeger.receiver import ThriftReceiver, thrift_names
    from tracer.delivery.jaeger import JaegerThrift

    BACKENDS["Jaeger Thrift"] = Spoken(JaegerThrift, ThriftReceiver, thrift_names)
OBJECTS, SPANS = 40, 8
TRY_S = 0.3  # for a backend that hangs; the waits between tries are the manual clock's, and take no time


class Run:
    """One sender with a backend, and spans of some objects."""

    def __init__(self, spoken: Spoken, receiver: Receiver, clock: ManualClock, transport: Transport) -> None:
        """Offer everything."""
        self.due = {f"uid-{n}": {one.slot: one for one in _spans(f"uid-{n}")} for n in range(OBJECTS)}
        self.all = {span.span_id for spans in self.due.values() for span in spans.values()}
        self.settled: list[Slot] = []
        self.receiver = receiver
        backend = spoken.make(transport, receiver.url)
        self.outbox = Outbox(lambda uid: list(self.due[uid].values()), backend.encode, backend.shared)
        self.sender = Sender(backend, self.outbox, self._acknowledge, clock, Pace(usual_timeout_s=TRY_S))
        for uid, spans in self.due.items():
            self.outbox.offer(Due(uid, "ns", len(spans)))

    def _acknowledge(self, uid: str, spans: list[SpanRecord]) -> None:
        slots = [span.slot for span in spans]
        self.settled += slots
        for slot in slots:
            del self.due[uid][slot]  # raises if it was acknowledged before

    async def until(self, is_over: Callable[["Run"], bool]) -> None:
        """Send until something is so."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self.sender.run())
            while not is_over(self):
                await self.sender.next_try()
            sending.cancel()

    def check_books(self) -> None:
        """Check that offered = delivered + rejected + held, that what is confirmed is there, and that nothing has two contents.

        What is held is counted twice: by the outbox, and as what was not acknowledged.
        """
        books = self.outbox.books
        held = sum(map(len, self.due.values()))
        assert books.offered == books.delivered + books.rejected + books.held
        assert len(self.all) == len(self.settled) + held == books.delivered + books.rejected + held
        assert books.delivered <= len(self.receiver.spans)
        assert all(len(contents) == 1 for contents in self.receiver.spans.values())


def _spans(uid: str) -> list[SpanRecord]:
    return [span_record(uid, f"{uid}/{number}", "a text") for number in range(SPANS)]


def run(spoken: Spoken, replies: Iterable[Reply], is_over: Callable[[Run], bool] | None = None) -> tuple[Run, ManualClock]:
    """Send everything to a backend that replies so, until it is delivered or something else is so."""

    async def main() -> tuple[Run, ManualClock]:
        clock = ManualClock()
        async with spoken.receiver(replies) as receiver, Transport(TransportSettings(), clock) as transport:
            one = Run(spoken, receiver, clock, transport)
            await one.until(is_over or (lambda it: it.outbox.is_empty))
            one.check_books()
            return one, clock

    return asyncio.run(main())


backends = pytest.mark.parametrize("spoken", BACKENDS.values(), ids=BACKENDS.keys())
those_that_count = pytest.mark.parametrize("spoken", OTLP.values(), ids=OTLP.keys())


@backends
def test_everything_is_delivered_once(spoken: Spoken) -> None:
    """A backend that is well gets every span once."""
    one, clock = run(spoken, [])
    assert set(one.receiver.spans) == one.all
    assert set(one.receiver.times_taken.values()) == {1}
    assert (clock.slept, one.sender.trouble, one.outbox.books.rejected) == ([], None, 0)


SOME_TROUBLE: dict[str, Sequence[Reply]] = {
    "503 for a while": [says(503)] * 5,
    "429": [says(429, Retry_After="2")] * 2,
    "408, 502, 504": [says(408), says(502), says(504)],
    "500": [says(500)] * 3,
    "a server error of a proxy's own": [says(521)] * 2,
    "503 with 100 MB": [floods(503)],
    "401 for a while": [says(401)] * 2,
    "404 for a while": [says(404)],
    "HTML for a while": [says(200, b"<html>", "text/html")] * 2,
}


@backends
@pytest.mark.parametrize("replies", SOME_TROUBLE.values(), ids=SOME_TROUBLE.keys())
def test_what_fails_for_a_while_loses_nothing(spoken: Spoken, replies: Sequence[Reply]) -> None:
    """Whatever the trouble is, when it is over every span arrives, once."""
    one, clock = run(spoken, replies)
    assert set(one.receiver.spans) == one.all
    assert len(clock.slept) >= len(replies)
    assert one.sender.trouble is None


UNKNOWN: dict[str, Sequence[Reply]] = {
    "hangs": [hang, hang],
    "resets in the middle": [reset, reset],
    "says less than it announced": [lies(10, b"abc")],
    "says less than it announced and stays": [lies(10, b"abc", stays=True)],
    "acknowledges with 100 MB": [floods()],
    "acknowledges with 100 MB, packed": [floods(is_packed=True)],
}


@pytest.mark.row("B10", "B11")
@backends
@pytest.mark.parametrize("replies", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_may_have_arrived_is_sent_again_with_the_same_bytes(spoken: Spoken, replies: Sequence[Reply]) -> None:
    """If nobody knows whether a request arrived, it is sent again, and the same span has the same content."""
    one, _ = run(spoken, replies)
    assert set(one.receiver.spans) == one.all
    assert max(one.receiver.times_taken.values()) > 1


@pytest.mark.row("B7")
@backends
def test_a_backend_is_left_alone_as_long_as_it_asks(spoken: Spoken) -> None:
    """Nothing is sent before the wait that a backend asks for is over, by any of the requests; it is obeyed up to 5 minutes."""
    asked: list[float] = []

    async def main() -> None:
        clock = ManualClock()
        called: list[float] = []

        def noting(reply: Reply) -> Reply:
            async def noted(receiver: Receiver, request: object, body: bytes) -> object:
                called.append(clock.now_s())
                return await reply(receiver, request, body)  # type: ignore[arg-type] # passed on as it came

            return noted  # type: ignore[return-value]

        waits = ["17", "86400", "0"]
        replies = [noting(says(429, Retry_After=wait)) for wait in waits]
        replies += [noting(says(503)), noting(says(401))]
        async with spoken.receiver(replies) as receiver, Transport(TransportSettings(), clock) as transport:
            one = Run(spoken, receiver, clock, transport)
            await one.until(lambda it: it.outbox.is_empty)
            one.check_books()
        asked.extend(later - earlier for earlier, later in pairwise(called))

    asyncio.run(main())
    assert asked[:2] == [17, LONGEST_WAIT_S]
    assert len(asked) == 4


@backends
def test_a_backend_that_asks_for_no_wait_is_left_alone_all_the_same(spoken: Spoken) -> None:
    """A wait of nothing, or until a moment that has passed, does not make the sender knock without a pause."""
    one, clock = run(spoken, [says(503, Retry_After="0")] * 5)
    assert set(one.receiver.spans) == one.all
    assert sum(clock.slept) > 0
    assert len(clock.slept) >= 5


@pytest.mark.row("B4")
@backends
def test_what_a_person_must_mend_is_tried_every_half_minute(spoken: Spoken) -> None:
    """Wrong credentials or a wrong address cost nothing but time."""
    one, clock = run(spoken, repeat(says(403)), lambda it: len(it.receiver.requests) == 4)
    assert set(clock.slept) == {REFUSED_WAIT_S}
    assert len(clock.slept) >= 3
    assert isinstance(one.sender.trouble, Refused)
    assert one.outbox.books.held == len(one.all)


@pytest.mark.row("B9")
@those_that_count
def test_partial_success_is_counted_and_not_sent_again(spoken: Spoken) -> None:
    """What a backend says that it did not take is rejected, by its own number and reason, and never offered again."""
    one, _ = run(spoken, [rejects(3, "too old")])
    assert (one.outbox.books.rejected, list(one.sender.rejections.values())) == (3, [3])
    assert "too old" in next(iter(one.sender.rejections))
    assert set(one.receiver.times_taken.values()) == {1}


@pytest.mark.row("B9")
@those_that_count
def test_a_backend_cannot_reject_more_than_it_was_sent(spoken: Spoken) -> None:
    """A lie about the number of rejected spans does not spoil the books."""
    one, _ = run(spoken, [rejects(10**12)])
    assert one.outbox.books.rejected <= len(one.all)


@pytest.mark.row("B3")
@backends
def test_one_bad_span_does_not_spoil_the_others(spoken: Spoken) -> None:
    """A span for which a backend refuses any request is found by halving, in few requests, and rejected; the others arrive."""
    one, clock = run(spoken, repeat(refuses_span("uid-7/3", names=spoken.names)))
    assert (one.outbox.books.rejected, len(one.receiver.spans)) == (1, len(one.all) - 1)
    assert one.sender.requests.total() <= 2 * len(one.all).bit_length() + 3
    assert len(clock.slept) <= 1


@pytest.mark.row("B8")
@backends
def test_a_span_that_breaks_a_backend_is_given_up_only_after_many_tries(spoken: Spoken) -> None:
    """A request that gives 500 again and again while others pass is treated like a bad one."""
    one, _ = run(spoken, repeat(refuses_span("uid-7/3", status=500, names=spoken.names)))
    assert (one.outbox.books.rejected, len(one.receiver.spans)) == (1, len(one.all) - 1)


@pytest.mark.row("B8")
@backends
@pytest.mark.parametrize("status", [400, 500])
def test_a_backend_that_refuses_everything_costs_no_span(spoken: Spoken, status: int) -> None:
    """While nothing passes, no request is at fault: everything is kept, and delivered when the backend is well again."""
    one, _ = run(spoken, [says(status)] * 100)
    assert set(one.receiver.spans) == one.all
    assert one.outbox.books.rejected == 0


@pytest.mark.row("B8")
@backends
def test_an_outage_is_no_blame(spoken: Spoken) -> None:
    """What failed often while the backend was away is as good as new when it is back: one 500 then costs nothing."""
    one, _ = run(spoken, [*[says(503)] * 20, acknowledge, *[says(500)] * 8])
    assert set(one.receiver.spans) == one.all
    assert one.outbox.books.rejected == 0


@pytest.mark.row("B6")
@backends
def test_a_request_that_is_too_large_is_halved(spoken: Spoken) -> None:
    """A backend that takes small requests gets small ones."""
    one, _ = run(spoken, repeat(takes_at_most(20, spoken.names)))
    assert set(one.receiver.spans) == one.all
    assert one.outbox.books.rejected == 0


@backends
def test_stopping_loses_nothing(spoken: Spoken) -> None:
    """What was under way when the sender was stopped is still held."""
    one, _ = run(spoken, [hang] * 100, lambda it: len(it.receiver.requests) > 2)
    assert one.outbox.books.delivered == 0
    assert sum(map(len, one.due.values())) == len(one.all)
    assert isinstance(one.sender.trouble, Retry)
