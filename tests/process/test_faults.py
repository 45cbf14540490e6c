"""Every fault that a watch can meet, during a recording, through the whole controller: what it costs, and that it is no span."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.process.performance import Performance, happenings, performance
from tests.tally import Tally
from tracer.clock import breathe
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break, Refuse, Say, Slow
from tracer.demo.protocol import Verb
from tracer.events import What
from tracer.kube import reflector, wire
from tracer.tekton.names import Kind

WATCHED = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN, Kind.POD, Kind.EVENT)
STRICKEN = [pytest.param((kind,), id=kind) for kind in WATCHED] + [pytest.param(WATCHED, id="all")]
ALWAYS = math.inf


@dataclass(frozen=True)
class Fault:
    """A fault: how it begins, how it ends, and what it may cost."""

    reason: str
    """By which the watch counts it."""
    begin: Callable[[ApiServer, Kind], object]
    end: Callable[[ApiServer, Kind], object] = lambda server, _: server.heal()
    lists: bool = False
    """Whether each watch must be listed once more; no other is."""
    sentence: str = ""
    """What a person is told."""


def breaking(fault: Break) -> Callable[[ApiServer, Kind], None]:
    """Break the streams of a kind, and each new one."""

    def begin(server: ApiServer, kind: Kind) -> None:
        server.fail(fault, kind, Verb.WATCH, times=ALWAYS)
        server.strike(fault, kind)

    return begin


def refusing(refusal: Refuse | Say, verb: Verb | None = None) -> Callable[[ApiServer, Kind], None]:
    """End the streams of a kind, and refuse each new one."""

    def begin(server: ApiServer, kind: Kind) -> None:
        server.fail(refusal, kind, verb, times=ALWAYS)
        server.strike(Break.END, kind)

    return begin


def sending(line: bytes) -> Callable[[ApiServer, Kind], None]:
    """Say something to the streams of a kind; what happens from then on is not told to them."""

    def begin(server: ApiServer, kind: Kind) -> None:
        server.withhold(kind)
        server.send(kind, line)

    return begin


def tell_again(server: ApiServer, kind: Kind) -> None:
    """Tell what was withheld."""
    server.heal()
    server.release(kind)


def compacted(server: ApiServer, kind: Kind) -> None:
    """Forget what was withheld, and say so."""
    server.compact()
    server.release(kind)


def cut_no_more(server: ApiServer, kind: Kind) -> None:
    """Let new streams be whole."""
    server.heal()
    server.strike(Break.END, kind)


def failing_in_the_stream(server: ApiServer, kind: Kind) -> None:
    """Fail in the streams of a kind, and refuse each new one."""
    server.fail(Refuse(500), kind, times=ALWAYS)
    server.send_error(kind, 500)


def expired_in_the_stream(server: ApiServer, kind: Kind) -> None:
    """Say in the streams of a kind that they cannot go on."""
    server.withhold(kind)
    server.send_error(kind, 410)


def expired_at_start(server: ApiServer, kind: Kind) -> None:
    """Refuse to go on where the stream was."""
    server.withhold(kind)
    server.fail(Refuse(410), kind, Verb.WATCH, times=server.watching(kind))
    server.strike(Break.END, kind)


FAULTS = {
    "reset": Fault("lost", breaking(Break.RESET), sentence="broke off before it had answered."),
    "end": Fault("empty", breaking(Break.END), sentence="ended the watch at once."),
    "half a line": Fault("", breaking(Break.CUT), cut_no_more),
    "500": Fault("http_500", refusing(Refuse(500)), sentence="answered 500 for "),
    "503": Fault("http_503", refusing(Refuse(503)), sentence="answered 503 for "),
    "a proxy's page": Fault("http_502", refusing(Say(502, b"<html>", "text/html")), sentence="answered 502 for "),
    "429": Fault("throttled", refusing(Refuse(429, retry_after_s=7)), sentence="answered 429 for "),
    "403": Fault("forbidden", refusing(Refuse(403)), sentence="(403): grant list and watch on "),
    "ERROR 500": Fault(
        "http_500",
        failing_in_the_stream,
        sentence="ended the watch with 500: ",
    ),
    "ERROR 410": Fault(
        "gone",
        expired_in_the_stream,
        tell_again,
        lists=True,
    ),
    "410": Fault("gone", expired_at_start, tell_again, lists=True),
    "compaction": Fault("gone", lambda server, kind: server.withhold(kind), compacted, lists=True),
    "a bad line": Fault("decode", sending(b'{"type":"ADDED","object":{\n'), tell_again, lists=True, sentence="cannot be read."),
    "a kind no more": Fault(
        "not_served", lambda server, kind: server.uninstall(kind), lambda server, kind: server.install(kind), sentence="404"
    ),
}


def play(
    name: str,
    story: Callable[[Performance], Awaitable[None]],
    server: ApiServer | None = None,
    at_first: Callable[[Performance], Awaitable[None]] | None = None,
) -> Performance:
    """Play a recording, with a story in it, to its end."""

    async def main() -> Performance:
        async with server or ApiServer() as api, performance(name, api, at_first=at_first) as played:
            await story(played)
            await played.end()
        return played

    return asyncio.run(main())


def interrupt(
    name: str, begin: int, count: int, fault: Fault, kinds: tuple[Kind, ...], server: ApiServer | None = None
) -> Performance:
    """Play a recording, with a fault that lasts while so many things happen."""

    async def story(played: Performance) -> None:
        await played.play(begin)
        before = played.relists
        for kind in kinds:
            fault.begin(played.server, kind)
        await played.play_unseen(count, frozenset(kinds))
        if fault.reason and not fault.lists:
            await played.one.until(lambda: all(played.errors(kind)[fault.reason] for kind in kinds))
        for kind in kinds:
            fault.end(played.server, kind)
        expected = {kind: len(played.reflectors(kind)) for kind in kinds if fault.lists}
        await played.one.until(lambda: all((played.relists - before)[kind] >= lists for kind, lists in expected.items()))
        await played.catch_up()
        assert played.relists - before == expected

    return play(name, story, server)


@pytest.mark.parametrize("kinds", STRICKEN)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("reset", marks=pytest.mark.row("A5")),
        pytest.param("end", marks=pytest.mark.row("A3")),
        pytest.param("half a line", marks=pytest.mark.row("A4")),
        pytest.param("500", marks=pytest.mark.row("A7", "A16")),
        pytest.param("503", marks=pytest.mark.row("A7")),
        pytest.param("a proxy's page", marks=pytest.mark.row("A7")),
        pytest.param("429", marks=pytest.mark.row("A6")),
        pytest.param("403", marks=pytest.mark.row("A17")),
        pytest.param("ERROR 500", marks=pytest.mark.row("A7")),
        pytest.param("ERROR 410", marks=pytest.mark.row("A2")),
        pytest.param("410", marks=pytest.mark.row("A1")),
        pytest.param("compaction", marks=pytest.mark.row("A1")),
        pytest.param("a bad line", marks=pytest.mark.row("A4")),
        pytest.param("a kind no more", marks=pytest.mark.row("A15")),
    ],
)
def test_a_fault_costs_no_span(name: str, kinds: tuple[Kind, ...], tally: Tally) -> None:
    """It strikes one kind or all, things go on, it heals: the oracle's bytes, each span once; lists only where they must be."""
    fault = FAULTS[name]
    begin = 80 if kinds == WATCHED else 20 * WATCHED.index(kinds[0])
    played = interrupt("retries", begin, 20, fault, kinds)
    tally(played.receiver, played.expected)
    for kind in kinds if fault.reason else ():
        assert played.errors(kind)[fault.reason] > 0
    said = played.sentences(What.WATCH_FAILED)
    assert any(fault.sentence in one for one in said) or not fault.sentence
    assert all(one.endswith(".") and "\n" not in one for one in said)


