"""Every fault of a backend, while runs end, through the whole product: what it costs, and what is said of it."""

import asyncio
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.process.outage import SPANS, Scene, away, expected, noting, run, scene
from tests.replies import HTML, hang, lies, refuses_span, rejects, reset, says, slowly, takes_at_most
from tests.tally import Tally, due
from tracer.clock import PlayedClock
from tracer.delivery.policy import LONGEST_WAIT_S, REQUEST_SPANS, TRY_TIMEOUT_S
from tracer.demo.receiver import Receiver, Reply, acknowledge
from tracer.events import What

RUNS = 150
"""More than a request holds."""
TRY_MS = 300
"""For a backend that hangs: of real time, in which the network lives."""
SLOW_TRY_MS = 100
TIMES_FASTER = TRY_TIMEOUT_S * 1000 / SLOW_TRY_MS
"""Than a slow backend really is; so is our patience."""
HOUR_S, LONGEST_PAUSE_S = 3600.0, 30.0


def play(
    replies: Iterable[Reply],
    story: Callable[[Scene], Awaitable[None]],
    *,
    runs: int = RUNS,
    try_ms: int = TRY_MS,
    **settings: str,
) -> Scene:
    """Let runs end, and the backend reply so, until a story is over and all was answered for."""

    async def main() -> Scene:
        async with Receiver(replies) as receiver:
            named = {name.replace("__", "."): value for name, value in settings.items()}
            async with scene(receiver, map(run, range(runs)), named, try_ms=try_ms) as one:
                await story(one)
                await one.delivered()
            return one

    return asyncio.run(main())


async def one_more(one: Scene) -> None:
    """Let a run end when there is trouble: the watches do not feel it."""
    await one.until(lambda: one.sender.requests.total() > 0)
    await one.one.happen(run(RUNS), is_gone=False)


@pytest.mark.parametrize(
    ("replies", "what", "sentence", "most_repeats"),
    [
        pytest.param([says(401)] * 3, What.BACKEND_REFUSED, "otlp.headers_file", 0, id="401", marks=pytest.mark.row("B4")),
        pytest.param([says(403)] * 3, What.BACKEND_REFUSED, "otlp.headers_file", 0, id="403", marks=pytest.mark.row("B4")),
        pytest.param([says(404)] * 3, What.BACKEND_REFUSED, "is the address right?", 0, id="404", marks=pytest.mark.row("B5")),
        pytest.param([says(405)] * 3, What.BACKEND_REFUSED, "is the address right?", 0, id="405", marks=pytest.mark.row("B5")),
        pytest.param([says(415)] * 3, What.BACKEND_REFUSED, "is the address right?", 0, id="415", marks=pytest.mark.row("B5")),
        pytest.param(repeat(takes_at_most(50)), What.BACKEND_FAILED, "answered 413", 0, id="413", marks=pytest.mark.row("B6")),
        pytest.param([says(500)] * 30, What.BACKEND_FAILED, "answered 500", 0, id="500", marks=pytest.mark.row("B8")),
        pytest.param(
            [hang] * 2, What.BACKEND_FAILED, "did not answer", 2 * REQUEST_SPANS, id="hangs", marks=pytest.mark.row("B10")
        ),
        pytest.param([reset] * 3, What.BACKEND_FAILED, "broke off", 3 * REQUEST_SPANS, id="reset", marks=pytest.mark.row("B11")),
        pytest.param(
            [lies(10, b"abc")] * 3, What.BACKEND_FAILED, "broke off", 3 * REQUEST_SPANS, id="half", marks=pytest.mark.row("B11")
        ),
        pytest.param(
            [says(307, Location="http://127.0.0.1:1/v1/traces")] * 3,
            What.BACKEND_REFUSED,
            "a redirect, to http://127.0.0.1/v1/traces, which is not followed",
            0,
            id="redirect",
            marks=pytest.mark.row("B12"),
        ),
        pytest.param(
            [says(200, HTML, "text/html")] * 3, What.BACKEND_REFUSED, "no OTLP", 0, id="HTML", marks=pytest.mark.row("B13")
        ),
    ],
)
def test_a_fault_costs_no_span(replies: Iterable[Reply], what: What, sentence: str, most_repeats: int, tally: Tally) -> None:
    """While it lasts it is told and nothing is given up; then all is delivered, and what may have arrived is the same again."""
    one = play(replies, one_more)
    cost = tally(one.receiver, expected(RUNS + 1), repeats_at_most=most_repeats)
    assert (cost.repeated > 0) == (most_repeats > 0)
    assert any(sentence in said for said in one.sentences(what))
    assert one.sentences(What.SPANS_LOST) == one.sentences(What.SPANS_REJECTED) == []


