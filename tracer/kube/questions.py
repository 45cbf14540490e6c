"""What is asked of the API server once, beside lists and watches: who it is, what it serves, what we may do?

Keeps: an answer that cannot be read is None, never an exception.
Must not know: how bytes arrive, what follows from an answer.
Source: Kubernetes API concepts (discovery); authorization.k8s.io/v1; operations 5.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

import msgspec

from tracer.kube.wire import Verb, feeds
from tracer.tekton import names
from tracer.tekton.names import Kind
from tracer.telemetry.records import first_line

VERSION = "/version"
TEKTON_V1 = f"/apis/{names.TEKTON_GROUP}/v1"
TEKTON_V1BETA1 = f"/apis/{names.TEKTON_GROUP}/v1beta1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """Something that an account may be allowed to do, as rules of RBAC spell it."""

    verb: str
    resource: str
    group: str = ""
    """Empty for the core one."""
    namespace: str = ""
    """Empty for all of them."""
    name: str = ""
    """Empty for any."""


READ_CLUSTER = Right("get", Kind.NAMESPACE.plural, namespace=names.CLUSTER_NAMESPACE, name=names.CLUSTER_NAMESPACE)
"""What gives the cluster its UID. A request for a namespace is one within it, as authorizers see it."""


def rights_to_watch(namespaces: Iterable[str]) -> list[Right]:
    """List what it takes to watch some namespaces; an empty one stands for all of them."""
    watched = dict.fromkeys((feed.namespace, feed.kind) for namespace in namespaces for feed in feeds(namespace))
    return [
        Right(verb, kind.plural, names.TEKTON_GROUP if kind in names.RUN_KINDS else "", namespace)
        for namespace, kind in watched
        for verb in Verb
    ]


def rights_to_write(resource: str, group: str, namespace: str, name: str) -> list[Right]:
    """List what it takes to keep an object of our own."""
    return [Right(verb, resource, group, namespace, name) for verb in ("get", "update")]


def review(right: Right) -> bytes:
    """Write the SelfSubjectAccessReview that asks for a right."""
    kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    return msgspec.json.encode({**kind, "spec": {"resourceAttributes": asdict(right)}})


def in_words(rights: Iterable[Right]) -> str:
    """Say rights shortly: `list and watch pods and events in all namespaces; get pods in ci`."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.namespace, right.resource), []).append(right.verb)
    resources: dict[tuple[str, str], list[str]] = {}
    for (namespace, resource), allowed in verbs.items():
        resources.setdefault((namespace, _listed(allowed)), []).append(resource)
    namespaces: dict[str, list[str]] = {}
    for (namespace, what), which in resources.items():
        namespaces.setdefault(f"{what} {_listed(which)}", []).append(namespace or "all namespaces")
    return "; ".join(f"{what} in {_listed(where)}" for what, where in namespaces.items())


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Outcome(msgspec.Struct, frozen=True):
    allowed: bool


class _Reviewed(msgspec.Struct, frozen=True):
    status: _Outcome


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


class _Resource(msgspec.Struct, frozen=True):
    name: str


class _Resources(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...]


class _Status(msgspec.Struct, frozen=True, tag_field="kind", tag="Status"):
    message: str = ""


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def is_allowed(body: bytes) -> bool | None:
    """Read the answer to a review."""
    said = _decode(body, _Reviewed)
    return None if said is None else said.status.allowed


def server_version(body: bytes) -> str | None:
    """Read the answer to `/version`."""
    said = _decode(body, _Version)
    return None if said is None else first_line(said.git_version)


def resources(body: bytes) -> frozenset[str] | None:
    """Read which resources a version of a group serves, by their plurals."""
    said = _decode(body, _Resources)
    return None if said is None else frozenset(one.name for one in said.resources)


def why(body: bytes) -> str:
    """Read what a refusal says; empty if it is not Kubernetes' own `Status`, for then it may hold anything."""
    said = _decode(body, _Status)
    return "" if said is None else first_line(said.message)


def _decode(body: bytes, of_type: type[_Struct]) -> _Struct | None:
    try:
        return msgspec.json.decode(body, type=of_type)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
