"""The claim of the account: it sees what is lost, in conflict, repeated and told without its Pod. It needs no cluster."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.faults.books import Books, balance, cut_out
from tests.cluster.tee import Request
from tests.kit import HERE, replay
from tracer.telemetry.otlp import encode
from tracer.telemetry.records import SpanRecord

CANCEL = HERE / "recordings" / "cancel"
NAMESPACE = "scenario-cancel"
WHOLE = replay(CANCEL / "watch.jsonl")
LATE = replay(CANCEL / "objects.json")
"""What somebody tells who comes when the Pods have gone."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Give the part of the recording that the account looks at."""
    return cut_out(CANCEL / "watch.jsonl", NAMESPACE, tmp_path / "cut.jsonl")


def account(recording: Path, *requests: Request) -> Books:
    """Draw up the account of what was sent."""
    return balance(list(requests), recording, CANCEL / "objects.json", NAMESPACE)


def sent(spans: Iterable[SpanRecord], status: int | None = 200) -> Request:
    """Make a request that came, and was answered so."""
    return Request("/v1/traces", {"content-type": "application/x-protobuf"}, encode(spans), status, 0)


def step(name: str) -> SpanRecord:
    """Give the span of a step."""
    (found,) = (one for one in WHOLE if (one.slot.kind, one.name) == ("step", name))
    return found


def test_all_is_there(recording: Path) -> None:
    """What was sent as it should be balances, also if some was refused before."""
    books = account(recording, sent(WHOLE, 503), sent(WHOLE, None), sent(WHOLE))
    assert str(books) == f"spans {len(WHOLE)}, lost 0, in conflict 0, repeated 0, attempts told without their Pod: none"
    books.check(sees_all=True)


def test_what_is_lost(recording: Path) -> None:
    """A step that was never taken is lost, though it was sent; a phase that is not there is not."""
    schedule = [one for one in WHOLE if one.slot.kind == "schedule"]
    books = account(recording, sent(one for one in WHOLE if one not in (step("push"), *schedule)), sent([step("push")], 503))
    assert [one.split()[:2] for one in books.lost] == [["step", "'push'"]]
    with pytest.raises(AssertionError):
        books.check(sees_all=False)


def test_what_is_repeated(recording: Path) -> None:
    """What was taken twice is counted, and costs nothing else."""
    books = account(recording, sent(WHOLE), sent([step("fetch"), step("compile")]))
    books.check(sees_all=True)
    assert books.repeated == 2


def test_what_is_in_conflict(recording: Path) -> None:
    """Another content under an id is in conflict, whether it was taken or not, and if it is the only one."""
    run = next(one for one in WHOLE if one.slot.kind == "queue")
    other = replace(run, end_ns=run.end_ns + 1)
    for requests in ([sent(WHOLE), sent([other], 503)], [sent([other, *(one for one in WHOLE if one is not run)])]):
        assert [one.split()[0] for one in account(recording, *requests).in_conflict] == ["queue"]


def test_what_nobody_asked_for(recording: Path) -> None:
    """A span that nothing calls for is not passed over."""
    stray = replace(step("fetch"), span_id=b"12345678")
    assert account(recording, sent([*WHOLE, stray])).unknown == [b"12345678".hex()]


def test_what_is_told_without_its_pod(recording: Path) -> None:
    """Told by somebody who came late, nothing is lost and the attempts are named; who saw all is not excused."""
    books = account(recording, sent(LATE))
    books.check(sees_all=False)
    assert books.without_pod == ["run-build-pod", "run-lint-pod"]
    with pytest.raises(AssertionError):
        books.check(sees_all=True)


def test_what_came_after_an_api_server_was_away(recording: Path) -> None:
    """Who knows that nothing can be heard waits on, and tells the truth; that replay gave up meanwhile does not count."""
    events = [json.loads(line) for line in recording.read_text().splitlines()]
    final = max(number for number, one in enumerate(events) if one["object"]["kind"] == "TaskRun")
    late = [{**one, "at": one["at"] + 90 * (number > final)} for number, one in enumerate(events)]
    recording.write_text("".join(f"{json.dumps(one)}\n" for one in late))
    assert replay(recording) != WHOLE
    account(recording, sent(WHOLE)).check(sees_all=True)


def test_what_is_told_both_ways(recording: Path) -> None:
    """What one told with the Pod and the next one without is said, and is no conflict where the Pod was deleted."""
    books = account(recording, sent(WHOLE), sent(LATE))
    books.check(sees_all=False)
    assert {one.split()[0] for one in books.in_doubt} <= {"run", "task"}
