"""The demonstration's API server beside the contract: it plays recordings, and fails in every way that is asked of it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
import trustme

from tests.kit import RECORDINGS, SCENARIOS, Json, pod, task_run
from tracer.demo.apiserver import ApiServer, Chunks
from tracer.demo.faults import ALWAYS, Break, Refuse, Say, Slow
from tracer.demo.protocol import Verb
from tracer.tekton.names import LABEL_TASK_RUN, Kind

PODS, TASK_RUNS = "/api/v1/pods", "/apis/tekton.dev/v1/taskruns"
WATCH_LIST = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
SILENCE_S = 0.05

Result = TypeVar("Result")


class Client:
    """One that asks a server."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        """Ask nothing yet."""
        self.server, self.session = server, session

    async def get(self, path: str) -> tuple[int, str]:
        """Ask for a path."""
        async with self.session.get(self.server.url + path) as response:
            return response.status, await response.text()

    async def names(self, path: str = PODS) -> list[str]:
        """Name the items of a list."""
        status, said = await self.get(path)
        assert status == 200, said
        return [item["metadata"]["name"] for item in json.loads(said)["items"]]

    @asynccontextmanager
    async def watch(
        self, path: str = PODS, query: str = "watch=1&allowWatchBookmarks=true"
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Watch from now on."""
        where = f"{self.server.url}{path}?resourceVersion={self.server.store.version}&{query}"
        async with self.session.get(where) as response:
            assert response.status == 200
            yield response.content


def run(test: Callable[[Client], Awaitable[Result]], server: ApiServer | None = None) -> Result:
    """Run a test with a server that has a Pod `a`."""

    async def main() -> Result:
        async with server or ApiServer() as one, aiohttp.ClientSession() as session, asyncio.timeout(20):
            one.put(pod({}, name="a"))
            return await test(Client(one, session))

    return asyncio.run(main())


async def event(content: aiohttp.StreamReader) -> tuple[str, str]:
    """Read an event: its type, and the object's name or the refusal's reason."""
    said = json.loads(await content.readline())
    return said["type"], said["object"]["metadata"].get("name") or said["object"].get("reason", "")


async def is_silent(content: aiohttp.StreamReader) -> bool:
    """Say whether nothing comes for a moment."""
    try:
        async with asyncio.timeout(SILENCE_S):
            await content.readany()
    except TimeoutError:
        return True
    return False


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("query", ["", "?watch=1", f"?{WATCH_LIST}"], ids=["list", "watch", "watch list"])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
def test_a_refusal_is_a_status(code: int, reason: str, query: str) -> None:
    """It has the reason that belongs to its code, and the time to wait in its details and its headers; the next try passes."""

    async def test(client: Client) -> None:
        client.server.fail(Refuse(code, retry_after_s=7), Kind.POD)
        async with client.session.get(client.server.url + PODS + query) as response:
            said = json.loads(await response.read())
            assert (response.status, response.headers["Retry-After"]) == (code, "7")
        assert (said["kind"], said["apiVersion"], said["status"]) == ("Status", "v1", "Failure")
        assert (said["code"], said["reason"], said["details"]["retryAfterSeconds"]) == (code, reason, 7)
        assert await client.names() == ["a"]

    run(test)


def test_a_fault_meets_the_requests_that_it_is_planned_for() -> None:
    """By kind, verb and namespace, in order, so many times; what is healed is met no more."""

    async def test(client: Client) -> None:
        async def statuses(*paths: str) -> list[int]:
            return [(await client.get(path))[0] for path in paths]

        fail, everywhere, one = client.server.fail, PODS, "/api/v1/namespaces/ns/pods"
        fail(Refuse(500), Kind.POD, Verb.LIST, times=2)
        fail(Refuse(503), Kind.POD, Verb.LIST)
        assert await statuses(TASK_RUNS, everywhere, everywhere, everywhere, everywhere) == [200, 500, 500, 503, 200]
        fail(Refuse(403), namespace="")
        assert await statuses(one, everywhere, everywhere) == [200, 403, 200]
        fail(Refuse(500), Kind.POD, namespace="ns", times=ALWAYS)
        assert await statuses(everywhere, one, one, one) == [200, 500, 500, 500]
        client.server.heal()
        assert await statuses(one) == [200]
        fail(Refuse(503), verb=Verb.GET, times=3)
        assert await statuses(everywhere, "/version", "/apis/tekton.dev/v1", "/readyz", "/readyz") == [200, 503, 503, 503, 200]

    run(test)


def test_an_answer_can_be_anything() -> None:
    """Such as a page of a proxy, or a `Status` that pretends to be a success."""

    async def test(client: Client) -> None:
        client.server.fail(Say(502, b"<html>", "text/html"))
        assert await client.get(PODS) == (502, "<html>")

    run(test)


