"""What do runs look like on the wire, and their steps? Field by field as in the recordings, with the ballast of an API server.

Keeps: a reading is a function of the moment; what never changes of an object is written once and used again.
Source: recordings of Tekton 1.15 on Kubernetes 1.35; `managedFields` as the API server derives them from an object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

Json = dict[str, Any]

RUNNING = "Running"
IMAGE = "registry.example.com/platform/build-tools:2026.11"
IMAGE_ID = "registry.example.com/platform/build-tools@sha256:3ecde6b13276bd69defdffaa803385786aa0f4a3327813ffecc31d21cedf4900"
_TEKTON_VERSION = "tekton.dev/v1"
_FEATURE_FLAGS = {
    "awaitSidecarReadiness": True,
    "coschedule": "workspaces",
    "enableAPIFields": "beta",
    "enableProvenanceInStatus": True,
    "enforceNonfalsifiability": "none",
    "maxResultSize": 4096,
    "resultExtractionMethod": "termination-message",
    "runningInEnvWithInjectedSidecars": True,
    "sendCloudEventsForRuns": True,
    "verificationNoMatchPolicy": "ignore",
}
_SCRIPT_LINE = "tool --cache /workspace/.cache --report out/report-{0}-{1}.xml run {0}/{1} --retries 2 || exit {1}\n"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Step:
    """One step as the task asks for it."""

    name: str
    script: str

    @property
    def spec(self) -> Json:
        """The step in a `taskSpec`."""
        return {"computeResources": {}, "image": IMAGE, "name": self.name, "script": self.script}


@dataclass(frozen=True, slots=True)
class StepTruth:
    """What really happens to one step in one Pod. Times are Unix seconds."""

    step: Step
    container_id: str
    began: float | None
    """When its command began; None if it never did."""
    ended: float | None
    """When its container ended; None for one that lives on."""
    exit_code: int = 0
    reason: str = "Completed"
    said: str = ""
    """What the entrypoint gave as the reason: `Skipped`, or nothing."""
    has_message: bool = True

    @property
    def container(self) -> str:
        """The name of its container."""
        return f"step-{self.step.name}"

    @property
    def message(self) -> str | None:
        """The termination message that the entrypoint leaves."""
        if not self.has_message or self.began is None:
            return None
        entries: list[Json] = [{"key": "StartedAt", "value": _milliseconds(self.began), "type": 3}]
        if self.said:
            entries.append({"key": "Reason", "value": self.said, "type": 3})
        return _encode(entries).decode()

    def pod_state(self, at: float, started: float) -> Json:
        """Say in the kubelet's words how it stands."""
        if self.ended is None or self.ended > at:
            return {"running": {"startedAt": seconds(started)}}
        message = {"message": self.message} if self.message is not None else {}
        times = {"startedAt": seconds(started), "finishedAt": seconds(self.ended)}
        state = {"exitCode": self.exit_code, "reason": self.reason, **message, **times, "containerID": self.container_id}
        return {"terminated": state}

    def entry(self, at: float, started: float) -> Json:
        """Say in Tekton's words how it stands: an entry of `status.steps`."""
        head = {"container": self.container, "imageID": IMAGE_ID, "name": self.step.name, "provenance": {}}
        if self.ended is None or self.ended > at:
            return {**head, "running": {"startedAt": seconds(started)}}
        begun = self.began if self.began is not None and self.has_message else started
        times = {"startedAt": seconds(begun), "finishedAt": seconds(self.ended)}
        state = {"exitCode": self.exit_code, "reason": self.reason, **times, "containerID": self.container_id}
        return {**head, "terminated": state, "terminationReason": self.said or self.reason}

    def invented_entry(self, at: float, started: float, reason: str) -> Json:
        """Say what Tekton invents of a step that had not ended when its TaskRun was cancelled at a moment."""
        entry = self.entry(at, started)
        if "terminated" not in entry:
            del entry["running"]
            times = {"startedAt": seconds(started), "finishedAt": seconds(at)}
            why = f"Step {self.step.name} terminated as pod is terminated"
            entry["terminated"] = {"exitCode": 1, "reason": reason, "message": why, **times}
            entry["terminationReason"] = reason
        return entry


