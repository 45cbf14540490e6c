"""What every API server says to a client that reads, and replaces its own: the demonstration's, and the real one.

The real one keeps the other honest.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tracer.tekton.names import Kind, OwnKind

Json = dict[str, Any]

PATHS = {Kind.TASK_RUN: "/apis/tekton.dev/v1", Kind.POD: "/api/v1", Kind.EVENT: "/api/v1"}
OWN_PATHS = {OwnKind.CONFIG_MAP: "/api/v1", OwnKind.LEASE: "/apis/coordination.k8s.io/v1"}
WATCH_LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
CLAIM_WITHIN_S = 100  # a real server sends a bookmark each minute
SILENCE_S = 0.3


@dataclass
class Api(ABC):
    """A server, and how its objects are changed."""

    url: str
    session: aiohttp.ClientSession
    stranger: aiohttp.ClientSession
    """Bears a token that nobody gave out."""
    namespace: str
    """Empty at first."""

    @abstractmethod
    async def put(self, content: Json) -> None:
        """Create an object, or change what it says."""

    @abstractmethod
    async def delete(self, content: Json) -> None:
        """Delete an object at once."""

    @abstractmethod
    async def compact(self) -> None:
        """Forget the past."""

    @abstractmethod
    def without(self, kind: Kind | OwnKind, verb: str) -> aiohttp.ClientSession:
        """Give one who is known, and may not do this with a kind."""

    def path(self, kind: Kind | OwnKind) -> str:
        """Name the objects of the namespace."""
        return (
            f"{self.url}{OWN_PATHS[kind] if isinstance(kind, OwnKind) else PATHS[kind]}/namespaces/{self.namespace}/{kind.plural}"
        )

    async def get(self, path: str) -> tuple[int, Mapping[str, str], str]:
        """Ask for a path of the server."""
        async with self.session.get(f"{self.url}{path}") as response:
            return response.status, response.headers, await response.text()

    async def list(self, kind: Kind, **params: str) -> Json:
        """List objects; it must work."""
        status, _, said = await self.ask(kind, **params)
        assert status == 200, said
        return said

    async def ask(self, kind: Kind, **params: str) -> tuple[int, Mapping[str, str], Json]:
        """Ask for objects; every answer is JSON."""
        async with self.session.get(self.path(kind), params=params) as response:
            assert response.content_type == "application/json"
            said: Json = json.loads(await response.read())
            return response.status, response.headers, said

    async def own(self, kind: OwnKind, name: str, put: Json | None = None) -> tuple[int, Json]:
        """Ask for an object of our own, or replace it; every answer is JSON."""
        method = "GET" if put is None else "PUT"
        async with self.session.request(method, f"{self.path(kind)}/{name}", json=put) as response:
            assert response.content_type == "application/json"
            return response.status, json.loads(await response.read())

    @asynccontextmanager
    async def watch(self, kind: Kind, **params: str) -> AsyncIterator["Events"]:
        """Watch objects; it must begin."""
        async with self.session.get(self.path(kind), params={"watch": "1", **params}) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            yield Events(response)

    def pod(self, name: str, label: str = "1") -> Json:
        """Make a Pod that nobody schedules."""
        spec = {"schedulerName": "nobody", "containers": [{"name": "step-one", "image": "none"}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(name, label), "spec": spec}

    def task_run(self, name: str, label: str = "1") -> Json:
        """Make a TaskRun."""
        spec = {"taskSpec": {"steps": [{"name": "one", "image": "none", "script": "true"}]}}
        return {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": self._metadata(name, label), "spec": spec}

    def pulled(self, name: str, label: str = "1") -> Json:
        """Make an Event about a Pod."""
        return self.event(name, "Pulled", label=label)

    def event(self, name: str, reason: str, kind: str = "Pod", label: str = "1") -> Json:
        """Make an Event about an object of a kind."""
        involved = {"kind": kind, "name": "some", "namespace": self.namespace}
        metadata = self._metadata(name, label)
        return {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": involved, "reason": reason}

    def config_map(self, name: str, **data: str) -> Json:
        """Make a ConfigMap."""
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(name, "1"), "data": data}

    def lease(self, name: str, holder: str) -> Json:
        """Make a Lease."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-08-20T10:00:00.000001Z"}
        metadata = self._metadata(name, "1")
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    def _metadata(self, name: str, label: str) -> Json:
        return {"name": name, "namespace": self.namespace, "labels": {"tekton.dev/taskRun": label}}


