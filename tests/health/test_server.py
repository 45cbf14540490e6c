"""Who asks how we are, and what is answered."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tracer.errors import InputError
from tracer.health import verdict
from tracer.health.server import MOST_CONNECTIONS, Server
from tracer.health.verdict import Check, Checks

WITHIN_S = 20
MANY = 1_000
ASKS = b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n"


@dataclass
class State:
    """The facts that the probes are about."""

    heartbeat_age_s: float = 0.0
    awaited: dict[str, str] = field(default_factory=dict)
    was_synced: bool = True
    is_stopping: bool = False

    def live(self) -> Checks:
        """Judge."""
        return verdict.live(self.heartbeat_age_s)

    def ready(self) -> Checks:
        """Judge."""
        return verdict.ready(self.awaited, was_synced=self.was_synced, is_stopping=self.is_stopping)


async def metrics(accept: str) -> tuple[str, bytes]:
    """Say what was accepted."""
    return "text/plain; version=0.0.4; charset=utf-8", f"# {accept}\n".encode()


def serve(state: State, story: Callable[[str], Awaitable[None]], listen: str = "127.0.0.1:0") -> None:
    """Tell a story about a server, given its address."""

    async def main() -> None:
        async with asyncio.timeout(WITHIN_S), Server(listen, state.live, state.ready, metrics) as server:
            await story(server.address)

    asyncio.run(main())


async def say(address: str, request: bytes) -> bytes:
    """Send bytes, and give all that comes until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


class Flood:
    """Many connections that begin one after another, and stay as long as the server lets them."""

    def __init__(self, address: str) -> None:
        """Prepare."""
        host, _, port = address.rpartition(":")
        self._at = host.strip("[]"), int(port)
        self._writers: list[asyncio.StreamWriter] = []
        self._ends: list[asyncio.Task[bytes]] = []

    async def rise(self, count: int, says: bytes) -> None:
        """Open as many more, and let each say this."""
        for _ in range(count):
            reader, writer = await asyncio.open_connection(*self._at)
            writer.write(says)
            self._writers.append(writer)
            self._ends.append(asyncio.ensure_future(reader.read()))

    async def shrunk_to(self, count: int) -> None:
        """Wait until no more than that are open."""
        while self.open > count:
            await asyncio.wait([end for end in self._ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)

    @property
    def open(self) -> int:
        """How many the server has not closed."""
        return sum(not end.done() for end in self._ends)

    async def end(self) -> None:
        """Close what is left."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._ends, return_exceptions=True)


async def ask(address: str, path: str, method: str = "GET", accept: str = "") -> tuple[int, str]:
    """Make a request; give status and body."""
    request = f"{method} {path} HTTP/1.1\r\nHost: it\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    head, _, body = (await say(address, request.encode())).decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def answers(state: State, path: str, method: str = "GET", accept: str = "") -> tuple[int, str]:
    """Give what a server in such a state answers."""
    taken: list[tuple[int, str]] = []

    async def story(address: str) -> None:
        taken.append(await ask(address, path, method, accept))

    serve(state, story)
    return taken[0]


BEFORE = State(awaited={"pods": "unreachable"}, was_synced=False)
OUTAGE = State(awaited={"customruns": "unreachable"})
STOPPING = State(is_stopping=True)
HELD = State(heartbeat_age_s=31)


@pytest.mark.parametrize(
    ("state", "path", "status", "body"),
    [
        (BEFORE, "/livez", 200, "ok\n"),
        (BEFORE, "/readyz", 503, "synced\n"),
        (BEFORE, "/readyz?verbose", 503, "[-]synced waits for pods: unreachable\n[+]running ok\n"),
        (State(), "/readyz", 200, "ok\n"),
        (State(), "/readyz?verbose=1", 200, "[+]synced ok\n[+]running ok\n"),
        (OUTAGE, "/readyz", 200, "ok\n"),
        (STOPPING, "/livez", 200, "ok\n"),
        (STOPPING, "/readyz", 503, "running\n"),
        (STOPPING, "/readyz?verbose", 503, "[+]synced ok\n[-]running is stopping\n"),
        (HELD, "/livez", 503, "heartbeat\n"),
        (HELD, "/livez?verbose", 503, "[-]heartbeat was last felt 31 s ago\n"),
        (HELD, "/readyz", 200, "ok\n"),
    ],
)
def test_the_probes_say_how_it_is(state: State, path: str, status: int, body: str) -> None:
    """Before the first sync, after it, in an outage later, while it stops, and when the loop was held."""
    assert answers(state, path) == (status, body)


@pytest.mark.row("S9")
def test_what_others_said_stays_one_line() -> None:
    """An API server's words cannot forge a check, nor speak to a terminal."""
    state = State(awaited={"pods": "a\n[+]running ok\x1b[31m\u202e\ud800"}, was_synced=False)
    status, body = answers(state, "/readyz?verbose")
    assert (status, len(body.splitlines())) == (503, 2)
    assert "a\\n[+]running ok\\x1b[31m\\u202e\\ud800" in body


def test_metrics_are_served_as_they_were_made() -> None:
    """The content type is what was negotiated, and Accept is handed on."""
    assert answers(State(), "/metrics", accept="text/plain") == (200, "# text/plain\n")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/livez/", "GET", 404),
        ("//metrics", "GET", 404),
        ("/debug", "POST", 404),
        ("/metrics", "POST", 405),
        ("/livez", "HEAD", 405),
        ("/readyz", "DELETE", 405),
        ("/readyz", "OPTIONS", 405),
    ],
)
def test_nothing_else_is_served(path: str, method: str, status: int) -> None:
    """Other paths are not found, other methods are not allowed."""
    assert answers(State(), path, method)[0] == status


