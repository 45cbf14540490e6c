"""What a list and a watch say, in whatever pieces it comes, and what is asked next."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import SCHEMA, Json, meta, pipeline_run, pod, task_run
from tracer.kube.wire import PAGE_ITEMS, Course, Expired, Failed, Feed, Lines, Told, TooLong, Verb, feeds
from tracer.tekton.decode import Malformed, Unread
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished

RUNS = Feed(Kind.TASK_RUN)


def run(uid: str, version: int) -> Json:
    """Make a TaskRun with a version."""
    made = task_run({}, uid=uid)
    made["metadata"] = {**meta(f"run-{uid}", uid), "resourceVersion": str(version)}
    return made


def event(kind: str, value: Json) -> bytes:
    """Write a watch event as the API server does: without spaces."""
    return json.dumps({"type": kind, "object": value}, separators=(",", ":")).encode()


def bookmark(version: int, *, ends_list: bool = False) -> bytes:
    """Write a bookmark."""
    notes = {"annotations": {"k8s.io/initial-events-end": "true"}} if ends_list else {}
    return event(
        "BOOKMARK", {"kind": "TaskRun", "apiVersion": "tekton.dev/v1", "metadata": {"resourceVersion": str(version), **notes}}
    )


def error(code: int, reason: str) -> bytes:
    """Write an error that comes in a stream."""
    return event("ERROR", {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": "..."})


def page(items: list[Json], version: int, following: str = "") -> bytes:
    """Write a page of a list; its items carry no kind."""
    bare = [{key: value for key, value in item.items() if key not in {"kind", "apiVersion"}} for item in items]
    return json.dumps(
        {"kind": "TaskRunList", "metadata": {"resourceVersion": str(version), "continue": following}, "items": bare}
    ).encode()


def names(told: Iterator[Told]) -> list[str]:
    """Name what was told, shortly."""
    return [_name(one) for one in told]


def _name(one: Told) -> str:
    match one:
        case Seen(value):
            return f"+{value.metadata.uid}"
        case Gone(value):
            return f"-{value.metadata.uid}"
        case Vanished(_, uid):
            return f"?{uid}"
        case _:
            return type(one).__name__


def synced(*uids: str, version: int = 10) -> Course:
    """Make a course that has told a list."""
    course = Course(RUNS, SCHEMA)
    course.request(1, 300)
    for uid in uids:
        list(course.line(event("ADDED", run(uid, 1))))
    list(course.line(bookmark(version, ends_list=True)))
    return course


@pytest.mark.row("A4")
@given(st.lists(st.binary(max_size=30).map(lambda one: one.replace(b"\n", b"")), max_size=8), st.randoms())
def test_lines_in_any_pieces(lines: list[bytes], random: "st.DrawFn") -> None:
    """However a stream is cut into chunks, the same lines come out; half a line waits."""
    stream = b"".join(line + b"\n" for line in lines) + b"half"
    splitter, at = Lines(), 0
    got: list[bytes | TooLong] = []
    while at < len(stream):
        size = random.randint(1, 12)  # type: ignore[attr-defined] # hypothesis gives a Random
        got += splitter.feed(stream[at : at + size])
        at += size
    assert got == lines


@pytest.mark.row("O1")
def test_a_line_that_is_too_long_is_not_kept() -> None:
    """A line beyond the limit costs no memory and no neighbour."""
    splitter = Lines(most_bytes=10)
    got = [one for chunk in (b"good\n" + b"x" * 8, b"x" * 8, b"x\ngood\n") for one in splitter.feed(chunk)]
    assert got == [b"good", TooLong(17), b"good"]


def test_the_first_list_is_streamed_where_that_is_served() -> None:
    """The first request streams the list; its end is a bookmark; from there the watch goes on in the same stream."""
    course = Course(RUNS, SCHEMA)
    asked = course.request(77, 300)
    assert (asked.verb, asked.path) == (Verb.WATCH, "/apis/tekton.dev/v1/taskruns")
    assert asked.query["sendInitialEvents"] == "true"
    assert "resourceVersion" not in asked.query
    assert names(course.line(event("ADDED", run("a", 3)))) == ["+a"]
    assert not course.is_synced
    assert list(course.line(bookmark(9, ends_list=True))) == [Synced(Kind.TASK_RUN, 77)]
    assert names(course.line(event("MODIFIED", run("a", 12)))) == ["+a"]
    assert course.request(99, 300).query["resourceVersion"] == "12"


@pytest.mark.row("A25")
@pytest.mark.parametrize("status", [400, 422])
def test_pages_where_lists_are_not_streamed(status: int) -> None:
    """A server that refuses to stream a list is asked for pages; a whole list is told only by the last of them."""
    course = Course(RUNS, SCHEMA)
    course.request(1, 300)
    assert course.refused(status) is None
    first = course.request(2, 300)
    assert (first.verb, first.query) == (Verb.LIST, {"limit": str(PAGE_ITEMS)})
    assert names(course.page(page([run("a", 3)], 9, "more"))) == ["+a"]
    assert course.request(3, 300).query["continue"] == "more"
    assert names(course.page(page([run("b", 4)], 9))) == ["+b", "Synced"]
    assert course.request(4, 300).query["resourceVersion"] == "9"


@pytest.mark.row("A1")
def test_what_vanished_while_nobody_watched_is_told_by_the_next_list() -> None:
    """After a gap a list says what exists; what is not in it and was known is told by its UID, before the list is whole."""
    course = synced("a", "b", "c")
    assert course.refused(410) == Expired()
    assert "sendInitialEvents" in course.request(2, 300).query
    assert names(course.line(event("ADDED", run("b", 20)))) == ["+b"]
    assert names(course.line(bookmark(30, ends_list=True))) == ["?a", "?c", "Synced"]


@pytest.mark.row("A23")
def test_half_a_list_tells_of_nothing_that_vanished() -> None:
    """A list that breaks off is begun again; what it did not reach is not taken for gone."""
    course = synced("a", "b")
    course.refused(410)
    course.request(2, 300)
    list(course.line(event("ADDED", run("a", 20))))
    course.broke_off()
    course.request(3, 300)
    told = [*course.line(event("ADDED", run("b", 21))), *course.line(event("ADDED", run("a", 20)))]
    assert names(iter([*told, *course.line(bookmark(30, ends_list=True))])) == ["+b", "+a", "Synced"]


@pytest.mark.row("A23")
def test_a_page_that_expired_begins_the_list_again() -> None:
    """A continue token that is too old costs the whole list, not a part of it."""
    course = Course(RUNS, SCHEMA)
    course.request(1, 300)
    course.refused(400)
    course.request(2, 300)
    list(course.page(page([run("a", 3)], 9, "more")))
    course.refused(410)
    assert course.request(3, 300).query == {"limit": str(PAGE_ITEMS)}


def test_a_watch_that_breaks_off_goes_on_where_it_was() -> None:
    """The version moves with every event and bookmark that was given on, and with nothing else."""
    course = synced("a")
    for line, version in [
        (event("MODIFIED", run("a", 12)), "12"),
        (bookmark(15), "15"),
        (event("DELETED", run("a", 17)), "17"),
        (event("ADDED", {**run("b", 19), "status": "nonsense"}), "19"),
        (event("CHANGED", run("b", 20)), "19"),
    ]:
        list(course.line(line))
        course.broke_off()
        assert course.request(5, 300).query["resourceVersion"] == version


def test_an_error_in_the_stream() -> None:
    """A version that expired in the middle of a stream means a list; any other error is passed on, and the watch goes on."""
    course = synced("a")
    assert list(course.line(error(500, "InternalError"))) == [Failed(500, "InternalError")]
    assert not course.is_listing
    assert list(course.line(error(410, "Expired"))) == [Expired()]
    assert course.is_listing


def test_half_an_event_means_a_list() -> None:
    """A line that is no event may have been a deletion: only a list can tell."""
    course = synced("a")
    (told,) = course.line(event("DELETED", run("a", 20))[:-9])
    assert isinstance(told, Malformed)
    assert course.is_listing


def test_an_object_that_cannot_be_read_costs_itself_alone() -> None:
    """A malformed item is told with its path, its neighbours are read, and it is not taken for gone later."""
    course = synced("a", "bad", "c")
    course.refused(410)
    course.request(2, 300)
    told: list[Told] = []
    for value in [run("a", 20), {**run("bad", 21), "status": 3}, run("c", 22)]:
        told += course.line(event("ADDED", value))
    assert names(iter(told)) == ["+a", "Malformed", "+c"]
    assert names(course.line(bookmark(30, ends_list=True))) == ["Synced"]


@given(st.binary(max_size=60), st.booleans())
def test_nothing_raises(line: bytes, is_page: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever bytes come, something is told."""
    course = synced("a")
    for one in course.page(line) if is_page else course.line(line):
        assert isinstance(one, Malformed | Unread | Synced | Failed | Vanished)


