"""What is due, when it is due, and that it never changes afterwards."""

import json
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import (
    HERE,
    POD_UID,
    RECORDINGS,
    RUN_UID,
    SCENARIOS,
    SCHEMA,
    TASK_UID,
    Json,
    Timed,
    Told,
    at,
    at_ns,
    drain,
    drive,
    ended,
    facts,
    message,
    meta,
    owner,
    pipeline_run,
    pod,
    read,
    running,
    succeeded,
    task_run,
    tell,
)
from tracer.delivery import readings
from tracer.delivery.checkpoint import Checkpoint
from tracer.delivery.deleted import Deleted
from tracer.delivery.ledger import CHILDREN_WAIT_NS, OWNER_WAIT_NS, REMEMBERED_NS, Ledger
from tracer.delivery.marks import mark_of
from tracer.delivery.readings import Loss
from tracer.settings import load
from tracer.tekton.decode import Malformed, Object, Unread, decode
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.measures import Measure
from tracer.telemetry.places import ParentPolicy, SpanSettings
from tracer.telemetry.records import Slot, SpanRecord

ALL = [*RECORDINGS, *SCENARIOS]
FACTS = {path.name: facts(path / "watch.jsonl") for path in ALL}
TOLD = {name: drive(observations).spans for name, observations in FACTS.items()}
recordings = st.sampled_from([path.name for path in ALL])
seeds = st.integers(0, 2**32)


def differences(expected: dict[Slot, SpanRecord], got: dict[Slot, SpanRecord]) -> list[Slot]:
    """List the spans that differ, but for `schedule` and `pull`, which rest on Events that may come too late for them."""
    lossy = {"schedule", "pull"}
    return [
        slot for slot in sorted(expected.keys() | got.keys()) if slot.kind not in lossy and expected.get(slot) != got.get(slot)
    ]


def delayed(observations: list[Timed], rng: random.Random, most_s: float) -> list[Timed]:
    """Delay each kind's events at random, keeping each kind's order, as watches of their own do."""
    base: dict[str, float] = {}
    last: dict[str, int] = {}
    moved = []
    for index, (arrived_ns, observation) in enumerate(observations):
        assert isinstance(observation, Seen | Gone)
        kind = type(observation.object).__name__
        lag_s = base.setdefault(kind, rng.uniform(0, most_s)) + rng.choice([0.0, 0.0, rng.uniform(0, 1.5)])
        last[kind] = max(last.get(kind, 0), arrived_ns + int(lag_s * SECOND_NS))
        moved.append((last[kind], index, observation))
    return [(arrived_ns, observation) for arrived_ns, _, observation in sorted(moved, key=lambda one: one[:2])]


@pytest.mark.row("A21", "A22")
@given(recordings, seeds, st.sampled_from([0.5, 3.0, 20.0]), st.sampled_from([0, -3_600, 3_600, 400 * 86_400]))
def test_a_due_span_never_changes_however_the_watches_lag(name: str, seed: int, most_s: float, ahead_s: int) -> None:
    """Delaying each kind's events at random changes no byte of any span, and tells none twice, whatever our clock says."""
    observations = delayed(FACTS[name], random.Random(seed), most_s)
    told = drive((arrived_ns + ahead_s * SECOND_NS, observation) for arrived_ns, observation in observations)
    assert told.again == []
    assert differences(TOLD[name], told.spans) == []


def is_contradicted(value: Object, later: Iterable[Observation]) -> bool:
    """Say whether a later reading of a TaskRun tells another start of the same attempt: Tekton moves it back and forth."""
    if not isinstance(value, TaskRun):
        return False
    for observation in later:
        other = observation.object if isinstance(observation, Seen | Gone) else None
        if isinstance(other, TaskRun) and other.metadata.uid == value.metadata.uid:
            is_same = len(other.status.retries_status) == len(value.status.retries_status)
            if is_same and value.status.start_time not in {None, other.status.start_time}:
                return True
    return False


@given(recordings, seeds)
def test_readings_that_no_later_one_contradicts_do_not_matter(name: str, seed: int) -> None:
    """Dropping and doubling earlier readings changes no span: the newest reading says everything."""
    rng = random.Random(seed)
    observations = FACTS[name]
    last = {one.object.metadata.uid: index for index, (_, one) in enumerate(observations) if isinstance(one, Seen | Gone)}
    kept: list[Timed] = []
    for index, (arrived_ns, observation) in enumerate(observations):
        assert isinstance(observation, Seen | Gone)
        if is_contradicted(observation.object, (one for _, one in observations[index:])):
            continue
        if last[observation.object.metadata.uid] == index:
            kept += [(arrived_ns, observation)] * rng.choice([1, 2])
        else:
            kept += [(arrived_ns, observation)] * rng.choice([0, 1, 1, 2])
    told = drive(kept)
    assert told.again == []
    assert differences(TOLD[name], told.spans) == []