@pytest.mark.row("B1")
def test_a_backend_that_is_not_there_for_an_hour(tally: Tally) -> None:
    """From the start nobody listens: it is tried at least every half minute, without a rush and without an end."""

    async def main() -> Scene:
        async with Receiver() as receiver:
            await away(receiver)
            async with scene(receiver, map(run, range(RUNS))) as one:
                began_s = one.clock.now_s()
                while one.clock.now_s() - began_s < HOUR_S:
                    tries = one.sender.requests.total()
                    await one.clock.move_on(LONGEST_PAUSE_S)
                    await one.tried(tries + 1)
                assert HOUR_S / LONGEST_PAUSE_S <= one.sender.requests.total() <= 10 * HOUR_S / LONGEST_PAUSE_S
                await one_more(one)
                await receiver.__aenter__()
                await one.delivered()
            return one

    one = asyncio.run(main())
    tally(one.receiver, expected(RUNS + 1))
    assert any("cannot be reached: Connection refused." in said for said in one.sentences(What.BACKEND_FAILED))
    assert one.sentences(What.BACKEND_RECOVERED) == ["The backend takes spans again."]


@pytest.mark.row("B2")
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(slowly(30 / TIMES_FASTER), id="30 s an answer"),
        pytest.param(slowly(0, 10_000 * TIMES_FASTER), id="10 KB/s"),
    ],
)
def test_a_slow_backend_gets_all(reply: Reply, tally: Tally) -> None:
    """A try gets more time and less to carry, so that all arrives, and no span is sent more than three times in the mean."""
    one = play(repeat(reply), one_more, try_ms=SLOW_TRY_MS)
    tally(one.receiver, expected(RUNS + 1), repeats_at_most=2 * SPANS * (RUNS + 1))


