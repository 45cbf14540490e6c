"""What does a Pod of a TaskRun look like on the wire, and the Event about it? Field by field as in the recordings.

Keeps: a reading is a function of the moment; what never changes of a Pod is written once and used again.
Source: recordings of Tekton 1.15 on Kubernetes 1.35.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from benchmarks.objects import IMAGE, IMAGE_ID, RUNNING, Json, Meta, Step, StepTruth, managed_fields, raw, seconds
from tracer.tekton.names import ANNOTATION_READY, READY, READY_FIELD_PATH

_INTERNAL_VOLUMES = ("workspace", "home", "results", "steps", "artifacts", "scripts", "bin")


@dataclass(slots=True)
class PodObject:
    """A Pod, read at any moment."""

    meta: Meta
    started: float
    """When its containers started."""
    steps: Sequence[StepTruth]
    _unbound: msgspec.Raw = field(init=False)
    _bound: msgspec.Raw = field(init=False)
    _managed: msgspec.Raw = field(init=False)

    def __post_init__(self) -> None:
        """Write what never changes."""
        spec = _pod_spec([truth.step for truth in self.steps])
        self._unbound = raw(spec)
        self._bound = raw({**spec, "nodeName": "node-1"})
        atomic: Json = {"initContainerStatuses": [], "containerStatuses": []}
        self._managed = managed_fields(
            self.meta, "kubelet", {"spec": spec}, {"status": self._status(self.started, RUNNING) | atomic}
        )

    def reading(self, at: float, *, deletion: float | None = None) -> Json:
        """Read it at a moment; deletion: when it is to be gone, if that was asked for."""
        has_started = at >= self.started
        annotations = {ANNOTATION_READY: READY} if has_started else {}
        metadata = self.meta.written(at, self._managed, annotations)
        if deletion is not None:
            metadata |= {"deletionTimestamp": seconds(deletion), "deletionGracePeriodSeconds": 30}
        status = {"phase": "Pending", "qosClass": "BestEffort"}
        if has_started:
            left = [truth for truth in self.steps if truth.ended is None or truth.ended > at]
            has_failed = any(truth.exit_code for truth in self.steps)
            status = self._status(at, RUNNING if left else "Failed" if has_failed else "Succeeded")
        spec = self._bound if has_started else self._unbound
        return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}

    def _status(self, at: float, phase: str) -> Json:
        created, started = seconds(self.meta.created), seconds(self.started)
        kinds = {"PodReadyToStartContainers": started, "Initialized": started, "Ready": started, "ContainersReady": started}
        kinds["PodScheduled"] = created
        return {
            "observedGeneration": 1,
            "phase": phase,
            "conditions": [
                {"type": kind, "observedGeneration": 1, "status": "True", "lastProbeTime": None, "lastTransitionTime": time}
                for kind, time in kinds.items()
            ],
            "hostIP": "10.77.255.1",
            "hostIPs": [{"ip": "10.77.255.1"}],
            "podIP": "10.77.0.21",
            "podIPs": [{"ip": "10.77.0.21"}],
            "startTime": created,
            "initContainerStatuses": [
                _container_status(name, {"terminated": {"exitCode": 0, "reason": "Completed", **times, "containerID": id_}}, id_)
                for name, times, id_ in self._init_containers()
            ],
            "containerStatuses": [
                _container_status(truth.container, truth.pod_state(at, self.started), truth.container_id)
                for truth in sorted(self.steps, key=lambda truth: truth.container)
            ],
            "qosClass": "BestEffort",
        }

    def _init_containers(self) -> list[tuple[str, Json, str]]:
        """List name, times and id of the two that Tekton puts before the steps."""
        middle = (self.meta.created + self.started) / 2
        first = {"startedAt": seconds(self.meta.created), "finishedAt": seconds(middle)}
        second = {"startedAt": seconds(middle), "finishedAt": seconds(self.started)}
        base = self.steps[0].container_id[:-1]
        return [("prepare", first, f"{base}x"), ("place-scripts", second, f"{base}y")]


def scheduled_event(pod: Meta, uid: str, at: float) -> Json:
    """Write the Event that tells when a Pod was bound to its node."""
    about = {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "apiVersion": "v1"}
    name = f"{pod.name}.{int(at * 1e9):x}"
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": pod.namespace, "uid": uid, "creationTimestamp": seconds(at)},
        "involvedObject": {**about, "resourceVersion": str(int(at * 1000))},
        "reason": "Scheduled",
        "message": f"Successfully assigned {pod.namespace}/{pod.name} to node-1",
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "type": "Normal",
        "eventTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "action": "Binding",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-0",
    }


def _container_status(name: str, state: Json, container_id: str) -> Json:
    is_running = "running" in state
    return {
        "name": name,
        "state": state,
        "lastState": {},
        "ready": is_running,
        "restartCount": 0,
        "image": IMAGE,
        "imageID": IMAGE_ID,
        "containerID": container_id,
        "started": is_running,
        "resources": {},
    }


def _pod_spec(steps: Sequence[Step]) -> Json:
    """Write the spec that Tekton makes of steps: a gate, a place for scripts, and an entrypoint around each command."""
    volumes: list[Json] = [{"name": f"tekton-internal-{name}", "emptyDir": {}} for name in _INTERNAL_VOLUMES]
    gate = {"path": "ready", "fieldRef": {"apiVersion": "v1", "fieldPath": READY_FIELD_PATH}}
    volumes.append({"name": "tekton-internal-downward", "downwardAPI": {"items": [gate], "defaultMode": 420}})
    for index in range(len(steps)):
        volumes.append({"name": f"tekton-creds-init-home-{index}", "emptyDir": {"medium": "Memory"}})
        volumes.append({"name": f"tekton-internal-run-{index}", "emptyDir": {}})
    files = [
        f"cat > /tekton/scripts/script-{index} << '_EOF_'\n{base64.b64encode(step.script.encode()).decode()}\n_EOF_\n"
        for index, step in enumerate(steps)
    ]
    prepare = [
        "/ko-app/entrypoint",
        "init",
        "/ko-app/entrypoint",
        "/tekton/bin/entrypoint",
        *(f"step-{one.name}" for one in steps),
    ]
    return {
        "volumes": volumes,
        "initContainers": [
            _container("prepare", prepare, [], ["bin", "steps"]),
            _container("place-scripts", ["sh"], ["-c", "".join(files)], ["scripts", "bin"]),
        ],
        "containers": [
            _container(f"step-{step.name}", ["/tekton/bin/entrypoint"], _arguments(index), [*_INTERNAL_VOLUMES, "downward"])
            for index, step in enumerate(steps)
        ],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "activeDeadlineSeconds": 5400,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "ci",
        "serviceAccount": "ci",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _arguments(index: int) -> list[str]:
    """Write the entrypoint's own arguments: the first step waits for the gate, every other one for the step before."""
    gate = ["-wait_file", "/tekton/downward/ready", "-wait_file_content"]
    wait = ["-wait_file", f"/tekton/run/{index - 1}/out"] if index else gate
    out = ["-post_file", f"/tekton/run/{index}/out", "-termination_path", "/tekton/termination"]
    return [
        *wait,
        *out,
        "-step_metadata_dir",
        f"/tekton/run/{index}/status",
        "-entrypoint",
        f"/tekton/scripts/script-{index}",
        "--",
    ]


def _container(name: str, command: list[str], arguments: list[str], volumes: list[str]) -> Json:
    return {
        "name": name,
        "image": IMAGE,
        "command": command,
        "args": arguments,
        "resources": {},
        "volumeMounts": [{"name": f"tekton-internal-{one}", "mountPath": f"/tekton/{one}", "readOnly": True} for one in volumes],
        "terminationMessagePath": "/tekton/termination",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