@dataclass(frozen=True, slots=True)
class Meta:
    """What every object of a run has in common with others of its kind."""

    kind: str
    name: str
    namespace: str
    uid: str
    created: float
    labels: dict[str, str]
    owner: "Meta | None" = None

    def written(self, at: float, managed: msgspec.Raw, annotations: Json | None = None) -> Json:
        """Write the metadata as it is at a moment."""
        owner = self.owner
        owners: Json = {}
        if owner is not None:
            reference = {"apiVersion": _TEKTON_VERSION, "blockOwnerDeletion": True, "controller": True}
            owners = {"ownerReferences": [{**reference, "kind": owner.kind, "name": owner.name, "uid": owner.uid}]}
        return {
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
            "resourceVersion": str(int(at * 1000)),
            "generation": 1,
            "creationTimestamp": seconds(self.created),
            "labels": self.labels,
            "annotations": {"pipeline.tekton.dev/release": "v1.15.0", **(annotations or {})},
            **owners,
            "managedFields": managed,
        }


@dataclass(slots=True)
class TaskRunObject:
    """A TaskRun, read at any moment."""

    meta: Meta
    steps: Sequence[Step]
    _task_spec: msgspec.Raw = field(init=False)
    _managed: msgspec.Raw = field(init=False)

    def __post_init__(self) -> None:
        """Write what never changes."""
        self._task_spec = raw({"results": [{"name": "version", "type": "string"}], "steps": [step.spec for step in self.steps]})
        spec = {"serviceAccountName": "ci", "taskSpec": {"results": [], "steps": []}, "timeout": "1h0m0s"}
        status = {"conditions": [], "podName": "", "provenance": {"featureFlags": _FEATURE_FLAGS}, "startTime": "", "steps": []}
        self._managed = managed_fields(
            self.meta, "controller", {"spec": spec}, {"status": {**status, "taskSpec": spec["taskSpec"]}}
        )

    def reading(self, at: float, status: Json | None = None, cancelled_because: str | None = None) -> Json:
        """Read it at a moment, with a status that `attempt_status` wrote."""
        spec: Json = {"serviceAccountName": "ci", "taskSpec": self._task_spec, "timeout": "1h0m0s"}
        if cancelled_because is not None:
            spec |= {"status": "TaskRunCancelled", "statusMessage": cancelled_because}
        head = {"apiVersion": _TEKTON_VERSION, "kind": "TaskRun", "metadata": self.meta.written(at, self._managed)}
        return {**head, "spec": spec, "status": status or {}}

    def attempt_status(self, condition: Json, pod: str, started: float, entries: list[Json], completed: float | None) -> Json:
        """Write the status of one attempt."""
        completion = {"completionTime": seconds(completed)} if completed is not None else {}
        return {
            "artifacts": {},
            **completion,
            "conditions": [condition],
            "podName": pod,
            "provenance": {"featureFlags": _FEATURE_FLAGS},
            "startTime": seconds(started),
            "steps": entries,
            "taskSpec": self._task_spec,
        }


