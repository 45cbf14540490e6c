"""What did a fault cost? Compares the spans that should have been told with those that a backend got.

Keeps: a span is lost if its id is not there, repeated if it was taken again, and in conflict if anything that was expected or
ever sent, taken or not, has another content under the same id.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.kit import Json, replay
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver
from tracer.demo.store import to_json
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.telemetry import otlp

Spans = Mapping[bytes, bytes]
"""By span id: its content, with resource and scope."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fault cost, in spans."""

    lost: int = 0
    repeated: int = 0
    in_conflict: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Add up."""
        return Cost(self.lost + other.lost, self.repeated + other.repeated, self.in_conflict + other.in_conflict)

    def __str__(self) -> str:
        """Say it."""
        return f"lost {self.lost}, repeated {self.repeated}, in conflict {self.in_conflict}"


class Tally:
    """Says what a fault cost, and is content only if that is what it may cost."""

    def __init__(self, note: Callable[[Cost], None]) -> None:
        """Note each account in the report of the test."""
        self._note = note

    def __call__(
        self, receiver: Receiver, expected: Spans, *, lost: int = 0, repeats_at_most: int = 0, in_conflict: int = 0
    ) -> Cost:
        """Check a backend's account, and note it: exactly so many lost and in conflict, at most so many repeats, nothing foreign.

        A receiver that was never opened does as well, once it was given what was sent elsewhere (`Receiver.take`).
        """
        cost = cost_of(receiver, expected)
        self._note(cost)
        foreign = [key.hex() for key in receiver.spans.keys() - expected.keys()]
        assert (cost.lost, cost.in_conflict, foreign) == (lost, in_conflict, [])
        assert cost.repeated <= repeats_at_most
        return cost


def cost_of(receiver: Receiver, expected: Spans) -> Cost:
    """Count what is lost, repeated and in conflict."""
    contents = {key: {content} for key, content in expected.items()}
    for key, taken in receiver.spans.items():
        contents.setdefault(key, set()).update(taken)
    for _, body in receiver.requests:
        for key, content in otlp.read_spans(body):
            contents.setdefault(key, set()).add(content)
    return Cost(
        len(expected.keys() - receiver.spans.keys()),
        sum(times - 1 for times in receiver.times_taken.values()),
        sum(len(of) > 1 for of in contents.values()),
    )


def due(*contents: Json, gone: Iterable[Json] = (), cluster: str = CLUSTER_NAMESPACE) -> dict[bytes, bytes]:
    """Give what objects come to in the end, by span id, on the cluster that the server on loopback says it is.

    Those that are gone were deleted in the end. Where only some namespaces may be read nobody knows the cluster (it is empty).
    """
    said = ApiServer().store.get(Kind.NAMESPACE, f"/{cluster}")
    lines = [("ADDED", said.whole)] if said is not None else []
    lines += [("ADDED", to_json(content)) for content in contents]
    lines += [("DELETED", to_json(content)) for content in gone]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "watch.jsonl"
        path.write_bytes(b"".join(b'{"at":0,"type":"%b","object":%b}\n' % (kind.encode(), whole) for kind, whole in lines))
        return dict(otlp.read_spans(otlp.encode(replay(path))))