@pytest.mark.parametrize("verb", [Verb.LIST, Verb.WATCH])
@pytest.mark.parametrize("fault", [Break.RESET, Break.CUT])
def test_a_connection_can_break(verb: Verb, fault: Break) -> None:
    """It breaks before the answer is whole, or within the first line of a stream."""

    async def test(client: Client) -> None:
        client.server.fail(fault, Kind.POD, verb, times=2)  # aiohttp asks once more, if nothing was answered
        with pytest.raises(BROKEN):
            await client.get(PODS if verb is Verb.LIST else f"{PODS}?watch=1")
        client.server.heal()
        assert await client.names() == ["a"]

    run(test)


def test_a_request_can_stall() -> None:
    """Not a byte comes, and the connection stays until the client gives up."""

    async def test(client: Client) -> None:
        client.server.fail(Break.STALL)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                await client.get(PODS)
        assert await client.names() == ["a"]

    run(test)


def test_a_stream_can_end_as_soon_as_it_begins() -> None:
    """It is empty, and clean."""

    async def test(client: Client) -> None:
        client.server.fail(Break.END, Kind.POD, Verb.WATCH)
        assert await client.get(f"{PODS}?watch=1") == (200, "")

    run(test)


def test_answers_can_be_slow() -> None:
    """Lists and streams arrive a byte at a time, and whole."""

    async def test(client: Client) -> None:
        client.server.fail(Slow(pause_s=0), times=2)
        assert await client.names() == ["a"]
        async with client.watch() as content:
            client.server.put(pod({}, name="b"))
            assert len(await content.readany()) < 10
            assert (await content.readline()).endswith(b"}\n")

    run(test)


def test_a_token_can_be_required_and_changed() -> None:
    """Who bears another one, or none, gets 401."""

    async def test(client: Client) -> None:
        async def status(token: str) -> int:
            client.session.headers["Authorization"] = f"Bearer {token}"
            return (await client.get(PODS))[0]

        assert (await client.get(PODS))[0] == 401
        assert [await status("one"), await status("two")] == [200, 401]
        client.server.token = "two"  # noqa: S105 - of a server on loopback
        assert [await status("one"), await status("two")] == [401, 200]

    run(test, ApiServer(token="one"))  # noqa: S106 - likewise


# ---------------------------------------------------------------- streams


def test_what_changes_can_be_withheld() -> None:
    """Lists show it, no stream tells it, bookmarks do not pretend; released, it is told in order, to new streams too."""

    async def test(client: Client) -> None:
        server = client.server
        async with client.watch() as early, client.watch(TASK_RUNS) as other:
            server.withhold(Kind.POD)
            async with client.watch() as late:
                server.put(pod({}, name="b"))
                server.delete(pod({}, name="a"))
                server.put(task_run({}))
                assert await client.names() == ["b"]
                assert await event(other) == ("ADDED", "ci-x-build")
                server.bookmark(Kind.POD)
                held = json.loads(await early.readline())["object"]["metadata"]["resourceVersion"]
                async with client.watch(query=f"watch=1&resourceVersion={held}") as between:
                    assert await is_silent(between)
                server.release(Kind.POD)
                assert int(held) < server.store.version - 2
                assert [await event(early) for _ in range(2)] == [("ADDED", "b"), ("DELETED", "a")]
                assert await event(late) == ("BOOKMARK", "")
                assert [await event(late) for _ in range(2)] == [("ADDED", "b"), ("DELETED", "a")]
                server.put(pod({}, name="c"))
                assert [await event(early), await event(late)] == [("ADDED", "c")] * 2

    run(test)


def test_what_was_withheld_too_long_has_expired() -> None:
    """A stream that is behind when the past is forgotten gets an ERROR event, and ends."""

    async def test(client: Client) -> None:
        async with client.watch() as content:
            client.server.withhold(Kind.POD)
            client.server.put(pod({}, name="b"))
            client.server.compact()
            client.server.release(Kind.POD)
            assert await event(content) == ("ERROR", "Expired")
            assert await content.read() == b""

    run(test)


def test_a_stream_can_be_cut_inside_a_line() -> None:
    """What was told before arrives; of the next event half a line does."""

    async def test(client: Client) -> None:
        async with client.watch() as content:
            client.server.put(pod({}, name="b"))
            client.server.strike(Break.CUT, Kind.POD)
            client.server.put(pod({}, name="c"))
            assert await event(content) == ("ADDED", "b")
            half = await content.readany()
            assert half.startswith(b'{"type":"ADDED","object":')
            assert not half.endswith(b"\n")
            with pytest.raises(BROKEN):
                await content.readany()

    run(test)


