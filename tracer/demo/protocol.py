"""What does a request ask, and what does an API server say to it? Lists, pages, watch events, refusals.

Keeps: what is said is what a real server of 1.35 says, to the words of its refusals, as far as a client can tell that only reads,
but for single objects of its own, which it replaces.
Must not know: connections, time, faults.
Source: k8s.io/apiserver pkg/storage, pkg/endpoints/handlers/get.go, pkg/registry/generic/registry/store.go (Update);
k8s.io/apimachinery pkg/apis/meta/internalversion.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tracer.demo.store import API_VERSIONS, Change, Json, Served, Store, Stored, head, to_json
from tracer.tekton.names import CORE_VERSION, RUN_KINDS, Kind, OwnKind

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 - the version of a continue token's encoding
_LATEST = -1  # as a continue token's version: the rest as it is now
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[\w.]+/\w+))(?:/namespaces/(?P<namespace>[^/]+))?(?:/(?P<plural>\w+)(?:/(?P<name>[^/]+))?)?"
)
_TERM = re.compile(r"(?P<key>[^=!,\s]+)(?:==?(?P<value>[^=!,]*))?")
_FIELDS = {Kind.EVENT: {"involvedObject.kind", "reason"}}
_EMPTY: dict[Kind, Json] = {
    Kind.POD: {"spec": {"containers": None}, "status": {}},
    Kind.EVENT: {
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
}
"""What Go writes of an object without any content, such as a bookmark's."""


class Verb(StrEnum):
    """What a request does."""

    GET = "get"
    LIST = "list"
    WATCH = "watch"
    WATCH_LIST = "watchlist"
    """A watch that begins with what there is."""
    CREATE = "create"
    """Of a review, which is answered and not kept."""
    UPDATE = "update"

    @property
    def right(self) -> "Verb":
        """The one that must be granted for it."""
        return Verb.WATCH if self is Verb.WATCH_LIST else self


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    verb: Verb
    kind: Served | None
    """None for what is no object: discovery, version, readiness."""
    namespace: str
    """Empty for all of them."""
    path: str
    params: Mapping[str, str]
    name: str = ""
    """Of the one object of our own that it is about."""

    def is_true(self, name: str) -> bool:
        """Read a parameter as Go does."""
        return self.params.get(name, "").lower() in {"1", "t", "true"}

    @property
    def version(self) -> str:
        """Give the resourceVersion, empty if there is none."""
        return self.params.get("resourceVersion", "")


