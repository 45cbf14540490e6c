"""What does the controller tell of runs that happen now? All scenarios of `recordings` once more, watched by `run` and `record`.

Everything is gathered once; the tests compare. Two scenarios more have Tekton's own tracing on.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tests.cluster import account, jaeger, otlp
from tests.cluster.delivered import caller_of
from tests.cluster.lab.__main__ import AT_ONCE
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import JAEGER_OTLP_PORT, Json, Place
from tests.cluster.lab.recorder import record
from tests.cluster.lab.registry import registry
from tests.cluster.lab.shell import wait_until
from tests.cluster.lab.tekton import NAMESPACE as TEKTON
from tests.cluster.program import SYNCED, Program, controlling, running
from tests.cluster.tee import Request, tee
from tests.kit import HERE, RECORDINGS

ACCOUNT = "live"
TOLD_WITHIN_S = 120
BEGAN_BEFORE_NS = 1_000_000_000
"""So much earlier than the run its caller's span began: then Jaeger finds nothing odd in it."""

_FETCHED = "jsonpath={.status.containerStatuses[?(@.name=='step-fetch')].state.terminated.exitCode}=0"
_WAIT_FOR_FETCH = [
    [0, "kubectl", "wait", "pod/run-build-pod", "--for=create", "--timeout=120s"],
    [0, "kubectl", "wait", "pod/run-build-pod", f"--for={_FETCHED}", "--timeout=120s"],
]
CANCELLED = ("cancel", "keep-pod-on-cancel")
"""Here the cancel waits for what it is to interrupt, so that a slow machine tells the same."""
GIVEN = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN_BESIDE_TEKTONS = "4bf92f3577b34da6a3ce929d0e0e4737"
"""The caller's trace, of a run without Tekton's tracing and of one with it."""

_FLAGGED = {
    "compressed-messages": "enable-termination-message-compression",
    "keep-pod-on-cancel": "keep-pod-on-cancel",
    "native-sidecar": "enable-kubernetes-sidecar",
}
"""What must be on in `feature-flags`, which is everybody's, for a scenario."""
TRACED_BY_TEKTON = ("tekton-tracing", "tekton-tracing-given-parent")
NAMES = tuple(path.name for path in RECORDINGS) + TRACED_BY_TEKTON
_TRACING = {"enabled": "true", "endpoint": f"http://127.0.0.1:{JAEGER_OTLP_PORT}/v1/traces"}
_STAGES: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("feature-flags", {}, tuple(path.name for path in RECORDINGS if path.name not in _FLAGGED)),
    ("feature-flags", dict.fromkeys(_FLAGGED.values(), "true"), tuple(_FLAGGED)),
    ("config-tracing", _TRACING, TRACED_BY_TEKTON),
)
"""Scenarios that run beside each other, and what stands in which of Tekton's ConfigMaps meanwhile."""


@dataclass(frozen=True, slots=True)
class Live:
    """What came of it."""

    recordings: Path
    """What the scenarios' own recorder wrote, a folder each, with the truth."""
    recorded: Path
    """What `record` wrote, of all of them."""
    requests: list[Request] = field(repr=False)
    """What `run` sent."""
    run: Program
    record: Program
    asked: list[Json] = field(repr=False)
    """What the API server noted of the account of both."""
    in_jaeger: dict[bytes, list[ResourceSpans]] = field(repr=False)
    """By trace id, with the spans of others."""
    warnings: dict[bytes, set[tuple[str, str]]]

    @property
    def spans(self) -> list[ResourceSpans]:
        """Every span that was sent, as often as it was."""
        return otlp.one_by_one(request.spans for request in self.requests)


