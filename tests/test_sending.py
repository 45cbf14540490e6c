"""`tracer replay` against a backend, as a person runs it: what arrives, what is said, the exit code, and the books."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NoReturn

import pytest
import trustme
from aiohttp import web

from tests.kit import HERE, HOSTILE_TEXTS, RECORDINGS, SCENARIOS, at, hostile_recording, pipeline_run, replay
from tests.replies import HTML, floods, hang, lies, refuses_span, rejects, reset, says, takes_at_most
from tracer.demo.receiver import Receiver, Reply, acknowledge
from tracer.telemetry import otlp

CANCEL = HERE / "recordings" / "cancel"
SPANS = len(replay(CANCEL / "watch.jsonl"))
AUTHORITY = trustme.CA()


@dataclass
class Sent:
    """A finished `tracer replay`."""

    code: int
    out: str
    lines: list[str]
    """Of standard error."""
    seconds: float

    @property
    def books(self) -> tuple[int, int, int, int]:
        """How many spans were told, sent, rejected and lost, as the summary says."""
        (found,) = (
            re.search(r"(\d+) spans: (\d+) sent, (\d+) rejected, (\d+) lost\.$", line) for line in self.lines if "sent," in line
        )
        assert found is not None
        told, sent, rejected, lost = map(int, found.groups())
        assert told == sent + rejected + lost
        return told, sent, rejected, lost


async def send(url: str, *arguments: str, path: Path = CANCEL, **environment: str) -> Sent:
    """Run the program as a user does."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tracer", "replay", str(path), "--otlp-endpoint", url, *arguments),
        env={"PYTHONPATH": str(HERE.parent), "PYTHONIOENCODING": "utf-8", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return Sent(process.returncode, out.decode(), error.decode().splitlines(), time.monotonic() - began)


def send_to(
    replies: Iterable[Reply], *arguments: str, tls: ssl.SSLContext | None = None, path: Path = CANCEL, **environment: str
) -> tuple[Sent, Receiver]:
    """Run it against a backend that replies so."""

    async def main() -> tuple[Sent, Receiver]:
        async with Receiver(replies, tls) as receiver:
            return await send(receiver.url, *arguments, path=path, **environment), receiver

    return asyncio.run(main())


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Make a TLS server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_a_recording_is_sent() -> None:
    """Every span arrives once, with the bytes that a dry run prints, and one line says so."""
    sent, receiver = send_to([])
    assert (sent.code, sent.out, sent.lines) == (0, "", [f"1 run, {SPANS} spans: {SPANS} sent, 0 rejected, 0 lost."])
    assert set(receiver.times_taken.values()) == {1}
    (headers, body), *_ = receiver.requests
    assert (headers["Content-Type"], headers["User-Agent"].partition("/")[0]) == ("application/x-protobuf", "tekton-tracer")
    assert sorted(otlp.read_spans(body)) == sorted(otlp.read_spans(otlp.encode(replay(CANCEL / "watch.jsonl"))))


def test_twice_the_same_leaves_the_same() -> None:
    """A recording, its list of objects and both again: what was sent before is sent with the same content."""

    async def main() -> Receiver:
        async with Receiver() as receiver:
            for _ in range(2):
                assert (await send(receiver.url, path=CANCEL)).code == 0
            return receiver

    receiver = asyncio.run(main())
    assert set(receiver.times_taken.values()) == {2}
    assert {len(contents) for contents in receiver.spans.values()} == {1}


@pytest.mark.parametrize("output", ["text", "json", "otlp"])
def test_what_is_sent_can_be_printed_as_well(output: str) -> None:
    """`-o` prints while sending what it prints in a dry run."""
    sent, receiver = send_to([], "-o", output)
    dry = asyncio.run(send("http://127.0.0.1:1", "-o", output, "--dry-run"))
    assert (sent.code, sent.out, len(receiver.spans)) == (0, dry.out, SPANS)


def test_several_recordings_make_full_requests() -> None:
    """Many recordings in one run, in as few requests as the limits allow, each span once; compressed if asked for."""

    async def main() -> tuple[Sent, Receiver]:
        async with Receiver() as receiver:
            others = [str(path) for path in [*RECORDINGS, *SCENARIOS] if path != CANCEL]
            return await send(receiver.url, *others, "--otlp-compression", "gzip"), receiver

    sent, receiver = asyncio.run(main())
    told, delivered, rejected, lost = sent.books
    assert (sent.code, rejected, lost) == (0, 0, 0)
    assert told == delivered == sum(receiver.times_taken.values())
    assert len(receiver.spans) > SPANS
    assert {headers["Content-Encoding"] for headers, _ in receiver.requests} == {"gzip"}


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (says(200, HTML, "text/html"), "answered 200 with text/html, which is no OTLP"),
        (says(404), "answered 404; nobody takes OTLP there"),
        (says(401, b"who are you?"), "answered 401: who are you?; the credentials in otlp.headers_file"),
        (says(307, Location="http://127.0.0.1:1/other"), "a redirect, to http://127.0.0.1/other, which is not followed"),
        (floods(), "a body of more than 1 MiB"),
        (floods(is_packed=True), "a body of more than 1 MiB"),
        (says(200, b"\xff\xff", "application/x-protobuf"), "a body that cannot be read"),
    ],
)
def test_what_a_person_must_mend_ends_it_at_once(reply: Reply, why: str) -> None:
    """A wrong address, wrong credentials, something that is no OTLP: one sentence, exit code 5, nothing taken for delivered."""
    sent, _ = send_to(repeat(reply))
    assert (sent.code, sent.books) == (5, (SPANS, 0, 0, SPANS))
    assert sent.lines[-1].startswith(f"tracer: {SPANS} of {SPANS} spans were not delivered: http://127.0.0.1:")
    assert why in sent.lines[-1]
    assert len(sent.lines) == 2
    assert sent.seconds < 10


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (says(503), "answered 503"),
        (says(429, Retry_After="86400"), "answered 429"),
        (says(500, b"oops"), "answered 500: oops"),
        (says(400, b"bad"), "answered 400: bad"),
        (hang, "has not answered"),
        (reset, "broke off before it had answered"),
    ],
)
def test_a_backend_that_stays_away_is_given_up(reply: Reply, why: str) -> None:
    """Without an answer within the time-out it ends with one sentence and exit code 5; nothing is counted as delivered."""
    sent, _ = send_to(repeat(reply), "--timeout", "0.7")
    assert (sent.code, sent.books) == (5, (SPANS, 0, 0, SPANS))
    assert sent.lines[-1].startswith(f"tracer: {SPANS} of {SPANS} spans were not delivered within 0.7 s: http://127.0.0.1:")
    assert why in sent.lines[-1]


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([says(503)] * 2, id="503 for a while"),
        pytest.param([says(429, Retry_After="1")], id="429 with Retry-After"),
        pytest.param([says(500)], id="500"),
        pytest.param([hang], id="hangs"),
        pytest.param([reset], id="resets in the middle"),
        pytest.param([lies(10, b"abc")], id="lies about its length, and closes"),
        pytest.param([lies(10, b"abc", stays=True)], id="lies about its length, and stays"),
        pytest.param([lies(0, HTML)], id="says more than it announced"),
        pytest.param([floods(503)], id="503 with 100 MB"),
        pytest.param(repeat(takes_at_most(5)), id="413"),
    ],
)
def test_what_passes_loses_nothing(replies: Iterable[Reply]) -> None:
    """When the trouble is over every span arrives, none of them with two contents, and the exit code is 0."""
    sent, receiver = send_to(replies, OTEL_EXPORTER_OTLP_TIMEOUT="300")
    assert (sent.code, sent.books) == (0, (SPANS, SPANS, 0, 0)), sent.lines
    assert len(receiver.spans) == SPANS
    assert all(len(contents) == 1 for contents in receiver.spans.values())