@dataclass
class Events:
    """A watch that is open."""

    response: aiohttp.ClientResponse

    async def next(self) -> tuple[str, Json]:
        """Give the next event's type and object."""
        said = json.loads(await self.response.content.readline())
        return said["type"], said["object"]

    async def has_ended(self) -> bool:
        """Say whether it ended cleanly, with nothing more said."""
        return not await self.response.content.read()

    async def is_silent(self) -> bool:
        """Say whether nothing comes for a while."""
        try:
            async with asyncio.timeout(SILENCE_S):
                return not await self.response.content.readline()
        except TimeoutError:
            return True


Claim = Callable[[Api], Awaitable[None]]


async def discovery_names_what_is_served(api: Api) -> None:
    """Each version of the group says which kinds it serves; what is not served is no `Status`, but a plain 404."""
    for version, kinds in (("v1", {"PipelineRun", "TaskRun"}), ("v1beta1", {"CustomRun"})):
        status, _, said = await api.get(f"/apis/tekton.dev/{version}")
        listed = json.loads(said)
        assert (status, listed["kind"], listed["groupVersion"]) == (200, "APIResourceList", f"tekton.dev/{version}")
        served = {one["kind"]: one for one in listed["resources"] if "/" not in one["name"]}
        assert kinds <= served.keys()
        assert all(one["namespaced"] and {"list", "watch"} <= set(one["verbs"]) for one in served.values())
    for path in ("/apis/tekton.dev/v1/nonesuch", "/apis/nonesuch.dev/v1"):
        status, headers, said = await api.get(path)
        assert (status, said.strip()) == (404, "404 page not found")
        assert headers["Content-Type"].startswith("text/plain")


async def the_server_says_who_it_is(api: Api) -> None:
    """Version and readiness are told, and its own namespace has the UID that names the cluster."""
    _, _, version = await api.get("/version")
    assert json.loads(version)["major"] == "1"
    assert (await api.get("/readyz"))[::2] == (200, "ok")
    _, _, said = await api.get("/api/v1/namespaces/kube-system")
    assert json.loads(said)["metadata"]["uid"]
    status, _, said = await api.get("/api/v1/namespaces/nonesuch")
    assert status == 404
    assert failure(json.loads(said)) == ("NotFound", 'namespaces "nonesuch" not found')


async def a_list_is_in_order_and_complete(api: Api) -> None:
    """Items come by namespace and name; those of custom resources carry their kind, built-in ones do not."""
    for make in (api.pod, api.task_run):
        for name in ("b", "a-b", "a", "a.c"):
            await api.put(make(name))
    for kind, has_kind in ((Kind.POD, False), (Kind.TASK_RUN, True)):
        listed = await api.list(kind)
        assert (listed["kind"], listed["apiVersion"]) == (f"{kind}List", PATHS[kind].removeprefix("/apis/").removeprefix("/api/"))
        assert names(listed) == ["a", "a-b", "a.c", "b"]
        assert all(("kind" in item, "apiVersion" in item) == (has_kind, has_kind) for item in listed["items"])
        assert int(listed["metadata"]["resourceVersion"]) >= max(version(item) for item in listed["items"])
        everywhere = json.loads((await api.get(f"{PATHS[kind]}/{kind.plural}"))[2])
        assert {"a", "a-b", "a.c", "b"} <= set(names(everywhere))


