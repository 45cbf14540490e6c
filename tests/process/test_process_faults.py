"""What can befall the process: signals, limits, a loop that stands still, nobody there; and that it costs no span."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.asked import own_objects
from tests.health.test_server import ask
from tests.process.limits import group
from tests.process.outage import SPANS, expected, run
from tests.process.test_process import Tracer, stopped, tracer
from tests.replies import slowly
from tests.tally import Tally
from tracer.app import GRACE_S
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver, Reply
from tracer.events import What

RUNS = 150
"""More than one request holds."""
FEW, MORE = 50, 100


@asynccontextmanager
async def both(runs: int = RUNS, reply: Reply | None = None) -> AsyncIterator[tuple[ApiServer, Receiver]]:
    """Open an API server that has so many ended runs and our own two objects, and a backend that always replies so."""
    async with ApiServer() as server, Receiver(iter(lambda: reply, None) if reply is not None else ()) as receiver:
        for content in (*own_objects("default"), *map(run, range(runs))):
            server.put(content)
        yield server, receiver


def free_address() -> str:
    """Find an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


async def has_all(one: Tracer, receiver: Receiver, runs: int) -> None:
    """Wait until a backend has all spans of so many runs."""
    await one.until(lambda: len(receiver.spans) == SPANS * runs)


@pytest.mark.row("P1")
def test_sigterm_while_spans_are_sent(tmp_path: Path, tally: Tally) -> None:
    """What is due is sent before it ends, each span once; it takes no longer than the grace period allows."""

    async def main() -> Receiver:
        async with both(reply=slowly(0.1)) as (server, receiver):
            async with tracer(tmp_path, server.url, receiver.url) as one:
                await one.until(lambda: len(receiver.requests) > 0)
                began_s = time.monotonic()
                await stopped(one)
                assert time.monotonic() - began_s < GRACE_S
            assert (one.lines[-1]["acknowledged"], one.lines[-1]["waiting"]) == (SPANS * RUNS, 0)
            return receiver

    tally(asyncio.run(main()), expected(RUNS))


@pytest.mark.row("P2", "P3", "P15")
def test_it_ends_again_and_again(tmp_path: Path, tally: Tally) -> None:
    """Killed, in the midst of what it sends, and started again under load, it tells the same again; asked to end, nothing."""

    async def lives(how: signal.Signals) -> tuple[Receiver, int]:
        folder, runs = tmp_path / how.name, 0
        folder.mkdir()
        async with both(0, slowly(0.1)) as (server, receiver):
            for _ in range(2):
                for number in range(runs, runs + MORE):
                    server.put(run(number))
                runs, requests = runs + MORE, len(receiver.requests) + 1
                async with tracer(folder, server.url, receiver.url, "--leader-enabled", "false") as one:
                    await one.until(lambda: len(receiver.requests) >= requests)  # noqa: B023 - waited for in this round
                    one.process.send_signal(how)
                    assert await one.ends() == (0 if how is signal.SIGTERM else -how)
            async with tracer(folder, server.url, receiver.url, "--leader-enabled", "false") as one:
                await one.says("synced", "")
                await has_all(one, receiver, runs)
                await stopped(one)
            return receiver, runs

    async def main() -> tuple[tuple[Receiver, int], tuple[Receiver, int]]:
        return await asyncio.gather(lives(signal.SIGKILL), lives(signal.SIGTERM))

    (killed, runs), (asked, as_many) = asyncio.run(main())
    tally(killed, expected(runs), repeats_at_most=2 * SPANS * runs)
    tally(asked, expected(as_many))


@pytest.mark.row("P11")
def test_a_loop_that_stands_still(tmp_path: Path, tally: Tally) -> None:
    """While it stands no probe is answered; then it goes on where it was, and says for how long it stood."""

    async def main() -> Receiver:
        address = free_address()
        async with both(1) as (server, receiver), tracer(tmp_path, server.url, receiver.url, "--listen", address) as one:
            await one.says("synced", "")
            one.process.send_signal(signal.SIGSTOP)
            for number in range(1, RUNS):
                server.put(run(number))
            asking = asyncio.ensure_future(ask(address, "/livez"))
            until_s = time.monotonic() + 1.6
            await one.until(lambda: time.monotonic() > until_s)
            assert not asking.done()
            one.process.send_signal(signal.SIGCONT)
            assert await asking == (200, "ok\n")
            await has_all(one, receiver, RUNS)
            _, metrics = await ask(address, "/metrics")
            await stopped(one)
        beats = dict(re.findall(r'^tracer_loop_stall_seconds_bucket\{le="([^"]+)"\} (\S+)$', metrics, re.MULTILINE))
        assert float(beats["+Inf"]) - float(beats["0.5"]) >= 1, beats
        return receiver

    tally(asyncio.run(main()), expected(RUNS))


