"""The picture in terminals of every sort."""

import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.kit import (
    RECORDINGS,
    SCENARIOS,
    Json,
    Told,
    at,
    at_ns,
    drain,
    drive,
    ended,
    facts,
    large_run,
    message,
    meta,
    pipeline_run,
    pod,
    read,
    replay,
    running,
    succeeded,
    task_run,
)
from tracer.delivery.ledger import Ledger
from tracer.explain.phrases import duration, printable
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.tekton.observation import Seen
from tracer.tekton.taskrun import TaskRun
from tracer.telemetry.ids import span_id, trace_id

ALL = [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]]


def draw(picture: Waterfall, width: int, *, encoding: str = "utf-8", show_all: bool = False, **options: object) -> str:
    """Draw a picture on a terminal of this width."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_waterfall(Console(file=file, width=width, **options), picture, show_all=show_all)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("width", [30, 50, 64, 80, 200])
def test_no_line_is_wider_than_the_terminal(path: Path, width: int) -> None:
    """The picture fits: narrow terminals lose the bars, then the ends of words."""
    for picture in waterfalls(replay(path / "watch.jsonl")):
        drawn = draw(picture, width)
        assert max(cell_len(line) for line in drawn.splitlines()) <= width
        assert ("━" in drawn) == (width >= 64 and not picture.root.is_point)


def success() -> Waterfall:
    """Draw the recording `failing-step`."""
    (path,) = [path for path in RECORDINGS if path.name == "failing-step"]
    (picture,) = waterfalls(replay(path / "watch.jsonl"))
    return picture


def test_names_that_an_ascii_terminal_cannot_show() -> None:
    """A character that the terminal does not know becomes a question mark."""
    done: Json = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("False", "Failed", "zu groß")}
    run = {**pipeline_run(done), "metadata": meta("prüfen", "r")}
    (picture,) = waterfalls(drive([(1, Seen(read(run)))]).spans.values())
    drawn = draw(picture, 90, encoding="ascii")
    assert "pr?fen" in drawn
    assert "zu gro?" in drawn


def test_ascii_terminals() -> None:
    """A terminal that knows only ASCII gets only ASCII, saying the same."""
    drawn = draw(success(), 100, encoding="ascii")
    assert drawn.isascii()
    assert "x unit" in drawn
    assert "####" in drawn


def test_colour_says_nothing_alone() -> None:
    """Without colour the words are the same; with NO_COLOR no colour is written."""
    plain = draw(success(), 100)
    coloured = draw(success(), 100, force_terminal=True, color_system="truecolor", _environ={})
    assert "\x1b[" not in plain
    assert "\x1b[31m" in coloured
    no_colour = draw(success(), 100, force_terminal=True, _environ={"NO_COLOR": "1", "TERM": "xterm"})
    assert "\x1b[31m" not in no_colour


def test_five_hundred_spans_stay_readable() -> None:
    """A large run folds what went well and opens what failed; `--all` draws every row."""
    (picture,) = waterfalls(large_run(70))
    rows = sum(1 for _ in picture.root.walk())
    assert rows > 500
    drawn = draw(picture, 100)
    assert len(drawn.splitlines()) < 110
    assert "exit 1" in drawn
    assert "are folded; --all draws them" in drawn
    assert len(draw(picture, 100, show_all=True).splitlines()) > rows


def steps_of_current_pods(told: Told) -> list[str]:
    """List the steps that must be drawn: those of the newest attempt of each TaskRun that goes on."""
    found: list[str] = []
    waiting = list(told.ledger.unfinished())
    while waiting:
        one = waiting.pop()
        waiting += one.children
        if isinstance(one.value, TaskRun):
            current = [seen.pod for seen in one.pods if seen.pod.metadata.name == one.value.status.pod_name]
            found += [step.name.removeprefix("step-") for pod in current[-1:] for step in pod.steps]
    return found


@pytest.mark.parametrize("path", ALL)
def test_every_moment_of_a_run_can_be_drawn(path: Path) -> None:
    """A recording that stops anywhere is drawn as far as it is known, with each step of a Pod that is at work."""
    observations = facts(path / "watch.jsonl")
    for stop in range(1, len(observations), 7):
        told = drive(observations[:stop])
        drawn = []
        for picture in waterfalls(told.spans.values(), told.ledger.unfinished(), observations[stop - 1][0]):
            assert draw(picture, 90)
            assert picture.end_ns >= picture.start_ns
            drawn += [row.name for row in picture.root.walk()]
        assert [name for name in steps_of_current_pods(told) if name not in drawn] == []


def test_a_second_attempt_is_drawn_while_it_runs() -> None:
    """The steps of a retry are drawn beside those of the same names that the first attempt told."""
    first: Json = {
        "startTime": at(1),
        "completionTime": at(9),
        "podName": "pod-1",
        "conditions": succeeded("False", "StepFailed"),
    }
    run = task_run({"startTime": at(10), "podName": "pod-2", "retriesStatus": [first]})
    old = pod({"a": ended(0, 5, message(4)), "b": ended(1, 7, message(6))}, "p1", "pod-1", created=1)
    new = pod({"a": ended(0, 15, message(14)), "b": running()}, "p2", "pod-2", created=10)
    told = Told({}, [], Ledger())
    for value in (run, old, new):
        told.ledger.observe(Seen(read(value)), at_ns(20))
    drain(told, at_ns(30))
    (picture,) = waterfalls(told.spans.values(), told.ledger.unfinished(), at_ns(30))
    rows = [(row.name, str(row.state), row.result) for row in picture.root.walk() if row.kind == "step"]
    assert sorted(rows) == [
        ("a", "terminated", "success"),
        ("a", "terminated", "success"),
        ("b", "running", ""),
        ("b", "terminated", "failure"),
    ]


def test_a_run_that_another_run_started() -> None:
    """A run whose caller is a span of the same input has a picture of its own, and so has the caller's."""
    done: Json = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")}
    given = json.dumps({"traceparent": f"00-{trace_id('r').hex()}-{span_id('run', 'r', '').hex()}-01"})
    outer = {**pipeline_run(done), "metadata": meta("outer", "r")}
    inner = {**pipeline_run(done), "metadata": meta("inner", "i", 3, annotations={"tekton.dev/pipelinerunSpanContext": given})}
    pictures = waterfalls(drive([(1, Seen(read(outer))), (1, Seen(read(inner)))]).spans.values())
    assert [(one.run_name, sum(1 for _ in one.root.walk())) for one in pictures] == [("outer", 2), ("inner", 1)]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ms"),
        (12345678, "12 ms"),
        (999600000, "1.00 s"),
        (3579000000, "3.58 s"),
        (59960000000, "1 m 00 s"),
        (245 * 10**9, "4 m 05 s"),
        (3599700000000, "1 h 00 m"),
        (7380 * 10**9, "2 h 03 m"),
        (-5, "0 ms"),
    ],
)
def test_duration(nanoseconds: int, text: str) -> None:
    """Durations are written with about three digits."""
    assert duration(nanoseconds) == text


@pytest.mark.row("S8")
def test_printable() -> None:
    """Nothing that moves a cursor or turns the direction of writing is printed."""
    assert printable("a\x1b[0m\nb\u202ec\ud800é") == "a�[0m�b�c�é"