@dataclass(frozen=True, slots=True)
class Status:
    """A refusal."""

    code: int
    reason: str
    message: str
    details: Json | None = None
    continue_token: str = ""

    @property
    def body(self) -> bytes:
        """Write it."""
        metadata = {"continue": self.continue_token} if self.continue_token else {}
        said: Json = {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure", "message": self.message}
        details = {"details": self.details} if self.details is not None else {}
        return to_json(said | {"reason": self.reason} | details | {"code": self.code})

    @property
    def retry_after_s(self) -> int:
        """Say how long it asks to wait; 0 if it does not."""
        return int((self.details or {}).get("retryAfterSeconds", 0))


UNAUTHORIZED = Status(401, "Unauthorized", "Unauthorized")
LIST_TOO_OLD = Status(410, "Expired", "The resourceVersion for the provided list is too old.")
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
INCONSISTENT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
    "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)
_REFUSALS = {
    401: ("Unauthorized", "Unauthorized"),
    403: (
        "Forbidden",
        '{resource} is forbidden: User "tracer" cannot {verb} resource "{plural}" in API group "{group}" {scope}',
    ),
    410: ("Expired", "too old resource version"),
    429: ("TooManyRequests", "storage is (re)initializing"),
    500: ("InternalError", "Internal error occurred: the storage cannot be read"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "request did not complete within the allotted timeout"),
}


def refusal(code: int, asked: Asked, retry_after_s: int = 0) -> Status:
    """Refuse a request with a status code for no reason of its own."""
    reason, message = _REFUSALS[code]
    plural, group = (asked.kind.plural, _group(asked.kind)) if asked.kind else ("", "")
    wait = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    words = {
        "resource": f"{plural}.{group}".rstrip(".") + (f' "{asked.name}"' if asked.name else ""),
        "plural": plural,
        "group": group,
        "verb": asked.verb.right,
        "scope": f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope",
    }
    return Status(code, reason, message.format(**words), {"kind": plural} | wait)


def _group(kind: Served) -> str:
    return API_VERSIONS[kind].rpartition("/")[0]


def not_found(kind: Served, name: str) -> Status:
    """Refuse to give an object that is not there."""
    resource, details = _about(kind, name)
    return Status(404, "NotFound", f"{resource} not found", details)


def _about(kind: Served, name: str) -> tuple[str, Json]:
    """Name an object as refusals do, in words and in details."""
    group = _group(kind)
    details = {"name": name, **({"group": group} if group else {}), "kind": kind.plural}
    return f'{f"{kind.plural}.{group}".rstrip(".")} "{name}"', details


def read_request(path: str, params: Mapping[str, str], method: str = "GET") -> Asked:
    """Say what a GET of a path asks, or a POST, which only reviews are, or a PUT, which objects of our own alone have."""
    if method == "POST":
        return Asked(Verb.CREATE, None, "", path, params)
    found = _PATH.fullmatch(path)
    own = None if found is None else _own_kind(found)
    if found is not None and own is not None:
        return Asked(Verb.UPDATE if method == "PUT" else Verb.GET, own, found["namespace"], path, params, found["name"])
    if found is None or found["name"] or method == "PUT":
        return Asked(Verb.GET, None, "", path, params)
    version, namespace, plural = found["group"] or CORE_VERSION, found["namespace"] or "", found["plural"]
    if namespace and not plural:
        return Asked(Verb.GET, Kind.NAMESPACE, namespace, path, params)
    kind = next((kind for kind in Kind if (API_VERSIONS[kind], kind.plural) == (version, plural)), None)
    asked = Asked(Verb.LIST if kind else Verb.GET, kind, namespace, path, params)
    if kind is None or not asked.is_true("watch"):
        return asked
    return replace(asked, verb=Verb.WATCH_LIST if asked.is_true("sendInitialEvents") else Verb.WATCH)


def _own_kind(found: re.Match[str]) -> OwnKind | None:
    """Say of which kind the object of our own is that a path names."""
    wanted = found["group"] or CORE_VERSION, found["plural"]
    kinds = (kind for kind in OwnKind if (API_VERSIONS[kind], kind.plural) == wanted)
    return next(kinds, None) if found["namespace"] and found["name"] else None


# ---------------------------------------------------------------- our own objects


def replacement(found: Stored | None, kind: OwnKind, asked: Asked, body: bytes) -> Json | Status:
    """Say what a PUT puts in the place of what is there, or why it must not. A Lease that is not there is created.

    Source: pkg/registry/core/configmap/strategy.go, pkg/registry/coordination/lease/strategy.go.
    """
    resource, details = _about(kind, asked.name)
    try:
        content: Json = json.loads(body)
        for value in content.get("binaryData", {}).values() if kind is OwnKind.CONFIG_MAP else ():
            base64.b64decode(value, validate=True)
        metadata = {**content["metadata"], "name": asked.name, "namespace": asked.namespace}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        version = API_VERSIONS[kind].rpartition("/")[2]
        return Status(400, "BadRequest", f'{kind} in version "{version}" cannot be handled as a {kind}: {error}')
    uid, version = metadata.get("uid", ""), metadata.get("resourceVersion", "")
    whole: Json = {**content, "kind": kind, "apiVersion": API_VERSIONS[kind], "metadata": metadata}
    if found is None and kind is OwnKind.CONFIG_MAP:
        return not_found(kind, asked.name)
    if uid and uid != (found.uid if found is not None else ""):
        return _conflict(resource, details, f"Precondition failed: UID in precondition: {uid}")
    if found is None:
        return whole
    if not version and kind is OwnKind.LEASE:
        why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        return Status(422, "Invalid", f"{resource} is invalid: {why}", details)
    if version not in {"", found.version}:
        return _conflict(resource, details, MODIFIED)
    return whole


def _conflict(resource: str, details: Json, why: str) -> Status:
    return Status(409, "Conflict", f"Operation cannot be fulfilled on {resource}: {why}", details)


# ---------------------------------------------------------------- what is asked for


Selection = Callable[[Stored], bool]


def selection(kind: Kind, asked: Asked) -> Selection | Status:
    """Read the selectors: whether a label exists, and whether a label or a field has a value."""
    labels, fields = (_terms(asked.params.get(name, "")) for name in ("labelSelector", "fieldSelector"))
    if labels is None or fields is None or None in fields.values():
        return Status(400, "BadRequest", "unable to parse requirement")
    known = {"metadata.name", "metadata.namespace"} | _FIELDS.get(kind, set())
    for field in fields.keys() - known:
        return Status(400, "BadRequest", f"field label not supported: {field}")
    prefix = f"{asked.namespace}/" if asked.namespace else ""

    def selects(value: Stored) -> bool:
        return (
            value.key.startswith(prefix)
            and all(key in value.labels and said in {None, value.labels[key]} for key, said in labels.items())
            and all(value.fields[key] == said for key, said in fields.items())
        )

    return selects


def _terms(selector: str) -> dict[str, str | None] | None:
    """Split a selector into what must be there, with its value unless any will do; None if it says anything else."""
    found = [_TERM.fullmatch(term.strip()) for term in selector.split(",") if selector]
    return {one["key"]: one["value"] for one in found if one} if all(found) else None


def invalid(asked: Asked, *, has_watch_list: bool) -> Status | None:
    """Refuse combinations of parameters that mean nothing."""
    match, is_watch = asked.params.get("resourceVersionMatch", ""), asked.verb is not Verb.LIST
    initial = "sendInitialEvents" in asked.params
    known = ["NotOlderThan"] if is_watch else ["Exact", "NotOlderThan", ""]
    quoted = ", ".join(f'"{one}"' for one in known)
    by_field = "resourceVersionMatch"
    rows = [
        (
            is_watch and initial and match != "NotOlderThan",
            (by_field, "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ),
        (
            is_watch and initial and not has_watch_list,
            (
                "sendInitialEvents",
                "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            ),
        ),
        (
            is_watch and match and not initial,
            (by_field, "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        ),
        (
            not is_watch and match and not asked.version,
            (by_field, "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ),
        (
            match and asked.params.get("continue"),
            (by_field, "Forbidden: resourceVersionMatch is forbidden when continue is provided"),
        ),
        (match and match not in known, (by_field, f'Unsupported value: "{match}": supported values: {quoted}')),
        (
            match == "Exact" and asked.version == "0",
            (by_field, 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ),
        (not is_watch and initial, ("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")),
    ]
    causes = [_cause(*said) for is_so, said in rows if is_so]
    if not causes:
        return None
    said = [f"{one['field']}: {one['message']}" for one in causes]
    message = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}
    return Status(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}', details)


def _cause(field: str, message: str) -> Json:
    reason = "FieldValueForbidden" if message.startswith("Forbidden") else "FieldValueNotSupported"
    return {"reason": reason, "message": message, "field": field}


# ---------------------------------------------------------------- lists


def page(store: Store, kind: Kind, asked: Asked) -> bytes | Status:
    """Answer a list: all of it, or a page with the token of the next one."""
    selects = selection(kind, asked)
    place = _place(store, asked)
    if isinstance(selects, Status):
        return selects
    if isinstance(place, Status):
        return place
    version, start = place
    prefix = f"{asked.namespace}/" if asked.namespace else ""
    left = [one for one in store.at(kind, version) if one.key.startswith(prefix) and one.key[len(prefix) :] >= start]
    limit = _limit(kind, asked)
    items, metadata = list[Stored](), dict[str, object]()
    for number, value in enumerate(left, 1):
        if selects(value):
            items.append(value)
        if limit and len(items) == limit and number < len(left):
            metadata["continue"] = _token(version, value.key[len(prefix) :] + "\0")
            if not asked.params.keys() & {"labelSelector", "fieldSelector"}:
                metadata["remainingItemCount"] = len(left) - limit
            break
    return _list(kind, {"resourceVersion": str(version)} | metadata, items)


def _limit(kind: Kind, asked: Asked) -> int:
    """Say how many are asked for at most, 0 for all of them: a list from the watch cache, which Events have none of, is whole."""
    is_cached = kind is not Kind.EVENT and asked.version == "0"
    return 0 if is_cached else int(asked.params.get("limit", 0))


def _place(store: Store, asked: Asked) -> tuple[int, str] | Status:
    """Say as of which version, and from which key on, a list is asked for."""
    match, token = asked.params.get("resourceVersionMatch", ""), asked.params.get("continue", "")
    if token:
        if asked.version not in {"", "0"}:
            return Status(400, "BadRequest", "specifying resource version is not allowed when using continue")
        try:
            said = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, start = int(said["rv"]), str(said["start"])
        except (ValueError, KeyError, TypeError):
            return Status(400, "BadRequest", "invalid continue token: continue key is not valid")
        if 0 < version < store.compacted:
            return Status(410, "Expired", INCONSISTENT, continue_token=_token(_LATEST, start))
        return store.version if version == _LATEST else version, start
    wanted = int(asked.version or 0)
    if wanted > store.version:
        return too_large(wanted, store.version)
    if match == "Exact" or (not match and wanted and "limit" in asked.params):
        return LIST_TOO_OLD if wanted < store.compacted else (wanted, "")
    return store.version, ""


def too_large(wanted: int, version: int) -> Status:
    """Refuse a version that is not reached yet: this server lags, or it was restored."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {wanted}, current: {version}"
    return Status(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def _token(version: int, start: str) -> str:
    said = to_json({"v": _TOKEN_VERSION, "rv": version, "start": start})
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def _list(kind: Kind, metadata: Json, items: list[Stored]) -> bytes:
    """Write a list; the items of a built-in kind carry no kind of their own, and custom resources come before the metadata."""
    version = API_VERSIONS[kind]
    if kind in RUN_KINDS:
        joined = b",".join(one.whole for one in items)
        tail = f'],"kind":"{kind}List","metadata":'.encode() + to_json(dict(sorted(({"continue": ""} | metadata).items())))
        return f'{{"apiVersion":"{version}","items":['.encode() + joined + tail + b"}\n"
    start = f'{{"kind":"{kind}List","apiVersion":"{version}","metadata":'.encode() + to_json(metadata)
    return start + b',"items":[' + b",".join(one.body for one in items) + b"]}\n"


# ---------------------------------------------------------------- watches


def initial_events(store: Store, kind: Kind, selects: Selection) -> list[bytes]:
    """Tell what there is now."""
    return [_event("ADDED", one.whole) for one in store.at(kind, store.version) if selects(one)]


def watch_event(change: Change, selects: Selection) -> bytes | None:
    """Tell a change to one who selects; None if it is none to him. What is no longer selected is deleted to him."""
    was = change.previous if change.previous is not None and selects(change.previous) else None
    now = change.current if change.current is not None and selects(change.current) else None
    if now is not None:
        return _event("MODIFIED" if was is not None else "ADDED", now.whole)
    return _event("DELETED", was.at(change.version).whole) if was is not None else None


def bookmark(kind: Kind, version: int, annotations: Mapping[str, str] | None = None) -> bytes:
    """Say that everything up to a version was told."""
    metadata: Json = {"resourceVersion": str(version)} | ({"annotations": annotations} if annotations else {})
    return _event("BOOKMARK", head(kind) + to_json({"metadata": metadata} | _EMPTY.get(kind, {}))[1:])


def error_event(status: Status) -> bytes:
    """Say in a stream that it ends, and why."""
    return _event("ERROR", status.body)


def watch_too_old(kind: Kind, version: int, compacted: int) -> Status:
    """Refuse a watch from a version that is forgotten; Events are watched in etcd, everything else in the watch cache."""
    if kind is Kind.EVENT:
        return Status(410, "Expired", "The resourceVersion for the provided watch is too old.")
    return Status(410, "Expired", f"too old resource version: {version} ({compacted})")


def _event(kind: str, content: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), content)


# ---------------------------------------------------------------- discovery, and rights


def read_review(body: bytes) -> Json:
    """Read what a SelfSubjectAccessReview asks for: its resourceAttributes."""
    attributes: Json = json.loads(body)["spec"]["resourceAttributes"]
    return attributes


def kind_of_review(attributes: Json) -> Served | None:
    """Say which kind a review is about; None for one that is not served."""
    wanted = attributes.get("group", ""), attributes["resource"]
    return next((kind for kind in API_VERSIONS if (_group(kind), kind.plural) == wanted), None)


def review(attributes: Json, *, is_allowed: bool) -> bytes:
    """Answer a SelfSubjectAccessReview."""
    said: Json = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}}
    return to_json(said | {"spec": {"resourceAttributes": attributes}, "status": {"allowed": is_allowed}}) + b"\n"


def resources(group_version: str, kinds: list[Served]) -> bytes:
    """Say which kinds a version of a group serves."""
    listed = [
        {
            "name": kind.plural,
            "singularName": kind.lower(),
            "namespaced": kind is not Kind.NAMESPACE,
            "kind": str(kind),
            "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
        }
        for kind in kinds
    ]
    said = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}
    return to_json(said) + b"\n"
