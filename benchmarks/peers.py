"""What does it take the `kubernetes` client to do the same, as people use it? Arguments and result as in `watchers`.

`watch` compares the states of steps (Pods, as models) or of attempts (TaskRuns, as dicts); `sdk` and `sdk-runs` start and end a
span of the OpenTelemetry SDK for each finished step, TaskRun and PipelineRun, with a thread a watch: the first reads the steps of
Pods, the second does without Pods; `list` and `list-kept` list TaskRuns in pages.

Keeps: no span is lost by a queue that is too small; a step is told once.
"""

import hashlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from benchmarks.objects import Json
from benchmarks.watchers import Followed, Meter
from tracer.tekton.names import LABEL_TASK_RUN, STEP_PREFIX, TEKTON_GROUP, Kind

WATCH, SDK, SDK_RUNS, LIST, LIST_KEPT = "watch", "sdk", "sdk-runs", "list", "list-kept"
KINDS = {SDK: (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.POD), SDK_RUNS: (Kind.PIPELINE_RUN, Kind.TASK_RUN)}
STEP = "step"
"""The attribute by which a peer's spans of steps are told from its others."""
_PAGE = 500
_WAITING, _RUNNING, _TERMINATED = range(3)
_FINAL = {"True", "False"}
_QUEUE = 1_000_000
_PIPELINE_RUN_UID, _TASK_RUN_UID = "tekton.dev/pipelineRunUID", "tekton.dev/taskRunUID"


class Client:
    """The client, with one connection pool for all threads."""

    def __init__(self, url: str) -> None:
        """Load it."""
        api, watch = importlib.import_module("kubernetes.client"), importlib.import_module("kubernetes.watch")
        connection = api.ApiClient(api.Configuration(host=url))
        self._core, self._custom, self._watch = api.CoreV1Api(connection), api.CustomObjectsApi(connection), watch.Watch

    def watch(self, kind: Kind, events: int) -> Iterator[tuple[str, Any]]:
        """Give the types and objects of so many events."""
        if kind is Kind.POD:
            stream = self._watch().stream(self._core.list_pod_for_all_namespaces, label_selector=LABEL_TASK_RUN)
        else:
            stream = self._watch().stream(self._custom.list_cluster_custom_object, TEKTON_GROUP, "v1", kind.plural)
        for number, event in enumerate(stream, 1):
            yield event["type"], event["object"]
            if number == events:
                return

    def pages(self) -> Iterator[list[Json]]:
        """List TaskRuns page by page."""
        token = None
        while token is None or token:
            page = self._custom.list_cluster_custom_object(TEKTON_GROUP, "v1", Kind.TASK_RUN.plural, limit=_PAGE, _continue=token)
            yield page["items"]
            token = page["metadata"].get("continue") or ""


def watch(url: str, events: int, kind: Kind) -> Followed:
    """Read a watch of one kind, and count the transitions to an end."""
    client, meter = Client(url), Meter()
    last: dict[str, dict[str, int]] = {}
    told = ended = 0
    for _, value in client.watch(kind, events):
        uid, states = _pod_states(value) if kind is Kind.POD else _task_run_states(value)
        before = last.get(uid, {})
        ended += sum(state == _TERMINATED and before.get(part, -1) < state for part, state in states.items())
        last[uid] = states
        told += 1
    return meter.stop(told, ended)


def _pod_states(pod: Any) -> tuple[str, dict[str, int]]:  # noqa: ANN401 - a V1Pod, of a package without types
    return pod.metadata.uid, {
        one.name: _TERMINATED if one.state.terminated else _RUNNING if one.state.running else _WAITING
        for one in pod.status.container_statuses or ()
        if one.name.startswith(STEP_PREFIX)
    }


def _task_run_states(task_run: Json) -> tuple[str, dict[str, int]]:
    status = task_run.get("status", {})
    attempts = enumerate([*status.get("retriesStatus", ()), status], 1)
    return task_run["metadata"]["uid"], {
        str(number): _TERMINATED if _condition(one) in _FINAL else _RUNNING if "startTime" in one else _WAITING
        for number, one in attempts
    }


def _condition(status: Json) -> str:
    return next((str(one["status"]) for one in status.get("conditions", ()) if one["type"] == "Succeeded"), "")


# ---------------------------------------------------------------- spans


class Tracing:
    """Starts and ends spans with the times of the objects, all of one run in one trace."""

    def __init__(self, sink: str) -> None:
        """Load the SDK."""
        self._api = importlib.import_module("opentelemetry.trace")
        sdk, export = (
            importlib.import_module("opentelemetry.sdk.trace"),
            importlib.import_module("opentelemetry.sdk.trace.export"),
        )
        exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter
        resource = importlib.import_module("opentelemetry.sdk.resources").Resource.create({"service.name": "tekton"})
        processor = export.BatchSpanProcessor(exporter(endpoint=sink), max_queue_size=_QUEUE)
        self._provider = sdk.TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("benchmark")
        self.spans = 0

    def tell(
        self, name: str, run_uid: str, above: str, times: tuple[int, int], result: str, attributes: dict[str, str | int]
    ) -> None:
        """Tell one span."""
        api = self._api
        trace_id, span_id = hashlib.sha256(run_uid.encode()).digest()[:16], hashlib.sha256(above.encode()).digest()[:8]
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        parent = api.NonRecordingSpan(
            api.SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=True, trace_flags=flags)
        )
        span = self._tracer.start_span(name, api.set_span_in_context(parent), attributes=attributes, start_time=times[0])
        span.set_attribute("result", result)
        if result != "success":
            span.set_status(api.Status(api.StatusCode.ERROR, result))
        span.end(times[1])
        self.spans += 1

    def flush(self) -> None:
        """Wait until everything was sent."""
        self._provider.force_flush(120_000)


