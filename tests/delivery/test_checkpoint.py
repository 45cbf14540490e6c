"""What is remembered of a process is enough for the next one, and never more than fits."""

import random
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.delivery.test_ledger import FACTS, TOLD, recordings
from tests.kit import Timed, Told, drain, the_end
from tracer.delivery.checkpoint import MOST_BYTES, Checkpoint, ElsewhereError, Texts, UnreadableError, read, write
from tracer.delivery.ledger import Ledger
from tracer.delivery.marks import MARK_BYTES, Noted, mark_of
from tracer.tekton.decode import Object
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced
from tracer.telemetry.records import Slot

marks = st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)
checkpoints = st.builds(
    Checkpoint,
    st.dictionaries(marks, st.none()),
    st.dictionaries(marks, st.lists(marks, min_size=1).map(b"".join)),
    st.dictionaries(marks, st.integers(1, 10**4), max_size=3),
    st.dictionaries(marks, st.lists(marks).map(b"".join)),
)
BACKEND = "http://backend:4318/v1/traces"
OURS = {"format": "1", "destination": BACKEND}


@given(checkpoints)
def test_a_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    """Nothing is lost in writing, and the order stays."""
    found = read(write(checkpoint, BACKEND), BACKEND)
    assert found == checkpoint
    assert list(found.done) == list(checkpoint.done)


@given(checkpoints, st.integers(0, 200))
def test_a_checkpoint_fits(checkpoint: Checkpoint, most_bytes: int) -> None:
    """What is written is never larger than it may be, is true, and lacks the oldest first."""
    written = write(checkpoint, BACKEND, most_bytes)
    assert sum(map(len, written.binary.values())) <= most_bytes
    found = read(written, BACKEND)
    assert found is not None
    assert list(found.done) == list(checkpoint.done)[len(checkpoint.done) - len(found.done) :]
    assert list(found.slots.items()) == list(checkpoint.slots.items())[len(checkpoint.slots) - len(found.slots) :]
    assert list(found.counted.items()) == list(checkpoint.counted.items())[len(checkpoint.counted) - len(found.counted) :]


@given(checkpoints)
def test_what_was_counted_is_so_for_every_destination(checkpoint: Checkpoint) -> None:
    """Another backend has nothing of what was sent, and the metrics have counted it all the same: also what was done."""
    with pytest.raises(ElsewhereError) as caught:
        read(write(checkpoint, "http://other"), BACKEND)
    assert caught.value.for_others == Checkpoint(counted=dict.fromkeys(checkpoint.done, b"") | checkpoint.counted)


def test_a_version_that_counted_nothing_does_not_say_that_it_did() -> None:
    """What an earlier version wrote says what is done, and nothing of what was counted; nor does who has not begun to count."""
    written = write(Checkpoint({mark_of("a"): None}), BACKEND)
    earlier = read(Texts(written.data, {name: value for name, value in written.binary.items() if name != "counted"}), BACKEND)
    assert earlier == Checkpoint({mark_of("a"): None}, counts_known=False)
    assert "counted" not in write(earlier, BACKEND).binary


def test_two_accounts_of_what_was_counted_are_joined() -> None:
    """Whoever counted all of an object counted more than whoever counted a part of it."""
    ours = Checkpoint(counted={b"both....": b"slot-one", b"ours....": b"slot-two", b"all.....": b""})
    theirs = Checkpoint(counted={b"both....": b"slot-oneslot-tri", b"theirs..": b"", b"all.....": b"slot-one"})
    joined = {b"both....": b"slot-oneslot-tri", b"ours....": b"slot-two", b"all.....": b"", b"theirs..": b""}
    assert (ours | theirs).counted == (theirs | ours).counted == joined


def test_what_does_not_fit_is_little() -> None:
    """A checkpoint has room for more than 100,000 runs."""
    written = write(Checkpoint({number.to_bytes(MARK_BYTES, "big"): None for number in range(200_000)}), BACKEND)
    assert 100_000 * MARK_BYTES < len(written.binary["done"]) <= MOST_BYTES


@pytest.mark.row("P13")
def test_a_later_version_may_add_keys() -> None:
    """A key that is not known is left alone; an empty ConfigMap is no checkpoint at all."""
    written = write(Checkpoint({mark_of("a"): None}), BACKEND)
    more = Texts({**written.data, "more": "x"}, {**written.binary, "later": b"yz"})
    assert read(more, BACKEND) == Checkpoint({mark_of("a"): None})
    assert read(Texts({}, {}), BACKEND) is None


