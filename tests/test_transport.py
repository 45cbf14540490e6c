"""One request, one try: what the network can do to it, and what of it is understood."""

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from tests.kit import ManualClock
from tests.replies import MANY_BYTES, floods, hang, lies, reset, says
from tracer.demo.receiver import Receiver, Reply
from tracer.errors import InputError
from tracer.transport import (
    CONNECTION_AGE_S,
    MOST_ANSWER_BYTES,
    Answer,
    NoAnswer,
    Reason,
    Transport,
    TransportSettings,
    is_direct,
    read_headers,
    tls_context,
    without_credentials,
)

AUTHORITY = trustme.CA()


def post(url: str, settings: TransportSettings | None = None, timeout_s: float = 5) -> Coroutine[None, None, Answer | NoAnswer]:
    """Send one request."""

    async def send() -> Answer | NoAnswer:
        async with Transport(settings or TransportSettings(), ManualClock()) as transport:
            return await transport.post(url, b"", {"Content-Type": "text/plain"}, timeout_s)

    return send()


def ask(reply: Reply, settings: TransportSettings | None = None, timeout_s: float = 5) -> Answer | NoAnswer:
    """Send one request to somebody who replies so."""

    async def main() -> Answer | NoAnswer:
        async with Receiver([reply]) as receiver:
            return await post(receiver.url, settings, timeout_s)

    return asyncio.run(main())


def server_context(certificate: trustme.LeafCert | None = None, *, wants_client: bool = False) -> ssl.SSLContext:
    """Make a TLS server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or AUTHORITY.issue_cert("127.0.0.1")).configure_cert(context)
    if wants_client:
        AUTHORITY.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask_tls(tls: ssl.SSLContext, settings: TransportSettings) -> Answer | NoAnswer:
    """Send one request to a TLS server."""

    async def main() -> Answer | NoAnswer:
        async with Receiver([says(200)], tls=tls) as receiver:
            return await post(receiver.url, settings)

    return asyncio.run(main())


def ca_file(folder: Path, authority: trustme.CA = AUTHORITY) -> str:
    """Write an authority's certificate."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return str(folder / "ca.pem")


def test_an_answer_is_read_whole() -> None:
    """Status, headers and body arrive; the request had its own headers and ours."""
    got = ask(says(503, b"later", Retry_After="3"))
    assert isinstance(got, Answer)
    assert (got.status, got.body, got.is_whole, got.headers["retry-after"]) == (503, b"later", True, "3")


def test_a_packed_answer_is_unpacked() -> None:
    """An answer in gzip is read, though it was not asked for; an encoding that is not known is not."""
    packed = ask(says(200, gzip.compress(b"hello"), Content_Encoding="gzip"))
    assert isinstance(packed, Answer)
    assert (packed.body, packed.is_whole) == (b"hello", True)
    for body, encoding in [(b"hello", "gzip"), (gzip.compress(b"hello" * 100)[:-9], "gzip"), (b"hello", "br")]:
        odd = ask(says(200, body, Content_Encoding=encoding))
        assert isinstance(odd, Answer)
        assert not odd.is_whole


@pytest.mark.parametrize("is_packed", [False, True])
def test_no_more_than_a_mebibyte_is_held(is_packed: bool) -> None:  # noqa: FBT001 - a table
    """Of 100 MB, as they are or packed, 1 MiB is read, and that is said."""
    got = ask(floods(is_packed=is_packed))
    assert isinstance(got, Answer)
    assert (len(got.body) <= MOST_ANSWER_BYTES < MANY_BYTES, got.is_whole) == (True, False)


@pytest.mark.row("B12")
def test_a_redirect_is_not_followed() -> None:
    """Nobody is asked but the address that was given."""

    async def main() -> tuple[Answer | NoAnswer, int]:
        async with Receiver() as elsewhere, Receiver([says(307, Location=elsewhere.url)]) as receiver:
            return await post(receiver.url), len(elsewhere.requests)

    got, asked = asyncio.run(main())
    assert isinstance(got, Answer)
    assert (got.status, asked) == (307, 0)


@pytest.mark.parametrize(
    ("reply", "reason", "why"),
    [
        (hang, Reason.SLOW, "did not answer within 0.2 s"),
        (lies(10, b"abc", stays=True), Reason.SLOW, "did not answer"),
        (lies(10, b"abc"), Reason.LOST, "broke off"),
        (reset, Reason.LOST, "broke off"),
    ],
)
def test_what_may_have_arrived(reply: Reply, reason: Reason, why: str) -> None:
    """Silence, a reset and a lie about the length are no answers, within the time for a try."""
    before = time.monotonic()
    got = ask(reply, timeout_s=0.2)
    assert isinstance(got, NoAnswer)
    assert (got.reason, why in got.why) == (reason, True)
    assert time.monotonic() - before < 3