@pytest.mark.row("S14")
def test_a_body_is_not_waited_for() -> None:
    """Who announces one gets an answer at once, and the connection is closed."""

    async def story(address: str) -> None:
        answer = await say(address, b"GET /livez HTTP/1.1\r\nHost: it\r\nContent-Length: 1000000\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")

    serve(State(), story)


@pytest.mark.row("S14")
def test_nonsense_is_refused_and_harms_nobody_else() -> None:
    """No HTTP, headers without end: an error for whoever sent it, and the next one is served."""

    async def story(address: str) -> None:
        for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET /livez HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n"):
            assert (await say(address, nonsense)).startswith(b"HTTP/1.0 400 ")
        assert await ask(address, "/livez") == (200, "ok\n")

    serve(State(), story)


@pytest.mark.row("S14")
def test_connections_that_say_nothing_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they never began, stopped within a request, or were served and stay."""
    monkeypatch.setattr("tracer.health.server.KEEP_ALIVE_S", 0.1)

    async def story(address: str) -> None:
        assert await say(address, b"") == b""
        assert await say(address, b"GET /livez HTT") == b""
        assert (await say(address, b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n")).endswith(b"ok\n")

    serve(State(), story)


@pytest.fixture
def enough_descriptors() -> Iterator[None]:
    """Let us have both ends of many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * MANY:
        if hard != resource.RLIM_INFINITY and hard < 2 * MANY:
            pytest.skip(f"A process may have {hard} descriptors here.")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MANY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.row("S14")