def test_a_backend_that_starts_late() -> None:
    """Nobody listens yet: it waits, and delivers when somebody does."""

    async def main() -> tuple[Sent, int]:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port: int = held.getsockname()[1]
        sending = asyncio.ensure_future(send(f"http://127.0.0.1:{port}"))
        await asyncio.sleep(1.5)
        async with Receiver(port=port) as receiver:
            return await sending, len(receiver.spans)

    sent, taken = asyncio.run(main())
    assert (sent.code, sent.books, taken) == (0, (SPANS, SPANS, 0, 0), SPANS)


def test_progress_is_shown_on_a_terminal() -> None:
    """On a terminal a bar shows how many spans were sent, and what it is waiting for; nothing of it stays."""
    master, slave = pty.openpty()

    def drawn_until_closed() -> bytes:
        drawn = b""
        with suppress(OSError):  # the end of a terminal is an error
            while chunk := os.read(master, 1 << 16):
                drawn += chunk
        return drawn

    async def main() -> tuple[int, bytes]:
        async with Receiver([says(503)] * 4) as receiver:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tracer", "replay", str(CANCEL), "--otlp-endpoint", receiver.url),
                env={"PYTHONPATH": str(HERE.parent), "TERM": "xterm", "COLUMNS": "200"},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=slave,
            )
            os.close(slave)
            drawn = await asyncio.to_thread(drawn_until_closed)  # while it draws: a terminal holds little
            return await process.wait(), drawn

    code, drawn = asyncio.run(main())
    os.close(master)
    assert code == 0
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn).decode()
    assert "sending" in shown
    assert "waiting: http://127.0.0.1:" in shown
    assert shown.rstrip().endswith(f"{SPANS} spans: {SPANS} sent, 0 rejected, 0 lost.")


