"""What does the API server say on a list and a watch, and what is asked next?

Keeps: the version that a watch goes on from moves only with what was given on, so a stream that breaks anywhere loses nothing;
half a list is never taken for a whole one, so what vanished is told only by a list that ended; a line or an item that cannot be
read costs itself alone; a server whose version went back is not watched from a version that it has yet to reach.
Must not know: how bytes arrive, what the objects mean, how long to wait.
Source: Kubernetes API concepts (efficient detection of changes, streaming lists, resource versions); client-go
tools/cache/reflector.go.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tracer.tekton import names
from tracer.tekton.decode import Malformed, Object, Schema, Unread, decode
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished

MOST_LINE_BYTES = 4 << 20  # etcd takes objects of 1.5 MB
PAGE_ITEMS = 500
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_TYPES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})
_GONE, _NOT_OFFERED = 410, frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that is longer than any object can be; it was not kept."""

    size_bytes: int


class Lines:
    """Takes a stream of bytes apart at its newlines, whatever pieces it comes in."""

    def __init__(self, most_bytes: int = MOST_LINE_BYTES) -> None:
        """Begin with nothing read."""
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """Give the lines that are whole with this chunk, without their newlines; the rest waits for more."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            yield self._line(chunk[start:end])
            start = end + 1
        self._keep(chunk[start:])

    @property
    def rest(self) -> bytes:
        """What came after the last newline; empty if it is too long to be kept."""
        return b"".join(self._parts)

    def _line(self, last: bytes) -> bytes | TooLong:
        self._keep(last)
        size_bytes, parts = self._size_bytes, self._parts
        self._size_bytes, self._parts = 0, []
        return TooLong(size_bytes) if size_bytes > self._most_bytes else parts[0] if len(parts) == 1 else b"".join(parts)

    def _keep(self, part: bytes) -> None:
        self._size_bytes += len(part)
        if self._size_bytes > self._most_bytes:
            self._parts = []
        elif part:
            self._parts.append(part)


@dataclass(frozen=True, slots=True)
class Feed:
    """What one watch is about: a kind, in one namespace or in all of them, and which of its objects."""

    kind: Kind
    namespace: str = ""
    """Empty for all of them."""
    reason: str = ""
    """Of Events: which ones, about Pods."""

    @property
    def path(self) -> str:
        """Where the API server serves it."""
        version = {Kind.CUSTOM_RUN: "v1beta1"}.get(self.kind, "v1")
        root = f"/apis/{names.TEKTON_GROUP}/{version}" if self.kind in names.RUN_KINDS else f"/api/{names.CORE_VERSION}"
        return f"{root}{f'/namespaces/{self.namespace}' if self.namespace else ''}/{self.kind.plural}"

    @property
    def selectors(self) -> dict[str, str]:
        """What is asked of the server to leave out. No label stands on Events, so they are chosen by fields."""
        if self.kind is Kind.POD:
            return {"labelSelector": names.LABEL_TASK_RUN}
        if self.kind is Kind.EVENT:
            return {"fieldSelector": f"involvedObject.kind=Pod,reason={self.reason}"}
        return {}


def feeds(namespace: str) -> list[Feed]:
    """List the watches for a namespace, or for all of them if it is empty."""
    kinds = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN, Kind.POD)
    return [
        *(Feed(kind, namespace) for kind in kinds),
        *(Feed(Kind.EVENT, namespace, reason) for reason in sorted(names.EVENT_REASONS)),
    ]


class Verb(StrEnum):
    """What a request does."""

    LIST = "list"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask next."""

    verb: Verb
    path: str
    query: dict[str, str]


@dataclass(frozen=True, slots=True)
class Expired:
    """The version that was asked for is no longer kept: a list comes next."""


@dataclass(frozen=True, slots=True)
class WentBack:
    """The server is at an older version than it was, as after a restore of etcd from a backup: a list comes next."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The server ended a stream with an error of its own."""

    status: int
    why: str


Told = Seen | Gone | Vanished | Synced | Malformed | Unread | TooLong | Expired | WentBack | Failed


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True, gc=False):
    items: list[msgspec.Raw] | None = None
    metadata: _ListMeta = _ListMeta()


class _BookmarkMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class _Bookmark(msgspec.Struct, frozen=True, gc=False):
    metadata: _BookmarkMeta = _BookmarkMeta()


