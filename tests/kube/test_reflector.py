"""One watch against an API server that fails in every way: nothing is lost, and a list is asked for only when it must be."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from tests.kit import SCHEMA, Json, ManualClock, meta, task_run
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break, Refuse, Say
from tracer.demo.protocol import Verb
from tracer.events import Event, What
from tracer.kube import reflector
from tracer.kube.reflector import Fellows, Reflector
from tracer.kube.wire import MOST_LINE_BYTES, Course, Expired, Feed, Told
from tracer.lifecycle.attempts import SETTLE_MARGIN_S
from tracer.tekton.decode import Malformed
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished
from tracer.tekton.taskrun import TaskRun
from tracer.transport import Transport, TransportSettings

KIND = Kind.TASK_RUN
WITHIN_S = 20


class Account:
    """Who asks: with a token that can be replaced, as the kubelet does it."""

    def __init__(self, url: str) -> None:
        """Begin with the first token."""
        self.url = url
        self.bearer = "first"

    def headers(self, *, is_refused: bool) -> dict[str, str]:
        """Say who we are; after a refusal by the newest token."""
        if is_refused:
            self.bearer = "second"
        return {"Authorization": f"Bearer {self.bearer}"}


class Watched:
    """What one reflector told, as the world that it describes."""

    def __init__(self, server: ApiServer, clock: ManualClock, transport: Transport) -> None:
        """Prepare."""
        self.server = server
        self.clock = clock
        self.account = Account(server.url)
        self.told: list[Told] = []
        self._news = asyncio.Event()
        self.world: dict[str, str] = {}
        """What exists, by UID: a label that changes with each version."""
        self.reported: list[Event] = []
        self.reflector = Reflector(
            Course(Feed(KIND), SCHEMA), self.account, transport, clock, Fellows(), self.take, self.reported.append
        )

    def take(self, told: Told) -> None:
        """Take what is told."""
        self.told.append(told)
        self._news.set()
        match told:
            case Seen(value):
                assert isinstance(value, TaskRun)
                self.world[value.metadata.uid] = value.metadata.labels.task or ""
            case Gone(value):
                del self.world[value.metadata.uid]  # raises if it was told as gone before
            case Vanished(_, uid):
                del self.world[uid]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WITHIN_S):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def sees(self, **world: str) -> None:
        """Wait until exactly this was told to exist, after a list."""
        await self.until(lambda: self.world == world and self.reflector.course.is_synced)

    @property
    def lists(self) -> int:
        """How often the server was asked for a list, of either sort, but for what only asks for its version."""
        lists = [one for one in self.server.asked if one.kind is KIND and one.verb in {Verb.LIST, Verb.WATCH_LIST}]
        return sum(one.params.get("limit") != "1" for one in lists)


def run(uid: str, version: str) -> Json:
    """Make a TaskRun that says its version."""
    made = task_run({}, uid=uid)
    made["metadata"] = {**meta(f"run-{uid}", uid), "labels": {"tekton.dev/task": version}}
    return made


def watch(story: Callable[[Watched], Awaitable[None]], *, has_watch_list: bool = True, bearer: str = "") -> Watched:
    """Tell a story to a reflector and its server."""

    async def main() -> Watched:
        clock = ManualClock()
        async with (
            ApiServer(has_watch_list=has_watch_list, token=bearer) as server,
            Transport(TransportSettings(), clock) as transport,
            asyncio.TaskGroup() as tasks,
        ):
            one = Watched(server, clock, transport)
            server.put(run("a", "1"))
            watching = tasks.create_task(one.reflector.run())
            await one.sees(a="1")
            await story(one)
            watching.cancel()
        return one

    return asyncio.run(main())


@pytest.mark.row("A25")
@pytest.mark.parametrize("has_watch_list", [True, False])
def test_what_happens_is_told(has_watch_list: bool) -> None:  # noqa: FBT001 - a table
    """A list, then every change, from one list and one stream, whether lists can be streamed or not."""

    async def story(one: Watched) -> None:
        one.server.put(run("b", "1"))
        one.server.put(run("a", "2"))
        await one.sees(a="2", b="1")
        one.server.delete(run("a", "2"))
        await one.sees(b="1")

    one = watch(story, has_watch_list=has_watch_list)
    assert one.reflector.lists == 1 + (not has_watch_list)
    assert [type(told) for told in one.told] == [Seen, Synced, Seen, Seen, Gone]
    assert one.reflector.trouble == ""


@pytest.mark.row("A4", "A5")
@pytest.mark.parametrize("fault", [Break.CUT, Break.RESET, Break.END])
def test_a_stream_that_breaks_goes_on_where_it_was(fault: Break) -> None:
    """Half a line, a reset, an end: the next stream goes on behind what was told, nothing comes twice, no list is needed."""

    async def story(one: Watched) -> None:
        for version in "234":
            await one.server.until(lambda: one.server.watching(KIND) > 0)
            one.server.strike(fault, KIND)
            one.server.put(run("a", version))
            await one.sees(a=version)

    one = watch(story)
    assert one.lists == 1
    assert [
        told.object.metadata.labels.task for told in one.told if isinstance(told, Seen) and isinstance(told.object, TaskRun)
    ] == list("1234")


@pytest.mark.row("A9")
def test_silence_means_a_new_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that died without a word is replaced; what happened meanwhile is told."""
    monkeypatch.setattr(reflector, "IDLE_S", 0.2)

    async def story(one: Watched) -> None:
        one.server.strike(Break.STALL, KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story)
    assert one.lists == 1