@pytest.mark.parametrize("fault", [Break.RESET, Break.STALL, Break.END])
def test_open_streams_can_be_struck(fault: Break) -> None:
    """Those of a kind are; the others go on."""

    async def test(client: Client) -> None:
        async with client.watch() as content, client.watch(TASK_RUNS) as other:
            client.server.strike(fault, Kind.POD)
            client.server.put(pod({}, name="b"))
            client.server.bookmark(Kind.POD)
            match fault:
                case Break.RESET:
                    with pytest.raises(BROKEN):
                        await content.readany()
                case Break.STALL:
                    assert await is_silent(content)
                    assert client.server.watching(Kind.POD) == 1
                case _:
                    assert await content.read() == b""
            client.server.put(task_run({}))
            assert await event(other) == ("ADDED", "ci-x-build")

    run(test)


def test_any_line_can_be_sent() -> None:
    """A line that is no JSON, an event of no known type, an ERROR event that ends the stream."""

    async def test(client: Client) -> None:
        async with client.watch() as content:
            client.server.send(Kind.POD, b"{nonsense\n")
            client.server.send_error(Kind.POD, 410)
            assert await content.readline() == b"{nonsense\n"
            assert await event(content) == ("ERROR", "Expired")
            assert await content.read() == b""

    run(test)


def test_chunks_go_out_as_they_are() -> None:
    """Many lines at once reach a client like any others, also as the first thing that a stream says, and between others."""

    async def test(client: Client) -> None:
        lines = [b'{"type":"ADDED","object":{"metadata":{"name":"%d"}}}\n' % number for number in range(1000)]
        async with client.watch() as content:
            client.server.send(Kind.POD, Chunks.of(lines))
            client.server.put(pod({}, name="b"))
            client.server.send(Kind.POD, Chunks.of(lines[:1]))
            told = [await event(content) for _ in range(1002)]
            await client.server.drained()
        assert told == [*(("ADDED", str(number)) for number in range(1000)), ("ADDED", "b"), ("ADDED", "0")]

    run(test)


def test_bookmarks_come_on_demand_and_by_the_clock() -> None:
    """To those who asked for them; by the clock not for Events, which a real server does not cache."""

    async def test(client: Client) -> None:
        async with client.watch() as asked, client.watch(query="watch=1") as plain, client.watch("/api/v1/events") as events:
            assert [await event(asked) for _ in range(3)] == [("BOOKMARK", "")] * 3
            assert await is_silent(events)
            client.server.bookmark(Kind.EVENT)
            assert await event(events) == ("BOOKMARK", "")
            client.server.bookmark(Kind.POD)
            assert await is_silent(plain)

    run(test, ApiServer(bookmark_every_s=0.02))


# ---------------------------------------------------------------- the cluster


def test_odd_objects_pass_as_they_came() -> None:
    """One of 3 MB, one whose fields have wrong types, one with half a character."""

    async def test(client: Client) -> None:
        odd: list[Json] = [
            pod({}, name="large", status={"message": "ä" * 1_500_000}),
            pod({}, name="wrong") | {"status": "none", "spec": [1]},
            pod({}, name="half", status={"message": "\ud800"}),
        ]
        for one in odd:
            client.server.put(one)
        _, said = await client.get(PODS)
        items = {item["metadata"]["name"]: item for item in json.loads(said)["items"]}
        assert len(said.encode()) > 3_000_000
        assert (items["large"]["status"], items["wrong"]["spec"]) == (odd[0]["status"], [1])
        assert items["half"]["status"]["message"] == "?"

    run(test)


def test_what_is_not_there_cannot_be_deleted_nor_what_is_not_served_be_put() -> None:
    """A test that is wrong is told so."""
    server = ApiServer()
    with pytest.raises(KeyError, match="Pod ns/nobody"):
        server.delete(pod({}, name="nobody"))
    with pytest.raises(ValueError, match="Deployment of apps/v1 is not served"):
        server.put({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "x"}})


def test_a_kind_can_be_removed_and_come_back() -> None:
    """Without its CRD a kind is in no discovery, its lists are 404, its streams end; then everything is there again."""

    async def test(client: Client) -> None:
        client.server.put(task_run({}))
        async with client.watch(TASK_RUNS) as content:
            client.server.uninstall(Kind.TASK_RUN)
            assert await content.read() == b""
        for query in ("", "?watch=1", "?limit=500"):
            assert await client.get(TASK_RUNS + query) == (404, "404 page not found\n")
        _, said = await client.get("/apis/tekton.dev/v1")
        assert [one["kind"] for one in json.loads(said)["resources"]] == ["PipelineRun"]
        client.server.uninstall(Kind.PIPELINE_RUN)
        assert (await client.get("/apis/tekton.dev/v1"))[0] == 404
        client.server.install(Kind.TASK_RUN)
        assert await client.names(TASK_RUNS) == ["ci-x-build"]

    run(test)


