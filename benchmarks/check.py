"""Was everything told that the maker meant, once, and rightly? A measurement of anything else is void."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracer.telemetry import attributes as keys

_MILLISECOND_NS = 1_000_000


class _Value(msgspec.Struct, rename="camel"):
    string_value: str = ""


class _Attribute(msgspec.Struct):
    key: str
    value: _Value


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at of a span; attributes that are no text are empty."""

    span_id: str
    start_ns: int
    attributes: dict[str, str]
    resource: dict[str, str]


class _Span(msgspec.Struct, rename="camel"):
    span_id: str
    start_time_unix_nano: str
    attributes: list[_Attribute] = []


class _Scope(msgspec.Struct):
    spans: list[_Span]


class _Resource(msgspec.Struct):
    attributes: list[_Attribute]


class _Group(msgspec.Struct, rename="camel"):
    resource: _Resource
    scope_spans: list[_Scope]


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_Group]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many spans were told, and what is wrong with them."""

    spans: int
    wrong: Counter[str]


def compare(truth: dict[str, str], spans: Iterable[Span]) -> Verdict:
    """Compare spans with the maker's truth."""
    seen: set[str] = set()
    told: dict[str, str] = {}
    wrong: Counter[str] = Counter()
    count = 0
    for span in spans:
        count += 1
        said = span.attributes
        wrong["span id twice"] += span.span_id in seen
        seen.add(span.span_id)
        if keys.PHASE in said:
            continue
        own_id, result = _own(said, span.resource)
        if said.get(keys.TIME_START_SOURCE) == "termination_message":
            result += f" {span.start_ns // _MILLISECOND_NS}"
        wrong["told twice"] += own_id in told
        told[own_id] = result
    for own_id, result in truth.items():
        if own_id not in told:
            wrong[f"not told: {result.split()[0]}"] += 1
        elif told[own_id] != result:
            (meant, *_), (said_instead, *_) = result.split(), told[own_id].split()
            wrong["began at another time" if meant == said_instead else f"meant {meant}, told {said_instead}"] += 1
    wrong["told, but never meant"] += len(told.keys() - truth.keys())
    return Verdict(count, +wrong)


def _own(said: dict[str, str], of_resource: dict[str, str]) -> tuple[str, str]:
    """Give a span's own id and its result; a run has them under other keys than a task or a step."""
    if keys.TASK_RUN_ID in said:
        return said[keys.TASK_RUN_ID], said.get(keys.TASK_RUN_RESULT, "")
    return of_resource.get(keys.PIPELINE_RUN_ID, ""), said.get(keys.PIPELINE_RESULT, "")


def read_json(path: Path) -> Iterator[Span]:
    """Read what `tracer replay -o otlp` printed."""
    for group in msgspec.json.decode(path.read_bytes(), type=_Request).resource_spans:
        of_resource = _texts(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(span.span_id, int(span.start_time_unix_nano), _texts(span.attributes), of_resource)


def read_protobuf(body: bytes) -> Iterator[Span]:
    """Read what a backend was sent."""
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        of_resource = {one.key: one.value.string_value for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                said = {one.key: one.value.string_value for one in span.attributes}
                yield Span(span.span_id.hex(), span.start_time_unix_nano, said, of_resource)


def _texts(attributes: list[_Attribute]) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}