# ---------------------------------------------------------------- faults that need a scene of their own


@pytest.mark.row("A3")
def test_streams_that_end_again_and_again(tally: Tally) -> None:
    """The server ends every stream each 30 s, whether it said something or not: the next one follows at once, without a list."""

    async def story(played: Performance) -> None:
        await played.play(10)
        before = played.relists
        for _ in range(20):
            await played.one.clock.move_on(30)
            played.server.strike(Break.END)
            ended_s = played.one.clock.now_s()
            await played.play_unseen(3, frozenset(WATCHED))
            await played.catch_up()
            assert played.one.clock.now_s() - ended_s < 1
        assert played.relists == before

    played = play("retries", story)
    tally(played.receiver, played.expected)
    assert played.sentences(What.WATCH_FAILED) == []


@pytest.mark.row("A4")
@pytest.mark.parametrize(("slice_bytes", "kind"), [(1, Kind.PIPELINE_RUN), (100, Kind.TASK_RUN), (1000, None)])
def test_streams_in_slices(slice_bytes: int, kind: Kind | None, tally: Tally) -> None:
    """Lines that come byte by byte or in pieces say the same."""

    async def story(played: Performance) -> None:
        await played.play()
        assert all(not played.errors(kind) for kind in WATCHED)

    server = ApiServer()
    server.fail(Slow(0, slice_bytes), kind, times=ALWAYS)
    played = play("exit-two", story, server)
    tally(played.receiver, played.expected)


