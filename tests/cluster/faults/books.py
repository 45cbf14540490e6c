"""Is everything there, and nothing twice? What the backend took of a namespace, held against what was seen of it.

What was seen are two things: all that `record` wrote while it happened, and what the API server still lists in the end.
Source: span-model 2.3; operations 2.1.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.cluster import otlp
from tests.cluster.tee import Request
from tests.kit import replay
from tracer.telemetry import ids
from tracer.telemetry.otlp import export_request
from tracer.telemetry.records import SpanRecord

LEVEL = {"run", "task", "retry", "step", "queue", "skipped"}
"""What follows from the objects at any later time, and must never be lost."""
_RAISED = {"run", "task", "retry"}
"""What ends no earlier than its children, and is another one if a Pod's word is missing."""
_PHASE = "tekton.phase"


@dataclass(frozen=True, slots=True)
class Books:
    """What came of a fault."""

    spans: int
    """How many the backend took, each counted once."""
    lost: list[str]
    """Level spans that are not there."""
    in_conflict: list[str]
    """Ids that were sent with two contents, or with another than `replay` gives."""
    repeated: int
    """How often the backend took what it had."""
    without_pod: list[str]
    """The Pods of attempts that were told without its last word, since it was deleted while nobody watched."""
    in_doubt: list[str] = field(default_factory=list)
    """Spans of such attempts, or above them, that were told both ways under one id: what span-model 2.3 leaves."""
    unknown: list[str] = field(default_factory=list)
    """What was sent and nothing calls for."""

    def __str__(self) -> str:
        """Say it in a line."""
        said = f"spans {self.spans}, lost {len(self.lost)}, in conflict {len(self.in_conflict)}, repeated {self.repeated}"
        doubt = f" ({len(self.in_doubt)} spans of theirs told both ways)" if self.in_doubt else ""
        return f"{said}, attempts told without their Pod: {', '.join(self.without_pod) or 'none'}{doubt}"

    def check(self, *, sees_all: bool) -> None:
        """Raise AssertionError with whatever is lost or told in two ways, or without its Pod if that was seen to its end."""
        assert not (sees_all and self.without_pod)
        assert (self.lost, self.in_conflict, self.unknown) == ([], [], [])
        assert self.spans, "nothing was told at all"


def spans_of(requests: Iterable[Request], namespace: str) -> list[ResourceSpans]:
    """Give every span of a namespace, as often as it was sent."""
    alone = otlp.one_by_one(request.spans for request in requests)
    return [one for one in alone if otlp.value_of(one.resource.attributes, "k8s.namespace.name") == namespace]


def accepted(requests: Iterable[Request]) -> list[Request]:
    """Give those that the backend took."""
    return [one for one in requests if one.status == 200]


def cut_out(recording: Path, namespace: str, to: Path) -> Path:
    """Write the part of a recording that is about a namespace, and about the cluster."""
    with recording.open() as lines, to.open("w") as out:
        for line in lines:
            seen = json.loads(line)["object"]
            if seen["kind"] == "Namespace" or seen["metadata"].get("namespace") == namespace:
                out.write(line)
    return to


def balance(requests: list[Request], recording: Path, listed: Path, namespace: str) -> Books:
    """Hold what was sent and taken against what replay makes of what was recorded, and of what is listed in the end."""
    sent = defaultdict(set)
    for one in spans_of(requests, namespace):
        sent[otlp.span_of(one).span_id].add(one.SerializeToString(deterministic=True))
    taken = Counter(otlp.span_of(one).span_id for one in spans_of(accepted(requests), namespace))
    late = [one for one in replay(listed) if one.slot.kind in LEVEL]
    recorded = replay(recording)
    wanted = {one.span_id: one for one in recorded}
    patient = {one.span_id: one for one in replay(_without_waits(recording))}
    podless = {_without_pod(one): one for one in recorded if one.slot.pod_uid}
    slots_taken = {
        one.slot.without_pod_uid
        for known in (podless, {one.span_id: one for one in late}, wanted)
        for span_id, one in known.items()
        if span_id in taken
    }
    level = {one.slot.without_pod_uid: one for one in [*late, *recorded] if one.slot.kind in LEVEL}
    twofold = {span_id for span_id, told in sent.items() if len(told) > 1}
    allowed = {span_id: {_content(one), _content(patient.get(span_id, one))} for span_id, one in wanted.items()}
    otherwise = {span_id for span_id, contents in allowed.items() if sent[span_id] - contents} | twofold
    deleted = _deleted_pods(recording)
    of_pods = {span_id: one for span_id, one in [*wanted.items(), *podless.items()] if one.slot.pod_uid in deleted}
    missed = [one for span_id, one in of_pods.items() if span_id in podless.keys() & taken.keys() or span_id in otherwise]
    uids, traces = {one.slot.pod_uid for one in missed}, {one.trace_id for one in missed}
    excused = {
        span_id
        for span_id, one in wanted.items()
        if one.slot.pod_uid in uids or (one.trace_id in traces and one.slot.kind in _RAISED)
    }
    known = wanted.keys() | podless.keys() | {one.span_id for one in late}
    return Books(
        spans=len(taken),
        lost=[_named(one) for slot, one in level.items() if slot not in slots_taken],
        in_conflict=[_named(wanted.get(one), one) for one in otherwise - excused],
        repeated=taken.total() - len(taken),
        without_pod=sorted({one.slot.pod_name for one in missed}),
        in_doubt=[_named(wanted[one]) for one in twofold & excused],
        unknown=[span_id.hex() for span_id in sent.keys() - known if not all(map(_is_phase, sent[span_id]))],
    )


def _without_waits(recording: Path) -> Path:
    """Write a recording in which no time passes, as it is for a controller that knows that it is blind.

    In the recording itself it does: while the API server is away for longer than a Pod is waited for, replay gives the Pod up.
    """
    events = map(json.loads, recording.read_text().splitlines())
    patient = recording.with_suffix(".patient.jsonl")
    patient.write_text("".join(f"{json.dumps({**one, 'at': number / 1e6})}\n" for number, one in enumerate(events)))
    return patient


def _deleted_pods(recording: Path) -> set[str]:
    """Find the UIDs of the Pods that were deleted while it was recorded."""
    events = map(json.loads, recording.read_text().splitlines())
    return {one["object"]["metadata"]["uid"] for one in events if (one["type"], one["object"]["kind"]) == ("DELETED", "Pod")}


def _without_pod(record: SpanRecord) -> bytes:
    """Derive the id of a span as it is told by somebody who never saw its Pod."""
    return ids.span_id(record.slot.kind, record.slot.owner_uid, f"name:{record.slot.pod_name}", record.slot.name)


def _content(record: SpanRecord) -> bytes:
    (one,) = otlp.one_by_one([export_request([record])])
    return one.SerializeToString(deterministic=True)


def _is_phase(content: bytes) -> bool:
    return otlp.value_of(otlp.span_of(ResourceSpans.FromString(content)).attributes, _PHASE) is not None


def _named(record: SpanRecord | None, span_id: bytes = b"") -> str:
    if record is None:
        return span_id.hex()
    return f"{record.slot.kind} {record.name!r} {record.span_id.hex()} of trace {record.trace_id.hex()}"
