"""Who is `tracer` to the cluster? A ServiceAccount with the rights of operations 5 and not one more, never the admin."""

import json
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.lab.place import AUDITED, Json, Place, as_list

READS = ["list", "watch"]
ALWAYS: list[Json] = [
    {"apiGroups": ["tekton.dev"], "resources": ["taskruns", "pipelineruns", "customruns"], "verbs": READS},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": READS},
]
"""The rows of every installation: for the cluster, or for each namespace."""
CLUSTER_UID: Json = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
"""The row of an installation for the whole cluster."""
_RIGHTS = "rbac.authorization.k8s.io"


def create(place: Place, name: str) -> None:
    """Create an account that may do nothing yet."""
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AUDITED}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": AUDITED}},
    ]
    place.kubectl("apply", "-f", "-", stdin=as_list(objects))


def allow(place: Place, name: str, rules: Iterable[Json], namespaces: Iterable[str] = ()) -> None:
    """Let an account do what the rules say and nothing else, in some namespaces, or in the whole cluster if none is named."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": AUDITED}
    scopes = [("Role", {"name": name, "namespace": one}) for one in namespaces] or [("ClusterRole", {"name": name})]
    objects: list[Json] = []
    for kind, metadata in scopes:
        role = {"apiGroup": _RIGHTS, "kind": kind, "name": name}
        common = {"apiVersion": f"{_RIGHTS}/v1", "metadata": metadata}
        objects.append({**common, "kind": kind, "rules": list(rules)})
        objects.append({**common, "kind": f"{kind}Binding", "roleRef": role, "subjects": [subject]})
    place.kubectl("apply", "-f", "-", stdin=as_list(objects))


def kubeconfig(place: Place, name: str, folder: Path, *, token: str = "", ca_data: str = "") -> Path:
    """Write an account's kubeconfig, with a token that the API server gives, or with a wrong token or authority."""
    config: Json = json.loads(place.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token or place.kubectl("create", "token", name, "-n", AUDITED)}
    if ca_data:
        config["clusters"][0]["cluster"]["certificate-authority-data"] = ca_data
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def requests(place: Place, name: str) -> list[Json]:
    """Give what the API server noted of an account: each request with its verb, its object and the answer's status."""
    noted = [json.loads(line) for line in place.audit.read_text().splitlines()]
    return [one for one in noted if one["user"]["username"] == f"system:serviceaccount:{AUDITED}:{name}"]