class _Status(msgspec.Struct, frozen=True, gc=False):
    code: int = 0
    reason: str = ""
    message: str = ""


class _Identity(msgspec.Struct, frozen=True, gc=False):
    uid: str


class _Identified(msgspec.Struct, frozen=True, gc=False):
    metadata: _Identity


class _VersionMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct, frozen=True, gc=False):
    metadata: _VersionMeta


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_PAGE = msgspec.json.Decoder(_Page)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)
_STATUS = msgspec.json.Decoder(_Status)
_IDENTIFIED = msgspec.json.Decoder(_Identified)
_VERSIONED = msgspec.json.Decoder(_Versioned)  # searched for, it could be a label's or an annotation's that is called the same


class Course:
    """Where one watch stands. Ask for its next request, tell it what came of it."""

    def __init__(self, feed: Feed, schema: Schema) -> None:
        """Begin with nothing known; the first request is a list."""
        self.feed = feed
        self.is_synced = False
        """Whether a whole list was told."""
        self._schema = schema
        self.can_stream_lists = True
        """Until the server refuses to."""
        self.events: Counter[str] = Counter()
        """How many watch events came, by type."""
        self.version = ""
        """The last one that was given on; empty if a list comes next."""
        self._continue = ""
        self._known: set[str] = set()
        """The UIDs that exist, as far as was told."""
        self._listed: set[str] | None = None
        """Those of the list that is being told; None while none is."""
        self._has_unread = False
        """Whether something in that list could not be read, so that nobody knows what it was."""
        self._begun_ns = 0
        self._is_doubted = False
        """Whether the server may be at an older version than ours: a watch from there would be silent for ever."""

    @property
    def existing(self) -> int:
        """How many objects exist, as far as was told."""
        return len(self._known)

    @property
    def is_listing(self) -> bool:
        """Whether a list comes next, or is being told."""
        return not self.version or self._listed is not None

    def request(self, now_ns: int, timeout_s: int) -> Request:
        """Give the next request; a watch ends by itself after timeout_s."""
        watch = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_s)}
        if not self.is_listing and self._is_doubted:  # whatever object comes first: only the list's version is wanted
            return Request(Verb.LIST, self.feed.path, {"limit": "1"})
        if not self.is_listing:
            return Request(Verb.WATCH, self.feed.path, {**self.feed.selectors, **watch, "resourceVersion": self.version})
        if not self._continue:
            self._listed, self._begun_ns, self._has_unread = set(), now_ns, False
        if self.can_stream_lists:
            stream = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            return Request(Verb.WATCH, self.feed.path, {**self.feed.selectors, **watch, **stream})
        page = {"limit": str(PAGE_ITEMS), **({"continue": self._continue} if self._continue else {})}
        return Request(Verb.LIST, self.feed.path, {**self.feed.selectors, **page})

    # ------------------------------------------------------------ what came of it

    def page(self, body: bytes) -> Iterator[Told]:
        """Take a page of a list in."""
        try:
            page = _PAGE.decode(body)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            self.start_over()
            yield Malformed(f"{self.feed.kind}List", "$", str(error))
            return
        if not page.metadata.resource_version:  # JSON of somebody in between, in which nothing exists
            self.start_over()
            yield Malformed(f"{self.feed.kind}List", "$", "Expected a version")
            return
        if not self.is_listing:
            yield from self._checked(page.metadata.resource_version)
            return
        for raw in page.items or ():
            yield self._seen(decode(raw, self._schema, self.feed.kind), raw)
        self._continue = page.metadata.continue_
        if not self._continue:
            yield from self._end_list(page.metadata.resource_version)

    def line(self, line: bytes | TooLong) -> Iterator[Told]:
        """Take a line of a watch in."""
        if isinstance(line, TooLong):
            self._has_unread = True
            yield line
            return
        try:
            event = _ENVELOPE.decode(line)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            # It may have been any object's, and a deletion too: only a list can tell what is so now.
            self.start_over()
            yield Malformed("watch event", "$", "Not JSON")
            return
        self.events[event.type if event.type in _TYPES else "other"] += 1
        match event.type:
            case "ADDED" | "MODIFIED":
                yield self._seen(decode(event.object, self._schema, self.feed.kind), event.object)
                self._move(event.object)
            case "DELETED":
                yield from self._gone(decode(event.object, self._schema, self.feed.kind), event.object)
                self._move(event.object)
            case "BOOKMARK":
                yield from self._bookmark(event.object)
            case "ERROR":
                yield self._error(event.object)
            case kind:
                yield Unread(kind)

    def refused(self, status: int) -> Expired | None:
        """Take an HTTP error in; Expired if a list comes next because of it."""
        if status == _GONE:
            self.start_over()
            return Expired()
        if self._listed is not None and self.can_stream_lists and status in _NOT_OFFERED:
            self.can_stream_lists = False  # an older server, or one that does not offer it
        return None

    def answered(self, rest: bytes) -> Expired | None:
        """Take in what stood where a watch's lines should be; Expired if it is the Status that says so, without an event."""
        try:
            status = _STATUS.decode(rest)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return None
        return self.refused(_GONE) if status.code == _GONE else None

    def broke_off(self) -> None:
        """Note that a stream ended: a list that had not ended is begun again, a watch goes on where it was."""
        if self._listed is not None and self.can_stream_lists:
            self.start_over()

    def doubt(self) -> None:
        """Let the server's version be asked for before the watch goes on; a list says it anyway."""
        self._is_doubted = not self.is_listing

    def start_over(self) -> None:
        """Let a list come next, from its beginning."""
        self.version, self._continue, self._listed, self._is_doubted = "", "", None, False

    # ------------------------------------------------------------ small steps

    def _seen(self, value: Object | Malformed | Unread, raw: msgspec.Raw) -> Told:
        if isinstance(value, Malformed | Unread):
            self._note_malformed(raw)
            return value
        self._note(value.metadata.uid)
        return Seen(value)

    def _gone(self, value: Object | Malformed | Unread, raw: msgspec.Raw) -> Iterator[Told]:
        if isinstance(value, Malformed | Unread):
            yield value
            if (uid := _uid(raw)) in self._known:
                self._leave(uid)
                yield Vanished(self.feed.kind, uid)
            return
        self._leave(value.metadata.uid)
        yield Gone(value)

    def _leave(self, uid: str) -> None:
        self._known.discard(uid)
        if self._listed is not None:
            self._listed.discard(uid)

    def _note(self, uid: str) -> None:
        self._known.add(uid)
        if self._listed is not None:
            self._listed.add(uid)

    def _note_malformed(self, raw: msgspec.Raw) -> None:
        """Note an object that cannot be read: it exists, and must not be told as vanished."""
        uid = _uid(raw)
        if uid:
            self._note(uid)
        else:
            self._has_unread = True

    def _move(self, raw: msgspec.Raw) -> None:
        if self._listed is not None:
            return
        try:
            self.version = _VERSIONED.decode(raw).metadata.resource_version or self.version
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return  # the next object, or a bookmark, moves it

    def _checked(self, version: str) -> Iterator[Told]:
        """Compare the server's version with ours. They are ordered since KEP-5504; before it, disorder is only a suspicion."""
        self._is_doubted = False
        if version.isdigit() and self.version.isdigit() and int(version) < int(self.version):
            self.start_over()
            yield WentBack()

    def _bookmark(self, raw: msgspec.Raw) -> Iterator[Told]:
        try:
            said = _BOOKMARK.decode(raw).metadata
        except (ValueError, msgspec.MsgspecError, RecursionError):
            yield Malformed("bookmark", "$", "Not JSON")
            return
        if self._listed is None:
            self.version = said.resource_version or self.version
        elif said.annotations.get(INITIAL_EVENTS_END) == "true":
            yield from self._end_list(said.resource_version)

    def _end_list(self, version: str) -> Iterator[Told]:
        listed = self._listed if self._listed is not None else set()
        if self._has_unread:
            listed |= self._known  # any of them may be what could not be read: the next list will tell
        for uid in sorted(self._known - listed):
            yield Vanished(self.feed.kind, uid)
        self._known, self._listed, self.version, self.is_synced = listed, None, version, True
        yield Synced(self.feed.kind, self._begun_ns)

    def _error(self, raw: msgspec.Raw) -> Told:
        try:
            status = _STATUS.decode(raw)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            status = _Status()
        if status.code == _GONE:
            self.start_over()
            return Expired()
        return Failed(status.code, status.reason or status.message)


def _uid(raw: msgspec.Raw) -> str:
    """Find the UID of an object that cannot be read; empty if not even that can be."""
    try:
        return _IDENTIFIED.decode(raw).metadata.uid
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return ""