# ---------------------------------------------------------------- limits


def used_s(one: Tracer) -> float:
    """Say how much of a processor it has used."""
    fields = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def waits_calmly(one: Tracer, sentence: str) -> None:
    """Wait until it says what is wrong; it then uses next to nothing while it waits, and goes on living."""
    await one.says("watch_failed", sentence)
    before_s, until_s = used_s(one), time.monotonic() + 1
    await one.until(lambda: time.monotonic() > until_s)
    assert used_s(one) - before_s < 0.3


@pytest.mark.row("P8", "P9", "P12")
def test_little_is_enough(tmp_path: Path, tally: Tally) -> None:
    """It may have 64 file descriptors and write not one byte to a file: a disk that is full, or none, costs no span."""

    async def main() -> Receiver:
        async with both() as (server, receiver):
            async with tracer(tmp_path, server.url, receiver.url, within="ulimit -n 64; ulimit -f 0") as one:
                await has_all(one, receiver, RUNS)
                await stopped(one)
            assert one.sentences("watch_failed") == []
            return receiver

    tally(asyncio.run(main()), expected(RUNS))


@pytest.mark.row("P12")
def test_too_few_files(tmp_path: Path, tally: Tally) -> None:
    """With ten file descriptors it says so and waits; when there are more all is told."""
    resource = pytest.importorskip("resource")

    async def main() -> Receiver:
        async with both() as (server, receiver):
            async with tracer(tmp_path, server.url, receiver.url, within="ulimit -Sn 10") as one:
                await waits_calmly(one, "cannot be reached: Too many open files.")
                resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, (64, 64))
                await has_all(one, receiver, RUNS)
                await stopped(one)
            return receiver

    tally(asyncio.run(main()), expected(RUNS))


@pytest.mark.row("P12")
def test_too_few_processes(tmp_path: Path, tally: Tally) -> None:
    """Names are looked up in threads: where no thread may begin it says so and waits, and when one may all is told."""

    async def main() -> Receiver:
        with group("pids") as held:
            held.limit("pids.max", "1")
            async with both() as (server, receiver):
                api, backend = (url.replace("127.0.0.1", "localhost") for url in (server.url, receiver.url))
                more = ("--otlp-compression", "gzip")
                async with tracer(tmp_path, api, backend, *more, within=held.taking) as one:
                    await waits_calmly(one, "cannot be reached: can't start new thread.")
                    held.limit("pids.max", "max")
                    await has_all(one, receiver, RUNS)
                    await stopped(one)
                return receiver

    tally(asyncio.run(main()), expected(RUNS))


@pytest.mark.row("P17")
def test_a_tenth_of_a_processor(tmp_path: Path, tally: Tally) -> None:
    """It is late, but not by much, its probe is answered, and it keeps the Lease."""
    within_s = 15.0

    async def main() -> Receiver:
        address = free_address()
        with group("cpu") as held:
            held.limit("cpu.cfs_quota_us", "10000")  # of 100,000
            async with both(1) as (server, receiver), tracer(tmp_path, server.url, receiver.url, "--listen", address) as one:
                await has_all(one, receiver, 1)
                held.take(one.process.pid)
                for number in range(1, FEW):
                    server.put(run(number))
                began_s = time.monotonic()
                assert await ask(address, "/livez") == (200, "ok\n")
                await has_all(one, receiver, FEW)
                assert time.monotonic() - began_s < within_s
                await stopped(one)
                assert What.LEADER_LOST not in {line["event"] for line in one.lines}
            return receiver

    tally(asyncio.run(main()), expected(FEW))


# ---------------------------------------------------------------- nobody there


@pytest.mark.row("P16")
def test_neither_is_there_at_the_start(tmp_path: Path, tally: Tally) -> None:
    """It waits, alive and not ready, and is not started again; when both have come it is ready, and all is told."""

    async def main() -> Receiver:
        address = free_address()
        async with both() as (server, receiver):
            port = receiver.port = int(receiver.url.rsplit(":", 1)[1].partition("/")[0])
            await receiver.__aexit__(None, None, None)
            await server.__aexit__(None, None, None)
            async with tracer(tmp_path, server.url, f"http://127.0.0.1:{port}/v1/traces", "--listen", address) as one:
                await one.says("watch_failed", "cannot be reached: Connection refused.")
                assert [(await ask(address, path))[0] for path in ("/livez", "/readyz")] == [200, 503]
                await server.__aenter__()
                await one.says("backend_failed", "cannot be reached: Connection refused.")
                assert [(await ask(address, path))[0] for path in ("/livez", "/readyz")] == [200, 200]
                await receiver.__aenter__()
                await has_all(one, receiver, RUNS)
                await stopped(one)
            return receiver

    tally(asyncio.run(main()), expected(RUNS))
