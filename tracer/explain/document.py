"""How is a run said as JSON, for programs that draw or count?"""

from typing import Any

from tracer.explain.rows import Row
from tracer.explain.waterfall import Waterfall
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.records import SpanRecord


def document(picture: Waterfall) -> dict[str, Any]:
    """Turn a picture into plain values: times in Unix nanoseconds, durations in seconds, ids in hex."""
    return {
        "kind": picture.kind,
        "namespace": picture.namespace,
        "name": picture.run_name,
        "uid": picture.uid,
        "traceId": picture.trace_id,
        "finished": picture.is_finished,
        "result": picture.root.result,
        "startNs": picture.start_ns,
        "endNs": picture.end_ns,
        "durationS": (picture.end_ns - picture.start_ns) / SECOND_NS,
        "causes": [
            {
                "path": list(cause.path),
                "result": cause.row.result,
                "reason": cause.row.reason,
                "exitCode": cause.row.exit_code,
                "message": cause.row.message,
            }
            for cause in picture.causes
        ],
        "criticalPath": [
            {"path": list(leg.path), "kind": leg.row.kind, "durationS": leg.duration_ns / SECOND_NS}
            for leg in picture.critical_path
        ],
        "root": _row(picture.root),
    }


def _row(row: Row) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": row.kind,
        "name": row.name,
        "state": row.state,
        "result": row.result or None,
        "error": row.is_error,
        "startNs": row.start_ns,
        "endNs": row.end_ns,
        "note": row.note or None,
        "reason": row.reason or None,
        "message": row.message or None,
        "exitCode": row.exit_code,
        **_span(row.span),
        "children": [_row(child) for child in row.children] or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _span(span: SpanRecord | None) -> dict[str, Any]:
    if span is None:
        return {}
    return {"spanId": span.span_id.hex(), "parentSpanId": span.parent_span_id.hex(), "attributes": dict(span.attributes)}
