"""What was told of a history? The sink of `sink`, with a history to compare with, unless it is `.`: `FILE`.

It prints its address, serves until its standard input ends, and then prints what it took, as one JSON line.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.check import Span, compare, read_protobuf
from benchmarks.history import read
from benchmarks.peers import STEP
from benchmarks.sink import Outage, serve


@dataclass(frozen=True, slots=True)
class Account:
    """What a backend has."""

    spans: int
    """Different ones."""
    repeats: int
    steps: int
    """How many of them a peer told of steps."""
    wrong: dict[str, int]
    """What does not agree with the maker's truth, if all of them are tracer's."""


def main() -> None:
    """Serve, then report."""
    sink = asyncio.run(serve(Outage()))
    spans: list[Span] = [span for body in sink.bodies for span in read_protobuf(body)]
    different = {span.span_id: span for span in spans}
    path = Path(sys.argv[1])
    verdict = compare(read(path).truth if path.is_file() else {}, different.values())
    steps = sum(STEP in span.attributes for span in different.values())
    account = Account(len(different), len(spans) - len(different), steps, dict(verdict.wrong))
    sys.stdout.buffer.write(msgspec.json.encode(account))


if __name__ == "__main__":
    main()
