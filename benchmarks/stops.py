"""What is left of a load if the program that sends it is stopped? Tracer as a process, and a program that uses the SDK.

`objects RECORDING FOLDER` writes what an API server holds in the end, and what it comes to; `NAME FOLDER SPANS STOP` stops an
entrant, and prints the outcome as one JSON line. Tracer is started again after each stop, and at last left alone; the spans of a
program that uses the SDK are gone with it. The last start lives until the sink has everything and what was listed has come to
rest, so that all it would send again is sent.

Keeps: a stop is at a point that is the same for all, by what its sink was asked.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import msgspec

from benchmarks.load import collect, count, read
from benchmarks.memory import max_rss_mib_of
from benchmarks.senders import OURS
from benchmarks.sink import Outage, Outcome, Sink, judge, opened
from tracer.delivery.ledger import AT_REST_NS
from tracer.demo.apiserver import ApiServer, recorded
from tracer.demo.store import Json
from tracer.kube.recording import OBJECTS_FILE
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.tekton.times import SECOND_NS
from tracer.telemetry import otlp

LOAD_FILE = "load.msgpack"
_POLL_S = 0.01
_PATIENCE_S = 60.0
_SYNCED = b'"synced"'
_REST_S = AT_REST_NS / SECOND_NS + 1
"""After which what was listed is due."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How a program is stopped."""

    signal: int
    grace_s: float
    """After so long it is killed, if it has not ended."""
    points: tuple[int, ...]
    """When: once so many of its requests were acknowledged, and another one has come. Tracer is started again after each."""
    outage: Outage


class Program:
    """A process, and the most memory that it was seen to have."""

    def __init__(self, process: asyncio.subprocess.Process, sink: Sink) -> None:
        """Take it."""
        self.process, self.max_rss_mib = process, 0.0
        self._sink, self._requests, self._acknowledged = sink, sink.requests, len(sink.bodies)

    def is_at(self, point: int) -> bool:
        """Say whether it has come to a point since its start."""
        acknowledged = len(self._sink.bodies) - self._acknowledged
        return acknowledged >= point and self._sink.requests - self._requests > acknowledged

    async def until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is so, or the program has ended; say whether it is."""
        until_s = time.monotonic() + within_s
        while not is_so() and self.process.returncode is None and time.monotonic() < until_s:
            self.max_rss_mib = max(self.max_rss_mib, max_rss_mib_of(self.process.pid))
            await asyncio.sleep(_POLL_S)  # another process: there is nothing to wait on
        return is_so()

    async def stop(self, how: Stop) -> int:
        """Stop it; give its exit code, negative if a signal ended it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(how.signal)
        if not await self.until(lambda: self.process.returncode is not None, how.grace_s):
            self.process.kill()
        return await self.process.wait()


@asynccontextmanager
async def started(sink: Sink, log: Path, *arguments: str) -> AsyncIterator[Program]:
    """Start a module; whatever happens, it ends with the context."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    try:
        yield Program(process, sink)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def stop_ours(folder: Path, spans: int, how: Stop) -> tuple[Sink, float, str]:
    """Stop tracer at each point, start it again, and leave it alone until its sink has everything."""
    max_mib, codes = 0.0, list[int]()
    own = Path(mkdtemp(dir=folder))
    kubeconfig, log = own / "kubeconfig", own / "log"
    async with ApiServer() as server, opened(how.outage) as sink:
        for content in json.loads((folder / OBJECTS_FILE).read_text())["items"]:
            server.put(content)
        kubeconfig.write_text(json.dumps(_kubeconfig(server.url)))
        endpoint = ("--otlp-endpoint", sink.receiver.url)
        arguments = ("tracer", "run", "--kubeconfig", str(kubeconfig), *endpoint, "--listen", "127.0.0.1:0")
        has_all = _has_all(sink, spans)

        def is_over() -> bool:
            return has_all() and _SYNCED in log.read_bytes()

        for point in (*how.points, None):
            async with started(sink, log, *arguments) as one:
                if point is None:
                    await one.until(is_over, _PATIENCE_S)
                    await one.until(lambda: False, _REST_S)
                    await one.stop(Stop(signal.SIGTERM, _PATIENCE_S, (), how.outage))
                else:
                    await one.until(lambda one=one, point=point: one.is_at(point) or is_over(), _PATIENCE_S)  # type: ignore[misc]
                    codes.append(await one.stop(how))
            max_mib = max(max_mib, one.max_rss_mib)
    return sink, max_mib, f"stopped {len(codes)} times, exit codes {', '.join(map(str, codes))}"


async def stop_sdk(name: str, folder: Path, spans: int, how: Stop) -> tuple[Sink, float, str]:
    """Stop a program that uses the SDK at the first point."""
    async with opened(how.outage) as sink:
        arguments = (name, str(folder / LOAD_FILE), str(spans), sink.receiver.url)
        async with started(sink, Path(os.devnull), "benchmarks.senders", *arguments) as one:
            assert one.process.stdout is not None  # noqa: S101 - for the types
            await one.process.stdout.readline()  # all is offered
            await one.until(lambda: one.is_at(how.points[0]), _PATIENCE_S)
            code = await one.stop(how)
    return sink, one.max_rss_mib, f"exit code {code}"


def _has_all(sink: Sink, spans: int) -> Callable[[], bool]:
    """Make the question whether a sink has so many different spans."""
    seen: set[bytes] = set()
    read_bodies = 0

    def has_all() -> bool:
        nonlocal read_bodies
        while read_bodies < len(sink.bodies):
            seen.update(span_id for span_id, _ in otlp.read_spans(sink.bodies[read_bodies]))
            read_bodies += 1
        return len(seen) >= spans

    return has_all


def _kubeconfig(url: str) -> Json:
    named = {
        "clusters": [{"name": "it", "cluster": {"server": url}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    return {"apiVersion": "v1", "kind": "Config", "current-context": "it", **named}


def write_objects(recording: Path, folder: Path) -> int:
    """Write the last readings of what a recording does not see deleted, and what they come to; give the number of spans."""
    last: dict[str, Json] = {}
    for _, is_gone, content in recorded(recording):
        uid = content["metadata"]["uid"]
        last[uid] = content
        if is_gone:
            del last[uid]
    cluster = ApiServer().store.get(Kind.NAMESPACE, f"/{CLUSTER_NAMESPACE}")
    items = [json.loads(cluster.whole)] if cluster is not None else []
    path = folder / OBJECTS_FILE
    path.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": [*items, *last.values()]}))
    load = collect(path, sys.maxsize)
    (folder / LOAD_FILE).write_bytes(msgspec.msgpack.encode(load))
    return count(load)


def main() -> None:
    """Prepare, or measure one entrant."""
    match sys.argv[1:]:
        case "objects", recording, folder:
            print(write_objects(Path(recording), Path(folder)))
            return
        case name, path, spans, stop:
            held, how, offered = Path(path), msgspec.json.decode(stop, type=Stop), int(spans)
        case _:
            sys.exit(__doc__)
    stopping = stop_ours(held, offered, how) if name == OURS else stop_sdk(name, held, offered, how)
    sink, max_mib, said = asyncio.run(stopping)
    taken = judge(sink, read(held / LOAD_FILE, offered))
    sys.stdout.buffer.write(msgspec.json.encode(Outcome(offered, taken, None, None, max_mib, said)))


if __name__ == "__main__":
    main()
