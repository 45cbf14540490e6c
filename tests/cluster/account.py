"""Who is `tracer` to the cluster? A ServiceAccount with the rights of operations 5 and not one more, never the admin.

Its own objects, and the right to them, are those that are shipped.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.lab.place import AUDITED, Json, Place, as_list
from tests.kit import HERE

READS = ["list", "watch"]
ALWAYS: list[Json] = [
    {"apiGroups": ["tekton.dev"], "resources": ["taskruns", "pipelineruns", "customruns"], "verbs": READS},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": READS},
]
"""The rows of every installation: for the cluster, or for each namespace."""
CLUSTER_UID: Json = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
"""The row of an installation for the whole cluster."""
STATE, STATE_ROLE = HERE.parent / "deploy" / "state.yaml", "tracer-state"
"""Its own objects and the right to them, as they are shipped."""
STATE_OBJECTS = (("configmaps", "tracer-checkpoint"), ("leases", "tracer-leader"))
_RIGHTS = "rbac.authorization.k8s.io"


def create(place: Place, name: str) -> None:
    """Create an account that may do nothing yet but remember what it did, and agree with others who does it.

    Nothing is remembered of what another account did, or this one before.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AUDITED}}
    account = {"kind": "ServiceAccount", "name": name, "namespace": AUDITED}
    role = {"apiGroup": _RIGHTS, "kind": "Role", "name": STATE_ROLE}
    objects: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": AUDITED}},
        {
            "apiVersion": f"{_RIGHTS}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{name}-state", "namespace": AUDITED},
            "roleRef": role,
            "subjects": [account],
        },
    ]
    place.kubectl("apply", "-f", "-", stdin=as_list([namespace]))
    place.kubectl("delete", "-n", AUDITED, "--ignore-not-found", *(f"{kind}/{name}" for kind, name in STATE_OBJECTS))
    place.kubectl("apply", "-n", AUDITED, "-f", STATE)
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
    config["contexts"][0]["context"]["namespace"] = AUDITED
    config["users"][0]["user"] = {"token": token or place.kubectl("create", "token", name, "-n", AUDITED)}
    if ca_data:
        config["clusters"][0]["cluster"]["certificate-authority-data"] = ca_data
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def requests(place: Place, name: str, namespace: str = AUDITED) -> list[Json]:
    """Give what the API server noted of an account: each request with its verb, its object and the answer's status."""
    noted = [json.loads(line) for line in place.audit.read_text().splitlines()]
    return [one for one in noted if one["user"]["username"] == f"system:serviceaccount:{namespace}:{name}"]
