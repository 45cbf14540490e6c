"""A Kubernetes API server on loopback that plays recordings: for the demonstration, the tests and the benchmarks.

Keeps: it speaks the protocol as a real one does to a client that only reads, but for single objects of its own, unless a fault
is asked for. What happens to objects, requests and streams is steered by method calls in its own loop; each takes effect before
it returns.
"""

import asyncio
import json
import math
import ssl
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from tracer.demo import faults, protocol
from tracer.demo.faults import Break, Fault, Planned, Refuse, Say, Slow
from tracer.demo.protocol import Asked, Status, Verb
from tracer.demo.store import API_VERSIONS, Change, Json, Served, Store
from tracer.demo.watch import Watch
from tracer.kube.recording import decode_watch_event, find_recording
from tracer.tekton.decode import kind_of
from tracer.tekton.names import CLUSTER_NAMESPACE, LABEL_TASK_RUN, Kind, OwnKind

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.0-demo"}
MOST_BODY_BYTES = 3 << 20  # k8s.io/apiserver pkg/server/config.go (MaxRequestBodyBytes)
BOOKMARK_EVERY_S = 60.0  # k8s.io/apiserver pkg/storage/cacher/cacher.go (defaultBookmarkFrequency)
_CLUSTER: Json = {
    "kind": "Namespace",
    "apiVersion": "v1",
    "metadata": {
        "name": CLUSTER_NAMESPACE,
        "uid": "c1005e12-0000-4000-8000-000000000001",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
}


class Chunks(bytes):
    """Lines of a stream that stand in HTTP chunks already, one each, as a server writes them that has nothing to wait for."""

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Self:
        """Put lines into chunks."""
        return cls(b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines))


