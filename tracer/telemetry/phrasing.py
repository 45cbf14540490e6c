"""How is one span put together, of whatever kind?

Keeps: attributes are sorted and bounded, an event lies within its span, a description stands only on an error.
Source: span-model 8.6, 9 and 11.
"""

from collections.abc import Iterable

from tracer.lifecycle.interval import Interval
from tracer.lifecycle.judgement import Judgement
from tracer.tekton.times import SECOND_NS, rfc3339
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import TraceContext, span_id
from tracer.telemetry.places import Place
from tracer.telemetry.records import (
    Attributes,
    AttributeValue,
    Slot,
    SpanEvent,
    SpanKind,
    SpanLink,
    SpanRecord,
    attributes,
    cut,
    first_line,
)

Values = dict[str, AttributeValue | None]


def within(at_ns: int, interval: Interval) -> int:
    """Move an instant to the nearer edge of an interval, if it lies outside."""
    return min(max(at_ns, interval.start_ns), interval.end_ns)


def adjusted(interval: Interval) -> Values:
    """Say which ends were moved."""
    parts = [name for name, was in (("start", interval.start_raised), ("end", interval.end_raised)) if was]
    return {keys.TIME_ADJUSTED: ",".join(parts)}


def raised(interval: Interval, completion_ns: int) -> Values:
    """Say what the completion was, if the end was raised well above it."""
    return {keys.COMPLETION_TIME: rfc3339(completion_ns) if interval.end_ns - completion_ns >= SECOND_NS else None}


def link_to(context: TraceContext, relation: str) -> SpanLink:
    """Link to a span of somebody else's."""
    return SpanLink(context.trace_id, context.span_id, context.trace_state, attributes({keys.LINK: relation}))


def make_span(
    place: Place,
    slot: Slot,
    rest: Iterable[str],
    name: str,
    interval: Interval,
    values: Values,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    resource: Attributes | None = None,
    judgement: Judgement | None = None,
    description: str = "",
    events: tuple[SpanEvent, ...] = (),
    links: tuple[SpanLink, ...] = (),
) -> SpanRecord:
    """Put a span together at its place. rest: what tells it apart, beside its kind and its owner, in its id."""
    is_error = judgement is not None and judgement.is_error
    return SpanRecord(
        slot=slot,
        trace_id=place.trace_id,
        span_id=span_id(slot.kind, slot.owner_uid, *rest),
        parent_span_id=place.parent_span_id,
        has_remote_parent=place.has_remote_parent,
        trace_state=place.trace_state,
        name=cut(name),
        kind=kind,
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        attributes=attributes(values),
        resource=place.resource if resource is None else resource,
        events=events,
        links=links,
        is_error=is_error,
        description=first_line(description) if is_error else "",
    )