@pytest.mark.row("A22")
@given(recordings, seeds)
def test_kinds_may_interleave_anew(name: str, seed: int) -> None:
    """Only the order within an object matters: any interleaving of the objects, told at one moment, gives the same spans."""
    rng = random.Random(seed)
    by_uid: dict[str, list[Observation]] = {}
    for _, observation in FACTS[name]:
        assert isinstance(observation, Seen | Gone)
        by_uid.setdefault(observation.object.metadata.uid, []).append(observation)
    queues = list(by_uid.values())
    shuffled = []
    while queues:
        queue = rng.choice(queues)
        shuffled.append((1, queue.pop(0)))
        queues = [one for one in queues if one]
    assert differences(TOLD[name], drive(shuffled).spans) == []


@given(recordings, seeds)
def test_everything_due_ends_acknowledged(name: str, seed: int) -> None:
    """A destination that confirms only some at a time gets every span in the end, with the same bytes each time it is offered."""
    rng = random.Random(seed)
    ledger, offered, confirmed = Ledger(), dict[Slot, SpanRecord](), dict[Slot, SpanRecord]()
    waiting: dict[str, None] = {}

    def send(now_ns: int) -> None:
        waiting.update(dict.fromkeys(due.uid for due in ledger.due(now_ns)))
        for uid in list(waiting):
            spans = ledger.spans(uid, now_ns)
            for span in spans:
                if span.slot.kind != "schedule":
                    assert offered.setdefault(span.slot, span) == span
            some = [span for span in spans if rng.random() < 0.5]
            confirmed.update({span.slot: span for span in some})
            ledger.acknowledge(uid, [span.slot for span in some], now_ns)
            if len(some) == len(spans):
                del waiting[uid]

    now_ns = 0
    for now_ns, observation in FACTS[name]:
        ledger.observe(observation, now_ns)
        send(now_ns)
    for kind in Kind:
        ledger.observe(Synced(kind, now_ns + SECOND_NS), now_ns + SECOND_NS)
    for later in range(200):
        send(now_ns + later * CHILDREN_WAIT_NS)
    assert ledger.unacknowledged == 0
    assert differences(TOLD[name], confirmed) == []


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, list[Json]]:
    """Break a recording: delete, swap and replace values anywhere in its objects."""
    name = draw(recordings)
    rng = random.Random(draw(seeds))
    lines = [json.loads(line) for line in (path_of(name) / "watch.jsonl").read_text().splitlines()]
    for line in rng.sample(lines, min(len(lines), rng.choice([1, 3, 30]))):
        mutate(line["object"], rng)
    return name, lines


def path_of(name: str) -> Path:
    """Find a recording by name."""
    return next(path for path in ALL if path.name == name)


def mutate(value: Json, rng: random.Random) -> None:
    """Break one value somewhere in an object."""
    spots: list[tuple[Any, Any]] = []

    def collect(node: object) -> None:
        if isinstance(node, dict):
            spots.extend((node, key) for key in node)
            for child in node.values():
                collect(child)
        elif isinstance(node, list):
            spots.extend((node, index) for index in range(len(node)))
            for child in node:
                collect(child)

    collect(value)
    node, key = rng.choice(spots)
    odd: list[object] = [
        None,
        "",
        0,
        -1,
        2**70,
        1.5,
        True,
        [],
        {},
        "\x1b[31m",
        "é" * 2000,
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ]
    odd += ["9999-12-31T23:59:59Z", "tknz:!!!!", "[{]", [[]], {"a": 1}, "1970-01-01T00:00:00Z", "2199-12-31T23:59:59Z", "\ud800"]
    if rng.random() < 0.3 and isinstance(node, dict):
        del node[str(key)]
    else:
        node[key] = rng.choice(odd)


@pytest.mark.row("O2", "O20")
@given(mutated())
def test_no_input_stops_the_rest(broken: tuple[str, list[Json]]) -> None:
    """However malformed an object is, nothing raises, and what is told has sound times and ends acknowledged."""
    _, lines = broken
    observations: list[Timed] = []
    for line in lines:
        value = decode(json.dumps(line["object"]).encode(), SCHEMA)
        if not isinstance(value, Malformed | Unread):
            observations.append((int(line["at"] * SECOND_NS), (Gone if line["type"] == "DELETED" else Seen)(value)))
    told = drive(observations)
    assert told.ledger.unacknowledged == 0
    for span in told.spans.values():
        assert 0 < span.start_ns < span.end_ns < 1 << 63


