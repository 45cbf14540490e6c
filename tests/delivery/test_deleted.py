"""Which deleted objects are dropped first, and what a drop takes with it."""

from functools import partial

import pytest

from tests.kit import RUN_UID, TASK_UID, at, at_ns, ended, message, meta, owner, pipeline_run, pod, read, succeeded, task_run
from tracer.delivery import readings
from tracer.delivery.deleted import Deleted
from tracer.delivery.ledger import Ledger
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced, Vanished

DONE = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}


def test_nothing_is_dropped_while_all_fit() -> None:
    """The bound itself still fits; what is discarded makes room."""
    deleted = Deleted(10)
    deleted.add("a", 6, has_failed=False)
    deleted.add("b", 4, has_failed=True)
    assert deleted.fits
    deleted.add("c", 1, has_failed=False)
    assert not deleted.fits
    deleted.discard("a")
    deleted.discard("a")
    assert (deleted.fits, len(deleted)) == (True, 2)


def test_successes_go_first_and_the_oldest_of_them() -> None:
    """The order is that of their deletion; what is read again counts once, with its newest size, and as it ended then."""
    deleted = Deleted(10)
    for uid, has_failed in (("f1", True), ("s1", False), ("f2", True), ("s2", False)):
        deleted.add(uid, 2, has_failed=has_failed)
    assert list(deleted.in_order()) == ["s1", "s2", "f1", "f2"]
    deleted.add("s1", 4, has_failed=True)
    assert deleted.fits
    assert list(deleted.in_order()) == ["s2", "f1", "f2", "s1"]
    for uid in deleted.in_order():
        deleted.discard(uid)
    assert (len(deleted), deleted.fits) == (0, True)


def ledger_with_a_deleted_run(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Make a ledger without room for what is deleted, that holds a PipelineRun with a TaskRun and its Pod, all deleted."""
    monkeypatch.setattr(readings, "Deleted", partial(Deleted, 0))
    ledger = Ledger()
    child = task_run({**DONE, "podName": "build-pod"}, owner=owner("PipelineRun", RUN_UID, "ci-x"))
    for value in (pipeline_run(DONE), child, pod({"compile": ended(0, 8, message(2))})):
        ledger.observe(Seen(read(value)), at_ns(10))
        ledger.observe(Gone(read(value)), at_ns(11))
    for kind in Kind:
        ledger.observe(Synced(kind, at_ns(12)), at_ns(12))
    return ledger


def test_a_drop_takes_the_whole_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a run goes all that is below it; the drop counts the spans that were not acknowledged, no more and no less."""
    ledger = ledger_with_a_deleted_run(monkeypatch)
    whole = ledger_with_a_deleted_run(monkeypatch)
    spans = [span for due in whole.due(at_ns(100)) for span in whole.spans(due.uid, at_ns(100))]
    (dropped,) = ledger.shed(lambda _: False, at_ns(100))
    assert (dropped.kind, dropped.name, dropped.uid, dropped.spans) == (Kind.PIPELINE_RUN, "ci-x", RUN_UID, len(spans))
    assert (ledger.unacknowledged, ledger.checkpoint.only_here, ledger.held().total()) == (0, {}, 0)
    assert ledger.due(at_ns(200)) == []
    assert list(ledger.shed(lambda _: False, at_ns(200))) == []


@pytest.mark.parametrize("taken", [RUN_UID, TASK_UID])
def test_what_is_being_sent_is_not_dropped(taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request holds anything of a run, none of it is dropped: it may arrive."""
    ledger = ledger_with_a_deleted_run(monkeypatch)
    ledger.due(at_ns(100))
    before = ledger.checkpoint.only_here
    assert list(ledger.shed(lambda uid: uid == taken, at_ns(100))) == []
    assert ledger.checkpoint.only_here == before != {}


def test_what_was_acknowledged_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that was told in part only the rest is counted."""
    ledger = ledger_with_a_deleted_run(monkeypatch)
    dues = ledger.due(at_ns(100))
    total = sum(due.spans for due in dues)
    first = ledger.spans(dues[0].uid, at_ns(100))
    ledger.acknowledge(dues[0].uid, [span.slot for span in first], at_ns(100))
    (dropped,) = ledger.shed(lambda _: False, at_ns(101))
    assert dropped.spans == total - len(first)


def test_what_exists_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that the API server still has costs nothing to forget, so it is none of this."""
    monkeypatch.setattr(readings, "Deleted", partial(Deleted, 0))
    ledger = Ledger()
    alone = task_run(DONE)
    alone["metadata"] = meta("alone", TASK_UID)
    ledger.observe(Seen(read(alone)), at_ns(10))
    ledger.due(at_ns(100))
    assert list(ledger.shed(lambda _: False, at_ns(100))) == []
    assert ledger.unacknowledged > 0


def test_what_exists_again_is_not_among_the_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that lacked an object was wrong, if the object comes back: it still exists, and is not dropped."""
    monkeypatch.setattr(readings, "Deleted", partial(Deleted, 0))
    ledger, value = Ledger(), read(pipeline_run({"startTime": at(1)}))
    ledger.observe(Seen(value), at_ns(10))
    ledger.observe(Vanished(Kind.PIPELINE_RUN, RUN_UID), at_ns(11))
    ledger.observe(Seen(value), at_ns(12))
    assert list(ledger.shed(lambda _: False, at_ns(13))) == []


def test_what_is_deleted_is_told_at_the_end_as_it_is_known() -> None:
    """Before the process ends nothing waits for what may still come of a deleted run: what is known is due, children first."""
    ledger = Ledger()
    goes_on = {"startTime": at(1)}
    child = task_run({**goes_on, "podName": "build-pod"}, owner=owner("PipelineRun", RUN_UID, "ci-x"))
    for value in (pipeline_run(goes_on), child):
        ledger.observe(Seen(read(value)), at_ns(10))
        ledger.observe(Gone(read(value)), at_ns(11))
    assert ledger.due(at_ns(11)) == []
    ledger.hurry_deleted()
    dues = ledger.due(at_ns(11))
    assert {due.uid for due in dues} == {RUN_UID, TASK_UID}
    assert dues[-1].uid == RUN_UID
    assert sum(ledger.checkpoint.only_here.values()) == sum(due.spans for due in dues)
