"""How fast do lines become values? One decoder a process: `NAME FILE`, the result as one JSON line.

Imports, reading the file and one pass to warm up lie outside the clock.
"""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import msgspec

from tracer.kube.recording import decode_watch_event
from tracer.tekton.decode import decode
from tracer.telemetry.places import DEFAULT_SETTINGS

LINES = 4_000
OURS, JSON, KUBERNETES = "tracer", "json.loads", "kubernetes"
_AT_LEAST_S = 1.0

Decoder = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Rate:
    """How much was decoded in which time."""

    events: int
    size_bytes: int
    seconds: float


def _ours() -> Decoder:
    schema = DEFAULT_SETTINGS.schema

    def decode_line(line: bytes) -> object:
        event = decode_watch_event(line)
        return event if isinstance(event, str) else decode(event.object, schema)

    return decode_line


def _json() -> Decoder:
    return json.loads


def _kubernetes() -> Decoder:
    """Decode as the client's own `Watch` does: a Pod as its model, a custom object as a dict."""
    watch = importlib.import_module("kubernetes.watch").Watch()
    return lambda line: watch.unmarshal_event(line, "V1Pod" if b'"kind":"Pod","apiVersion":"v1","metadata"' in line else "object")


DECODERS: dict[str, Callable[[], Decoder]] = {OURS: _ours, JSON: _json, KUBERNETES: _kubernetes}


def measure(decoder: Decoder, lines: Sequence[bytes]) -> Rate:
    """Decode the lines over and over, for a second at least; each value is dropped at once."""
    for line in lines:
        decoder(line)
    passes, begun = 0, perf_counter()
    while (passed := perf_counter() - begun) < _AT_LEAST_S:
        for line in lines:
            decoder(line)
        passes += 1
    return Rate(passes * len(lines), passes * sum(map(len, lines)), passed)


def sample(path: Path) -> list[bytes]:
    """Take lines from the middle of a recording, where runs of every age go on at once."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        file.readline()
        return list(islice(file, LINES))


def main() -> None:
    """Measure one decoder."""
    rate = measure(DECODERS[sys.argv[1]](), sample(Path(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(rate))


if __name__ == "__main__":
    main()