async def pages_show_one_moment(api: Api) -> None:
    """No later page shows what changed after the first; each says how much remains, unless it selects."""
    for make, kind in ((api.pod, Kind.POD), (api.task_run, Kind.TASK_RUN)):
        for name in "abcde":
            await api.put(make(name))
        first = await api.list(kind, limit="2")
        assert (names(first), first["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
        await api.delete(make("d"))
        await api.put(make("c", "2"))
        await api.put(make("ca"))
        second = await api.list(kind, limit="2", **{"continue": first["metadata"]["continue"]})
        third = await api.list(kind, limit="2", **{"continue": second["metadata"]["continue"]})
        assert (names(second), names(third)) == (["c", "d"], ["e"])
        assert second["items"][0]["metadata"]["labels"]["tekton.dev/taskRun"] == "1"
        assert not third["metadata"].get("continue")
        assert len({one["metadata"]["resourceVersion"] for one in (first, second, third)}) == 1
        assert names(await api.list(kind)) == ["a", "b", "c", "ca", "e"]
        selected = await api.list(kind, limit="1", labelSelector="tekton.dev/taskRun=1")
        assert selected["metadata"]["continue"]
        assert "remainingItemCount" not in selected["metadata"]


async def a_limit_is_ignored_by_the_cache(api: Api) -> None:
    """Version 0 means any, and such a list is answered whole; but for Events, which are not cached."""
    for name in "ab":
        await api.put(api.pod(name))
        await api.put(api.pulled(name))
    assert len((await api.list(Kind.POD, limit="1", resourceVersion="0"))["items"]) == 2
    assert len((await api.list(Kind.EVENT, limit="1", resourceVersion="0"))["items"]) == 1


async def an_expired_page_can_be_continued(api: Api) -> None:
    """Once its version is compacted, a token is refused with another one, which gives the rest as it is now."""
    for name in "abcd":
        await api.put(api.pod(name))
    first = await api.list(Kind.POD, limit="2")
    await api.put(api.pod("bb"))
    await api.delete(api.pod("c"))
    await api.compact()
    token = first["metadata"]["continue"]
    status, _, said = await api.ask(Kind.POD, limit="2", **{"continue": token})
    reason, message = failure(said)
    assert (status, reason) == (410, "Expired")
    assert message.startswith("The provided continue parameter is too old to display a consistent list result.")
    assert "use the continue token in this response to retrieve the remainder" in message
    second = await api.list(Kind.POD, limit="1", **{"continue": said["metadata"]["continue"]})
    third = await api.list(Kind.POD, limit="1", **{"continue": second["metadata"]["continue"]})
    assert (names(second), names(third)) == (["bb"], ["d"])
    assert version(second) > version(first)


async def a_list_can_be_of_the_past(api: Api) -> None:
    """Exact versions are shown as they were, unless they are compacted; one that is not reached yet is refused for a while."""
    await api.put(api.pod("a"))
    then = (await api.list(Kind.POD))["metadata"]["resourceVersion"]
    await api.put(api.pod("b"))
    for params in ({"resourceVersionMatch": "Exact"}, {"limit": "9"}):
        past = await api.list(Kind.POD, resourceVersion=then, **params)
        assert (names(past), past["metadata"]["resourceVersion"]) == (["a"], then)
    for params in ({"resourceVersionMatch": "NotOlderThan"}, {}):
        assert names(await api.list(Kind.POD, resourceVersion=then, **params)) == ["a", "b"]
    status, headers, said = await api.ask(Kind.POD, resourceVersion="999999999", resourceVersionMatch="NotOlderThan")
    assert (status, failure(said)[0], headers["Retry-After"], said["details"]["retryAfterSeconds"]) == (504, "Timeout", "1", 1)
    assert failure(said)[1].startswith("Timeout: Too large resource version: 999999999, current: ")
    assert said["details"]["causes"] == [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    await api.compact()
    status, _, said = await api.ask(Kind.POD, resourceVersion=then, resourceVersionMatch="Exact")
    assert (status, failure(said)) == (410, ("Expired", "The resourceVersion for the provided list is too old."))


async def selectors_select(api: Api) -> None:
    """Labels by existence and value, Events by what they are about; a field that cannot be asked for is refused."""
    await api.put(api.pod("a"))
    await api.put(api.pod("b", "2"))
    bare = api.pod("c")
    del bare["metadata"]["labels"]
    await api.put(bare)
    assert names(await api.list(Kind.POD, labelSelector="tekton.dev/taskRun")) == ["a", "b"]
    assert names(await api.list(Kind.POD, labelSelector="tekton.dev/taskRun=2")) == ["b"]
    assert names(await api.list(Kind.POD, labelSelector="tekton.dev/taskRun, other")) == []
    assert names(await api.list(Kind.POD, fieldSelector="metadata.name=a")) == ["a"]
    for number, (reason, kind) in enumerate([("Pulled", "Pod"), ("Scheduled", "Pod"), ("Scheduled", "Node")]):
        await api.put(api.event(f"e{number}", reason, kind))
    selected = await api.list(Kind.EVENT, fieldSelector="involvedObject.kind=Pod,reason=Scheduled")
    assert names(selected) == ["e1"]
    status, _, said = await api.ask(Kind.POD, fieldSelector="reason=Scheduled")
    assert (status, failure(said)) == (400, ("BadRequest", "field label not supported: reason"))


async def a_watch_tells_what_changes(api: Api) -> None:
    """From a list's version on: each change once, in order, with its kind; a deletion with the last state and its own version."""
    for build, kind in ((api.pod, Kind.POD), (api.task_run, Kind.TASK_RUN), (api.pulled, Kind.EVENT)):
        await api.put(build("before"))
        then = (await api.list(kind))["metadata"]["resourceVersion"]
        await api.put(build("a"))
        async with api.watch(kind, resourceVersion=then) as events:
            await api.put(build("a", "2"))
            await api.delete(build("a"))
            seen = [await events.next() for _ in range(3)]
            while seen[-1][0] != "DELETED":  # a Pod is marked first
                seen.append(await events.next())
        assert [of_type for of_type, _ in seen] == ["ADDED", *["MODIFIED"] * (len(seen) - 2), "DELETED"]
        assert {(one["kind"], one["metadata"]["name"]) for _, one in seen} == {(kind, "a")}
        versions = [version(one) for _, one in seen]
        assert versions == sorted(set(versions))
        last, gone = seen[-2][1], seen[-1][1]
        last["metadata"]["resourceVersion"] = gone["metadata"]["resourceVersion"]
        assert gone == last


async def what_leaves_the_selection_is_deleted(api: Api) -> None:
    """To one who selects, an object is ADDED when it begins to match, and DELETED, as it was before, when it no longer does."""
    await api.put(api.pod("a", "2"))
    then = (await api.list(Kind.POD))["metadata"]["resourceVersion"]
    async with api.watch(Kind.POD, resourceVersion=then, labelSelector="tekton.dev/taskRun=1") as events:
        for label in ("1", "2"):
            await api.put(api.pod("a", label))
        (began, _), (ended, last) = await events.next(), await events.next()
    assert (began, ended, last["metadata"]["labels"]["tekton.dev/taskRun"]) == ("ADDED", "DELETED", "1")


async def a_watch_ends_when_its_time_is_over(api: Api) -> None:
    """After as many seconds as the client gave it, a stream ends cleanly."""
    then = (await api.list(Kind.POD))["metadata"]["resourceVersion"]
    began_s = asyncio.get_running_loop().time()
    async with api.watch(Kind.POD, resourceVersion=then, timeoutSeconds="1") as events:
        assert await events.has_ended()
    assert asyncio.get_running_loop().time() - began_s > 0.9


async def a_watch_of_the_past_expires(api: Api) -> None:
    """For a version that is forgotten there is no status of HTTP: the stream begins, says so in an ERROR event, and ends."""
    for kind in (Kind.TASK_RUN, Kind.EVENT):
        await api.compact()
        async with api.watch(kind, resourceVersion="1") as events:
            of_type, said = await events.next()
            assert await events.has_ended()
        reason, message = failure(said)
        assert (of_type, said["code"], reason) == ("ERROR", 410, "Expired")
        assert ("too old resource version: 1 (" in message) == (kind is Kind.TASK_RUN)
        assert (message == "The resourceVersion for the provided watch is too old.") == (kind is Kind.EVENT)


async def a_watch_of_the_future_is_silent(api: Api) -> None:
    """From a version that is not reached yet on nothing is told at all, not even an error."""
    async with api.watch(Kind.POD, resourceVersion="999999999") as events:
        await api.put(api.pod("a"))
        assert await events.is_silent()


async def a_watch_list_begins_with_what_there_is(api: Api) -> None:
    """First the objects, then a bookmark that says that this was all, then what changes."""
    for build, kind in ((api.pod, Kind.POD), (api.task_run, Kind.TASK_RUN), (api.pulled, Kind.EVENT)):
        for name in "ba":
            await api.put(build(name))
        listed = await api.list(kind)
        async with api.watch(kind, **WATCH_LIST) as events:
            first = [await events.next() for _ in range(2)]
            of_type, mark = await events.next()
            await api.put(build("c"))
            later = await events.next()
        assert [(one, seen["metadata"]["name"]) for one, seen in [*first, later]] == [("ADDED", name) for name in "abc"]
        assert (of_type, mark["kind"]) == ("BOOKMARK", kind)
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert version(listed) <= version(mark) < version(later[1])


async def a_watch_without_a_version_begins_with_what_there_is(api: Api) -> None:
    """So it is for none and for 0; who asked for bookmarks is told where that ends, and who did not is not."""
    await api.put(api.pod("a"))
    for params in ({}, {"resourceVersion": "0"}):
        async with api.watch(Kind.POD, allowWatchBookmarks="true", **params) as events:
            assert [(await events.next())[0] for _ in range(2)] == ["ADDED", "BOOKMARK"]
        async with api.watch(Kind.POD, **params) as events:
            await api.put(api.pod("a", "2"))
            await api.put(api.pod("a", "1"))
            assert (await events.next())[0] == "ADDED"
            assert (await events.next())[0] == "MODIFIED"


async def bookmarks_come_to_those_who_ask(api: Api) -> None:
    """About every minute a watch is told how far it has come, though what has happened was nothing to it."""
    then = (await api.list(Kind.TASK_RUN))["metadata"]["resourceVersion"]
    params = {"resourceVersion": then, "labelSelector": "tekton.dev/taskRun=1"}
    async with (
        api.watch(Kind.TASK_RUN, allowWatchBookmarks="true", **params) as events,
        api.watch(Kind.TASK_RUN, **params) as plain,
    ):
        await api.put(api.task_run("a", "2"))
        of_type, mark = await events.next()
        assert await plain.is_silent()
    assert (of_type, mark["kind"]) == ("BOOKMARK", "TaskRun")
    assert version(mark) > int(then)
    assert "annotations" not in mark["metadata"]


async def parameters_that_mean_nothing_are_refused(api: Api) -> None:
    """Each with its cause, in these words."""
    by_match, needs = "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    rows: list[tuple[dict[str, str], list[str]]] = [
        ({"watch": "1", "sendInitialEvents": "true"}, [f"{by_match}: Forbidden: {needs}"]),
        (
            {"watch": "1", by_match: "Exact", "resourceVersion": "1"},
            [
                f"{by_match}: Forbidden: {by_match} is forbidden for watch unless sendInitialEvents is provided",
                f'{by_match}: Unsupported value: "Exact": supported values: "NotOlderThan"',
            ],
        ),
        (
            {by_match: "NotOlderThan", "sendInitialEvents": "true"},
            [
                f"{by_match}: Forbidden: {by_match} is forbidden unless resourceVersion is provided",
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ],
        ),
        (
            {by_match: "Exact", "resourceVersion": "0"},
            [f'{by_match}: Forbidden: {by_match} "exact" is forbidden for resourceVersion "0"'],
        ),
        (
            {by_match: "Other", "resourceVersion": "1"},
            [f'{by_match}: Unsupported value: "Other": supported values: "Exact", "NotOlderThan", ""'],
        ),
    ]
    for params, causes in rows:
        status, _, said = await api.ask(Kind.POD, **params)
        check_invalid(status, said, causes)


async def a_stranger_is_turned_away(api: Api) -> None:
    """Whoever bears a token that is not known gets 401."""
    async with api.stranger.get(api.path(Kind.POD)) as response:
        assert response.status == 401
        assert failure(json.loads(await response.read())) == ("Unauthorized", "Unauthorized")


async def everyone_may_ask_for_his_rights(api: Api) -> None:
    """In a review, about anything; what one may not do is refused with 403, in these words."""
    for kind, group in ((Kind.TASK_RUN, "tekton.dev"), (Kind.POD, "")):
        wanted = {"group": group, "resource": kind.plural, "verb": "list", "namespace": api.namespace}
        assert await is_allowed(api, api.session, wanted)
        nobody = api.without(kind, "list")
        assert not await is_allowed(api, nobody, wanted)
        async with nobody.get(api.path(kind)) as response:
            assert response.status == 403
            reason, message = failure(json.loads(await response.read()))
        assert reason == "Forbidden"
        assert message.startswith(f'{kind.plural}{group and f".{group}"} is forbidden: User "')
        where = f'in API group "{group}" in the namespace "{api.namespace}"'
        assert message.endswith(f'" cannot list resource "{kind.plural}" {where}')
    async with api.stranger.post(f"{api.url}{REVIEWS}", json={}) as response:
        assert response.status == 401


async def an_object_is_replaced_at_its_version(api: Api) -> None:
    """Whoever has read it may replace it, once; it keeps its UID and gets a new version, and who comes second is told so."""
    rows: list[tuple[OwnKind, Json, Json, str]] = [
        (OwnKind.CONFIG_MAP, api.config_map("a", one="1"), {"binaryData": {"two": "AAEC"}}, 'configmaps "a"'),
        (OwnKind.LEASE, api.lease("a", "me"), {"spec": {"holderIdentity": ""}}, 'leases.coordination.k8s.io "a"'),
    ]
    for kind, made, change, named in rows:
        await api.put(made)
        status, first = await api.own(kind, "a")
        assert (status, first["kind"], first["metadata"]["labels"]) == (200, kind, made["metadata"]["labels"])
        status, second = await api.own(kind, "a", {**first, **change})
        assert (status, second["metadata"]["uid"]) == (200, first["metadata"]["uid"])
        assert version(second) > version(first)
        assert all(second[field] == value for field, value in change.items())
        assert await api.own(kind, "a") == (200, second)
        status, said = await api.own(kind, "a", first)
        why = "the object has been modified; please apply your changes to the latest version and try again"
        assert (status, failure(said)) == (409, ("Conflict", f"Operation cannot be fulfilled on {named}: {why}"))
        assert (said["details"]["name"], said["details"]["kind"]) == ("a", kind.plural)
        assert await api.own(kind, "a") == (200, second)


async def an_object_that_is_not_there_is_not_found(api: Api) -> None:
    """So says a GET; a ConfigMap that is gone cannot be replaced, and a Lease that was read before it went is a conflict."""
    for kind, made, named, gone in (
        (OwnKind.CONFIG_MAP, api.config_map("gone"), 'configmaps "gone"', (404, "NotFound")),
        (OwnKind.LEASE, api.lease("gone", "me"), 'leases.coordination.k8s.io "gone"', (409, "Conflict")),
    ):
        status, said = await api.own(kind, "gone")
        assert (status, failure(said)) == (404, ("NotFound", f"{named} not found"))
        await api.put(made)
        _, read = await api.own(kind, "gone")
        await api.delete(made)
        status, said = await api.own(kind, "gone", read)
        assert (status, failure(said)[0]) == gone
        await api.put(made)
        status, said = await api.own(kind, "gone", read)
        assert (status, failure(said)[0]) == (409, "Conflict")
    status, said = await api.own(OwnKind.CONFIG_MAP, "none", api.config_map("none"))
    assert (status, failure(said)) == (404, ("NotFound", 'configmaps "none" not found'))


async def a_replacement_may_leave_its_version_out(api: Api) -> None:
    """So a ConfigMap is replaced whatever it was, but a Lease is not; nor is anything by what cannot be read."""
    await api.put(api.config_map("a", one="1"))
    await api.put(api.lease("a", "me"))
    status, said = await api.own(OwnKind.CONFIG_MAP, "a", api.config_map("a", two="2"))
    assert (status, said["data"]) == (200, {"two": "2"})
    status, said = await api.own(OwnKind.LEASE, "a", api.lease("a", "you"))
    assert (status, failure(said)[0]) == (422, "Invalid")
    assert failure(said)[1].startswith('leases.coordination.k8s.io "a" is invalid: metadata.resourceVersion: Invalid value: ')
    assert failure(said)[1].endswith(": must be specified for an update")
    status, said = await api.own(OwnKind.CONFIG_MAP, "a", {**api.config_map("a"), "binaryData": {"one": "***"}})
    assert (status, failure(said)[0]) == (400, "BadRequest")


async def replacing_takes_a_right_of_its_own(api: Api) -> None:
    """Who may not read an object, or may not replace it, is told its name and the verb."""
    await api.put(api.lease("a", "me"))
    for verb, method in (("get", "GET"), ("update", "PUT")):
        wanted = {"group": "coordination.k8s.io", "resource": "leases", "verb": verb, "namespace": api.namespace, "name": "a"}
        assert await is_allowed(api, api.session, wanted)
        nobody = api.without(OwnKind.LEASE, verb)
        assert not await is_allowed(api, nobody, wanted)
        async with nobody.request(method, f"{api.path(OwnKind.LEASE)}/a", json=api.lease("a", "me")) as response:
            assert response.status == 403
            reason, message = failure(json.loads(await response.read()))
        assert reason == "Forbidden"
        assert message.startswith('leases.coordination.k8s.io "a" is forbidden: User "')
        assert f'cannot {verb} resource "leases" in API group "coordination.k8s.io"' in message


CLAIMS: tuple[Claim, ...] = (
    discovery_names_what_is_served,
    the_server_says_who_it_is,
    a_list_is_in_order_and_complete,
    pages_show_one_moment,
    a_limit_is_ignored_by_the_cache,
    an_expired_page_can_be_continued,
    a_list_can_be_of_the_past,
    selectors_select,
    a_watch_tells_what_changes,
    what_leaves_the_selection_is_deleted,
    a_watch_ends_when_its_time_is_over,
    a_watch_of_the_past_expires,
    a_watch_of_the_future_is_silent,
    a_watch_list_begins_with_what_there_is,
    a_watch_without_a_version_begins_with_what_there_is,
    bookmarks_come_to_those_who_ask,
    parameters_that_mean_nothing_are_refused,
    a_stranger_is_turned_away,
    everyone_may_ask_for_his_rights,
    an_object_is_replaced_at_its_version,
    an_object_that_is_not_there_is_not_found,
    a_replacement_may_leave_its_version_out,
    replacing_takes_a_right_of_its_own,
)


async def watch_list_is_refused(api: Api) -> None:
    """Where the feature gate is off, a WatchList is invalid, and a watch without a version says no end of what there is."""
    status, _, said = await api.ask(Kind.POD, watch="1", **WATCH_LIST)
    gate = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    check_invalid(status, said, [f"sendInitialEvents: Forbidden: {gate}"])
    await api.put(api.pod("a"))
    async with api.watch(Kind.POD, allowWatchBookmarks="true") as events:
        await api.put(api.pod("b"))
        assert [(await events.next())[0] for _ in range(2)] == ["ADDED", "ADDED"]


async def is_allowed(api: Api, client: aiohttp.ClientSession, attributes: Json) -> bool:
    """Ask whether a client may do something."""
    kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    async with client.post(f"{api.url}{REVIEWS}", json=kind | {"spec": {"resourceAttributes": attributes}}) as response:
        assert (response.status, response.content_type) == (201, "application/json")
        said = json.loads(await response.read())
    assert {key: said[key] for key in kind} == kind
    assert said["spec"]["resourceAttributes"].items() >= {key: value for key, value in attributes.items() if value}.items()
    assert isinstance(said["status"]["allowed"], bool)
    return bool(said["status"]["allowed"])


def names(listed: Json) -> list[str]:
    """Name the items of a list."""
    return [item["metadata"]["name"] for item in listed["items"]]


def version(said: Json) -> int:
    """Give the version of an object or a list."""
    return int(said["metadata"]["resourceVersion"])


def failure(said: Json) -> tuple[str, str]:
    """Give reason and message of a refusal; it must be a `Status`."""
    assert (said["kind"], said["apiVersion"], said["status"]) == ("Status", "v1", "Failure")
    return said["reason"], said["message"]


def check_invalid(status: int, said: Json, causes: list[str]) -> None:
    """Check that options are refused for these causes, each of them a field and what is wrong with it."""
    listed = f"[{', '.join(causes)}]" if len(causes) > 1 else causes[0]
    assert (status, failure(said)) == (422, ("Invalid", f'ListOptions.meta.k8s.io "" is invalid: {listed}'))
    assert (said["details"]["group"], said["details"]["kind"]) == ("meta.k8s.io", "ListOptions")
    assert [f"{one['field']}: {one['message']}" for one in said["details"]["causes"]] == causes
    reasons = {"Forbidden": "FieldValueForbidden", "Unsupported value": "FieldValueNotSupported"}
    assert [one["reason"] for one in said["details"]["causes"]] == [reasons[one.split(": ")[1]] for one in causes]
