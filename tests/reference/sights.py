"""Which spans are there, and what do they have? What the recordings come to, and a run by hand for what no recording has."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tests.kit import (
    RECORDINGS,
    RUN_UID,
    SCENARIOS,
    Json,
    at,
    at_ns,
    drive,
    meta,
    owner,
    pipeline_run,
    read,
    replay,
    succeeded,
    task_run,
)
from tracer.delivery.ledger import Ledger
from tracer.replay import Replay
from tracer.tekton.observation import Seen
from tracer.telemetry import attributes as keys
from tracer.telemetry.mappings import DEFAULT_MAPPINGS
from tracer.telemetry.places import DEFAULT_SETTINGS, PHASES_TASK_LIMIT, ParentPolicy
from tracer.telemetry.records import Attributes, AttributeValue, SpanRecord

EVENT, LINK = "event {}", "link"
ELSEWHERE = ""
"""The kind of a parent that is not ours, or of none."""
_SETTINGS = replace(
    DEFAULT_SETTINGS,
    parent=ParentPolicy.LINK,
    honour_sampled_flag=False,
    cluster_name="blue",
    run_url="https://dashboard.example/#/namespaces/{namespace}/{resource}/{name}",
    mappings=(
        *DEFAULT_MAPPINGS,
        ("tekton.dev/pipelineTask", keys.TASK_TYPE),
        ("example.com/environment", keys.ENVIRONMENT_NAME),
        ("example.com/team", f"{keys.USER_PREFIX}.team"),
    ),
)
"""Whatever adds something to spans."""
_ANNOTATIONS = {
    "pipelinesascode.tekton.dev/repo-url": "https://git.example/shop",
    "pipelinesascode.tekton.dev/sha": "9ceb2e2f1d6ad2bd2d0e9ad5dcf0a8bba3ad6e5c",
    "pipelinesascode.tekton.dev/source-branch": "faster-search",
    "pipelinesascode.tekton.dev/pull-request": "17",
    "pipelinesascode.tekton.dev/git-provider": "github",
    "resource.opentelemetry.io/service.namespace": "shop",
    "resource.opentelemetry.io/service.version": "1.4.2",
    "example.com/environment": "staging",
    "example.com/team": "search",
}


@dataclass(slots=True)
class Sight:
    """One attribute, as it was seen."""

    example: AttributeValue
    """The first value."""
    kinds: set[str] = field(default_factory=set)
    """Of the spans that had it; also `event NAME` and `link`."""
    values: set[AttributeValue] = field(default_factory=set)


@dataclass(slots=True)
class Sights:
    """Everything that was seen of some spans."""

    attributes: dict[str, Sight] = field(default_factory=dict)
    resources: dict[str, Sight] = field(default_factory=dict)
    parents: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By kind."""
    server_kinds: set[str] = field(default_factory=set)
    """The kinds that are SERVER, not INTERNAL."""
    errors: defaultdict[AttributeValue, set[bool]] = field(default_factory=lambda: defaultdict(set))
    """By result: whether its spans had the status ERROR."""

    def look(self, spans: list[SpanRecord]) -> None:
        """Take spans of one input in."""
        kinds = {span.span_id: span.slot.kind for span in spans}
        for span in spans:
            kind = span.slot.kind
            _note(self.attributes, kind, span.attributes)
            _note(self.resources, kind, span.resource)
            for event in span.events:
                _note(self.attributes, EVENT.format(event.name), event.attributes)
            for link in span.links:
                _note(self.attributes, LINK, link.attributes)
            if span.has_remote_parent or not span.parent_span_id:
                self.parents[kind].add(ELSEWHERE)
            elif span.parent_span_id in kinds:  # of a recording that ends before the parent does it is not there
                self.parents[kind].add(kinds[span.parent_span_id])
            if span.kind.name == "SERVER":
                self.server_kinds.add(kind)
            self.errors[span.attribute(keys.TASK_RUN_RESULT) or span.attribute(keys.PIPELINE_RESULT) or ""].add(span.is_error)


def _note(sights: dict[str, Sight], kind: str, attributes: Attributes) -> None:
    for key, value in attributes:
        sight = sights.setdefault(key, Sight(value))
        sight.kinds.add(kind)
        sight.values.add(value)


@cache
def recorded() -> Sights:
    """Look at what all recordings come to without a setting."""
    sights = Sights()
    for path in _recordings():
        sights.look(replay(path / "watch.jsonl"))
    return sights


@cache
def sighted() -> Sights:
    """Look at that first, then at the same with whatever settings add, then at what no recording has."""
    sights = Sights()
    for path in _recordings():
        sights.look(replay(path / "watch.jsonl"))
    for path in _recordings():
        sights.look([span for batch in Replay(Ledger(_SETTINGS)).batches(path / "watch.jsonl") for span in batch.spans])
    sights.look(made())
    return sights


def made() -> list[SpanRecord]:
    """Tell a run by hand: of Pipelines-as-Code, stopped, with too many tasks for phases, and one that is older than it."""
    tasks = [{"name": f"task-{number}"} for number in range(PHASES_TASK_LIMIT + 1)]
    status: Json = {"startTime": at(2), "completionTime": at(9), "pipelineSpec": {"tasks": tasks}}
    status["conditions"] = succeeded("False", "StoppedRunningFinally")
    ended: Json = {"startTime": at(3), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    cluster = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta("kube-system", "kube-system-uid")}
    run = pipeline_run(status, created=1, annotations=_ANNOTATIONS)
    task = task_run(ended, created=0, owner=owner("PipelineRun", RUN_UID), labels={"tekton.dev/pipelineTask": "task-0"})
    seen = [(at_ns(10), Seen(read(one, _SETTINGS.schema))) for one in (cluster, run, task)]
    return list(drive(seen, Ledger(_SETTINGS)).spans.values())


def _recordings() -> Iterator[Path]:
    yield from (*RECORDINGS, *SCENARIOS)
