"""What becomes of a recording that is replayed into Jaeger? All that the comparisons need, gathered once."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tests.cluster import jaeger, otlp
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import JAEGER_OTLP_PORT
from tests.cluster.tee import Request, tee

CALLER_SERVICE, CALLER_NAME = "ci", "build of a commit"
REMOTE = 0x200  # Source: opentelemetry-proto trace.proto, SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


@dataclass(frozen=True, slots=True)
class Delivered:
    """A recording, what `replay` prints of it, and what it sent, twice, through the tee."""

    path: Path
    printed: list[ResourceSpans] = field(repr=False)
    first: list[Request] = field(repr=False)
    second: list[Request] = field(repr=False)
    caller: list[ResourceSpans] = field(repr=False)
    """The span of whoever started the run, if its annotation names one; sent by the test."""

    @property
    def trace_ids(self) -> list[bytes]:
        """Every trace of the recording."""
        return sorted({otlp.span_of(one).trace_id for one in self.printed})

    def expected(self, trace_id: bytes) -> list[ResourceSpans]:
        """Give the spans that Jaeger must have of a trace, ordered by ids."""
        spans = [one for one in [*self.printed, *self.caller] if otlp.span_of(one).trace_id == trace_id]
        return sorted(spans, key=lambda one: otlp.span_of(one).span_id)


def deliver(cluster: Cluster, path: Path, caller_began_after_ns: int) -> Delivered:
    """Replay a recording twice into an empty Jaeger, with the caller's span, which began so long after the run was created.

    Twice before Jaeger is asked for the first time: its memory writes a warning into the span that it keeps, which is no longer
    the same then as one that comes later, so that both are shown.
    """
    cluster.stop("jaeger")  # it keeps everything in memory
    cluster.start("jaeger")
    printed = otlp.one_by_one([otlp.from_json(tracer("replay", "--dry-run", "-o", "otlp", str(path)))])
    caller = caller_of(printed, caller_began_after_ns)
    for request in caller:
        jaeger.send(request)
    first, second = (_replay(path) for _ in range(2))
    jaeger.settle()
    return Delivered(path, printed, first, second, otlp.one_by_one(caller))


def tracer(*arguments: str, python: str | Path = sys.executable) -> str:
    """Run the program as a user does; it must do well."""
    done = subprocess.run([python, "-m", "tracer", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _replay(path: Path) -> list[Request]:
    """Send a recording to Jaeger; give what passed through the tee."""
    with tee(JAEGER_OTLP_PORT) as one:
        tracer("replay", str(path), "--otlp-endpoint", one.endpoint)
    return one.requests


def caller_of(printed: list[ResourceSpans], began_after_ns: int) -> list[ExportTraceServiceRequest]:
    """Make the span of the CI server that started the run, if there was one, as long as all that it started."""
    spans = [otlp.span_of(one) for one in printed]
    return [
        jaeger.request_of(
            CALLER_SERVICE,
            Span(
                trace_id=run.trace_id,
                span_id=run.parent_span_id,
                name=CALLER_NAME,
                kind=Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=run.start_time_unix_nano + began_after_ns,
                end_time_unix_nano=max(span.end_time_unix_nano for span in spans) + 1_000_000_000,
                status=Status(),
            ),
        )
        for run in spans
        if run.flags & REMOTE
    ]