@pytest.mark.row("B3")
@pytest.mark.parametrize("status", [pytest.param(400), pytest.param(500, marks=pytest.mark.row("B8"))])
def test_one_bad_span_among_others(status: int, tally: Tally) -> None:
    """It is found by halving, rejected alone, counted and told; nothing else is."""
    runs = [run(number) for number in range(RUNS)]
    runs[RUNS // 2]["status"]["steps"][0] |= {"name": "bad", "container": "step-bad"}
    everything = due(*runs)

    async def story(one: Scene) -> None:
        for content in runs:
            one.one.server.put(content)
        await one.until(lambda: len(one.receiver.spans) == len(everything) - 1)

    one = play(repeat(refuses_span("bad", status)), story, runs=0)
    tally(one.receiver, {key: content for key, content in everything.items() if key in one.receiver.spans})
    assert len(one.receiver.spans) == len(everything) - 1
    assert one.one.app.controller.outbox.books.rejected == 1
    assert len(one.sentences(What.SPANS_REJECTED)) == 1
    if status == HTTPStatus.BAD_REQUEST:
        assert one.sender.requests["rejected"] <= math.log2(REQUEST_SPANS) + 1


@pytest.mark.row("B7")
@pytest.mark.parametrize("status", [429, 503])
def test_nothing_is_sent_while_told_to_wait(status: int, tally: Tally) -> None:
    """In seconds, until a moment, or absurdly long: the backend is left alone for so long, up to 5 minutes."""
    asked: list[tuple[dict[str, str], float]] = [
        ({"Retry_After": "17"}, 17),
        ({"Retry_After": "Fri, 31 Jul 2026 10:00:50 GMT", "Date": "Fri, 31 Jul 2026 10:00:00 GMT"}, 50),
        ({"Retry_After": "86400"}, LONGEST_WAIT_S),
    ]
    called, clocks = list[float](), list[PlayedClock]()
    replies = [*(says(status, b"", "text/plain", **headers) for headers, _ in asked), acknowledge]

    async def story(one: Scene) -> None:
        clocks.append(one.clock)
        for number in range(RUNS):
            one.one.server.put(run(number))
        await one.until(lambda: len(called) == len(replies))

    one = play([noting(reply, lambda: called.append(clocks[0].now_s())) for reply in replies], story, runs=0)
    tally(one.receiver, expected(RUNS))
    waits = [later - earlier for earlier, later in pairwise(called)]
    assert all(seconds <= wait < seconds + LONGEST_PAUSE_S for wait, (_, seconds) in zip(waits, asked, strict=True)), waits


@pytest.mark.row("B9")
def test_what_is_rejected_is_counted_to_the_span(tally: Tally) -> None:
    """Partial success: counted as the backend says, with its words, and neither sent again nor called a success."""

    async def story(_: Scene) -> None:
        pass

    one = play([rejects(3, "too old"), rejects(4, "too new")], story)
    tally(one.receiver, expected(RUNS))
    books = one.one.app.controller.outbox.books
    assert (books.rejected, books.delivered) == (7, SPANS * RUNS - 7)
    assert one.sender.requests["partly"] == 2
    assert [word in said for said, word in zip(one.sentences(What.SPANS_REJECTED), ("too old", "too new"), strict=True)] == [
        True
    ] * 2


@pytest.mark.row("B14")
def test_a_name_that_moves(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """A name without an address is waited for; when it has another one, the next connection goes there."""
    addresses, resolve = list[str](), socket.getaddrinfo

    def looked_up(host: str | bytes | None, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - as they are passed on
        if host != "backend.test":
            return resolve(host, *rest, **more)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(addresses[0], *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    async def main() -> tuple[Receiver, Scene, float]:
        taken = Receiver()
        async with Receiver() as first:
            first.url = first.url.replace("127.0.0.1", "backend.test")
            async with scene(first, map(run, range(RUNS))) as one:
                await one.until(lambda: one.sender.requests.total() >= 3)
                addresses.append("127.0.0.1")
                await one.delivered()
                await away(first)
                port = first.port
                addresses[:] = ["127.0.0.2"]
                moved_s = one.clock.now_s()
                async with Receiver(host="127.0.0.2", port=port) as second:
                    await one.one.happen(run(RUNS), is_gone=False)
                    await one.delivered()
                    for receiver in (first, second):
                        for _, body in receiver.requests:
                            taken.take(body)
                    assert second.spans
                return taken, one, one.clock.now_s() - moved_s

    taken, one, recovered_s = asyncio.run(main())
    tally(taken, expected(RUNS + 1))
    assert recovered_s < 60
    assert any("the name backend.test is not known" in said for said in one.sentences(What.BACKEND_FAILED))


@pytest.mark.row("B15")
def test_certificates_that_expire_and_are_replaced(tmp_path: Path, tally: Tally) -> None:
    """The server's has expired; it gets one of another authority; it asks for ours: nothing is lost, nothing started again."""
    authorities = [trustme.CA(), trustme.CA()]
    old = authorities[0].issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    client, ca_file = tmp_path / "client.pem", tmp_path / "ca.pem"
    authorities[0].cert_pem.write_to_path(ca_file)
    authorities[0].issue_cert("tracer").private_key_and_cert_chain_pem.write_to_path(client)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.configure_cert(tls)

    async def main() -> Scene:
        async with Receiver(tls=tls) as receiver:
            files = {"otlp.ca_file": str(ca_file), "otlp.cert_file": str(client)}
            async with scene(receiver, map(run, range(RUNS)), files) as one:
                await refused(one, "certificate has expired")
                authorities[1].issue_cert("127.0.0.1").configure_cert(tls)
                await refused(one, "is not trusted: ")
                authorities[1].cert_pem.write_to_path(ca_file)
                await one.delivered()
                await away(receiver)
                authorities[1].configure_trust(tls)
                tls.verify_mode = ssl.CERT_REQUIRED
                await receiver.__aenter__()
                await one.one.happen(run(RUNS), is_gone=False)
                await refused(one, "")
                authorities[1].issue_cert("tracer").private_key_and_cert_chain_pem.write_to_path(client)
                await one.delivered()
            return one

    async def refused(one: Scene, sentence: str) -> None:
        tries = one.sender.requests.total()
        await one.until(lambda: one.sender.requests.total() > tries and one.sender.trouble is not None)
        assert one.sender.trouble is not None
        assert sentence in one.sender.trouble.why

    one = asyncio.run(main())
    tally(one.receiver, expected(RUNS + 1))


@pytest.mark.row("B4")
def test_new_credentials_are_used_without_a_restart(tmp_path: Path, tally: Tally) -> None:
    """401 until the headers file holds what the backend wants: it is read again, and all is delivered."""
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer old")

    async def guard(receiver: Receiver, request: web.Request, body: bytes) -> web.StreamResponse:
        known = request.headers.get("Authorization") == "Bearer new"
        return await (acknowledge if known else says(401))(receiver, request, body)

    async def story(one: Scene) -> None:
        await one.until(lambda: one.sender.requests["refused"] >= 3)
        headers.write_text("Authorization: Bearer new")

    one = play(repeat(guard), story, otlp__headers_file=str(headers))
    tally(one.receiver, expected(RUNS))
    assert "Bearer" not in " ".join(one.sentences(What.BACKEND_REFUSED))
