"""What does the demonstration's cluster hold, and what did it hold before? Objects as they came, under one resourceVersion.

Keeps: the version grows by one with each change, whatever its kind; since the last compaction every state can be told again.
Must not know: HTTP, who asks, who watches, time.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from tracer.tekton.decode import kind_of
from tracer.tekton.names import COORDINATION_VERSION, CORE_VERSION, RUN_KINDS, TEKTON_GROUP, Kind, OwnKind

Json = dict[str, Any]
Served = Kind | OwnKind

FIRST_VERSION = 1000  # a real server has long forgotten its first versions

API_VERSIONS: dict[Served, str] = {
    Kind.PIPELINE_RUN: f"{TEKTON_GROUP}/v1",
    Kind.TASK_RUN: f"{TEKTON_GROUP}/v1",
    Kind.CUSTOM_RUN: f"{TEKTON_GROUP}/v1beta1",
    Kind.POD: CORE_VERSION,
    Kind.EVENT: CORE_VERSION,
    Kind.NAMESPACE: CORE_VERSION,
    OwnKind.CONFIG_MAP: CORE_VERSION,
    OwnKind.LEASE: COORDINATION_VERSION,
}
"""In which version each kind is served."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object at one version."""

    kind: Served
    key: str
    """Namespace and name, as etcd orders them."""
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    """What field selectors can ask for."""
    body: bytes
    """JSON, without kind and apiVersion."""

    @property
    def whole(self) -> bytes:
        """Write it with kind and apiVersion, as a watch tells it."""
        return head(self.kind) + self.body[1:]

    @property
    def version(self) -> str:
        """Say at which version it came to be so."""
        return str(json.loads(self.body)["metadata"]["resourceVersion"])

    @property
    def uid(self) -> str:
        """Tell it from another one of the same name."""
        return str(json.loads(self.body)["metadata"].get("uid", ""))

    def at(self, version: int) -> "Stored":
        """Give it the version of a later change: that of its deletion."""
        return stored(self.kind, json.loads(self.body), version)


@dataclass(frozen=True, slots=True)
class Change:
    """What one version changed: None before it was created, and after it was deleted."""

    version: int
    kind: Served
    key: str
    previous: Stored | None
    current: Stored | None


class Store:
    """Holds objects, and every change since the last compaction."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.version = FIRST_VERSION
        self.compacted = FIRST_VERSION
        """The oldest version that can still be told."""
        self._objects: defaultdict[Served, dict[str, Stored]] = defaultdict(dict)
        self._changes: list[Change] = []
        self._sorted: dict[Kind, tuple[int, list[Stored]]] = {}

    def get(self, kind: Served, key: str) -> Stored | None:
        """Give an object as it is now."""
        return self._objects[kind].get(key)

    def put(self, content: Json) -> Change:
        """Create an object, or replace the one of its kind, namespace and name. An object of our own gets a UID, and keeps it."""
        kind = _kind(content)
        if isinstance(kind, OwnKind):
            content = {**content, "metadata": {**content["metadata"], "uid": self._uid(kind, content["metadata"])}}
        value = stored(kind, content, self.version + 1)
        return self._change(value.kind, value.key, value)

    def delete(self, content: Json) -> Change:
        """Delete the object of this kind, namespace and name; its last state is kept in the change. Raises KeyError."""
        kind, key = _kind(content), key_of(content["metadata"])
        if key not in self._objects[kind]:
            raise KeyError(f"{kind} {key}")
        return self._change(kind, key, None)

    def at(self, kind: Kind, version: int) -> list[Stored]:
        """Give the objects of a kind as they were at a version, in the order of their keys; it must not be compacted."""
        known_version, known = self._sorted.get(kind, (0, []))
        if known_version != version:
            objects = dict(self._objects[kind])
            for change in reversed(list(self.since(kind, version))):
                _set(objects, change.key, change.previous)
            known = [objects[key] for key in sorted(objects)]
            self._sorted[kind] = version, known  # a later page asks for the same
        return known

    def since(self, kind: Kind, version: int) -> Iterator[Change]:
        """Give the changes of a kind after a version, in order; it must not be compacted."""
        latest = list(takewhile(lambda change: change.version > version, reversed(self._changes)))
        return (change for change in reversed(latest) if change.kind is kind)

    def compact(self) -> None:
        """Forget what was before now."""
        self._changes.clear()
        self.compacted = self.version

    def restore(self, version: int) -> None:
        """Go back to a version, as if etcd were restored from a backup; it must not be compacted. What comes repeats versions."""
        while self._changes and self._changes[-1].version > version:
            change = self._changes.pop()
            _set(self._objects[change.kind], change.key, change.previous)
        self.version = version
        self._sorted.clear()

    def _uid(self, kind: OwnKind, metadata: Json) -> str:
        found = self.get(kind, key_of(metadata))
        return found.uid if found is not None else f"0b1ec700-0000-4000-8000-{self.version:012}"

    def _change(self, kind: Served, key: str, current: Stored | None) -> Change:
        self.version += 1
        change = Change(self.version, kind, key, self._objects[kind].get(key), current)
        _set(self._objects[kind], key, current)
        self._changes.append(change)
        return change


def head(kind: Served) -> bytes:
    """Begin an object's JSON in the order of the API server: custom resources are sorted by key, the built-in ones are not."""
    version = API_VERSIONS[kind]
    if kind in RUN_KINDS:
        return f'{{"apiVersion":"{version}","kind":"{kind}",'.encode()
    return f'{{"kind":"{kind}","apiVersion":"{version}",'.encode()


def stored(kind: Served, content: Json, version: int) -> Stored:
    """Take an object as it came, but for its version."""
    metadata = {**content["metadata"], "resourceVersion": str(version)}
    rest = {key: value for key, value in content.items() if key not in {"kind", "apiVersion"}} | {"metadata": metadata}
    fields = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
    if kind is Kind.EVENT:
        fields |= {"reason": content.get("reason", ""), "involvedObject.kind": content.get("involvedObject", {}).get("kind", "")}
    return Stored(kind, key_of(metadata), metadata.get("labels") or {}, fields, to_json(rest))


def key_of(metadata: Json) -> str:
    """Name an object within its kind."""
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def to_json(value: Json) -> bytes:
    """Write JSON as compactly as the API server does, in UTF-8; half a character becomes a question mark."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _kind(content: Json) -> Served:
    own = (one for one in OwnKind if (one, API_VERSIONS[one]) == (content["kind"], content["apiVersion"]))
    kind = next(own, None) or kind_of(content["kind"], content["apiVersion"])
    if kind is None:
        raise ValueError(f"{content['kind']} of {content['apiVersion']} is not served")
    return kind


def _set(objects: dict[str, Stored], key: str, value: Stored | None) -> None:
    if value is None:
        objects.pop(key, None)
    else:
        objects[key] = value
