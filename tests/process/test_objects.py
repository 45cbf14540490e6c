"""Objects that cannot be read, are large, or vanish while nobody watches: through the whole controller, and what each costs."""

import asyncio
import json
from collections.abc import Iterable

import pytest

from tests.kit import Json
from tests.process.performance import Happening, Performance, happenings, oracle, performance
from tests.process.test_faults import FAULTS, WATCHED, interrupt, play
from tests.tally import Tally
from tracer.delivery.ledger import Incomplete
from tracer.demo.apiserver import ApiServer
from tracer.demo.stage import Stage
from tracer.events import What
from tracer.tekton.names import Kind

RUNS_AND_PODS = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.POD)


def newest(of: Iterable[Happening]) -> list[Json]:
    """Give the last state of each run and Pod."""
    return list({content["metadata"]["uid"]: content for _, _, content in of if content["kind"] in RUNS_AND_PODS}.values())


async def list_again(one: Stage) -> None:
    """Have everything listed once more."""
    lists = {id(each): each.lists for each in one.reflectors}
    for kind in WATCHED:
        one.server.send_error(kind, 410)
    await one.until(lambda: all(each.lists > lists[id(each)] and each.is_current for each in one.reflectors))


@pytest.mark.row("O4")
@pytest.mark.parametrize("has_watch_list", [True, False])
def test_an_object_that_cannot_be_read_costs_itself_alone(has_watch_list: bool, tally: Tally) -> None:  # noqa: FBT001
    """It is counted and named, its neighbours are told; it is not taken for deleted by a list, and neither is its owner."""
    task = next(one for one in newest(happenings("success")) if one["kind"] == Kind.TASK_RUN)
    metadata = {**task["metadata"], "name": "bad", "uid": "bad"}
    bad = {"apiVersion": task["apiVersion"], "kind": task["kind"], "metadata": dict(sorted(metadata.items())), "status": 3}

    async def story(played: Performance) -> None:
        await played.play(47)
        (reading,) = played.reflectors(Kind.TASK_RUN)
        existing = reading.course.existing
        await played.one.happen(bad, is_gone=False)
        await list_again(played.one)
        assert (reading.skipped["malformed"], reading.course.existing) == (2, existing + 1)
        played.server.withhold(Kind.TASK_RUN)
        played.server.delete(bad)
        lists = reading.lists
        FAULTS["compaction"].end(played.server, Kind.TASK_RUN)
        await played.one.until(lambda: reading.lists > lists and reading.is_current)
        assert reading.course.existing == existing
        await played.one.clock.move_on(1200)

    played = play("success", story, ApiServer(has_watch_list=has_watch_list))
    tally(played.receiver, played.expected)
    assert set(played.sentences(What.OBJECT_SKIPPED)) == {"A TaskRun cannot be read at $.status: Expected `object`, got `int`."}
    assert not played.one.app.controller.incomplete


def heavy(content: Json, size_bytes: int) -> Json:
    """Make an object heavier, with what nobody reads."""
    return {**content, "metadata": {**content["metadata"], "managedFields": [{"manager": "x" * size_bytes}]}}


@pytest.mark.row("O1")
def test_large_objects_are_read(tally: Tally) -> None:
    """Objects of 3 MB, on a stream and in a list, are as good as others."""

    async def story(played: Performance) -> None:
        played.left = [(at_s, is_gone, heavy(content, 3_000_000)) for at_s, is_gone, content in played.left]

    played = play("nested-cancel", story)
    tally(played.receiver, played.expected)
    assert played.sentences(What.OBJECT_SKIPPED) == []


@pytest.mark.row("O1")
def test_a_line_that_is_too_long_costs_itself_alone(tally: Tally) -> None:
    """A reading of more than 4 MiB is counted and named, its neighbours are told; a list does not take it for deleted."""

    async def story(played: Performance) -> None:
        await played.play(47)
        run = next(one for one in newest(happenings("success")[:47]) if one["kind"] == Kind.TASK_RUN)
        (reading,) = played.reflectors(Kind.TASK_RUN)
        played.server.put(heavy(run, 5 << 20))
        await played.one.until(lambda: reading.skipped["too_large"] == 1)
        await list_again(played.one)
        assert reading.skipped["too_large"] == 2
        await played.one.clock.move_on(120)

    played = play("success", story)
    tally(played.receiver, played.expected)
    assert set(played.sentences(What.OBJECT_SKIPPED)) == {"A TaskRun is larger than 4 MiB, and was not read."}
    assert not played.one.app.controller.incomplete


# ---------------------------------------------------------------- deletions inside a gap


@pytest.mark.row("A1", "O10")
def test_what_ended_and_was_deleted_in_a_gap_is_told(tally: Tally) -> None:
    """A run whose end was seen is told whole, though nobody saw its deletion."""

    async def story(played: Performance) -> None:
        await played.play()
        for kind in WATCHED:
            played.server.withhold(kind)
        for content in newest(happenings("success")):
            played.server.delete(content)
        for kind in WATCHED:
            FAULTS["compaction"].end(played.server, kind)
        runs = [one for kind in RUNS_AND_PODS for one in played.reflectors(kind)]
        await played.one.until(lambda: all(one.lists > 1 and one.is_current for one in played.reflectors()))
        assert [one.course.existing for one in runs] == [0, 0, 0]

    played = play("success", story)
    tally(played.receiver, played.expected)
    assert not played.one.app.controller.incomplete


@pytest.mark.row("O9")
def test_what_ran_and_was_deleted_in_a_gap_is_counted(tally: Tally) -> None:
    """Runs that were running when they were seen last are told as far as is known, each span once, and counted."""
    played = interrupt("run-deleted", 42, 7, FAULTS["compaction"], WATCHED)
    assert played.one.app.controller.incomplete == {Incomplete.GAP: 2}  # a PipelineRun and its TaskRun
    known = {key: next(iter(played.receiver.spans.get(key, {b""}))) for key in played.expected}  # as far as anybody saw it
    tally(played.receiver, known)


@pytest.mark.row("O8")
def test_a_name_may_come_back_with_another_uid(tally: Tally) -> None:
    """Deleted and created anew under the same name, while nobody watched: two runs, each told whole, nothing mixed."""

    async def main() -> None:
        async with performance("success") as played:
            await played.play()
            for kind in WATCHED:
                played.server.withhold(kind)
            for content in newest(happenings("success")):
                played.server.delete(content)
            played.left = [(at_s + 600, is_gone, renewed(content)) for at_s, is_gone, content in happenings("success")]
            await played.play_unseen(40, WATCHED)
            for kind in WATCHED:
                FAULTS["compaction"].end(played.server, kind)
            await played.catch_up()
            await played.end()
            first = oracle("success")
            second = {key: next(iter(contents)) for key, contents in played.receiver.spans.items() if key not in first}
            tally(played.receiver, {**first, **second})
            assert len(second) == len(first)
            assert not played.one.app.controller.incomplete

    asyncio.run(main())


def renewed(content: Json) -> Json:
    """Give an object, and all that it names, other UIDs."""
    text = json.dumps(content)
    for one in newest(happenings("success")):
        text = text.replace(one["metadata"]["uid"], f"{one['metadata']['uid'][:-4]}beef")
    made: Json = json.loads(text)
    return made
