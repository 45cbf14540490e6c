"""What does the cluster say? The API server of `tracer.demo` in a process of its own, with lines that were written before.

`tell FILE KIND,KIND` tells a history to the first who watches those kinds, `steady TIMES` so many times the constant set, and
`hold FILE COUNT` holds finished TaskRuns for any number of clients. It prints its address, serves until its standard input ends,
and prints then when it began to tell.

Keeps: one HTTP chunk an event, as an API server writes it; no stream gets far ahead of the others; no line is written twice over.
"""

import asyncio
import gc
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.history import finished_task_runs, read, steady
from tracer.demo.apiserver import ApiServer, Chunks
from tracer.tekton.names import Kind

_AT_ONCE = 64  # lines of all kinds, before the slowest stream must have taken them


@dataclass(frozen=True, slots=True)
class Told:
    """What was told."""

    began_s: float
    """When the first line was, on the monotonic clock, which all processes share."""


Part = dict[Kind, Chunks]
"""What comes next, by kind: a few lines each."""


def in_parts(lines: Sequence[tuple[Kind, bytes]]) -> list[Part]:
    """Put lines into chunks before any clock runs."""
    parts = [lines[start : start + _AT_ONCE] for start in range(0, len(lines), _AT_ONCE)]
    return [{kind: Chunks.of(line for of_kind, line in part if of_kind is kind) for kind, _ in part} for part in parts]


async def tell(parts: Iterable[Part], kinds: list[Kind]) -> Told:
    """Tell what happens, once all of some kinds are watched."""
    async with ApiServer(bookmark_every_s=math.inf) as server:
        print(server.url, flush=True)
        end = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        await server.until(lambda: all(server.watching(kind) for kind in kinds))
        await server.drained()
        told = Told(time.monotonic())
        for part in parts:
            for kind, chunks in part.items():
                server.send(kind, chunks)
            await server.drained()
        await end
    return told


async def hold(path: Path, count: int) -> Told:
    """Hold finished TaskRuns."""
    async with ApiServer(bookmark_every_s=math.inf) as server:
        for content in finished_task_runs(read(path).lines, count):
            server.put(content)
        gc.freeze()
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    return Told(0.0)


def main() -> None:
    """Serve, then report."""
    match sys.argv[1:]:
        case "tell", path, kinds:
            watched = [Kind(kind) for kind in kinds.split(",")]
            parts = in_parts([(kind, line) for kind, line in read(Path(path)).lines if kind in watched])
            gc.freeze()
            told = asyncio.run(tell(parts, watched))
        case "steady", times:
            told = asyncio.run(tell(in_parts(steady()) * int(times), [Kind.TASK_RUN, Kind.POD]))
        case "hold", path, count:
            told = asyncio.run(hold(Path(path), int(count)))
        case _:
            sys.exit(__doc__)
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
