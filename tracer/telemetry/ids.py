"""Which ids do traces and spans have, and which context does a text carry?

Keeps: an id depends on UIDs and names alone, so every replica, every restart and a step itself derive the same one.
Source: span-model 2; W3C Trace Context, version 00.
"""

import hashlib
import re
from dataclasses import dataclass

from tracer.tekton.meta import SpanContext

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1
_TRACE_STATE_LIMIT = 1_024  # W3C asks for 512 characters at least; what is longer than this is no state but a payload
_NO_TRACE_ID, _NO_SPAN_ID = bytes(16), bytes(8)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of somebody else's, as a text named it."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool
    trace_state: str


def trace_id(top_run_uid: str) -> bytes:
    """Derive the 16 bytes of a trace's id from the UID of its top run."""
    return _digest("trace", top_run_uid)[:16]


def span_id(kind: str, owner_uid: str, *rest: str) -> bytes:
    """Derive the 8 bytes of a span's id from its kind, the UID of the object it belongs to, and what tells it apart there."""
    digest = _digest(kind, owner_uid, *rest)
    return digest[:8] if digest[:8] != _NO_SPAN_ID else digest[8:16]


def parse_context(said: SpanContext | None) -> TraceContext | None:
    """Read a trace context; None unless it is a W3C traceparent of version 00 with ids that are not zero."""
    found = _TRACEPARENT.fullmatch(said.traceparent) if said is not None else None
    if said is None or found is None:
        return None
    trace, span = bytes.fromhex(found[1]), bytes.fromhex(found[2])
    if trace == _NO_TRACE_ID or span == _NO_SPAN_ID:
        return None
    state = said.tracestate if len(said.tracestate) <= _TRACE_STATE_LIMIT and said.tracestate.isascii() else ""
    return TraceContext(trace, span, bool(int(found[3], 16) & _SAMPLED), state)


def _digest(*parts: str) -> bytes:
    text = "\0".join(("tracer/v1", *parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
