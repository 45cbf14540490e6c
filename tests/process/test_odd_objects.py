"""Objects that nobody should make, through the whole controller: each is told, or counted, and its neighbours arrive."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.kit import (
    Json,
    at,
    ended,
    hostile_recording,
    message,
    pod,
    succeeded,
    task_run,
)
from tests.process.test_history import run, tell
from tests.process.test_objects import list_again
from tests.tally import Tally, due
from tracer.delivery.ledger import Incomplete
from tracer.delivery.outbox import REQUEST_BYTES
from tracer.delivery.policy import REQUEST_SPANS
from tracer.delivery.readings import Loss
from tracer.demo.stage import Stage
from tracer.demo.store import to_json
from tracer.kube.wire import MOST_LINE_BYTES
from tracer.tekton.names import LABEL_TASK_RUN
from tracer.telemetry import otlp


async def happen(one: Stage, contents: list[Json]) -> None:
    """Let objects be written, and some time pass."""
    for content in contents:
        await one.happen(content, is_gone=False)
    await one.clock.move_on(10)


def tekton_pod(steps: dict[str, Json]) -> Json:
    """Make a Pod that Tekton's label finds."""
    return pod(steps, labels={LABEL_TASK_RUN: "ci-x-build"})


@pytest.mark.row("O10")
@pytest.mark.parametrize("delay_s", [0, 5, 120])
@pytest.mark.parametrize("seen", ["nothing", "its start", "its end", "all"])
def test_a_run_that_is_deleted_inside_a_gap(seen: str, delay_s: int, tally: Tally) -> None:
    """Its end was seen: told whole. Its start alone was seen: told as far as that, and counted. Nothing was: nobody can know."""
    running, done = run("a", has_ended=False), run("a")
    steps = {"its start": running, "its end": done}

    async def story(one: Stage) -> None:
        for name, content in steps.items():
            if seen in {name, "its end", "all"}:
                await one.happen(content, is_gone=False)
        await one.clock.move_on(delay_s)
        if seen == "all":
            await one.happen(done, is_gone=True)
            return
        for each in one.reflectors:
            one.server.withhold(each.feed.kind)
        one.server.put(done)
        one.server.delete(done)
        await list_again(one)

    receiver, one, _ = tell(story)
    whole = due(done, gone=[done])
    if seen == "its start":
        tally(receiver, due(running, gone=[running]))
    else:
        tally(receiver, whole, lost=len(whole) if seen == "nothing" else 0)
    assert one.app.controller.incomplete == ({Incomplete.GAP: 1} if seen == "its start" else {})


@pytest.mark.row("O11")
def test_hostile_texts(tmp_path: Path, tally: Tally) -> None:
    """Control characters, half a character and a megabyte as names, labels and messages poison no request."""
    items: list[Json] = json.loads((hostile_recording(tmp_path) / "objects.json").read_text())["items"]

    async def story(one: Stage) -> None:
        for item in items:
            one.server.put(item)
        await happen(one, [run("neighbour")])

    receiver, one, _ = tell(story)
    readable = [item for item in items if len(to_json(item)) < MOST_LINE_BYTES]
    assert len(readable) == len(items) - 1
    tally(receiver, due(*readable, run("neighbour")))
    assert one.app.controller.outbox.books.rejected == 0


@pytest.mark.row("O13")
def test_thousands_of_steps(tally: Tally) -> None:
    """A run of 3,000 steps is split into requests of bounded size, and arrives whole."""
    names = [f"step-{number}" for number in range(3000)]
    final = {"startTime": at(1), "completionTime": at(30), "podName": "build-pod", "conditions": succeeded("True", "Succeeded")}
    contents = [task_run(final), tekton_pod({name: ended(0, 20, message(10)) for name in names})]
    receiver, _, _ = tell(partial(happen, contents=contents))
    tally(receiver, due(*contents))
    sizes = [(len(body), len(otlp.read_spans(body))) for _, body in receiver.requests]
    assert max(size for size, _ in sizes) <= REQUEST_BYTES
    assert max(spans for _, spans in sizes) <= REQUEST_SPANS
    assert len(receiver.spans) > 3000


@pytest.mark.row("O18")
def test_what_changes_after_its_end_is_not_told_again(tally: Tally) -> None:
    """Annotations, a message, an end and a Pod's containers that change once a run was told are counted, and change no byte."""
    final = {"startTime": at(1), "completionTime": at(9), "podName": "build-pod", "conditions": succeeded("True", "Succeeded")}
    first = [task_run(final), tekton_pod({"a": ended(0, 8, message(3))})]
    signed = {**final, "completionTime": at(99), "conditions": succeeded("False", "Failed", "signed")}
    later = [task_run(signed, annotations={"a": "b"}), tekton_pod({"a": ended(1, 40, message(3))})]

    async def story(one: Stage) -> None:
        await happen(one, first)
        await one.delivered()
        await happen(one, later)
        await list_again(one)

    receiver, one, _ = tell(story)
    tally(receiver, due(*first))
    assert one.app.controller.losses[Loss.LATE_READING] >= 2


@pytest.mark.row("O22")
def test_a_quarter_of_a_megabyte_of_annotations(tally: Tally) -> None:
    """Annotations that nobody maps are not sent, and a long message is cut: no span is larger than a few KiB."""
    notes = {f"example.dev/{number}": "x" * 1024 for number in range(255)}
    final = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("False", "Failed", "y" * 4096)}
    contents = [task_run(final, annotations=notes, labels={"tekton.dev/task": "z" * 63})]
    receiver, _, _ = tell(partial(happen, contents=contents))
    tally(receiver, due(*contents))
    assert max(len(content) for taken in receiver.spans.values() for content in taken) < 8192


@pytest.mark.row("O12")
def test_containers_in_another_order(tally: Tally) -> None:
    """The containers' states come in another order each time, and a step's is doubled in the run: each step is told once."""
    entry = {"name": "a", "container": "step-a", **ended(0, 8, began=3), "terminationReason": "Completed"}
    final = {"startTime": at(1), "completionTime": at(30), "podName": "build-pod", "conditions": succeeded("True", "Succeeded")}
    states = {name: ended(0, 10 + number, message(9 + number)) for number, name in enumerate("abc")}
    whole = [task_run(final), tekton_pod(states)]
    shuffled = tekton_pod(states)
    shuffled["status"]["containerStatuses"].reverse()
    receiver, _, _ = tell(partial(happen, contents=[task_run({**final, "steps": [entry, entry]}), tekton_pod(states), shuffled]))
    tally(receiver, due(*whole))