@pytest.mark.parametrize(
    ("data", "binary", "why"),
    [
        ({"format": "2"}, {}, "its format is '2' instead of '1'"),
        ({"a": "b"}, {}, "its format is '' instead of '1'"),
        ({"format": "1", "destination": "http://other"}, {}, "it is of what was sent to 'http://other'"),
        ({}, {"done": b"123"}, "its key done has 3 bytes, which is no multiple of 8"),
        ({}, {"onlyInMemory": b"123456789"}, "its key onlyInMemory has 9 bytes, which is no multiple of 10"),
        ({}, {"counted": b"12345678"}, "its key counted ends in the middle of an entry"),
        ({}, {"slots": b"12345678"}, "its key slots ends in the middle of an entry"),
        ({}, {"slots": b"12345678\0\2abcdefgh"}, "its key slots ends in the middle of an entry"),
    ],
)
def test_what_is_no_checkpoint_says_why(data: dict[str, str], binary: dict[str, bytes], why: str) -> None:
    """Whoever meddles with it reads what is wrong."""
    with pytest.raises(UnreadableError) as caught:
        read(Texts({**OURS, **data} if data.keys() != {"a"} else data, binary), BACKEND)
    assert str(caught.value) == why


@pytest.mark.row("S20")
@given(st.dictionaries(st.text(max_size=9), st.text(max_size=20)), st.binary(max_size=60), st.binary(max_size=60))
def test_nothing_that_was_written_by_others_is_an_accident(data: dict[str, str], done: bytes, slots: bytes) -> None:
    """Whatever stands there is read, or refused with a reason."""
    with suppress(UnreadableError):
        assert read(Texts({**OURS, **data}, {"done": done, "slots": slots, "onlyInMemory": done}), BACKEND) is not None


@given(checkpoints, checkpoints)
def test_two_checkpoints_are_both_true(one: Checkpoint, other: Checkpoint) -> None:
    """Joined they hold what each of them holds."""
    both = one | other
    assert both.done.keys() == one.done.keys() | other.done.keys()
    for each in (one, other):
        for mark, slots in each.slots.items():
            assert set(read_marks(slots)) <= set(read_marks(both.slots[mark]))


def read_marks(content: bytes) -> list[bytes]:
    """Take marks apart."""
    return [content[at : at + MARK_BYTES] for at in range(0, len(content), MARK_BYTES)]


def test_a_slot_is_known_without_its_pod() -> None:
    """A step told from its Pod is known when the Pod is gone, by a process that only has the marks; another Pod's is not."""
    first = Noted()
    first.add([Slot("step", "t", "build-pod", "pod-1", "step-a")])
    later = Noted(read_marks(first.marks))
    assert Slot("step", "t", "build-pod", "pod-1", "step-a") in later
    assert Slot("step", "t", "build-pod", "", "step-a") in later
    assert Slot("step", "t", "build-pod", "pod-2", "step-a") not in later
    assert Slot("step", "t", "build-pod", "", "step-b") not in later


# ------------------------------------------------------------ a restart

Backend = Callable[[Told, int], None]
"""What comes of a moment, a time in Unix nanoseconds."""


def restart(told: Told, existing: dict[str, Object], now_ns: int, checkpoint: Checkpoint | None) -> None:
    """Let a new ledger go on with what exists, as a process does that lists everything first."""
    told.ledger = Ledger()
    told.ledger.count()
    if checkpoint is not None:
        found = read(write(checkpoint, BACKEND), BACKEND)
        assert found is not None
        told.ledger.recall(found)
    for value in existing.values():
        told.ledger.observe(Seen(value), now_ns)
    for kind in Kind:
        told.ledger.observe(Synced(kind, now_ns), now_ns)


def play(observations: list[Timed], cuts: set[int], backend: Backend = drain) -> tuple[Told, dict[str, Object]]:
    """Play a recording with graceful restarts before some of its lines; give what still exists in the end, too."""
    told, existing, now_ns = Told({}, [], Ledger()), dict[str, Object](), 0
    told.ledger.count()
    told.ledger.recall(Checkpoint())
    for index, (at_ns, observation) in enumerate(observations):
        now_ns = max(now_ns, at_ns)
        assert isinstance(observation, Seen | Gone)
        if index in cuts:
            told.ledger.hurry_deleted()
            backend(told, now_ns)
            restart(told, existing, now_ns, told.ledger.checkpoint)
        told.ledger.observe(observation, now_ns)
        existing[observation.object.metadata.uid] = observation.object
        if isinstance(observation, Gone):
            del existing[observation.object.metadata.uid]
        backend(told, now_ns)
    return told, existing


def finish(told: Told, backend: Backend = drain) -> None:
    """Say that everything was seen, and let time pass every deadline."""
    for at_ns, observation in the_end():
        told.ledger.observe(observation, at_ns)
        backend(told, at_ns)