def test_the_past_can_be_restored() -> None:
    """Objects and version are what they were; streams are reset, and what was promised to a client is not reached yet."""

    async def test(client: Client) -> None:
        server, then = client.server, client.server.store.version
        server.put(pod({}, name="b"))
        server.put(pod({}, name="a", labels={"later": "yes"}))
        server.delete(pod({}, name="b"))
        now = server.store.version
        async with client.watch() as content:
            server.restore(then)
            with pytest.raises(BROKEN):
                await content.readany()
        assert (await client.names(), await client.names(f"{PODS}?labelSelector=later")) == (["a"], [])
        assert (await client.get(f"{PODS}?resourceVersion={now}"))[0] == 504
        server.put(pod({}, name="c"))
        assert server.store.version == then + 1
        assert await client.names() == ["a", "c"]

    run(test)


def test_requests_are_counted() -> None:
    """By kind and verb, and one can wait for them; a watch list is a list too, and is counted by itself."""

    async def test(client: Client) -> None:
        server = client.server
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(client.names())
            await server.until(lambda: server.count(Kind.POD, Verb.LIST) == 1)
        assert asking.result() == ["a"]
        async with client.watch(), client.watch(query=WATCH_LIST):
            await server.until(lambda: server.watching(Kind.POD) == 2)
        await server.until(lambda: not server.watching(Kind.POD))
        assert [server.count(Kind.POD, verb) for verb in (Verb.LIST, Verb.WATCH, Verb.WATCH_LIST)] == [1, 1, 1]
        assert server.asked[0].path == PODS

    run(test)


@pytest.mark.parametrize("folder", [*RECORDINGS, *SCENARIOS], ids=lambda path: path.name)
def test_a_recording_is_played(folder: Path) -> None:
    """A watch is told what was recorded: the same events in the same order, but for their versions; and a list shows the rest."""
    recorded = [json.loads(line) for line in (folder / "watch.jsonl").read_text().splitlines()]

    async def test(client: Client) -> None:
        for kind, path in ((Kind.POD, PODS), (Kind.TASK_RUN, TASK_RUNS)):
            expected = [(one["type"], _bare(one["object"])) for one in recorded if one["object"]["kind"] == kind]
            server = ApiServer()
            async with server, Client(server, client.session).watch(path) as content:
                await server.play(folder)
                told = [json.loads(await _line(content)) for _ in expected]
                assert [(one["type"], _bare(one["object"])) for one in told] == expected
                versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in told]
                assert all(former < later for former, later in pairwise(versions))
                left = {of["metadata"]["name"]: of_type for of_type, of in expected}
                there = sorted(name for name, of_type in left.items() if of_type != "DELETED")
                assert await Client(server, client.session).names(path) == there

    run(test)


def test_a_recording_plays_at_a_multiple_of_its_speed() -> None:
    """Its times are kept, so many times as fast."""
    path = next(one for one in RECORDINGS if one.name == "success")
    times = [json.loads(line)["at"] for line in (path / "watch.jsonl").read_text().splitlines()]

    async def test(client: Client) -> float:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        await client.server.play(path, speed=(times[-1] - times[0]) / 0.2)
        return now_s() - began_s

    assert 0.19 < run(test) < 2


def test_it_can_be_closed_and_opened_again() -> None:
    """In the same place, with the same objects; in between nobody answers."""

    async def main() -> None:
        server = ApiServer()
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            client, urls = Client(server, session), []
            for _ in range(2):
                async with server:
                    server.put(pod({}, name="a"))
                    urls.append(server.url)
                    assert await client.names() == ["a"]
                with pytest.raises(aiohttp.ClientConnectorError):
                    await client.get(PODS)
            assert urls[0] == urls[1]

    asyncio.run(main())


def test_it_can_speak_tls() -> None:
    """With the certificate that it is given."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def test(client: Client) -> None:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with client.session.get(client.server.url + PODS, ssl=trusting) as response:
            assert (response.status, client.server.url[:8]) == (200, "https://")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get(PODS)

    run(test, ApiServer(tls=context))


def _bare(content: Json) -> Json:
    """Leave the version out, and the empty label that a Pod has if its own was not recorded."""
    metadata = {key: value for key, value in content["metadata"].items() if key != "resourceVersion"}
    labels = {key: value for key, value in metadata.get("labels", {}).items() if (key, value) != (LABEL_TASK_RUN, "")}
    return content | {"metadata": {**metadata, "labels": labels}}


async def _line(content: aiohttp.StreamReader) -> bytes:
    """Read a line of any length."""
    return await content.readuntil(b"\n", max_size=1 << 24)