@pytest.mark.usefixtures("enough_descriptors")
@pytest.mark.parametrize(
    "says",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /livez HTT", id="half a request"),
        pytest.param(ASKS, id="a request, and then nothing"),
    ],
)
def test_however_many_connections_are_held_a_probe_is_answered(monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    """Few of them stay open, and that by no clock; a probe or a scrape finds a place meanwhile and afterwards."""
    monkeypatch.setattr("tracer.health.server.KEEP_ALIVE_S", 10 * WITHIN_S)

    async def story(address: str) -> None:
        flood = Flood(address)
        for _ in range(10):
            await flood.rise(MANY // 10, says)
            assert await ask(address, "/livez") == (200, "ok\n")
        await flood.shrunk_to(MOST_CONNECTIONS)
        for path, body in (("/livez", "ok\n"), ("/readyz", "ok\n"), ("/metrics", "# \n")) * 10:
            assert await ask(address, path) == (200, body)
        assert flood.open > MOST_CONNECTIONS // 2
        await flood.end()

    serve(State(), story)


@pytest.mark.row("S14")
@pytest.mark.usefixtures("enough_descriptors")
def test_whoever_asks_is_not_closed_by_those_that_say_nothing() -> None:
    """Not a scrape that takes its time, nor a connection that stays to ask again."""
    was_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def take_time(_: str) -> tuple[str, bytes]:
        was_asked.set()
        await may_answer.wait()
        return "text/plain", b"all of it"

    async def main() -> None:
        good = (Check("good", is_ok=True),)
        async with asyncio.timeout(WITHIN_S), Server("127.0.0.1:0", lambda: good, lambda: good, take_time) as server:
            reader, writer = await asyncio.open_connection(*server.address.split(":"))
            writer.write(ASKS)
            assert await reader.readuntil(b"ok\n")
            scrape = asyncio.ensure_future(ask(server.address, "/metrics"))
            await was_asked.wait()
            flood = Flood(server.address)
            await flood.rise(MANY, b"GET /metr")
            await flood.shrunk_to(MOST_CONNECTIONS)
            may_answer.set()
            assert await scrape == (200, "all of it")
            writer.write(ASKS)
            assert await reader.readuntil(b"ok\n")
            writer.close()
            await flood.end()

    asyncio.run(main())


@pytest.mark.row("S14")
@pytest.mark.usefixtures("enough_descriptors")
def test_whoever_opens_many_connections_closes_its_own() -> None:
    """One of another client, that has not said anything yet, is let be."""

    async def story(address: str) -> None:
        reader, writer = await asyncio.open_connection(*address.split(":"), local_addr=("127.0.0.2", 0))
        flood = Flood(address)
        await flood.rise(MANY, b"")
        await flood.shrunk_to(MOST_CONNECTIONS)
        writer.write(ASKS)
        assert await reader.readuntil(b"ok\n")
        writer.close()
        await flood.end()

    serve(State(), story)


@pytest.mark.row("S14")
def test_whoever_does_not_read_its_answer_makes_room() -> None:
    """Its connection is gone at once, and not when it has read."""
    length = 32 * 1024 * 1024
    was_asked = asyncio.Event()

    async def say_much(_: str) -> tuple[str, bytes]:
        was_asked.set()
        return "text/plain", b"a" * length

    async def main() -> None:
        good = (Check("good", is_ok=True),)
        async with asyncio.timeout(WITHIN_S), Server("127.0.0.1:0", lambda: good, lambda: good, say_much) as server:
            reader, writer = await asyncio.open_connection(*server.address.split(":"))
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n")
            await was_asked.wait()
            flood = Flood(server.address)
            await flood.rise(MOST_CONNECTIONS, ASKS)
            assert await ask(server.address, "/livez") == (200, "ok\n")
            assert len(await reader.read()) < length
            writer.close()
            await flood.end()

    asyncio.run(main())


@pytest.mark.parametrize("listen", [":0", "0.0.0.0:0", "localhost:0"])
def test_it_says_where_it_listens(listen: str) -> None:
    """With the port that was free; without an address, on all of them."""

    async def story(address: str) -> None:
        assert not address.endswith(":0")
        assert await ask(address, "/livez") == (200, "ok\n")

    serve(State(), story, listen)


def test_a_port_that_is_taken_is_named() -> None:
    """One sentence with the address, the setting, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        listen = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(InputError) as caught:
            answers_at(listen)
    assert str(caught.value) == (
        f"listen is {listen}, where nobody can listen (Address already in use): "
        "free the port, or give another one, as in --listen :8081."
    )


@pytest.mark.parametrize("listen", ["192.0.2.1:0", "no-such-host.invalid:80", "a..b:80", f"{'a' * 70}:80"])
def test_an_address_that_is_not_ours_is_named(listen: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(InputError, match=r"^listen is .* where nobody can listen"):
        answers_at(listen)


def answers_at(listen: str) -> None:
    """Open a server there and close it again."""

    async def story(_: str) -> None:
        return

    serve(State(), story, listen)


def test_a_failing_scrape_is_an_error_of_its_own() -> None:
    """Whoever asked gets 500 without any detail, and the probes are served."""

    async def fail(_: str) -> tuple[str, bytes]:
        raise RuntimeError("detail")

    async def main() -> None:
        good = (Check("good", is_ok=True),)
        async with asyncio.timeout(WITHIN_S), Server("127.0.0.1:0", lambda: good, lambda: good, fail) as server:
            status, body = await ask(server.address, "/metrics")
            assert (status, "detail" in body) == (500, False)
            assert await ask(server.address, "/livez") == (200, "ok\n")

    asyncio.run(main())
