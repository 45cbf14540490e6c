"""What is there to show of a run: which rows, where the time went, and why it ended as it did?

Keeps: what is drawn of a finished run are the spans that are sent; what goes on is added from the newest readings.
Must not know: the terminal, colours, widths, the present time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tracer.delivery.ledger import Unended
from tracer.explain.causes import Cause, Leg, critical_path, find_causes
from tracer.explain.rows import Row, attribute_text, draw_row, is_top
from tracer.explain.unfinished import draw_open_row
from tracer.tekton.times import SECOND_NS
from tracer.telemetry import attributes as keys
from tracer.telemetry.ids import trace_id
from tracer.telemetry.records import SpanRecord


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A run as a picture."""

    root: Row
    trace_id: str
    uid: str
    kind: str
    run_name: str
    namespace: str
    start_ns: int
    end_ns: int
    """Of a run that goes on, as far as is known."""
    is_until_now: bool
    """Whether it goes on now, at end_ns; otherwise that is when it was last heard of."""
    causes: tuple[Cause, ...]
    critical_path: tuple[Leg, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the run was told to its end."""
        return self.root.end_ns is not None


def waterfalls(
    spans: Iterable[SpanRecord], unended: Iterable[Unended] = (), until_ns: int = 0, *, is_now: bool = False
) -> list[Waterfall]:
    """Draw every top run of which something is known, the oldest first.

    unended: the runs that go on. until_ns: when the last of the facts arrived, 0 if that is not known. is_now: whether that is
    the present.
    """
    told = list(spans)
    by_parent: dict[bytes, list[SpanRecord]] = {}
    for span in told:
        if not is_top(span):
            by_parent.setdefault(span.parent_span_id, []).append(span)
    pictures = [_finished(span, by_parent) for span in told if is_top(span)]
    pictures += [_going_on(one, by_parent, until_ns, is_now=is_now) for one in unended]
    return sorted(pictures, key=lambda one: (one.start_ns, one.uid))


def _finished(span: SpanRecord, by_parent: Mapping[bytes, Sequence[SpanRecord]]) -> Waterfall:
    root = draw_row(span, by_parent)
    resource = dict(span.resource)
    return Waterfall(
        root=root,
        trace_id=span.trace_id.hex(),
        uid=span.slot.owner_uid,
        kind=attribute_text(span, keys.RUN_KIND),
        run_name=attribute_text(span, keys.RUN_NAME),
        namespace=str(resource.get(keys.NAMESPACE_NAME, "")),
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        is_until_now=False,
        causes=tuple(find_causes(root)),
        critical_path=critical_path(root, span.end_ns),
    )


def _going_on(one: Unended, by_parent: Mapping[bytes, Sequence[SpanRecord]], until_ns: int, *, is_now: bool) -> Waterfall:
    root = draw_open_row(one, by_parent, is_top=True)
    latest = [until_ns, one.value.metadata.created_ns]
    latest += [instant for row in root.walk() for instant in (row.start_ns, row.end_ns) if instant is not None]
    meta = one.value.metadata
    known = one.place.trace_id.hex() if one.place is not None and one.place.trace_id else trace_id(meta.uid).hex()
    return Waterfall(
        root=root,
        trace_id=known,
        uid=meta.uid,
        kind=type(one.value).__name__,
        run_name=meta.name,
        namespace=meta.namespace,
        start_ns=meta.created_ns,
        end_ns=max(latest) if until_ns else max(latest) + SECOND_NS,
        is_until_now=is_now,
        causes=(),
        critical_path=(),
    )
