"""What may the controller's account do? Reads it from manifests: every role that is bound to it, as lines for people."""

from collections.abc import Iterator

from tests.kit import Json

EVERYWHERE = "the whole cluster"
GROUP = "rbac.authorization.k8s.io"
BINDINGS = {"RoleBinding", "ClusterRoleBinding"}


def rights(among: list[Json], account: str, namespace: str) -> Iterator[str]:
    """Write each right of an account: where, which verbs, of what.

    A role that is not there, and a binding to somebody else, raise ValueError.
    """
    roles = {(one["kind"], _place(one), one["metadata"]["name"]): one["rules"] for one in among if one["kind"].endswith("Role")}
    for binding in (one for one in among if one["kind"] in BINDINGS):
        if binding["subjects"] != [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]:
            raise ValueError(binding["subjects"])
        reference = (binding["roleRef"]["kind"], _place(binding), binding["roleRef"]["name"])
        if reference not in roles or binding["roleRef"]["apiGroup"] != GROUP:
            raise ValueError(reference)
        for rule in roles[reference]:
            yield f"{_place(binding)}: {_words(rule)}"


def _place(one: Json) -> str:
    return str(one["metadata"].get("namespace", EVERYWHERE))


def _words(rule: Json) -> str:
    groups = [group for group in rule["apiGroups"] if group]
    named = [
        *rule["resources"],
        *(f"named {name}" for name in rule.get("resourceNames", [])),
        *(f"of {group}" for group in groups),
    ]
    return f"{', '.join(rule['verbs'])} {', '.join(named)}"