@pytest.mark.row("A9")
def test_a_dead_line_is_noticed_before_a_pod_is_given_up() -> None:
    """However short a Pod's grace period, it is waited for longer than a watch of Pods may be silent."""
    assert reflector.POD_IDLE_S + reflector.CATCH_UP_S < SETTLE_MARGIN_S


@pytest.mark.row("A11")
def test_a_kind_in_which_nothing_happens_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is opened anew may say nothing again, as those of Events do on a quiet cluster: nothing is reported of it."""
    monkeypatch.setattr(reflector, "IDLE_S", 0.05)

    async def story(one: Watched) -> None:
        one.server.withhold(KIND)
        await one.server.until(lambda: one.server.count(KIND, Verb.WATCH) > 3)
        one.server.release(KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story)
    assert one.lists == 1
    assert one.reported == []
    assert one.clock.slept == []


@pytest.mark.row("A2")
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_status_instead_of_a_stream_is_understood(end: bytes) -> None:
    """410 as a plain body of a 200, where events should be: never taken for data, and a list comes next."""

    async def story(one: Watched) -> None:
        status = json.dumps({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}).encode()
        one.server.fail(Say(200, status + end, "application/json"), KIND, Verb.WATCH)
        one.server.strike(Break.END, KIND)
        one.server.withhold(KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story)
    assert one.lists == 2


@pytest.mark.row("A12")
@pytest.mark.parametrize("is_silent", [True, False], ids=["a silent stream", "a broken one"])
def test_a_version_that_went_back_means_a_list(is_silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a table
    """After etcd was restored a watch would be silent until the old version is reached: what is served now is listed instead."""
    monkeypatch.setattr(reflector, "IDLE_S", 0.1)
    monkeypatch.setattr(reflector, "DOUBT_EVERY_S", 0.0)

    async def story(one: Watched) -> None:
        version = one.server.store.version
        one.server.put(run("b", "1"))
        one.server.put(run("a", "2"))
        await one.sees(a="2", b="1")
        (one.server.store if is_silent else one.server).restore(version)
        await one.sees(a="1")

    one = watch(story)
    assert one.reflector.errors["restored"] == 1
    assert one.lists == 2
    assert [told for told in one.told if isinstance(told, Vanished)] == [Vanished(KIND, "b")]
    said = [event.message for event in one.reported]
    assert any(each.endswith(" is at an older version than it was, as after a restore from a backup.") for each in said)


@pytest.mark.row("A1")
@pytest.mark.parametrize("at_start", [True, False])
def test_an_expired_version_means_a_list(at_start: bool) -> None:  # noqa: FBT001 - a table
    """What was lost with it is made up by the list: what changed is told, and what vanished is told as that."""

    async def story(one: Watched) -> None:
        one.server.put(run("b", "1"))
        await one.sees(a="1", b="1")
        one.server.withhold(KIND)
        one.server.delete(run("a", "1"))
        one.server.put(run("b", "2"))
        if at_start:
            one.server.fail(Refuse(410), KIND, Verb.WATCH)
            one.server.strike(Break.END, KIND)
        else:
            one.server.send_error(KIND, 410)
        await one.sees(b="2")

    one = watch(story)
    assert one.lists == 2
    assert [told for told in one.told if isinstance(told, Vanished)] == [Vanished(KIND, "a")]
    assert Expired() in one.told


@pytest.mark.row("A6", "A7", "A17")
@pytest.mark.parametrize(("code", "reason"), [(403, "forbidden"), (500, "http_500"), (429, "throttled")])
def test_a_refusal_passes(code: int, reason: str) -> None:
    """While the server refuses, it is asked again after a wait; when it no longer does, nothing is missing."""

    async def story(one: Watched) -> None:
        one.server.fail(Refuse(code), KIND, times=4)
        one.server.strike(Break.END, KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story)
    assert one.reflector.errors[reason] == 4
    assert len(one.clock.slept) >= 4


@pytest.mark.row("A6")
def test_a_wait_that_is_asked_for_is_kept() -> None:
    """Retry-After is obeyed."""

    async def story(one: Watched) -> None:
        one.server.fail(Refuse(429, retry_after_s=17), KIND)
        one.server.strike(Break.END, KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    assert max(watch(story).clock.slept) >= 17


@pytest.mark.row("A19")
def test_a_token_that_expired_is_replaced() -> None:
    """After one refusal the newest token is used."""

    async def story(one: Watched) -> None:
        one.server.token = "second"  # noqa: S105 - of a server on loopback
        one.server.strike(Break.END, KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story, bearer="first")
    assert one.reflector.errors["unauthorized"] >= 1


@pytest.mark.row("O4")
def test_one_bad_object_costs_itself_alone() -> None:
    """An object of a wrong shape is told as malformed; its neighbours flow, and the stream goes on."""

    async def story(one: Watched) -> None:
        one.server.put({**run("bad", "1"), "status": 3})
        one.server.put(run("b", "1"))
        await one.sees(a="1", b="1")

    one = watch(story)
    assert sum(isinstance(told, Malformed) for told in one.told) == 1
    assert one.lists == 1


@pytest.mark.row("O1", "O4")
def test_what_is_skipped_is_counted_and_said() -> None:
    """What cannot be read, or is larger than any object: by its kind, where and why, without a value of it."""

    async def story(one: Watched) -> None:
        one.server.put({**run("bad", "1"), "status": "a secret"})
        one.server.send(KIND, b'{"type":"MODIFIED","object":"%s"}\n' % (b"s" * MOST_LINE_BYTES))
        one.server.put(run("b", "1"))
        await one.sees(a="1", b="1")

    one = watch(story)
    assert one.reflector.skipped == {"malformed": 1, "too_large": 1}
    assert [(event.what, event.message) for event in one.reported] == [
        (What.OBJECT_SKIPPED, "A TaskRun cannot be read at $.status: Expected `object`, got `str`."),
        (What.OBJECT_SKIPPED, "A TaskRun is larger than 4 MiB, and was not read."),
    ]


def test_what_is_no_object_is_not_skipped() -> None:
    """A line that is no event fails the watch, which is counted there."""

    async def story(one: Watched) -> None:
        one.server.send(KIND, b"<html>\n")
        one.server.put(run("b", "1"))
        await one.sees(a="1", b="1")

    one = watch(story)
    assert (one.reflector.skipped, one.reflector.errors["decode"]) == ({}, 1)
    assert one.reflector.last_read_unix_s * 1e9 <= one.clock.unix_ns()


def test_a_page_that_is_no_list_is_asked_for_again() -> None:
    """Something that is no list, where one was asked for, is told, and the list is begun again."""

    async def story(one: Watched) -> None:
        await one.server.until(lambda: one.server.watching(KIND) > 0)
        one.server.fail(Say(200, b"<html>", "text/html"), KIND, Verb.LIST)
        one.server.withhold(KIND)
        one.server.put(run("a", "2"))
        one.server.send_error(KIND, 410)
        await one.sees(a="2")

    one = watch(story, has_watch_list=False)
    assert one.reflector.errors["decode"] == 1


def test_a_watch_that_says_nothing_whole_is_a_failure() -> None:
    """An answer without a whole line, such as a proxy's page, is asked for again after a wait, not at once."""

    async def story(one: Watched) -> None:
        one.server.fail(Say(200, b"<html>", "text/html"), KIND, Verb.WATCH, times=3)
        one.server.strike(Break.END, KIND)
        one.server.put(run("a", "2"))
        await one.sees(a="2")

    one = watch(story)
    assert one.reflector.errors["empty"] == 3
    assert len(one.clock.slept) >= 3