def test_what_follows_a_short_answer_answers_nothing_else() -> None:
    """Bytes beyond the length that was announced are not taken for the next request's answer."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

    async def main() -> list[Answer | NoAnswer]:
        replies = [lies(0, forged), says(503, b"true")]
        async with Receiver(replies) as receiver, Transport(TransportSettings(), ManualClock()) as transport:
            return [await transport.post(receiver.url, b"", {}, 5) for _ in range(2)]

    _, second = asyncio.run(main())
    assert isinstance(second, NoAnswer) or second.body == b"true"


def test_nobody_listens() -> None:
    """A closed port, and a name that does not exist."""
    closed = asyncio.run(post("http://127.0.0.1:1/v1/traces"))
    assert closed == NoAnswer(Reason.UNREACHABLE, "cannot be reached: Connection refused")
    unknown = asyncio.run(post("http://no-such-host.invalid/v1/traces"))
    assert unknown == NoAnswer(Reason.UNREACHABLE, "cannot be reached: the name no-such-host.invalid is not known")


def test_a_port_for_grpc_is_told() -> None:
    """A server that speaks HTTP/2 at once, as gRPC does, is no place for OTLP/HTTP."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18))
        await writer.drain()
        writer.close()

    async def main() -> Answer | NoAnswer:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        async with server:
            return await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces")

    got = asyncio.run(main())
    assert isinstance(got, NoAnswer)
    assert (got.reason, "speaks gRPC" in got.why) == (Reason.UNUSABLE, True)


def test_tls_with_an_own_authority_and_a_client_certificate(tmp_path: Path) -> None:
    """Certificates from files are used."""
    client = AUTHORITY.issue_cert("tracer")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    settings = TransportSettings(ca_file=ca_file(tmp_path), cert_file=str(tmp_path / "client.pem"))
    assert isinstance(ask_tls(server_context(wants_client=True), settings), Answer)


def test_what_is_not_trusted_is_not_asked(tmp_path: Path) -> None:
    """An unknown authority, a certificate for another name, one that has expired."""
    expired = AUTHORITY.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    known = TransportSettings(ca_file=ca_file(tmp_path))
    cases: list[tuple[ssl.SSLContext, TransportSettings, str]] = [
        (server_context(), TransportSettings(), "is not trusted: "),
        (server_context(AUTHORITY.issue_cert("other.example")), known, "is not trusted: IP address mismatch"),
        (server_context(expired), known, "is not trusted: certificate has expired"),
    ]
    for tls, settings, why in cases:
        got = ask_tls(tls, settings)
        assert isinstance(got, NoAnswer)
        assert (got.reason, got.why[: len(why)]) == (Reason.UNUSABLE, why)


def test_a_missing_client_certificate_is_told(tmp_path: Path) -> None:
    """A server that asks for a certificate, and says so in TLS, is told apart from one that breaks off."""
    context = server_context(wants_client=True)

    def serve_one(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection.dup() as raw:
            with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True):
                pass
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):  # or closing would reset the connection, and with it what TLS had to say
                pass

    async def main() -> Answer | NoAnswer:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(serve_one, listener))
                port = listener.getsockname()[1]
                return await post(f"https://127.0.0.1:{port}/v1/traces", TransportSettings(ca_file=ca_file(tmp_path)))

    got = asyncio.run(main())
    assert isinstance(got, NoAnswer)
    assert (got.reason, "otlp.cert_file" in got.why) == (Reason.UNUSABLE, True), got.why


def test_no_tls_where_tls_is_asked() -> None:
    """An address with https:// of a server without TLS is told."""

    async def main() -> Answer | NoAnswer:
        async with Receiver() as receiver:
            return await post(receiver.url.replace("http", "https"))

    got = asyncio.run(main())
    assert isinstance(got, NoAnswer)
    assert (got.reason, "http:// instead of https://" in got.why) == (Reason.UNUSABLE, True)


@pytest.mark.row("A20", "B4", "B15")
def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    """New headers and a new authority count from the next request on; a file that vanished is told, and heals."""
    headers, authority = tmp_path / "headers", trustme.CA()
    headers.write_text("# a comment\n\nAuthorization: Bearer one\n")
    seen: list[str | None] = []

    async def main() -> list[Answer | NoAnswer]:
        got = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        async with Receiver(tls=tls) as receiver:
            settings = TransportSettings(ca_file=ca_file(tmp_path), headers_file=str(headers))
            async with Transport(settings, ManualClock()) as transport:

                async def step() -> None:
                    got.append(await transport.post(receiver.url, b"", {}, 5))

                await step()
                ca_file(tmp_path, authority)
                await step()
                headers.write_text("Authorization: Bearer second\n")
                await step()
                headers.unlink()
                await step()
                headers.write_text("Authorization: Bearer third\n")
                await step()
            seen.extend(sent.get("Authorization") for sent, _ in receiver.requests)
        return got

    got = asyncio.run(main())
    assert [isinstance(one, Answer) for one in got] == [False, True, True, False, True]
    assert isinstance(got[3], NoAnswer)
    assert "cannot be read" in got[3].why
    assert seen == ["Bearer one", "Bearer second", "Bearer third"]


