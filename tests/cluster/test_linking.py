"""The claim of linking: in whose trace a run is told, and below which span: with a caller, with Tekton's tracing, both, neither.

All as Jaeger has it; that it warns of none of our spans is said in `test_live.py`.
Source: span-model 2.1, design 4.
"""

import hashlib
import json
from dataclasses import dataclass

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tests.cluster import otlp
from tests.cluster.delivered import CALLER_NAME
from tests.cluster.lab.place import Json
from tests.cluster.live import GIVEN, GIVEN_BESIDE_TEKTONS, Live
from tests.test_truth import GIVEN_PARENT

TEKTONS_SERVICES = {"pipelinerun-reconciler", "taskrun-reconciler"}
MADE_BY = "tekton.dev/taskrunSpanContext"
NEITHER, CALLER, TEKTON, BOTH = "success", "given-parent", "tekton-tracing", "tekton-tracing-given-parent"


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace as Jaeger has it."""

    trace_id: bytes
    spans: list[ResourceSpans]

    @property
    def run(self) -> Span:
        """The span of the PipelineRun."""
        (found,) = (one for one in self.ours if one.kind == Span.SPAN_KIND_SERVER)
        return found

    @property
    def ours(self) -> list[Span]:
        """Without the spans of others."""
        return [otlp.span_of(one) for one in self.spans if otlp.scope_of(one) == "tracer"]

    @property
    def roots(self) -> list[tuple[str, str]]:
        """The services and names of the spans without a parent."""
        return sorted((_service(one), otlp.span_of(one).name) for one in self.spans if not otlp.span_of(one).parent_span_id)

    @property
    def services(self) -> set[str]:
        """Whose spans are in it."""
        return {_service(one) for one in self.spans}


def trace_of(live: Live, name: str) -> Trace:
    """Find the one trace of a scenario."""
    sent = (one for one in live.spans if otlp.value_of(one.resource.attributes, "k8s.namespace.name") == f"scenario-{name}")
    (trace_id,) = {otlp.span_of(one).trace_id for one in sent}
    return Trace(trace_id, live.in_jaeger[trace_id])


def objects(live: Live, name: str, kind: str) -> list[Json]:
    """Give the objects of a scenario, as they were in the end."""
    items: list[Json] = json.loads((live.recordings / name / "objects.json").read_text())[kind]["items"]
    return items


def pipeline_run(live: Live, name: str) -> Json:
    """Give the PipelineRun of a scenario."""
    (found,) = objects(live, name, "PipelineRun")
    return found


def test_neither(live: Live) -> None:
    """Alone, a run has a trace whose id follows from its UID, and is its only root."""
    trace = trace_of(live, NEITHER)
    uid = pipeline_run(live, NEITHER)["metadata"]["uid"]
    assert trace.trace_id == hashlib.sha256(f"tracer/v1\0trace\0{uid}".encode()).digest()[:16]
    assert (trace.roots, trace.services) == ([("tekton", "RUN")], {"tekton"})


def test_a_callers_annotation(live: Live) -> None:
    """With a caller, the run is told in the caller's trace, below the caller's span, which is the only root."""
    trace = trace_of(live, CALLER)
    assert (trace.trace_id.hex(), trace.run.parent_span_id) == (GIVEN, GIVEN_PARENT)
    assert (trace.roots, trace.services) == ([("ci", CALLER_NAME)], {"ci", "tekton"})


def test_tektons_own_tracing(live: Live) -> None:
    """With Tekton's own tracing, the run is told in Tekton's trace, as a root beside Tekton's; tasks link to what made them."""
    trace = trace_of(live, TEKTON)
    tektons = pipeline_run(live, TEKTON)["status"]["spanContext"]["traceparent"].split("-")[1]
    assert trace.trace_id.hex() == tektons
    assert trace.services == {"tekton"} | TEKTONS_SERVICES
    assert trace.roots == [("pipelinerun-reconciler", "PipelineRun:Reconciler"), ("tekton", "RUN")]
    check_links(live, TEKTON)


def test_both(live: Live) -> None:
    """With both, the caller's word goes: the run and Tekton's own spans stand in the caller's trace, below the caller's span."""
    trace = trace_of(live, BOTH)
    assert (trace.trace_id.hex(), trace.run.parent_span_id) == (GIVEN_BESIDE_TEKTONS, GIVEN_PARENT)
    assert trace.services == {"ci", "tekton"} | TEKTONS_SERVICES
    assert trace.roots == [("ci", CALLER_NAME)]
    check_links(live, BOTH)


@pytest.mark.parametrize("name", [NEITHER, CALLER, TEKTON, BOTH])
def test_below_the_run_all_is_one_tree(live: Live, name: str) -> None:
    """Each of our spans but the run's hangs below another of ours, whoever else is in the trace."""
    trace = trace_of(live, name)
    ids = {span.span_id for span in trace.ours}
    assert [span.name for span in trace.ours if span.parent_span_id not in ids] == ["RUN"]


def check_links(live: Live, name: str) -> None:
    """Hold the links of tasks against what Tekton wrote on the TaskRuns: the spans that made them.

    Now and then Tekton begins a second trace for a run and keeps that one; then the first TaskRun was made in the other.
    """
    trace = trace_of(live, name)
    linked = {(link.trace_id.hex(), link.span_id.hex()) for span in trace.ours for link in span.links}
    made_by = [json.loads(run["metadata"]["annotations"][MADE_BY])["traceparent"] for run in objects(live, name, "TaskRun")]
    assert linked == {tuple(one.split("-")[1:3]) for one in made_by}
    tektons = {otlp.span_of(one).span_id.hex(): otlp.span_of(one).name for one in trace.spans if otlp.scope_of(one) != "tracer"}
    assert {tektons[span_id] for trace_id, span_id in linked if trace_id == trace.trace_id.hex()} == {"createTaskRun"}


def _service(one: ResourceSpans) -> str:
    return str(otlp.value_of(one.resource.attributes, "service.name"))
