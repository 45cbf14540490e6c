"""Which spans are delivered? The first that a recording comes to, as they become due: `FILE LOAD SPANS [LOAD SPANS]...`.

Keeps: every entrant is given the same spans, made before any clock runs.
"""

import sys
from pathlib import Path

import msgspec

from tracer.delivery.ledger import Due
from tracer.replay import Replay
from tracer.telemetry.records import SpanRecord

Load = list[tuple[Due, list[SpanRecord]]]
"""What is due, object by object; an object may come more than once, each time with other spans."""


def collect(recording: Path, most_spans: int) -> Load:
    """Replay a recording until it has come to so many spans, or to its end."""
    load: Load = []
    left = most_spans
    for _, due, spans in Replay().batches(recording):
        load.append((due, spans))
        left -= len(spans)
        if left <= 0:
            break
    return first(load, most_spans)


def first(load: Load, most_spans: int) -> Load:
    """Keep the first so many spans."""
    kept: Load = []
    for due, spans in load:
        part = spans[:most_spans]
        if part:
            kept.append((due._replace(spans=len(part)), part))
        most_spans -= len(part)
    return kept


def read(path: Path, most_spans: int) -> Load:
    """Read the first so many spans of what `main` has written."""
    return first(msgspec.msgpack.decode(path.read_bytes(), type=Load), most_spans)


def count(load: Load) -> int:
    """Count the spans."""
    return sum(due.spans for due, _ in load)


def main() -> None:
    """Write loads, each from the same beginning; print of how many spans the largest is."""
    wanted = {Path(path): int(spans) for path, spans in zip(sys.argv[2::2], sys.argv[3::2], strict=True)}
    load = collect(Path(sys.argv[1]), max(wanted.values()))
    for path, spans in wanted.items():
        path.write_bytes(msgspec.msgpack.encode(first(load, spans)))
    print(count(load))


if __name__ == "__main__":
    main()