@pytest.mark.row("B14")
def test_connections_are_kept_and_grow_old() -> None:
    """Requests share a connection; after five minutes there is a new one, so that addresses are looked up again."""
    ports: list[object] = []

    async def note(_: Receiver, request: web.Request, __: bytes) -> web.StreamResponse:
        ports.append(request.transport.get_extra_info("peername") if request.transport else None)
        return web.Response()

    async def main() -> None:
        clock = ManualClock()
        async with Receiver([note] * 4) as receiver, Transport(TransportSettings(), clock) as transport:
            for pause_s in (0, 10, CONNECTION_AGE_S, 10):
                await clock.sleep(pause_s)
                await transport.post(receiver.url, b"", {}, 5)

    asyncio.run(main())
    first, second, third, fourth = ports
    assert first == second != third == fourth


def test_a_proxy_is_used() -> None:
    """A request goes to the proxy, with the whole address; one that is not there is told."""

    async def main() -> tuple[Answer | NoAnswer, str]:
        targets: list[str] = []

        async def forward(_: Receiver, request: web.Request, __: bytes) -> web.StreamResponse:
            targets.append(str(request.url))
            return web.Response(text="through")

        async with Receiver([forward]) as proxy:
            settings = TransportSettings(proxy=proxy.url.removesuffix("/v1/traces"))
            return await post("http://backend.example/v1/traces", settings), targets[0]

    got, target = asyncio.run(main())
    assert isinstance(got, Answer)
    assert (got.body, target) == (b"through", "http://backend.example/v1/traces")
    gone = asyncio.run(post("http://backend.example/v1/traces", TransportSettings(proxy="http://127.0.0.1:1")))
    assert isinstance(gone, NoAnswer)
    assert (gone.reason, "proxy" in gone.why) == (Reason.UNREACHABLE, True)


def test_a_proxy_may_refuse() -> None:
    """What a proxy answers to a tunnel is told as its own words."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main() -> Answer | NoAnswer:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
            settings = TransportSettings(proxy=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            return await post("https://backend.example/v1/traces", settings)

    got = asyncio.run(main())
    assert isinstance(got, NoAnswer)
    assert (got.reason, got.why) == (Reason.UNUSABLE, "cannot be reached through the proxy: it answered 407")


@pytest.mark.row("S19")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("Authorization Bearer geheim", "Line 1 of the headers file"),
        ("ok: yes\nContent-Type: geheim", "Line 2 of the headers file"),
        ("Authori zation: geheim", "no header's name"),
        ("X: geheim\x07", "no header can have"),
        ("X: geheim\udcff", "not text in UTF-8"),
    ],
)
def test_a_bad_headers_file_is_told_without_its_secrets(tmp_path: Path, content: str, why: str) -> None:
    """File and line are named, the value never."""
    (tmp_path / "headers").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        read_headers(TransportSettings(headers_file=str(tmp_path / "headers")))
    assert why in str(error.value)
    assert "geheim" not in str(error.value)


def test_the_file_goes_before_other_headers(tmp_path: Path) -> None:
    """A header of the file replaces one of the same name, in whatever case."""
    (tmp_path / "headers").write_text("API-Key: file\n")
    settings = TransportSettings(headers_file=str(tmp_path / "headers"), headers=(("api-key", "old"), ("other", "1")))
    assert read_headers(settings) == {"API-Key": "file", "other": "1"}


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_bad_certificates_are_told(tmp_path: Path, name: str, content: bytes | None) -> None:
    """A certificate that is not there or is none gives one sentence with its path."""
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    make: Callable[..., TransportSettings] = TransportSettings
    with pytest.raises(InputError, match=r"file\.pem .*(cannot be read|expected)"):
        tls_context(make(**{name: str(path)}))


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("http://localhost:4318/x", "localhost", True),
        ("http://jaeger.svc.cluster.local:4318/x", ".cluster.local,other", True),
        ("http://jaeger:4318/x", "*", True),
        ("http://jaeger:4318/x", "other", False),
        ("http://jaeger:4318/x", "", False),
    ],
)
def test_no_proxy(url: str, no_proxy: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """`NO_PROXY` names hosts and the ends of hosts."""
    assert is_direct(url, no_proxy) == expected


def test_credentials_are_hidden() -> None:
    """What stands before a host is never shown, nor a query, however the address is written."""
    assert without_credentials("http://user:geheim@host:1/a") == "http://(hidden)@host:1/a"
    assert without_credentials("http://host/") == "http://host/"
    for odd in [
        "user:geheim@h:1",
        "http:/u:geheim@h",
        "http:u:geheim@h",
        "http://u:ge/heim@h",
        "//u:geheim@h",
        "http://h?key=geheim",
    ]:
        assert "heim" not in without_credentials(odd)


@pytest.mark.parametrize("url", ["http://a..b/", f"http://{'a' * 70}.com/", "http://[x/"])
def test_what_is_no_address_is_not_asked(url: str) -> None:
    """A name that DNS cannot have is told, by a request and by a stream."""

    async def main() -> list[Answer | NoAnswer | bytes]:
        async with Transport(TransportSettings(), ManualClock()) as transport:
            return [await transport.get(url, {}, 5), *[one async for one in transport.stream(url, {}, lambda: 5)]]

    unusable = NoAnswer(Reason.UNUSABLE, "is no address that can be asked")
    assert asyncio.run(main()) == [unusable, unusable]