def read_lines(name: str, change: Callable[[Json], Json]) -> list[Timed]:
    """Read a recording whose objects were changed."""
    lines = [json.loads(line) for line in (path_of(name) / "watch.jsonl").read_text().splitlines()]
    return [
        (int(line["at"] * SECOND_NS), (Gone if line["type"] == "DELETED" else Seen)(read(change(line["object"]))))
        for line in lines
    ]


def of_next_year(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Add a field to every object in JSON, and a condition to every list of conditions."""
    match value:
        case dict():
            made = {key: of_next_year(one) for key, one in value.items()} | {"ofNextYear": "x"}
            if isinstance(made.get("conditions"), list):
                made["conditions"].append({"type": "NextYear", "status": "Unknown", "reason": "Unheard"})
            return made
        case list():
            return [of_next_year(one) for one in value]
        case _:
            return value


@pytest.mark.row("O3")
@pytest.mark.parametrize("name", TOLD)
def test_what_nobody_knows_changes_nothing(name: str) -> None:
    """Fields, labels and conditions of next year's Tekton, anywhere, leave every span as it is."""
    assert differences(TOLD[name], drive(read_lines(name, of_next_year)).spans) == []


@pytest.mark.row("A16")
@pytest.mark.parametrize("name", TOLD)
def test_the_older_version_says_the_same(name: str) -> None:
    """The same objects as `tekton.dev/v1beta1`, with owners and children in it, come to the same bytes."""
    older = drive(
        read_lines(name, lambda value: json.loads(json.dumps(value).replace('"tekton.dev/v1"', '"tekton.dev/v1beta1"')))
    )
    assert differences(TOLD[name], older.spans) == []


# ---------------------------------------------------------------- when something is due


BUILD = pod({"compile": ended(0, 12, message(9.204)), "test": running()})
OPEN = {"startTime": at(1), "podName": "build-pod"}


def test_a_passed_step_is_told_at_once() -> None:
    """A step that passed with a termination message is told while its run goes on, with the phases before it."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (task_run(OPEN, created=0), pod({"compile": running(), "test": running()})):
        ledger.observe(Seen(read(value)), at_ns(5))
    drain(told, at_ns(5))
    assert told.spans == {}
    ledger.observe(Seen(read(BUILD)), at_ns(13))
    drain(told, at_ns(13))
    assert {slot.kind for slot in told.spans} == {"queue", "step"}
    assert [slot.name for slot in told.spans if slot.kind == "step"] == ["step-compile"]


@pytest.mark.parametrize("name", TOLD)
def test_what_was_under_way_is_not_built_again(name: str) -> None:
    """What is acknowledged between being listed as due, with more of the same object, and being asked for is left out."""
    ledger = Ledger()
    under_way: dict[str, list[Slot]] = {}
    acknowledged: set[Slot] = set()
    for now_ns, observation in FACTS[name]:
        ledger.observe(observation, now_ns)
        dues = ledger.due(now_ns)
        for uid, slots in under_way.items():
            ledger.acknowledge(uid, slots, now_ns)
            acknowledged.update(slots)
        under_way = {due.uid: [span.slot for span in ledger.spans(due.uid, now_ns)] for due in dues}
        assert not acknowledged & {slot for slots in under_way.values() for slot in slots}


@pytest.mark.parametrize("on_its_way_out", [{"deletionTimestamp": at(14)}, {"annotations": {"tekton.dev/cancel": "CANCEL"}}])
def test_nothing_is_told_at_once_from_a_pod_on_its_way_out(on_its_way_out: Json) -> None:
    """Whether a killed container means failure or cancel is known only when the attempt is done."""
    leaving = pod({"compile": ended(0, 12, message(9.204))}, ready=False, **on_its_way_out)
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (task_run(OPEN), leaving):
        ledger.observe(Seen(read(value)), at_ns(13))
    drain(told, at_ns(16))
    assert not [slot for slot in told.spans if slot.kind == "step"]


def test_what_waits_for_its_run_is_told_when_that_begins() -> None:
    """Nothing is told below a run that has no start: Tekton may still fill in its trace. Its start alone brings it out."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (pipeline_run({}), task_run(OPEN, owner=owner("PipelineRun", RUN_UID), created=1), BUILD):
        ledger.observe(Seen(read(value)), at_ns(10))
    drain(told, at_ns(20))
    assert told.spans == {}
    ledger.observe(Seen(read(pipeline_run())), at_ns(20))
    drain(told, at_ns(20))
    assert [slot.name for slot in told.spans if slot.kind == "step"] == ["step-compile"]


def test_a_start_that_tekton_may_still_move_is_waited_for() -> None:
    """Tekton writes a start twice within a second: nothing rests on it before it has stood for 2 s."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (BUILD, task_run(OPEN)):
        ledger.observe(Seen(read(value)), at_ns(20))
    drain(told, at_ns(20))
    assert told.spans == {}
    ledger.observe(Seen(read(task_run({**OPEN, "startTime": at(2)}))), at_ns(20.5))
    drain(told, at_ns(22))
    assert told.spans == {}
    assert ledger.next_deadline_ns() == at_ns(22.5)
    drain(told, at_ns(22.5))
    (queue,) = [span for span in told.spans.values() if span.name == "queue"]
    assert queue.end_ns == at_ns(2)


def test_a_final_task_waits_for_its_pods_last_word() -> None:
    """A cancelled TaskRun is final before its containers die: it is told when they have, and carries their true ends."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("False", "TaskRunCancelled")}
    for value in (task_run(final), BUILD):
        ledger.observe(Seen(read(value)), at_ns(30))
    drain(told, at_ns(80))
    assert Slot("run", "22222222-2222-4222-8222-222222222222") not in told.spans
    last = pod({"compile": ended(0, 12, message(9.204)), "test": ended(42, 55, message(12.5))})
    ledger.observe(Gone(read(last)), at_ns(80))
    drain(told, at_ns(80))
    run = told.spans[Slot("run", "22222222-2222-4222-8222-222222222222")]
    assert run.end_ns == at_ns(55.5)
    assert run.attribute("tekton.completion_time") == at(30)


@pytest.mark.row("O18")
def test_a_pod_that_never_speaks_again_is_not_waited_for_for_ever() -> None:
    """After the grace period and a margin the task is told with what is known; what comes later is late, and counted."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("False", "StepOOM")}
    for value in (task_run(final), BUILD):
        ledger.observe(Seen(read(value)), at_ns(30))
    drain(told, at_ns(89.9))
    assert not [slot for slot in told.spans if slot.kind == "run"]
    assert ledger.next_deadline_ns() == at_ns(90)
    drain(told, at_ns(90))
    (run,) = [span for span in told.spans.values() if span.slot.kind == "run"]
    ledger.observe(Seen(read(pod({"compile": ended(0, 12, message(9.204)), "test": ended(0, 95, message(12.5))}))), at_ns(95))
    drain(told, at_ns(95))
    assert told.again == []
    assert run == told.spans[run.slot]
    assert ledger.losses[Loss.LATE_READING] == 1


def test_a_run_waits_for_the_children_it_names() -> None:
    """A final PipelineRun can arrive before its TaskRuns: it is told after them, or after a list that has none."""
    final = {
        "startTime": at(1),
        "completionTime": at(20),
        "conditions": succeeded("True", "Succeeded"),
        "childReferences": [{"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "ci-x-build"}],
    }
    ledger = Ledger()
    told = Told({}, [], ledger)
    ledger.observe(Seen(read(pipeline_run(final))), at_ns(20))
    drain(told, at_ns(60))
    assert told.spans == {}
    ledger.observe(Synced(Kind.TASK_RUN, at_ns(61)), at_ns(62))
    drain(told, at_ns(62))
    assert {slot.kind for slot in told.spans} == {"queue", "run"}


@pytest.mark.row("O19")
def test_a_run_is_told_without_a_child_that_never_ends() -> None:
    """15 minutes after its completion a run is told, and with it the child that nobody serves: cut off at the run's end."""
    custom = {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": meta("ci-x-wait", "c", 2, owner("PipelineRun", RUN_UID), labels={"tekton.dev/pipelineTask": "wait"}),
        "spec": {"statusMessage": "CustomRun cancelled as the PipelineRun it belongs to has timed out."},
    }
    final = {"startTime": at(1), "completionTime": at(20), "conditions": succeeded("False", "PipelineRunTimeout")}
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (pipeline_run(final), custom):
        ledger.observe(Seen(read(value)), at_ns(20))
    drain(told, at_ns(20) + CHILDREN_WAIT_NS - 1)
    assert told.spans == {}
    drain(told, at_ns(20) + CHILDREN_WAIT_NS)
    wait = told.spans[Slot("task", "c")]
    assert (wait.end_ns, wait.is_error, wait.attribute("error.type")) == (at_ns(20), True, "PipelineRunTimeout")
    assert (wait.attribute("tekton.observed"), wait.attribute("tekton.reason")) == ("partial", None)
    assert told.spans[Slot("run", RUN_UID)].attribute("tekton.tasks.timeout") == 1
    assert [slot.kind for slot in told.spans] == ["task", "queue", "run"]


@pytest.mark.row("O17")
def test_a_run_whose_owner_is_not_there_is_told_by_itself() -> None:
    """A TaskRun whose PipelineRun no list has is told as if it were alone, and counted."""
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("True", "Succeeded")}
    orphan = task_run(final, owner=owner("PipelineRun", "missing"))
    ledger = Ledger()
    told = Told({}, [], ledger)
    ledger.observe(Seen(read(orphan)), at_ns(30))
    drain(told, at_ns(300))
    assert told.spans == {}
    ledger.observe(Synced(Kind.PIPELINE_RUN, at_ns(301)), at_ns(301))
    drain(told, at_ns(301))
    assert "run" in {slot.kind for slot in told.spans}
    assert ledger.losses[Loss.OWNER_UNKNOWN] == 1