@dataclass(slots=True)
class PipelineRunObject:
    """A PipelineRun with its pipeline inside, read at any moment."""

    meta: Meta
    tasks: Mapping[str, Sequence[Step]]
    """The steps of each task, by the task's name."""
    _pipeline_spec: msgspec.Raw = field(init=False)
    _managed: msgspec.Raw = field(init=False)

    def __post_init__(self) -> None:
        """Write what never changes."""
        tasks: list[Json] = []
        for name, steps in self.tasks.items():
            after = {"runAfter": [tasks[-1]["name"]]} if tasks else {}
            task_spec: Json = {"metadata": {}, "spec": None, "steps": [step.spec for step in steps]}
            tasks.append({"name": name, **after, "taskSpec": task_spec})
        self._pipeline_spec = raw({"tasks": tasks})
        own: Json = {"pipelineSpec": {"tasks": []}, "taskRunTemplate": {"serviceAccountName": ""}, "timeouts": {"pipeline": ""}}
        status = {"childReferences": [], "completionTime": "", "conditions": [], "pipelineSpec": {"tasks": []}, "startTime": ""}
        self._managed = managed_fields(
            self.meta, "controller", {"spec": own}, {"status": {**status, "provenance": {"featureFlags": _FEATURE_FLAGS}}}
        )

    def reading(self, at: float, status: Json | None = None, *, is_cancelled: bool = False) -> Json:
        """Read it at a moment, with a status that `status` wrote."""
        spec: Json = {"pipelineSpec": self._pipeline_spec, "taskRunTemplate": {"serviceAccountName": "ci"}}
        spec |= {"timeouts": {"pipeline": "1h0m0s"}} | ({"status": "Cancelled"} if is_cancelled else {})
        head = {"apiVersion": _TEKTON_VERSION, "kind": "PipelineRun", "metadata": self.meta.written(at, self._managed)}
        return {**head, "spec": spec, "status": status or {}}

    def status(self, condition: Json, children: Iterable[Meta], skipped: dict[str, str], completed: float | None) -> Json:
        """Write the status with the children that were made and why the other tasks were skipped."""
        completion = {"completionTime": seconds(completed)} if completed is not None else {}
        references = [
            {"apiVersion": _TEKTON_VERSION, "kind": "TaskRun", "name": child.name, "pipelineTaskName": task}
            for child, task in zip(children, self.tasks, strict=False)
        ]
        reasons = [{"name": name, "reason": reason} for name, reason in skipped.items()]
        return {
            "childReferences": references,
            **completion,
            "conditions": [condition],
            "pipelineSpec": self._pipeline_spec,
            "provenance": {"featureFlags": _FEATURE_FLAGS},
            **({"skippedTasks": reasons} if reasons else {}),
            "startTime": seconds(self.meta.created),
        }


def condition(status: str, reason: str, message: str, at: float) -> Json:
    """Write the `Succeeded` condition."""
    return {"lastTransitionTime": seconds(at), "message": message, "reason": reason, "status": status, "type": "Succeeded"}


def script(name: str, lines: int) -> str:
    """Write a script of so many lines."""
    return "#!/bin/sh\nset -eu\n" + "".join(_SCRIPT_LINE.format(name, line) for line in range(1, lines + 1))


def raw(value: object) -> msgspec.Raw:
    """Write a value once, to be used in many readings."""
    return msgspec.Raw(_encode(value))


def managed_fields(meta: Meta, manager: str, own: Json, status: Json) -> msgspec.Raw:
    """Write who manages which field, in the form in which an API server derives it from the object."""
    labels = {"metadata": {"labels": meta.labels, "ownerReferences": [{"uid": meta.uid}]}}
    entry = {"apiVersion": _TEKTON_VERSION, "fieldsType": "FieldsV1", "operation": "Update", "time": seconds(meta.created)}
    return raw(
        [
            {**entry, "manager": manager, "fieldsV1": _fields({**labels, **own})},
            {**entry, "manager": manager, "fieldsV1": _fields(status), "subresource": "status"},
        ]
    )


@lru_cache(maxsize=4096)
def seconds(at: float) -> str:
    """Write a time as Kubernetes does, cut to the second."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(at: float) -> str:
    """Write a time as Tekton's entrypoint does."""
    return f"{seconds(at)[:-1]}.{round(at * 1000) % 1000:03d}Z"


def _fields(value: Json, *, is_item: bool = False) -> Json:
    """Turn a value into the tree of its fields; a list whose items have a key is told item by item, one in an item as a whole."""
    tree: Json = {}
    for key, below in value.items():
        leaf: Json = {}
        if isinstance(below, dict):
            leaf = {".": {}, **_fields(below)}
        elif isinstance(below, list) and not is_item:
            keyed = [(item, key) for item in below if isinstance(item, dict) for key in ("name", "type") if key in item]
            leaf = {f'k:{{"{key}":"{item[key]}"}}': {".": {}, **_fields(item, is_item=True)} for item, key in keyed}
        tree[f"f:{key}"] = leaf
    return tree