class Teller:
    """Tells each step, TaskRun and PipelineRun once it has ended."""

    def __init__(self, tracing: Tracing, *, reads_pods: bool) -> None:
        """Begin with nothing told."""
        self._tracing, self._reads_pods = tracing, reads_pods
        self._told: set[str] = set()

    def pod(self, pod: Any) -> None:  # noqa: ANN401 - a V1Pod
        """Tell the steps of a Pod that have ended."""
        meta = pod.metadata
        for one in pod.status.container_statuses or ():
            end, key = one.state.terminated, f"{meta.uid}/{one.name}"
            if end is None or not one.name.startswith(STEP_PREFIX) or key in self._told:
                continue
            self._told.add(key)
            attributes = {"k8s.pod.name": meta.name, "k8s.pod.uid": meta.uid, "k8s.node.name": pod.spec.node_name or ""}
            attributes |= {"container.id": end.container_id or "", "container.image.name": one.image, "reason": end.reason or ""}
            times = int(end.started_at.timestamp() * 1e9), int(end.finished_at.timestamp() * 1e9)
            self._step(one.name, meta.namespace, meta.labels, meta.labels[_TASK_RUN_UID], times, end.exit_code, attributes)

    def run(self, kind: Kind, run: Json) -> None:
        """Tell a TaskRun or a PipelineRun that has ended, and, if no Pods are read, the steps of a TaskRun that have."""
        meta, status = run["metadata"], run.get("status", {})
        if kind is Kind.TASK_RUN and not self._reads_pods:
            for attempt in (*status.get("retriesStatus", ()), status):
                self._entries(meta, attempt)
        final = _condition(status)
        if final in _FINAL and meta["uid"] not in self._told:
            self._told.add(meta["uid"])
            labels, completed = meta["labels"], status.get("completionTime") or status["conditions"][0]["lastTransitionTime"]
            run_uid, result = labels.get(_PIPELINE_RUN_UID, meta["uid"]), "success" if final == "True" else "failure"
            attributes: dict[str, str | int] = {
                "k8s.namespace.name": meta["namespace"],
                "run.name": meta["name"],
                "run.uid": meta["uid"],
            }
            attributes |= {"pipeline": labels.get("tekton.dev/pipeline", ""), "reason": status["conditions"][0]["reason"]}
            times = _ns(status["startTime"]), _ns(completed)
            self._tracing.tell(meta["name"], run_uid, run_uid, times, result, attributes)

    def _entries(self, meta: Json, attempt: Json) -> None:
        for one in attempt.get("steps", ()):
            key = f"{meta['uid']}/{attempt['podName']}/{one['container']}"
            if (end := one.get("terminated")) is None or key in self._told:
                continue
            self._told.add(key)
            attributes = {"k8s.pod.name": attempt["podName"], "container.id": end.get("containerID", "")}
            attributes |= {"container.image.name": one.get("imageID", ""), "reason": end.get("reason", "")}
            times = _ns(end["startedAt"]), _ns(end["finishedAt"])
            self._step(one["container"], meta["namespace"], meta["labels"], meta["uid"], times, end["exitCode"], attributes)

    def _step(
        self, container: str, namespace: str, labels: Json, task_run_uid: str, times: tuple[int, int], exit_code: int, about: Json
    ) -> None:
        attributes: dict[str, str | int] = {STEP: container, "k8s.namespace.name": namespace, "exit_code": exit_code, **about}
        attributes |= {"task_run.uid": task_run_uid, "pipeline": labels.get("tekton.dev/pipeline", "")}
        attributes["task"] = labels.get("tekton.dev/pipelineTask", "")
        result = "success" if not exit_code else "failure"
        self._tracing.tell(container, labels.get(_PIPELINE_RUN_UID, task_run_uid), task_run_uid, times, result, attributes)


def pipeline(url: str, sink: str, counts: dict[Kind, int]) -> Followed:
    """Tell spans of what is watched, a thread a kind, until so many events of each kind were told."""
    client, tracing = Client(url), Tracing(sink)
    teller, told = Teller(tracing, reads_pods=Kind.POD in counts), [0] * len(counts)
    meter = Meter()

    def follow(at: int, kind: Kind, tell: Callable[[Any], None]) -> None:
        for _, value in client.watch(kind, counts[kind]):
            tell(value)
            told[at] += 1

    threads = [
        threading.Thread(target=follow, args=(at, kind, teller.pod if kind is Kind.POD else partial(teller.run, kind)))
        for at, kind in enumerate(counts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracing.flush()
    return meter.stop(sum(told), tracing.spans)


def _ns(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1e9)


# ---------------------------------------------------------------- lists


def first_list(url: str, *, is_kept: bool) -> Followed:
    """List TaskRuns in pages; keep the states of their attempts, or the objects."""
    client, meter = Client(url), Meter()
    kept: dict[str, object] = {}
    for items in client.pages():
        kept |= dict(_kept(items, is_kept=is_kept))
    return meter.stop(len(kept), len(kept))


def _kept(items: Iterable[Json], *, is_kept: bool) -> Iterator[tuple[str, object]]:
    for item in items:
        uid, states = _task_run_states(item)
        yield uid, item if is_kept else states


def main() -> None:
    """Measure one entrant."""
    match sys.argv[1:]:
        case "watch", url, events, kind:
            followed = watch(url, int(events), Kind(kind))
        case name, url, _, sink, events:
            followed = pipeline(url, sink, dict(zip(KINDS[name], map(int, events.split(",")), strict=True)))
        case name, url:
            followed = first_list(url, is_kept=name == LIST_KEPT)
        case _:
            sys.exit(__doc__)
    sys.stdout.buffer.write(msgspec.json.encode(followed))


if __name__ == "__main__":
    main()