@pytest.mark.row("O17")
def test_a_custom_run_without_a_pipeline_is_not_told() -> None:
    """A CustomRun that no PipelineRun owns, and a TaskRun that it owns, are left out and counted."""
    custom = {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": meta("alone", "c"),
        "status": {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Done")},
    }
    final = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    told = drive([(1, Seen(read(value))) for value in (custom, task_run(final, owner=owner("CustomRun", "c")))])
    assert told.spans == {}
    assert told.ledger.losses[Loss.NOT_A_PIPELINE] == 2


@pytest.mark.row("O17")
def test_owners_in_a_circle_are_survived() -> None:
    """Of objects that own each other one is taken for the top, and both are told."""
    one = pipeline_run(owner=owner("PipelineRun", "other"))
    other = {
        **pipeline_run(owner=owner("PipelineRun", RUN_UID)),
        "metadata": meta("other", "other", owner=owner("PipelineRun", RUN_UID)),
    }
    told = drive([(1, Seen(read(one))), (2, Seen(read(other))), (3, Gone(read(one))), (4, Gone(read(other)))])
    assert sorted(slot.owner_uid for slot in told.spans if slot.kind == "run") == [RUN_UID, "other"]
    assert told.ledger.losses[Loss.OWNER_UNKNOWN] == 1


def test_a_step_told_from_its_pod_is_not_told_again_without_it() -> None:
    """The slot of a step whose Pod is known covers the same step told from the TaskRun's status alone."""
    final = {
        **OPEN,
        "completionTime": at(30),
        "conditions": succeeded("True", "Succeeded"),
        "steps": [{"name": "compile", "container": "step-compile", **ended(0, 12, began=9), "terminationReason": "Completed"}],
    }
    ledger = Ledger()
    uid = "22222222-2222-4222-8222-222222222222"
    ledger.observe(Seen(read(task_run(final))), 1)
    ledger.acknowledge(uid, [Slot("step", uid, "build-pod", POD_UID, "step-compile")], 1)
    told = Told({}, [], ledger)
    drain(told, at_ns(500))
    assert {slot.kind for slot in told.spans} == {"queue", "run"}


def held(ledger: Ledger) -> dict[str, int]:
    """Count what a ledger holds, by the names of its parts, but for its counts and the marks of what still exists."""
    parts = vars(ledger) | vars(ledger._readings)  # noqa: SLF001 - the claim is about what is inside
    sizes = {
        name: len(part)
        for name, part in parts.items()
        if isinstance(part, dict | set | list | deque | Deleted) and not isinstance(part, Counter)
    }
    return {name: size for name, size in sizes.items() if size and name not in {"listed_ns", *REMEMBERED}}


REMEMBERED = ("finished", "_finished_pods")


def remembered(ledger: Ledger) -> int:
    """Count the marks of what was told whole and still exists."""
    return sum(len(vars(ledger._readings)[name]) for name in REMEMBERED)  # noqa: SLF001


@pytest.mark.row("O18")
def test_what_was_told_whole_is_forgotten_and_not_told_again() -> None:
    """A minute after the last acknowledgement a run leaves memory; later readings of it are known to be old."""
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("True", "Succeeded")}
    done = pod({"compile": ended(0, 12, message(9.204))})
    ledger = Ledger()
    told = Told({}, [], ledger)
    for value in (task_run(final), done):
        ledger.observe(Seen(read(value)), at_ns(30))
    drain(told, at_ns(40))
    count = len(told.spans)
    assert held(ledger)
    drain(told, at_ns(40) + REMEMBERED_NS)
    assert held(ledger) == {}
    about = {"kind": "Pod", "uid": POD_UID}
    late = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "uid": "e"},
        "involvedObject": about,
        "reason": "Pulled",
    }
    for value in (task_run({**final, "completionTime": at(31)}), done, late):
        ledger.observe(Seen(read(value)), at_ns(200))
    assert ledger.losses[Loss.LATE_EVENT] == 1
    drain(told, at_ns(2000))
    assert (len(told.spans), told.again, held(ledger)) == (count, [], {})
    ledger.observe(Gone(read(task_run(final))), at_ns(2001))
    ledger.observe(Gone(read(done)), at_ns(2001))
    drain(told, at_ns(3000))
    assert (len(told.spans), told.again, held(ledger)) == (count, [], {})
    assert not remembered(ledger)