def play(cluster: Cluster, folder: Path) -> Live:
    """Run the scenarios, and `run` and `record` beside them until all is told; ask Jaeger in the end."""
    cluster.stop("jaeger")  # it keeps everything in memory, and other runs were given the same trace
    cluster.start("jaeger")
    place, recordings, recorded = cluster.place, folder / "recordings", folder / "recorded"
    account.create(place, ACCOUNT)
    account.allow(place, ACCOUNT, [*account.ALWAYS, account.CLUSTER_UID])
    kubeconfig = account.kubeconfig(place, ACCOUNT, folder)
    with (
        tee(JAEGER_OTLP_PORT) as backend,
        running(folder / "record.log", "record", "-A", "--to", recorded, "--kubeconfig", kubeconfig) as recorder,
        controlling(folder / "run.log", kubeconfig, backend) as controller,
    ):
        controller.await_words(SYNCED)
        recorder.await_words("recording all namespaces")
        for stage in _STAGES:
            _run(place, stage, folder / "scenarios", recordings)
        tops = top_runs(recordings)
        assert wait_until(lambda: tops <= told(backend.requests), TOLD_WITHIN_S), tops - told(backend.requests)
    spans = otlp.one_by_one(request.spans for request in backend.requests)
    traces = sorted({otlp.span_of(one).trace_id for one in spans})
    for trace_id in traces:
        for request in caller_of(_of_trace(spans, trace_id), -BEGAN_BEFORE_NS):
            jaeger.send(request)
    jaeger.settle()
    return Live(
        recordings,
        recorded,
        backend.requests,
        controller,
        recorder,
        account.requests(place, ACCOUNT),
        {trace_id: jaeger.spans(trace_id) for trace_id in traces},
        {trace_id: jaeger.warnings(trace_id) for trace_id in traces},
    )


def told(requests: Iterable[Request]) -> set[str]:
    """Give the UIDs of the top runs that were told to their end: their own spans come last."""
    return {
        str(otlp.value_of(one.resource.attributes, "cicd.pipeline.run.id"))
        for one in otlp.one_by_one(request.spans for request in requests)
        if otlp.span_of(one).kind == Span.SPAN_KIND_SERVER
    }


def top_runs(recordings: Path) -> set[str]:
    """Give the UIDs of all runs that nobody owns."""
    return {
        run["metadata"]["uid"]
        for path in recordings.glob("*/objects.json")
        for kind in ("PipelineRun", "TaskRun")
        for run in json.loads(path.read_text())[kind]["items"]
        if not run["metadata"].get("ownerReferences")
    }


def _of_trace(spans: list[ResourceSpans], trace_id: bytes) -> list[ResourceSpans]:
    return [one for one in spans if otlp.span_of(one).trace_id == trace_id]


def _run(place: Place, stage: tuple[str, dict[str, str], tuple[str, ...]], scratch: Path, out: Path) -> None:
    config_map, settings, names = stage
    scenarios = [_write(scratch / f"{name}.json", _scenario(name)) for name in names]
    with _tekton_set(place, config_map, settings), registry(), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda scenario: record(place, scenario, out), scenarios))


@contextmanager
def _tekton_set(place: Place, config_map: str, settings: dict[str, str]) -> Iterator[None]:
    """Change Tekton's settings, which its controller reads within moments; a scenario makes its namespace first."""
    config = ("configmap", config_map, "-n", TEKTON)
    before = json.loads(place.kubectl("get", *config, "-o", "json")).get("data", {})
    place.kubectl("patch", *config, "--type=merge", "-p", json.dumps({"data": settings}))
    try:
        yield
    finally:
        place.kubectl("patch", *config, "--type=merge", "-p", json.dumps({"data": {key: before.get(key) for key in settings}}))


def _scenario(name: str) -> Json:
    kind = "scenarios" if name in TRACED_BY_TEKTON else "recordings"
    text = (HERE / kind / name / "scenario.json").read_text()
    scenario: Json = json.loads(text.replace(GIVEN, GIVEN_BESIDE_TEKTONS) if name in TRACED_BY_TEKTON else text)
    if name in CANCELLED:
        scenario["do"] = _WAIT_FOR_FETCH + [[0, *action] for _, *action in scenario["do"]]
    return scenario


def _write(path: Path, scenario: Json) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(scenario))
    return path
