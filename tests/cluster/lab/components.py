"""What does the cluster consist of? One row a component: its name, its command line, and how one sees that it works."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.cluster.lab import tekton
from tests.cluster.lab.images import PAUSE
from tests.cluster.lab.place import (
    API_ADDRESS,
    API_PORT,
    AUDITED,
    ETCD_PORT,
    INSTALLED,
    JAEGER_HEALTH_PORT,
    NODE,
    NODE_ADDRESS,
    SOCKET,
    WEBHOOK_ADDRESS,
    WEBHOOK_PORT,
    Json,
    Place,
    ctr_command,
)
from tests.cluster.lab.shell import Argument, answers_ok, run

PODS, SERVICES = "10.77.0.0/17", "10.96.0.0/16"
_NODE_IS_READY = '{.status.conditions[?(@.type=="Ready")].status}'

_AUDIT_POLICY: Json = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{one}" for one in (AUDITED, INSTALLED)]},
        {"level": "None"},
    ],
}


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Component:
    """One program of the cluster."""

    name: str
    command: tuple[Argument, ...]
    is_ready: Callable[[], bool] = _always
    environment: Mapping[str, str] = field(default_factory=dict)


def components(place: Place, apiserver_flags: Iterable[str]) -> dict[str, Component]:
    """Give every component by its name, in the order in which they are started."""
    table = (
        _relay("relay-api", API_ADDRESS, API_PORT),
        _relay("relay-webhook", WEBHOOK_ADDRESS, WEBHOOK_PORT),
        Component("containerd", ("containerd", "-c", place.state / "containerd.toml"), _containerd_answers),
        Component("etcd", _etcd(place), lambda: answers_ok(ETCD_PORT, "/health")),
        Component("apiserver", (*_apiserver(place), *apiserver_flags), lambda: place.asked("get", "--raw", "/readyz") == "ok"),
        Component(
            "controller-manager", _controller_manager(place), lambda: bool(place.asked("get", "sa", "default", "-o", "name"))
        ),
        Component("scheduler", _scheduler(place)),
        Component(
            "kubelet",
            _kubelet(place),
            lambda: place.asked("get", "node", NODE, "-o", f"jsonpath={_NODE_IS_READY}") == "True",
        ),
        Component(
            "tekton-webhook",
            (place.bin / "tekton-webhook", "-kubeconfig", place.kubeconfig),
            lambda: tekton.webhook_answers(place),
            tekton.WEBHOOK,
        ),
        Component(
            "tekton-controller",
            (place.bin / "tekton-controller", "-kubeconfig", place.kubeconfig, *tekton.CONTROLLER_IMAGES),
            lambda: answers_ok(tekton.CONTROLLER_PROBES_PORT, "/readiness"),
            tekton.CONTROLLER,
        ),
        Component(
            "jaeger",
            (place.bin / "jaeger",),
            lambda: answers_ok(JAEGER_HEALTH_PORT, "/status"),
            {"JAEGER_LISTEN_HOST": "0.0.0.0"},  # noqa: S104 - a Pod sends to it, at the node's address
        ),
    )
    return {one.name: one for one in table}


def configure(place: Place) -> None:
    """Write the files that the components read."""
    network = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "10.77.0.0/16"}, {"dst": SERVICES}],
            "dataDir": str(place.state / "ipam"),
        },
    }
    (place.state / "cni").mkdir()
    (place.state / "cni" / "10-bench.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "bench", "plugins": [network]})
    )
    (place.state / "containerd.toml").write_text(f"""\
version = 2
root = "{place.state}/containerd"
state = "{SOCKET.parent}"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{place.state}/cni"
""")
    (place.state / "kubelet.json").write_text(json.dumps(_kubelet_configuration(place)))
    (place.state / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))


def _relay(name: str, address: str, port: int) -> Component:
    """Stand in for kube-proxy: one Service's address leads to one server."""
    return Component(name, ("socat", f"TCP-LISTEN:443,bind={address},fork,reuseaddr", f"TCP:127.0.0.1:{port}"))


def _containerd_answers() -> bool:
    return run(*ctr_command("version")).returncode == 0


def _etcd(place: Place) -> tuple[Argument, ...]:
    clients = f"http://127.0.0.1:{ETCD_PORT}"
    return (
        place.bin / "etcd",
        f"--data-dir={place.state}/etcd",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls=http://127.0.0.1:{ETCD_PORT + 1}",
        "--unsafe-no-fsync",
    )


def _apiserver(place: Place) -> tuple[Argument, ...]:
    pki = place.pki
    return (
        place.bin / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
        f"--secure-port={API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--kubelet-client-certificate={pki}/admin.crt",
        f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--anonymous-auth=true",
        "--event-ttl=1h",
        f"--audit-policy-file={place.state}/audit-policy.json",
        f"--audit-log-path={place.audit}",
    )


def _controller_manager(place: Place) -> tuple[Argument, ...]:
    return (
        place.bin / "kube-controller-manager",
        f"--service-account-private-key-file={place.pki}/sa.key",
        f"--root-ca-file={place.pki}/ca.crt",
        "--use-service-account-credentials=true",
        *_clients_of_the_api(place),
    )


def _scheduler(place: Place) -> tuple[Argument, ...]:
    return (place.bin / "kube-scheduler", *_clients_of_the_api(place))


def _clients_of_the_api(place: Place) -> tuple[str, ...]:
    kinds = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return (*(f"--{kind}={place.kubeconfig}" for kind in kinds), "--leader-elect=false", "--bind-address=127.0.0.1")


def _kubelet(place: Place) -> tuple[Argument, ...]:
    return (
        place.bin / "kubelet",
        f"--config={place.state}/kubelet.json",
        f"--kubeconfig={place.kubeconfig}",
        f"--root-dir={place.state}/kubelet",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
        f"--cert-dir={place.state}/kubelet-pki",
    )


def _kubelet_configuration(place: Place) -> Json:
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": "0.0.0.0",  # noqa: S104 - the API server asks it at the node's address
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{place.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "enforceNodeAllocatable": ["none"],
        # A full disk of the machine is no reason to evict what a test runs.
        "evictionHard": {"memory.available": "100Mi", "imagefs.available": "0%", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "podLogsDir": "/var/log/pods",
        "resolvConf": "/etc/resolv.conf",
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "volumePluginDir": f"{place.state}/volumeplugins",
    }