@pytest.mark.parametrize("output", ["text", "json", "otlp"])
def test_a_reader_who_goes_away_stops_the_printing_alone(output: str) -> None:
    """With `| head` every span is sent all the same, and the account is given."""

    async def main() -> tuple[int, str, int]:
        async with Receiver() as receiver:
            paths = [str(path) for path in RECORDINGS]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tracer", "replay", "-o", output, "--otlp-endpoint", receiver.url, *paths),
                env={"PYTHONPATH": str(HERE.parent), "PYTHONIOENCODING": "utf-8"},
                stdout=(pipe := os.pipe())[1],
                stderr=asyncio.subprocess.PIPE,
            )
            for end in pipe:
                os.close(end)
            _, error = await process.communicate()
            assert process.returncode is not None
            return process.returncode, error.decode(), len(receiver.spans)

    code, said, taken = asyncio.run(main())
    assert (code, "Traceback" in said, taken > 10 * SPANS) == (0, False, True)
    assert said.splitlines()[-1].endswith(f"{taken} sent, 0 rejected, 0 lost.")


def test_an_interrupt_stops_it_at_once() -> None:
    """Ctrl-C while it waits for standard input ends it, and so does one while it waits for a backend, with the account."""

    async def interrupt(
        backend: Receiver, path: str, is_waiting: Callable[[asyncio.subprocess.Process], Awaitable[None]]
    ) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tracer", "replay", path, "--otlp-endpoint", backend.url),
            env={"PYTHONPATH": str(HERE.parent)},
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        async with asyncio.timeout(30):
            await is_waiting(process)
            process.send_signal(signal.SIGINT)
            said = await process.stderr.read()
            return await process.wait(), said.decode().strip()

    async def reads(process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.write(b"\n" * (1 << 20))  # more than a pipe holds
        await process.stdin.drain()

    async def both() -> list[tuple[int, str]]:
        asked = asyncio.Event()

        async def hear(receiver: Receiver, request: web.Request, body: bytes) -> NoReturn:
            asked.set()
            await hang(receiver, request, body)

        async def sends(_: asyncio.subprocess.Process) -> None:
            await asked.wait()

        async with Receiver(iter(lambda: hear, None)) as backend:
            return [await interrupt(backend, "-", reads), await interrupt(backend, str(CANCEL), sends)]

    assert asyncio.run(both()) == [(130, ""), (130, f"1 run, {SPANS} spans: 0 sent, 0 rejected, {SPANS} lost.")]


def test_what_goes_on_is_told(tmp_path: Path) -> None:
    """Of a run that has not ended it is said why little or nothing of it was sent."""
    run = pipeline_run({"startTime": at(1)})
    (tmp_path / "objects.json").write_text(json.dumps({"items": [run]}))
    sent, _ = send_to([], path=tmp_path)
    assert sent.code == 0
    assert sent.lines[0] == "tracer: 1 run had not ended: only what had was sent; send again when all has."


def test_a_story_without_its_pods_is_told_as_such() -> None:
    """Where the Pods are gone the steps rest on Tekton's status, and that is said."""
    sent, _ = send_to([], path=HERE / "recordings" / "task-timeout" / "objects.json")
    assert "steps are told from Tekton's status alone" in sent.lines[0]


def test_nobody_listens() -> None:
    """A backend that is down is given up with the system's own words."""
    sent = asyncio.run(send("http://127.0.0.1:1", "--timeout", "0.5"))
    assert (sent.code, sent.books) == (5, (SPANS, 0, 0, SPANS))
    assert sent.lines[-1].endswith("http://127.0.0.1:1/v1/traces cannot be reached: Connection refused.")


@pytest.mark.parametrize("case", ["expired", "unknown", "no TLS there", "TLS there"])
def test_tls_that_fails(tmp_path: Path, case: str) -> None:
    """An expired certificate, an unknown authority, a server without TLS, and one with TLS that is asked without."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    expired = AUTHORITY.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    good = AUTHORITY.issue_cert("127.0.0.1")
    tls = {"expired": server_context(expired), "no TLS there": None}.get(case, server_context(good))
    trust = [] if case == "unknown" else ["--otlp-ca-file", str(tmp_path / "ca.pem")]

    async def main() -> Sent:
        async with Receiver(tls=tls) as receiver:
            url = receiver.url.replace("https:", "http:") if case == "TLS there" else receiver.url.replace("http:", "https:")
            return await send(url, "--timeout", "1", *trust)

    sent = asyncio.run(main())
    assert (sent.code, sent.books) == (5, (SPANS, 0, 0, SPANS))
    why = {
        "expired": "is not trusted: certificate has expired",
        "unknown": "is not trusted: unable to get local issuer certificate",
        "no TLS there": "does not speak TLS",
        "TLS there": "broke off",
    }
    assert why[case] in sent.lines[-1]


def test_tls_with_everything(tmp_path: Path) -> None:
    """Own authority, client certificate, headers from a file."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    AUTHORITY.issue_cert("tracer").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    (tmp_path / "headers").write_text("Authorization: Bearer geheim\n")
    tls = server_context(AUTHORITY.issue_cert("127.0.0.1"))
    AUTHORITY.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    settings = ["--otlp-ca-file", str(tmp_path / "ca.pem"), "--otlp-cert-file", str(tmp_path / "client.pem")]
    sent, receiver = send_to([], *settings, "--otlp-headers-file", str(tmp_path / "headers"), tls=tls)
    assert (sent.code, len(receiver.spans), receiver.requests[0][0]["Authorization"]) == (0, SPANS, "Bearer geheim")
    assert "geheim" not in "".join(sent.lines)


def test_rejected_spans_are_told() -> None:
    """Partial success: what the backend says it did not take is counted, with its reason, and the exit code is 6."""
    sent, receiver = send_to([rejects(SPANS // 2, "too old\x1b[31m")])
    assert (sent.code, sent.books) == (6, (SPANS, SPANS - SPANS // 2, SPANS // 2, 0))
    assert f"tracer: {SPANS // 2} spans were rejected for good: {receiver.url} rejected spans: too old [31m." in sent.lines


def test_one_poisonous_span() -> None:
    """A span for which the backend refuses any request is rejected alone, with exit code 6."""
    sent, receiver = send_to(repeat(refuses_span("compile")))
    assert (sent.code, sent.books) == (6, (SPANS, SPANS - 1, 1, 0))
    assert len(receiver.spans) == SPANS - 1


COPIES = 200  # of a recording: more than what is read before the first of it is sent


def _renumbered(number: int, uid: re.Match[str]) -> str:
    return f"{number:04}{uid[0][4:]}"


def test_what_was_delivered_before_the_end_is_told(tmp_path: Path) -> None:
    """A backend goes away in the middle: what it took is sent, the rest is lost, and both are counted to the input's end."""
    one = (CANCEL / "watch.jsonl").read_text()
    uids = {json.loads(line)["object"]["metadata"]["uid"] for line in one.splitlines()}
    with (tmp_path / "watch.jsonl").open("w") as file:
        for number in range(COPIES):
            file.write(re.sub("|".join(uids), partial(_renumbered, number), one))

    async def main() -> tuple[Sent, Receiver]:
        async with Receiver([*[acknowledge] * 3, *[says(503)] * 100]) as receiver:
            return await send(receiver.url, "--timeout", "0.5", path=tmp_path), receiver

    sent, receiver = asyncio.run(main())
    told, delivered, rejected, lost = sent.books
    assert (sent.code, told, rejected) == (5, COPIES * SPANS, 0)
    assert 0 < delivered == len(receiver.spans) < told
    assert lost == told - delivered


@pytest.mark.row("O11")
def test_hostile_content_arrives_bounded_and_harmless(tmp_path: Path) -> None:
    """Control characters, markup, a lone surrogate and names of a megabyte arrive, cut, and cost no neighbour."""
    hostile = hostile_recording(tmp_path)

    async def main() -> tuple[Sent, Receiver]:
        async with Receiver() as receiver:
            return await send(receiver.url, "-o", "text", path=hostile), receiver

    sent, receiver = asyncio.run(main())
    told, delivered, _, _ = sent.books
    assert (sent.code, delivered) == (0, told)
    assert len(receiver.spans) >= len(HOSTILE_TEXTS)
    assert max(len(content) for contents in receiver.spans.values() for content in contents) < 20_000
    with suppress(UnicodeEncodeError):
        sent.out.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", sent.out + "\n".join(sent.lines))