@pytest.mark.row("A8")
@pytest.mark.parametrize("has_watch_list", [True, False])
def test_a_list_that_comes_slowly(has_watch_list: bool, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:  # noqa: FBT001
    """A first list of Pods takes longer than a watch of theirs may be silent, and comes in small slices: it is waited for."""
    monkeypatch.setattr(reflector, "POD_IDLE_S", 0.01)
    assert reflector.IDLE_S > 60

    async def settled(played: Performance) -> None:
        await played.one.until(lambda: all(each.course.is_synced for each in played.one.reflectors))
        monkeypatch.setattr(reflector, "POD_IDLE_S", 25.0)
        (pods,) = played.reflectors(Kind.POD)
        read_bytes = pods.read_bytes
        while pods.read_bytes == read_bytes:  # once it has heard something it may be silent for longer again
            played.server.bookmark(Kind.POD)
            await asyncio.sleep(0.01)
        assert played.lists[Kind.POD] == (1 if has_watch_list else 2)
        await played.catch_up()

    server, name = ApiServer(has_watch_list=has_watch_list), "keep-pod-on-cancel"
    for _, _, content in happenings(name):
        server.put(content)
    server.fail(Slow(0.1, 4096), Kind.POD, Verb.WATCH_LIST if has_watch_list else Verb.LIST)
    played = play(name, nothing_more, server, settled)
    tally(played.receiver, played.expected)


@pytest.mark.row("A9")
def test_silence_means_new_streams(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """Lines that died without a word are replaced within 75 s, and go on where they were."""
    assert reflector.IDLE_S <= 75
    monkeypatch.setattr(reflector, "IDLE_S", 0.3)

    async def story(played: Performance) -> None:
        await played.play(30)
        before = played.relists
        for kind in WATCHED:
            played.server.strike(Break.STALL, kind)
        await played.play_unseen(30, frozenset(WATCHED))
        await played.catch_up()
        assert played.relists == before

    played = play("retries", story)
    tally(played.receiver, played.expected)
    assert all(played.errors(kind)["idle"] for kind in WATCHED)
    assert played.sentences(What.WATCH_FAILED) == []


@pytest.mark.row("A6")
def test_a_wait_that_is_asked_for_is_kept(tally: Tally) -> None:
    """429 with Retry-After: the watch is left alone for so long, the others are not."""

    async def story(played: Performance) -> None:
        await played.play(30)
        (pods,) = played.reflectors(Kind.POD)
        played.server.fail(Refuse(429, retry_after_s=40), Kind.POD)
        played.server.strike(Break.END, Kind.POD)
        await played.one.until(lambda: bool(pods.errors["throttled"]))
        asked = sum(one.kind is Kind.POD for one in played.server.asked)
        await played.one.clock.move_on(39)
        assert sum(one.kind is Kind.POD for one in played.server.asked) == asked
        await played.one.clock.move_on(1.1)
        await played.catch_up()
        assert sum(one.kind is Kind.POD for one in played.server.asked) == asked + 1

    played = play("retries", story)
    tally(played.receiver, played.expected)


@pytest.mark.row("A6")
def test_throttled_lists_come_one_after_another(tally: Tally) -> None:
    """Every watch has expired and every list gets 429: one at a time is asked for, with waits, until all are served."""

    async def story(played: Performance) -> None:
        await played.play(60)
        played.server.fail(Refuse(429), times=60)
        began, began_s = len(played.server.asked), played.one.clock.now_s()
        for kind in WATCHED:
            played.server.send_error(kind, 410)
        await played.one.until(lambda: all(played.errors(kind)["throttled"] for kind in WATCHED))
        await played.one.until(lambda: len(played.server.asked) - began >= 60)
        minutes = (played.one.clock.now_s() - began_s) / 60
        assert 60 / minutes / len(played.one.reflectors) < 30
        await played.catch_up()

    played = play("retries", story)
    tally(played.receiver, played.expected)


@pytest.mark.row("A17")
def test_nothing_is_told_from_half_the_facts(tally: Tally) -> None:
    """A cancelled TaskRun is not told while its Pod cannot be seen, however long that is; then it has its Pod's last words."""

    async def story(played: Performance) -> None:
        await played.play(92)
        played.server.fail(Refuse(403), Kind.POD, times=ALWAYS)
        played.server.strike(Break.END, Kind.POD)
        await played.one.until(lambda: not played.reflectors(Kind.POD)[0].is_current)
        told = len(played.told)
        await played.play_unseen(16, frozenset({Kind.POD}))  # to where its containers have died and its Pod still exists
        for _ in range(40):  # its Pod's grace and 30 s are over after 60 s
            await played.one.clock.move_on(5)
        assert len(played.told) == told
        played.server.heal()
        await played.catch_up()

    played = play("cancel", story)
    tally(played.receiver, played.expected)
    assert not played.one.app.controller.losses


@pytest.mark.row("A22", "A25")
@pytest.mark.parametrize("late", [(Kind.POD,), (Kind.TASK_RUN,), (Kind.PIPELINE_RUN,), (Kind.PIPELINE_RUN, Kind.POD)], ids=str)
@pytest.mark.parametrize("has_watch_list", [True, False])
def test_first_lists_may_come_in_any_order(late: tuple[Kind, ...], has_watch_list: bool, tally: Tally) -> None:  # noqa: FBT001
    """Runs that ended before we came are told once everything was listed: not before, though some lists come minutes later."""

    async def at_first(played: Performance) -> None:
        for kind in late:
            played.server.fail(Refuse(503), kind, times=ALWAYS)
        for _ in range(30):
            await played.one.clock.move_on(10)
            await asyncio.sleep(0)
        assert played.told == []
        played.server.heal()

    server, name = ApiServer(has_watch_list=has_watch_list), "keep-pod-on-cancel"
    for _, is_gone, content in happenings(name):
        assert not is_gone
        server.put(content)
    played = play(name, nothing_more, server, at_first)
    tally(played.receiver, played.expected)
    assert any("answered 503 for " in one for one in played.sentences(What.WATCH_FAILED))


async def nothing_more(played: Performance) -> None:
    """Let nothing happen: all of it has happened."""
    played.left.clear()


def test_without_custom_runs() -> None:
    """Where CustomRuns are not served everything else is told, and that they are missing is said."""
    server = ApiServer()
    server.uninstall(Kind.CUSTOM_RUN)

    async def settled(played: Performance) -> None:
        await played.one.until(lambda: played.one.app.is_synced)

    async def no_story(_: Performance) -> None:
        pass

    played = play("success", no_story, server, settled)
    assert played.differences() == []
    assert set(played.sentences(What.WATCH_FAILED)) == {
        f"{server.url} does not serve tekton.dev customruns (404): install Tekton Pipelines 0.44 or newer."
    }


@pytest.mark.row("A14")
def test_tekton_may_come_later(tally: Tally) -> None:
    """Without Tekton's kinds it waits, and says so; installed, everything is told, and nothing was told before."""
    server = ApiServer()
    kinds = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN)
    for kind in kinds:
        server.uninstall(kind)

    async def install(played: Performance) -> None:
        await played.one.until(lambda: all(played.errors(kind)["not_served"] >= 3 for kind in kinds))
        assert not played.one.app.is_synced
        for kind in kinds:
            server.install(kind)
        await played.one.until(lambda: all(one.is_current for one in played.one.reflectors))

    async def no_story(_: Performance) -> None:
        pass

    played = play("success", no_story, server, install)
    tally(played.receiver, played.expected)
    assert len(set(played.sentences(What.WATCH_FAILED))) == len(kinds)


@pytest.mark.row("A25")
@pytest.mark.parametrize("kinds", [(Kind.POD,), WATCHED], ids=["one", "all"])
def test_lists_in_pages(kinds: tuple[Kind, ...], tally: Tally) -> None:
    """Where lists cannot be streamed they come in pages, at first and after a gap."""
    played = interrupt("retries", 60, 20, FAULTS["compaction"], kinds, ApiServer(has_watch_list=False))
    tally(played.receiver, played.expected)
    assert all(played.server.count(kind, Verb.LIST) >= 2 for kind in kinds)


@pytest.mark.row("A11")
@pytest.mark.parametrize("every_s", [ALWAYS, 0.001], ids=["none", "many"])
def test_no_bookmarks(every_s: float, tally: Tally) -> None:
    """Without bookmarks nothing is missing; with many neither."""
    played = interrupt("retries", 40, 30, FAULTS["reset"], WATCHED, ApiServer(bookmark_every_s=every_s))
    tally(played.receiver, played.expected)


@pytest.mark.row("A19")
@pytest.mark.parametrize("begin", [5, 60])
def test_a_token_that_expired(begin: int, tally: Tally) -> None:
    """401 until there is a new token: asked for again, and nothing is lost, and nothing is listed again."""

    async def story(played: Performance) -> None:
        await played.play(begin)
        before = played.relists
        played.server.token = "another"  # noqa: S105 - of a server on loopback
        for kind in WATCHED:
            played.server.strike(Break.END, kind)
        await played.play_unseen(20, frozenset(WATCHED))
        await played.one.until(lambda: all(played.errors(kind)["unauthorized"] for kind in WATCHED))
        played.server.token = ""
        await played.catch_up()
        assert played.relists == before

    played = play("retries", story)
    tally(played.receiver, played.expected)
    assert set(played.sentences(What.WATCH_FAILED)) == {
        f"{played.server.url} does not know who asks (401): renew the token, or log in again."
    }


@pytest.mark.row("A23")
def test_a_page_that_expired_begins_the_list_again(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """A continue token that expires in the middle of a list: the list is begun again, and no half of one is taken for a whole."""
    monkeypatch.setattr(wire, "PAGE_ITEMS", 1)

    async def story(played: Performance) -> None:
        await played.play()
        for kind in (Kind.TASK_RUN, Kind.POD):
            played.server.fail(Slow(0, 4096), kind, Verb.LIST)  # the first page
            played.server.fail(Refuse(410), kind, Verb.LIST)  # the second
            played.server.send_error(kind, 410)
        await played.one.until(lambda: all(played.errors(kind)["gone"] >= 2 for kind in (Kind.TASK_RUN, Kind.POD)))
        await played.catch_up()

    played = play("success", story, ApiServer(has_watch_list=False))
    tally(played.receiver, played.expected)
    assert not played.one.app.controller.incomplete


@pytest.mark.row("A5", "A7")
@pytest.mark.parametrize(("begin", "away_s"), [(5, 90), (70, 90), (100, 90), (60, 3600)])
def test_the_server_goes_away_and_comes_back(begin: int, away_s: int, tally: Tally) -> None:
    """For minutes, or an hour, nobody listens, and things go on happening: told within 35 s afterwards, without a list."""

    async def story(played: Performance) -> None:
        await played.play(begin)
        before = played.relists
        await played.server.__aexit__(None, None, None)
        await played.play_unseen(20, frozenset(WATCHED))
        for _ in range(90):
            await played.one.clock.leap(away_s / 90)
        await played.one.until(lambda: all(played.errors(kind)["unreachable"] for kind in WATCHED))
        await played.server.__aenter__()
        began_s = played.one.clock.now_s()
        await played.catch_up()
        assert played.one.clock.now_s() - began_s < 35
        assert played.relists == before

    played = play("retries", story)
    tally(played.receiver, played.expected)
    assert any(one.endswith("cannot be reached: Connection refused.") for one in played.sentences(What.WATCH_FAILED))


@pytest.mark.row("A5", "A7")
def test_who_hears_from_the_server_again_tells_the_others() -> None:
    """After a long absence no watch waits on, however often it was tried; a refusal at first does not make it wait anew."""

    async def test(played: Performance) -> None:
        watches, clock = played.one.reflectors, played.one.clock
        await played.server.__aexit__(None, None, None)
        while not all(one.errors["unreachable"] >= 6 for one in watches):
            await clock.move_on(1.0)
            await breathe()
        for one in watches:
            played.server.fail(Refuse(403), one.feed.kind, times=1)
        await played.server.__aenter__()
        while all(one.reason == "unreachable" for one in watches):
            await clock.move_on(0.1)
            await breathe()
        back_s = clock.now_s()
        while any(one.trouble for one in watches):
            await clock.move_on(0.1)
            await breathe()
        assert clock.now_s() - back_s < 10 * reflector.SOON_S

    async def main() -> None:
        async with performance("success") as played:
            await test(played)

    asyncio.run(main())