class ApiServer:
    """Serves objects. Open it with `async with`; closed and opened again it is in the same place with the same objects."""

    def __init__(
        self,
        *,
        bookmark_every_s: float = BOOKMARK_EVERY_S,
        has_watch_list: bool = True,
        token: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; it holds the namespace `kube-system` and nothing else.

        Each watch that asks for bookmarks gets one every bookmark_every_s, which may be infinite; but those of Events get none,
        since a real server has no watch cache for Events.
        """
        self.url = ""
        self.token = token
        """What every request must bear, unless it is empty; it can be changed at any time."""
        self.asked: list[Asked] = []
        """Every request, in order."""
        self.store = Store()
        self._bookmark_every_s, self._has_watch_list, self._tls = bookmark_every_s, has_watch_list, tls
        self._absent: set[Kind] = set()
        self._forbidden: set[tuple[Served, Verb, str | None]] = set()
        self._planned: list[Planned] = []
        self._watches: list[Watch] = []
        self._held: dict[Kind, int] = {}
        self._news = asyncio.Event()
        self._port = 0
        self.put(_CLUSTER)

    async def __aenter__(self) -> Self:
        """Listen."""
        application = web.Application(client_max_size=MOST_BODY_BYTES)
        application.router.add_put("/{path:.*}", self._answer)
        application.router.add_get("/{path:.*}", self._answer)
        application.router.add_post(protocol.REVIEWS, self._answer)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        host, self._port = self._runner.addresses[0][:2]
        self.url = f"http{'s' if self._tls is not None else ''}://{host}:{self._port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every stream, close every connection."""
        self.strike(Break.END)
        await self._runner.cleanup()

    # ---------------------------------------------------------------- what happens in the cluster

    def put(self, content: Json) -> None:
        """Create or replace an object, and tell those who watch."""
        self._tell(self.store.put(content))

    def delete(self, content: Json) -> None:
        """Delete the object of this kind, namespace and name, and tell its last state. Raises KeyError if there is none."""
        self._tell(self.store.delete(content))

    async def play(self, path: Path, speed: float = math.inf) -> None:
        """Let happen what a recording's `watch.jsonl` tells, so many times as fast as it did; infinitely fast is at once."""
        clock_s = None
        for at_s, is_gone, content in recorded(path):
            await asyncio.sleep(max(0.0, at_s - (at_s if clock_s is None else clock_s)) / speed)
            clock_s = at_s
            (self.delete if is_gone else self.put)(content)

    def compact(self) -> None:
        """Forget every version before this one: who lists or watches from there is told that it has expired."""
        self.store.compact()

    def restore(self, version: int) -> None:
        """Go back to what was at a version, as if etcd were restored from a backup; every stream is reset."""
        self.store.restore(version)
        self.strike(Break.RESET)

    def uninstall(self, kind: Kind) -> None:
        """Serve a kind no more, as if its CRD were gone; its streams end."""
        self._absent.add(kind)
        self.strike(Break.END, kind)

    def install(self, kind: Kind) -> None:
        """Serve a kind again, with the objects that it had."""
        self._absent.remove(kind)

    # ---------------------------------------------------------------- what goes wrong

    def fail(
        self,
        fault: Fault,
        kind: Served | None = None,
        verb: Verb | None = None,
        *,
        namespace: str | None = None,
        times: float = 1,
    ) -> None:
        """Let the next requests meet a fault: those of a kind, of a verb, of a namespace (empty: of all at once), or any.

        CUT, END and Slow are for lists and watches; nothing else is long enough. LOSE is for what is replaced.
        """
        self._planned.append(Planned(fault, kind, verb, namespace, times))

    def forbid(self, kind: Served, verb: Verb, *, namespace: str | None = None) -> None:
        """Take a right away, in a namespace (empty: in all of them at once) or everywhere: requests get 403, reviews say so."""
        self._forbidden.add((kind, verb.right, namespace))

    def heal(self) -> None:
        """Forget the faults that are planned."""
        self._planned.clear()

    def strike(self, fault: Break, kind: Kind | None = None) -> None:
        """Let the open streams of a kind, or all, meet a fault, after all that was told before. CUT waits for the next event."""
        for watch in self._of(kind):
            watch.push(fault)

    def withhold(self, kind: Kind) -> None:
        """Tell no stream what changes in a kind from now on. Lists show it."""
        self._held[kind] = self.store.version

    def release(self, kind: Kind) -> None:
        """Tell what was withheld, or, if it was compacted meanwhile, that it is too late."""
        held = self._held.pop(kind)
        for watch in self._of(kind):
            self._catch_up(watch, max(held, watch.start))

    def bookmark(self, kind: Kind) -> None:
        """Send a bookmark now to the streams of a kind that asked for bookmarks."""
        for watch in self._of(kind):
            watch.bookmark()

    def send(self, kind: Kind, line: bytes) -> None:
        """Send any bytes at all to the streams of a kind; Chunks go out as they are, which is the fastest way."""
        for watch in self._of(kind):
            watch.push(line)

    async def drained(self) -> None:
        """Wait until everything that was to be told has been written, or its stream has ended."""
        await self.until(lambda: not any(watch.pending for watch in self._watches))

    def send_error(self, kind: Kind, code: int) -> None:
        """End the streams of a kind with an ERROR event."""
        for watch in self._of(kind):
            watch.push(protocol.error_event(protocol.refusal(code, watch.asked)), Break.END)

    # ---------------------------------------------------------------- what was asked

    def count(self, kind: Served, verb: Verb) -> int:
        """Say how many requests there were."""
        return sum(one.kind is kind and one.verb is verb for one in self.asked)

    def watching(self, kind: Kind) -> int:
        """Say how many streams of a kind are open."""
        return len(self._of(kind))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever a request has come, or a stream has opened, spoken or ended."""
        while not is_so():
            await self._news.wait()

    # ---------------------------------------------------------------- how it is answered

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = protocol.read_request(request.path, request.query, request.method)
        self.asked.append(asked)
        self._notify()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refuse(protocol.UNAUTHORIZED)
        fault = self._fault(asked)
        if (met := await _met(request, asked, fault)) is not None:
            return met
        if asked.verb is Verb.CREATE:
            return self._review(await request.read())
        if isinstance(asked.kind, OwnKind):
            return await self._own(request, asked, asked.kind, fault)
        if asked.kind is None or asked.kind in self._absent or asked.verb is Verb.GET:
            return self._get(asked)
        status = protocol.invalid(asked, has_watch_list=self._has_watch_list)
        if status is not None:
            return _refuse(status)
        if asked.verb is Verb.LIST:
            return await self._list(request, asked, asked.kind, fault)
        return await self._stream(request, asked, asked.kind, fault)

    async def _own(self, request: web.Request, asked: Asked, kind: OwnKind, fault: Fault | None) -> web.Response:
        """Give an object of our own, or replace it."""
        found = self.store.get(kind, f"{asked.namespace}/{asked.name}")
        if asked.verb is Verb.GET:
            return _json(found.whole) if found else _refuse(protocol.not_found(kind, asked.name))
        content = protocol.replacement(found, kind, asked, await request.read())
        if isinstance(content, Status):
            return _refuse(content)
        self.put(content)
        put = self.store.get(kind, f"{asked.namespace}/{asked.name}")
        if fault is Break.LOSE or put is None:
            return faults.reset(request)
        return _json(put.whole, HTTPStatus.OK if found else HTTPStatus.CREATED)

    def _get(self, asked: Asked) -> web.Response:
        """Answer what is neither list nor watch."""
        if asked.path == "/version":
            return web.json_response(VERSION)
        if asked.path == "/readyz":
            return web.Response(text="ok")
        if asked.kind is Kind.NAMESPACE:
            found = self.store.get(asked.kind, f"/{asked.namespace}")
            return _json(found.whole) if found else _refuse(protocol.not_found(asked.kind, asked.namespace))
        group_version = asked.path.removeprefix("/apis/")
        kinds = [kind for kind, served in API_VERSIONS.items() if served == group_version and kind not in self._absent]
        return _json(protocol.resources(group_version, kinds)) if kinds else web.Response(status=404, text="404 page not found\n")

    def _review(self, body: bytes) -> web.Response:
        """Say whether something is allowed, as all is that was not forbidden."""
        wanted = protocol.read_review(body)
        kind = protocol.kind_of_review(wanted)
        is_forbidden = kind is not None and self._is_forbidden(kind, wanted["verb"], wanted.get("namespace", ""))
        return _json(protocol.review(wanted, is_allowed=not is_forbidden), HTTPStatus.CREATED)

    def _is_forbidden(self, kind: Served, verb: str, namespace: str) -> bool:
        return any((kind, verb) == row[:2] and row[2] in {None, namespace} for row in self._forbidden)

    async def _list(self, request: web.Request, asked: Asked, kind: Kind, fault: Fault | None) -> web.StreamResponse:
        answer = protocol.page(self.store, kind, asked)
        if isinstance(answer, Status):
            return _refuse(answer)
        if fault is None:
            return _json(answer)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
        await response.prepare(request)
        if isinstance(fault, Slow):
            await faults.write_slowly(response, answer, fault)
        else:
            await faults.cut(request, response, answer)
        return response

    async def _stream(self, request: web.Request, asked: Asked, kind: Kind, fault: Fault | None) -> web.StreamResponse:
        selects = protocol.selection(kind, asked)
        if isinstance(selects, Status):
            return _refuse(selects)
        watch = Watch(asked, kind, selects, self.store.version, lambda: self._held.get(kind, self.store.version))
        if isinstance(fault, Break):
            watch.push(fault)
        self._begin(watch)
        self._watches.append(watch)
        self._notify()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            await self._write(request, response, watch, fault if isinstance(fault, Slow) else None)
        except ConnectionResetError:
            pass  # the client has gone, as a killed one does without a word
        finally:
            self._watches.remove(watch)
            self._notify()
        return response

    def _begin(self, watch: Watch) -> None:
        """Tell first what there is, or what has changed since the version that the client gave."""
        asked, wanted = watch.asked, int(watch.asked.version or 0)
        if asked.verb is not Verb.WATCH_LIST and (wanted or "sendInitialEvents" in asked.params):
            watch.start = wanted or watch.start
            self._catch_up(watch, watch.start)
        elif wanted > watch.start:
            watch.push(protocol.error_event(protocol.too_large(wanted, watch.start)), Break.END)
        else:
            watch.push(*protocol.initial_events(self.store, watch.kind, watch.selects))
            if watch.has_bookmarks and self._has_watch_list:
                watch.push(protocol.bookmark(watch.kind, watch.start, protocol.INITIAL_EVENTS_END))

    def _catch_up(self, watch: Watch, version: int) -> None:
        """Tell what has changed after a version and is not withheld."""
        if version < self.store.compacted:
            status = protocol.watch_too_old(watch.kind, version, self.store.compacted)
            watch.push(protocol.error_event(status), Break.END)
            return
        for change in self.store.since(watch.kind, version):
            if change.version <= watch.told():
                watch.see(change)

    async def _write(self, request: web.Request, response: web.StreamResponse, watch: Watch, slow: Slow | None) -> None:
        """Write what the watch has to say, until it ends in one way or another."""
        is_cut = False
        async for said in watch.events(math.inf if watch.kind is Kind.EVENT else self._bookmark_every_s):
            match said:
                case bytes() if is_cut:
                    await faults.cut(request, response, said)
                    return
                case bytes() if slow is not None:
                    await faults.write_slowly(response, said, slow)
                case Chunks() if request.transport is not None:
                    request.writer.send_headers()
                    request.transport.write(said)
                    await request.writer.drain()
                case bytes():
                    await response.write(said)
                case Break.CUT:
                    is_cut = True
                case Break.STALL:
                    await faults.stall()
                case Break.RESET:
                    faults.reset(request)
                    return
                case Break.END:
                    return
            self._notify()

    def _tell(self, change: Change) -> None:
        if change.kind not in self._held:
            for watch in self._of(change.kind):
                watch.see(change)

    def _of(self, kind: Served | None) -> list[Watch]:
        return [watch for watch in self._watches if kind in {None, watch.kind}]

    def _fault(self, asked: Asked) -> Fault | None:
        """Find the fault that a request meets: the one that was planned first, or that it is forbidden."""
        planned = next((one for one in self._planned if one.meets(asked)), None)
        if planned is not None:
            planned.times_left -= 1
            return planned.fault
        is_forbidden = asked.kind is not None and self._is_forbidden(asked.kind, asked.verb.right, asked.namespace)
        return Refuse(HTTPStatus.FORBIDDEN) if is_forbidden else None

    def _notify(self) -> None:
        """Let those who wait look again."""
        self._news.set()
        self._news = asyncio.Event()


def recorded(path: Path) -> Iterator[tuple[float, bool, Json]]:
    """Read a recording's watch events: when, whether it is gone, and the object; what is not served is left out."""
    with find_recording(path).open("rb") as lines:
        for line in lines:
            event = decode_watch_event(line)
            if isinstance(event, str) or event.at is None:
                continue
            content = json.loads(bytes(event.object))
            kind = kind_of(content["kind"], content["apiVersion"])
            if kind is Kind.POD:  # `record` leaves the label out by which it was found
                content["metadata"].setdefault("labels", {}).setdefault(LABEL_TASK_RUN, "")
            if kind is not None:
                yield event.at, event.type == "DELETED", content


async def _met(request: web.Request, asked: Asked, fault: Fault | None) -> web.Response | None:
    """Answer what a fault keeps from being looked at at all; None if it is looked at."""
    match fault:
        case Refuse():
            return _refuse(protocol.refusal(fault.code, asked, fault.retry_after_s))
        case Say():
            return web.Response(status=fault.status, body=fault.body, content_type=fault.content_type)
        case Break.STALL:
            await faults.stall()
        case Break.RESET:
            return faults.reset(request)
    return None


def _json(body: bytes, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _refuse(status: Status) -> web.Response:
    wait = {"Retry-After": str(status.retry_after_s)} if status.retry_after_s else {}
    return web.Response(status=status.code, body=status.body, content_type="application/json", headers=wait)
