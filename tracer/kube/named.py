"""One object of the API server by its name: reads it and replaces it.

Keeps: a replacement bears the version that was read, so that nobody's change is written over; whatever a server or a network
does is a value.
Must not know: what the object says, and when it is asked for again.
Source: Kubernetes API concepts (resource versions, optimistic concurrency).
"""

from dataclasses import dataclass
from http import HTTPStatus

from tracer.errors import InputError
from tracer.kube.reflector import UNKNOWN, Api
from tracer.tekton.names import COORDINATION_VERSION, CORE_VERSION, OwnKind
from tracer.transport import Answer, NoAnswer, Reason, Transport

CHECKPOINT_NAME, LEASE_NAME = "tracer-checkpoint", "tracer-leader"
"""Our own objects (`deploy/state.yaml`)."""
MOST_OBJECT_BYTES = 4 << 20  # etcd takes objects of 1.5 MB
_ROOTS = {OwnKind.CONFIG_MAP: f"/api/{CORE_VERSION}", OwnKind.LEASE: f"/apis/{COORDINATION_VERSION}"}
_DEFINITE = frozenset(range(400, 500)) - {
    HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS,
}  # fmt: skip
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Found:
    """The object as it is now; after a replacement with its new version."""

    body: bytes
    """JSON, whole."""


@dataclass(frozen=True, slots=True)
class Missing:
    """It is not there, or may not be read or replaced; another try would end the same until a person does something."""

    status: int
    """Usually 404 or 403."""
    why: str
    """A clause that says where, and what to do."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else replaced it since it was read, or it is another one by now."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Nobody knows how it is; a replacement may have been made, or be made yet."""

    reason: str
    """In a word."""
    why: str
    """A clause that says what the server did."""


def own_path(kind: OwnKind, namespace: str, name: str) -> str:
    """Say where the API server serves an object of our own."""
    return f"{_ROOTS[kind]}/namespaces/{namespace}/{kind.plural}/{name}"


class NamedObject:
    """Asks for one object."""

    def __init__(self, api: Api, transport: Transport, path: str) -> None:
        """Prepare; nothing is asked yet."""
        self._api, self._transport, self._path = api, transport, path
        *_, place, namespace, kind, name = ("", *path.split("/"))
        self._name = f"{kind}/{name}" + (f" in namespace {namespace}" if place == "namespaces" else "")
        self._is_refused = False

    async def read(self, timeout_s: float) -> Found | Missing | Trouble:
        """Read it, within timeout_s."""
        answer = await self._ask(None, timeout_s)
        said = self._said(answer, "get")
        return self._trouble(HTTPStatus.CONFLICT) if isinstance(said, Conflict) else said

    async def replace(self, body: bytes, timeout_s: float) -> Found | Conflict | Missing | Trouble:
        """Replace it by a whole object, metadata and all, within timeout_s; the version in it must be the one that is there."""
        return self._said(await self._ask(body, timeout_s), "update")

    async def _ask(self, body: bytes | None, timeout_s: float) -> Answer | NoAnswer:
        try:
            headers = self._api.headers(is_refused=self._is_refused)
        except InputError as error:
            return NoAnswer(Reason.UNUSABLE, f"was not asked: {str(error).rstrip('.')}")
        url = self._api.url + self._path
        if body is None:
            return await self._transport.get(url, headers, timeout_s, MOST_OBJECT_BYTES)
        return await self._transport.put(url, body, headers | _JSON, timeout_s, MOST_OBJECT_BYTES)

    def _said(self, answer: Answer | NoAnswer, verb: str) -> Found | Conflict | Missing | Trouble:
        if isinstance(answer, NoAnswer):
            return Trouble(answer.reason, f"{self._api.url} {answer.why}")
        self._is_refused = answer.status == HTTPStatus.UNAUTHORIZED
        match answer.status:
            case HTTPStatus.OK | HTTPStatus.CREATED if answer.is_whole:
                return Found(answer.body)
            case HTTPStatus.OK | HTTPStatus.CREATED:
                return Trouble("decode", f"{self._api.url} sent a {self._name} that cannot be read to its end")
            case HTTPStatus.CONFLICT:
                return Conflict()
            case HTTPStatus.NOT_FOUND:
                return Missing(answer.status, f"{self._api.url} has no {self._name} (404): create it")
            case HTTPStatus.FORBIDDEN:
                return Missing(answer.status, f"{self._api.url} does not allow it (403): grant {verb} on {self._name}")
            case status if status in _DEFINITE:
                return Missing(status, f"{self._api.url} answered {status} to {verb} {self._name}: see what refuses it")
            case status:
                return self._trouble(status)

    def _trouble(self, status: int) -> Trouble:
        if status == HTTPStatus.UNAUTHORIZED:
            return Trouble("unauthorized", f"{self._api.url} {UNKNOWN}")
        return Trouble(f"http_{status}", f"{self._api.url} answered {status} for {self._name}")