def test_what_is_watched() -> None:
    """Runs, Pods with Tekton's label, and three kinds of Events about Pods; in all namespaces, or in each that is named."""
    everywhere = feeds("")
    assert [(one.path, one.selectors) for one in everywhere] == [
        ("/apis/tekton.dev/v1/pipelineruns", {}),
        ("/apis/tekton.dev/v1/taskruns", {}),
        ("/apis/tekton.dev/v1beta1/customruns", {}),
        ("/api/v1/pods", {"labelSelector": "tekton.dev/taskRun"}),
        *[
            ("/api/v1/events", {"fieldSelector": f"involvedObject.kind=Pod,reason={one}"})
            for one in ("Pulled", "Pulling", "Scheduled")
        ],
    ]
    assert [one.path for one in feeds("a")][3:5] == ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/events"]


def test_pods_and_runs_are_read_alike() -> None:
    """Every kind that is watched comes out as its own type."""
    for kind, value in [(Kind.PIPELINE_RUN, pipeline_run()), (Kind.POD, pod({}, "p"))]:
        course = Course(Feed(kind), SCHEMA)
        course.request(1, 300)
        (told,) = course.line(event("ADDED", value))
        assert isinstance(told, Seen)
        assert type(told.object).__name__ == kind


def test_an_object_that_cannot_be_read_is_known_by_its_own_uid() -> None:
    """Its owner's UID comes first, and is not taken for it: the next list tells neither as vanished."""
    bad = {"metadata": {"name": "bad", "ownerReferences": [{"uid": "owner"}], "uid": "bad"}, "status": 3}
    course = synced("a")
    assert names(course.line(event("ADDED", bad))) == ["Malformed"]
    course.start_over()
    course.request(0, 300)
    assert names(course.line(event("ADDED", bad))) == ["Malformed"]
    assert names(course.line(bookmark(12, ends_list=True))) == ["?a", "Synced"]
    course.start_over()
    course.request(0, 300)
    assert names(course.line(bookmark(13, ends_list=True))) == ["?bad", "Synced"]


