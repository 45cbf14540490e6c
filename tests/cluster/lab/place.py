"""Where does the cluster live, and under which addresses is it found?

Keeps: all that is built stands under `home`, all state under `home/run`, so that taking the cluster down is deleting one folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.lab.shell import Argument, call, run

Json = dict[str, Any]

NODE = "node-1"
NODE_ADDRESS = "10.77.255.1"
"""On the loopback device, where a Pod finds Jaeger: neither the kubelet nor a Service accepts 127.0.0.1."""
API_ADDRESS = "10.96.0.1"
"""The Service `kubernetes`, relayed to the API server, so that a Pod finds it the ordinary way though there is no kube-proxy."""
WEBHOOK_ADDRESS = "10.96.0.10"
"""The Service of Tekton's webhook, relayed likewise."""
API_PORT, ETCD_PORT, WEBHOOK_PORT = 16443, 23790, 18443
JAEGER_OTLP_PORT, JAEGER_QUERY_PORT, JAEGER_HEALTH_PORT = 4318, 16686, 13133
JAEGER_THRIFT_PORT = 14268
"""Where it takes what was sent to a Jaeger before 1.35."""
AUDITED, INSTALLED = "tracer", "tracer-system"
"""The namespaces of whose ServiceAccounts the API server notes every request: of accounts beside Pods, and of the chart's own."""

SOCKET = Path("/run/bench-containerd/containerd.sock")
"""Not under `home`: a Unix socket's path is short."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one cluster, and its two clients."""

    home: Path

    @property
    def bin(self) -> Path:
        """The programs, built from their Go modules."""
        return self.home / "bin"

    @property
    def state(self) -> Path:
        """What lives as long as the cluster: pid files, logs, certificates, etcd's and containerd's data."""
        return self.home / "run"

    @property
    def kubeconfig(self) -> Path:
        """The cluster-admin's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        """The certificates."""
        return self.state / "pki"

    @property
    def tekton_config(self) -> Path:
        """Tekton's own manifests, as its module has them."""
        return self.home / "tekton-config"

    @property
    def audit(self) -> Path:
        """What the ServiceAccounts of `AUDITED` and `INSTALLED` asked the API server, a JSON object a line."""
        return self.state / "audit.jsonl"

    def log(self, name: str) -> Path:
        """Say where a component's log is."""
        return self.state / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        """Say where the process id of a component that was started is."""
        return self.state / f"{name}.pid"

    def kubectl_command(self, *arguments: Argument) -> tuple[Argument, ...]:
        """Give kubectl's whole command line for this cluster."""
        cache = self.state / "kubectl"
        return (self.bin / "kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache}", *arguments)

    def kubectl(self, *arguments: Argument, stdin: str | None = None) -> str:
        """Ask as cluster-admin. Raises LabError with kubectl's words."""
        return call(*self.kubectl_command(*arguments), stdin=stdin)

    def asked(self, *arguments: Argument, stdin: str | None = None) -> str:
        """Ask as cluster-admin what may well fail yet; give nothing if it did."""
        done = run(*self.kubectl_command(*arguments), stdin=stdin)
        return "" if done.returncode else done.stdout.strip()  # half of it may be done, and said

    def create(self, namespace: str, objects: list[Json]) -> None:
        """Create objects in one go."""
        self.kubectl("create", "-n", namespace, "-f", "-", stdin=as_list(objects))

    def apply(self, *files: Path) -> None:
        """Apply manifests."""
        self.kubectl("apply", "--server-side", "--force-conflicts", *(part for file in files for part in ("-f", file)))


def ctr_command(*arguments: Argument) -> tuple[Argument, ...]:
    """Give the command line of containerd's client, in the kubelet's namespace."""
    return ("ctr", "-a", SOCKET, "-n", "k8s.io", *arguments)


def as_list(objects: list[Json]) -> str:
    """Write objects as one `List`."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