@given(st.lists(recordings, min_size=1, max_size=4, unique=True), st.booleans())
def test_nothing_grows(names: list[str], delete: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """After every run was told, acknowledged and left alone for a day nothing is held but the UIDs of what still exists."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    last: dict[str, Object] = {}
    now_ns = 0
    for name in names:
        for arrived_ns, observation in FACTS[name]:
            assert isinstance(observation, Seen | Gone)
            now_ns = max(now_ns, arrived_ns)
            ledger.observe(observation, now_ns)
            drain(told, now_ns)
            last[observation.object.metadata.uid] = observation.object
            if isinstance(observation, Gone):
                del last[observation.object.metadata.uid]
    for value in last.values() if delete else ():
        ledger.observe(Gone(value), now_ns)
    for hour in range(1, 25):
        later_ns = now_ns + hour * 3600 * SECOND_NS
        for kind in Kind:
            ledger.observe(Synced(kind, later_ns), later_ns)
        drain(told, later_ns)
    if delete or not UNFINISHED & set(names):
        assert held(ledger) == {}
    if delete:
        assert not remembered(ledger)


@pytest.mark.row("O19")
def test_a_run_that_never_ends_grows_no_more() -> None:
    """A run that is read anew each minute for a day, with another message each time, is held once, and not told."""
    ledger = Ledger()
    told = Told({}, [], ledger)
    sizes = []
    for minute in range(1440):
        now_ns = at_ns(20 + 60 * minute)
        going_on = {**OPEN, "conditions": succeeded("Unknown", "Running", f"for {minute} min")}
        for value in (task_run(going_on), pod({"compile": running(), "test": running()}, resourceVersion=str(minute))):
            ledger.observe(Seen(read(value)), now_ns)
        drain(told, now_ns)
        sizes.append(held(ledger))
    assert told.spans == {}
    assert sizes[-1] == sizes[1]


# A run that goes on at the end of its recording.
UNFINISHED = {"nested-cancel"}


def test_a_missing_child_does_not_hold_its_run_for_ever() -> None:
    """A run told without a child that never came is forgotten all the same, and the child is counted."""
    ghost = {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "ghost"}
    final = {
        "startTime": at(1),
        "completionTime": at(20),
        "conditions": succeeded("True", "Succeeded"),
        "childReferences": [ghost],
    }
    ledger = Ledger()
    told = Told({}, [], ledger)
    ledger.observe(Seen(read(pipeline_run(final))), at_ns(20))
    for minute in range(40):
        drain(told, at_ns(20 + 60 * minute))
    assert {slot.kind for slot in told.spans} == {"queue", "run"}
    assert (held(ledger), ledger.losses[Loss.CHILD_MISSING]) == ({}, 1)


@pytest.mark.row("O18")
def test_frozen_means_frozen() -> None:
    """Between due and acknowledged no later fact changes a span: no deletion, no foreign Pod, no reading, no Namespace."""
    custom = {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": meta("ci-x-wait", "c", 2, owner("PipelineRun", RUN_UID)),
    }
    task = task_run({**OPEN, "startTime": at(3)}, owner=owner("PipelineRun", RUN_UID), created=2)
    run = pipeline_run({"startTime": at(1), "completionTime": at(20), "conditions": succeeded("False", "Cancelled")})
    ledger = Ledger()
    for value in (run, custom, task, BUILD):
        ledger.observe(Seen(read(value)), at_ns(20))
    later_ns = at_ns(20) + 2 * CHILDREN_WAIT_NS
    uids = [due.uid for due in ledger.due(later_ns)]
    assert set(uids) == {RUN_UID, "c", TASK_UID}
    before = {one: ledger.spans(one, later_ns) for one in uids}
    other = task_run(OPEN, uid="other", created=4)
    foreign = pod({"compile": ended(1, 30, message(29))}, "foreign", owner=owner("TaskRun", "other"), created=5)
    ended_later = {**OPEN, "startTime": at(4), "completionTime": at(99), "conditions": succeeded("True", "Succeeded")}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "kube-system", "uid": "k", "creationTimestamp": at(1)},
    }
    facts_that_come_late: list[Observation] = [
        Gone(read(custom)),
        Gone(read(BUILD)),
        Seen(read(other)),
        Seen(read(foreign)),
        Seen(read(task_run(ended_later, owner=owner("PipelineRun", RUN_UID), created=2))),
        Gone(read(task)),
        Seen(read(namespace)),
        Gone(read(run)),
    ]
    for late in facts_that_come_late:
        ledger.observe(late, later_ns)
        ledger.due(later_ns)
        assert {one: ledger.spans(one, later_ns) for one in uids} == before


def test_owners_above_owners_without_end() -> None:
    """Runs that own each other by the hundred, in any order, are told without raising, each in a tree of bounded depth."""
    done = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    chain = []
    for index in range(1500):
        above = owner("PipelineRun", f"uid-{index - 1}") if index else None
        chain.append({**pipeline_run(done), "metadata": meta(f"run-{index}", f"uid-{index}", owner=above)})
    for values in (chain, chain[::-1]):
        told = drive([(1, Seen(read(value))) for value in values])
        assert sum(1 for slot in told.spans if slot.kind == "run") == 1500
        assert told.ledger.losses[Loss.OWNER_UNKNOWN] >= 1500 // 52


@pytest.mark.row("O17")
def test_an_owner_of_the_wrong_kind_is_none() -> None:
    """An ownerReference that says PipelineRun and names a TaskRun leaves both to be told by themselves."""
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("True", "Succeeded")}
    child = {**pipeline_run(final), "metadata": meta("child", "child", owner=owner("PipelineRun", TASK_UID))}
    told = drive([(1, Seen(read(task_run(final)))), (1, Seen(read(child)))])
    assert {slot.owner_uid for slot in told.spans if slot.kind == "run"} == {TASK_UID, "child"}


@pytest.mark.row("O16")
def test_the_settings_choose_the_parent() -> None:
    """`link` keeps the caller's trace with a link instead of a parent; `none` ignores the caller; the flag can be ignored."""
    given = '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "tracestate": "a=b"}'
    final = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    value = pipeline_run(final, annotations={"tekton.dev/pipelinerunSpanContext": given})

    def run(settings: SpanSettings) -> list[SpanRecord]:
        return [span for span in drive([(1, Seen(read(value)))], Ledger(settings)).spans.values() if span.slot.kind == "run"]

    assert run(SpanSettings()) == []
    (parent,) = run(SpanSettings(honour_sampled_flag=False))
    assert (parent.parent_span_id.hex(), parent.has_remote_parent, parent.trace_state) == ("00f067aa0ba902b7", True, "a=b")
    (link,) = run(SpanSettings(parent=ParentPolicy.LINK, honour_sampled_flag=False))
    assert (link.parent_span_id, link.trace_id) == (b"", parent.trace_id)
    assert [(one.span_id.hex(), one.attributes) for one in link.links] == [("00f067aa0ba902b7", (("tekton.link", "caller"),))]
    (none,) = run(SpanSettings(parent=ParentPolicy.NONE))
    assert (none.parent_span_id, none.links, none.trace_state) == (b"", (), "")
    assert none.trace_id != parent.trace_id


@pytest.mark.row("S3")
def test_tenants_who_share_a_backend() -> None:
    """By the chart's values for them a run is told in a trace of its own, whatever trace and flag its annotation names."""
    values = yaml.safe_load((HERE.parent / "deploy" / "chart" / "values-multi-tenant.yaml").read_text())
    settings = load({}, {}, ("values", json.dumps(values["config"]).encode())).spans
    named = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = json.dumps({"traceparent": f"00-{named}-00f067aa0ba902b7-00"})
    final = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    value = pipeline_run(final, annotations={"tekton.dev/pipelinerunSpanContext": given})
    told = drive([(1, Seen(read(value)))], Ledger(settings)).spans.values()
    assert told
    assert not [one for one in told if one.trace_id.hex() == named or one.links]


def test_the_cluster_is_known_by_its_own_namespace() -> None:
    """`k8s.cluster.uid` is the UID of kube-system, where a recording holds it."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "kube-system", "uid": "k", "creationTimestamp": at(0)},
    }
    final = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    assert ("k8s.cluster.uid", "k") in tell(namespace, pipeline_run(final))["run"].resource


@pytest.mark.parametrize("kind", ["PipelineRun", "CustomRun"])
def test_an_owner_that_never_comes_is_not_waited_for_for_ever(kind: str) -> None:
    """What it owns is told by itself, where the owner cannot be read, or its kind may not be listed; nothing is held for ever."""
    final = {**OPEN, "completionTime": at(30), "conditions": succeeded("True", "Succeeded")}
    ledger = Ledger()
    told = Told({}, [], ledger)
    ledger.observe(Seen(read(task_run(final, owner=owner(kind, "missing")))), at_ns(30))
    drain(told, at_ns(30) + OWNER_WAIT_NS - 1)
    assert told.spans == {}
    assert ledger.next_deadline_ns() == at_ns(30) + OWNER_WAIT_NS
    drain(told, at_ns(30) + OWNER_WAIT_NS)
    assert "run" in {slot.kind for slot in told.spans}
    assert ledger.losses[Loss.OWNER_UNKNOWN] == 1


def test_stray_events_are_bounded_while_time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of Pods that never come are dropped, the oldest first and counted, though no deadline passes."""
    monkeypatch.setattr(readings, "MOST_STRAY", 3)
    ledger = Ledger()
    for number in range(5):
        about = {"kind": "Pod", "name": "p", "namespace": "ns", "uid": f"p{number}"}
        said = {"metadata": meta("e", f"e{number}"), "involvedObject": about, "reason": "Pulled", "firstTimestamp": at(1)}
        ledger.observe(Seen(read({"apiVersion": "v1", "kind": "Event", **said})), at_ns(number))
    assert ledger.losses[Loss.STRAY_EVENT] == 2


# ------------------------------------------------------------ what is counted


def counts(ledger: Ledger) -> list[tuple[str, str]]:
    """Give what is to be counted now, as what it is and its step."""
    while ledger.due(at_ns(60)):
        pass
    return [(one.subject.counted, one.subject.step) for one in ledger.take_measures() if isinstance(one, Measure)]


FINAL = {**OPEN, "completionTime": at(30), "conditions": succeeded("False", "StepFailed")}
HALF = pod({"compile": ended(0, 12, message(9.204)), "test": running(12)})
WHOLE = pod({"compile": ended(0, 12, message(9.204)), "test": ended(1, 29, message(12.5))})


def test_who_does_not_know_what_was_counted_counts_only_what_happens_from_then_on() -> None:
    """Of a run that goes on, too: the step that had passed is history, the next one is not."""
    ledger = Ledger()
    ledger.count()
    for value in (task_run(OPEN), HALF):
        ledger.observe(Seen(read(value)), at_ns(20))
    assert counts(ledger) == []
    for value in (task_run(FINAL), WHOLE):
        ledger.observe(Seen(read(value)), at_ns(30))
    assert counts(ledger) == [("step", "test"), ("attempt", "")]


def test_an_older_memory_takes_nothing_back() -> None:
    """What was counted whole stays so, though somebody reads or writes again what was known before."""
    ledger = Ledger()
    ledger.recall(Checkpoint())
    ledger.count()
    for value in (task_run(OPEN), HALF):
        ledger.observe(Seen(read(value)), at_ns(20))
    assert counts(ledger) == [("step", "compile")]
    older = ledger.checkpoint
    for value in (task_run(FINAL), WHOLE):
        ledger.observe(Seen(read(value)), at_ns(30))
    assert counts(ledger) == [("step", "test"), ("attempt", "")]
    ledger.recall(older)
    assert list(ledger.checkpoint.counted.values()) == [b""]


def test_what_was_not_asked_for_is_left_to_whoever_counts_next() -> None:
    """Who counts no more keeps nothing back to count it later, when somebody else has."""
    ledger = Ledger()
    ledger.recall(Checkpoint())
    ledger.count()
    for value in (task_run(FINAL), WHOLE):
        ledger.observe(Seen(read(value)), at_ns(30))
    while ledger.due(at_ns(60)):
        pass
    ledger.count_no_more()
    ledger.recall(Checkpoint(counted={mark_of(TASK_UID): b""}))
    ledger.count()
    assert counts(ledger) == []