class Raw:
    """A server that gives the same answer to everything."""

    def __init__(self, body: bytes, most: int = 6) -> None:
        """Prepare; after so many requests it is done."""
        self.body, self.left, self.done = body, most, asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(self.body) + self.body)
        await writer.drain()
        writer.close()
        self.left -= 1
        if not self.left:
            self.done.set()


END_OF_LIST = {"metadata": {"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}}


@pytest.mark.row("A3")
@pytest.mark.parametrize(
    ("line", "reason"),
    [({"type": "ADDED", "object": run("a", "1")}, "lost"), ({"type": "BOOKMARK", "object": END_OF_LIST}, "")],
    ids=["half a list", "a watch that ends at once"],
)
def test_what_ends_at_once_is_not_asked_for_again_at_once(line: Json, reason: str) -> None:
    """Streams that end well, but within a moment, come after waits, whatever they said."""

    async def main() -> None:
        raw, clock = Raw(json.dumps(line).encode() + b"\n"), ManualClock()
        server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
        account = Account(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with (
            asyncio.timeout(WITHIN_S),
            Transport(TransportSettings(), clock) as transport,
            asyncio.TaskGroup() as tasks,
        ):
            one = Reflector(Course(Feed(KIND), SCHEMA), account, transport, clock, Fellows(), lambda _: None)
            watching = tasks.create_task(one.run())
            await raw.done.wait()
            watching.cancel()
        server.close()
        assert len(clock.slept) >= 4
        assert one.reason == reason

    asyncio.run(main())


@pytest.mark.row("A11")
def test_a_quiet_watch_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a quiet kind nothing comes, not even a bookmark: each stream is followed by another at once, and no trouble is told.

    So failures of long ago are forgotten, however short each stream is.
    """
    monkeypatch.setattr(reflector, "IDLE_S", 0.05)
    monkeypatch.setattr(reflector, "HEALTHY_S", 0.1)

    async def main() -> None:
        clock, waits, reported = Clock(), list[int](), list[Event]()

        def no_wait_s(failures: int) -> float:
            waits.append(failures)
            return 0.0

        monkeypatch.setattr(reflector, "watch_jitter_s", no_wait_s)
        async with (
            asyncio.timeout(WITHIN_S),
            ApiServer() as server,
            Transport(TransportSettings(), clock) as transport,
            asyncio.TaskGroup() as tasks,
        ):
            course = Course(Feed(KIND), SCHEMA)
            one = Reflector(course, Account(server.url), transport, clock, Fellows(), lambda _: None, reported.append)
            server.fail(Refuse(503), KIND, times=3)
            watching = tasks.create_task(one.run())
            await server.until(lambda: server.count(KIND, Verb.WATCH) >= 5)
            server.fail(Refuse(503), KIND)
            await server.until(lambda: len(waits) >= 4)
            watching.cancel()
        assert waits == [1, 2, 3, 1]
        assert one.errors["slow"] == 0
        assert {event.fields["reason"] for event in reported if event.what is What.WATCH_FAILED} == {"http_503"}

    asyncio.run(main())