def as_facts(slots: Iterable[Slot]) -> list[Slot]:
    """Give slots in order as the facts that they stand for, whichever Pod told them.

    A TaskRun whose deleted PipelineRun was told at a stop, before its own deletion, is told as a run of its own.
    """
    return sorted(slot._replace(pod_uid="", kind="run" if slot.kind == "task" else slot.kind) for slot in slots)


LEVEL = {"run", "skipped", "retry", "queue", "step"}
"""What follows from the runs themselves, at any later time."""
TWO_PODS = {"pod-deleted-recreated"}
"""Where two Pods of one name told the same steps."""


@given(recordings, st.sets(st.integers(0, 400), max_size=4))
@example("run-deleted", {18, 44, 50})
def test_a_graceful_restart_repeats_nothing(name: str, cuts: set[int]) -> None:
    """However often it is started again, nothing that was acknowledged is told again, from whatever source; nothing is lost."""
    told, _ = play(FACTS[name], cuts)
    finish(told)
    assert told.again == []
    facts = as_facts(told.spans)
    assert {slot for slot in as_facts(TOLD[name]) if slot.kind in LEVEL} <= set(facts)
    steps = [slot for slot in facts if slot.kind == "step"]
    assert name in TWO_PODS or len(steps) == len(set(steps))


def everything_counted(name: str) -> set[Slot]:
    """Count a recording without any restart."""
    told, _ = play(FACTS[name], set())
    finish(told)
    return set(as_facts(one.slot for one in told.measures))


COUNTED = {name: everything_counted(name) for name in FACTS}
ADOPTED = {"taskrun-deleted"}
"""Where a TaskRun is told with the steps of a Pod that another one made, if nobody knows that one any more."""


def is_away(told: Told, now_ns: int) -> None:
    """Judge, and deliver nothing."""
    while told.ledger.due(now_ns) or told.ledger.is_behind:
        pass
    told.counted += told.ledger.take_measures()


@given(recordings, st.sets(st.integers(0, 400), max_size=4), st.sampled_from([drain, is_away]))
def test_a_graceful_restart_counts_nothing_twice(name: str, cuts: set[int], backend: Backend) -> None:
    """However often it is started again, each step, attempt and run is counted once, whether the backend is there or not."""
    told, _ = play(FACTS[name], cuts, backend)
    finish(told, backend)
    counted = as_facts(one.slot for one in told.measures)
    assert name in TWO_PODS or len(counted) == len(set(counted))
    assert set(counted) >= COUNTED[name]
    assert name in ADOPTED or set(counted) == COUNTED[name]


@given(recordings)
@example("success")
def test_what_is_done_is_not_held(name: str) -> None:
    """After everything was told a new process holds nothing of it, whatever order it is listed in, and says nothing."""
    told, existing = play(FACTS[name], set())
    finish(told)
    count = len(told.spans)
    restart(told, dict(reversed(existing.items())), 1, told.ledger.checkpoint)
    finish(told)
    assert (len(told.spans), told.again) == (count, [])


def drain_some(told: Told, now_ns: int, rng: random.Random) -> None:
    """Take what is due; a backend takes some of it, and nothing is known of the rest."""
    while dues := told.ledger.due(now_ns):
        for uid, _, _ in dues:
            taken = [span for span in told.ledger.spans(uid, now_ns) if rng.random() < 0.5]
            told.again += [span for span in taken if span.slot in told.spans]
            told.spans |= {span.slot: span for span in taken}
            told.ledger.acknowledge(uid, [span.slot for span in taken], now_ns)


@given(st.sampled_from(["success", "retries", "matrix", "finally-and-when", "nested-given-parent"]), st.integers(0, 2**32))
def test_a_parent_may_be_acknowledged_before_its_children(name: str, seed: int) -> None:
    """Whatever part of it a backend took before a restart, then the rest is told, in the same place, with the same bytes."""
    told, existing, rng, now_ns = Told({}, [], Ledger()), dict[str, Object](), random.Random(seed), 0
    for at_ns, observation in FACTS[name]:
        now_ns = max(now_ns, at_ns)
        assert isinstance(observation, Seen)
        told.ledger.observe(observation, now_ns)
        existing[observation.object.metadata.uid] = observation.object
        drain_some(told, now_ns, rng)
    for at_ns, observation in the_end():
        told.ledger.observe(observation, at_ns)
        drain_some(told, at_ns, rng)
    restart(told, existing, now_ns, told.ledger.checkpoint)
    finish(told)
    assert told.again == []
    edge = {"schedule", "pull"}  # they rest on Events, which may come too late
    assert {slot: span for slot, span in told.spans.items() if slot.kind not in edge} == {
        slot: span for slot, span in TOLD[name].items() if slot.kind not in edge
    }