def test_what_was_not_read_is_not_told_as_vanished() -> None:
    """A line that was too long may have been any object: nothing is told as vanished before the next list."""
    course = synced("a", "b")
    course.start_over()
    course.request(0, 300)
    assert names(course.line(event("ADDED", run("a", 11)))) == ["+a"]
    assert names(course.line(TooLong(5 << 20))) == ["TooLong"]
    assert names(course.line(bookmark(12, ends_list=True))) == ["Synced"]
    course.start_over()
    course.request(0, 300)
    assert names(course.line(event("ADDED", run("a", 13)))) == ["+a"]
    assert names(course.line(bookmark(14, ends_list=True))) == ["?b", "Synced"]


@pytest.mark.parametrize("where", ["annotations", "labels"])
def test_a_key_called_like_the_version_does_not_move_the_watch(where: str) -> None:
    """A user may call an annotation or a label resourceVersion; a server writes them before the version itself."""
    course, made = synced(), run("a", 12)
    made["metadata"] = {where: {"resourceVersion": "user"}, **made["metadata"]}
    assert names(course.line(event("ADDED", made))) == ["+a"]
    assert course.request(2, 300).query["resourceVersion"] == "12"


def test_a_version_that_is_no_text_does_not_move_the_watch() -> None:
    """Bytes that are no UTF-8 cost the object that has them, and the watch goes on."""
    course = synced()
    line = event("ADDED", run("a", 12)).replace(b'"12"', b'"\xff"')
    list(course.line(line))
    assert course.request(2, 300).query["resourceVersion"] == "10"


def test_what_has_no_version_is_no_list() -> None:
    """JSON of somebody in between, which names no items and no version, does not tell that everything vanished."""
    course = synced("a", "b")
    course.can_stream_lists = False
    course.refused(410)
    course.request(2, 300)
    assert names(course.page(b'{"kind":"Status","status":"Failure"}')) == ["Malformed"]
    course.request(3, 300)
    assert names(course.page(page([run("b", 4)], 9))) == ["+b", "?a", "Synced"]


def test_a_deletion_that_cannot_be_read_is_one_all_the_same() -> None:
    """Its object is gone the way it was last read."""
    course = synced("a", "b")
    assert names(course.line(event("DELETED", {**run("a", 12), "status": 5}))) == ["Malformed", "?a"]
    assert course.existing == 1


def test_what_is_deleted_while_it_is_listed_does_not_exist() -> None:
    """A streamed list may tell a deletion before its end; it is told once."""
    course = Course(RUNS, SCHEMA)
    course.request(1, 300)
    assert names(course.line(event("ADDED", run("a", 1)))) == ["+a"]
    assert names(course.line(event("DELETED", run("a", 2)))) == ["-a"]
    list(course.line(bookmark(9, ends_list=True)))
    assert course.existing == 0
