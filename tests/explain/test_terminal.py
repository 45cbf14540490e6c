"""The picture in terminals of every sort."""

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.kit import RECORDINGS, SCENARIOS, Json, at, ended, facts, message, meta, owner, pipeline_run, pod, succeeded, task_run

from tests.kit import drive, read, replay  # isort: skip
from tracer.explain.terminal import duration, print_waterfall, printable
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.tekton.observation import Seen

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


def large(tasks: int) -> Waterfall:
    """Tell a run of many tasks with five steps each, of which one fails."""
    values: list[Json] = []
    for index in range(tasks):
        uid = f"task-{index}"
        bad = index == 7
        how = succeeded("False", "StepFailed", "bad") if bad else succeeded("True", "Succeeded")
        status: Json = {"startTime": at(2), "completionTime": at(40), "podName": f"pod-{index}", "conditions": how}
        labels = {"tekton.dev/pipelineTask": f"task-{index}"}
        values.append(task_run(status, uid=uid, created=1, owner=owner("PipelineRun", "r"), labels=labels))
        states = {f"step{step}": ended(int(bad and step == 4), 6 + step, message(5 + step)) for step in range(5)}
        values.append(pod(states, f"pod-uid-{index}", f"pod-{index}", created=3, owner=owner("TaskRun", uid)))
    done: Json = {"startTime": at(1), "completionTime": at(41), "conditions": succeeded("False", "Failed", "one failed")}
    values.append({**pipeline_run(done), "metadata": meta("big", "r")})
    (picture,) = waterfalls(drive([(1, Seen(read(value))) for value in values]).spans.values())
    return picture


def test_five_hundred_spans_stay_readable() -> None:
    """A large run folds what went well and opens what failed; `--all` draws every row."""
    picture = large(70)
    rows = sum(1 for _ in picture.root.walk())
    assert rows > 500
    drawn = draw(picture, 100)
    assert len(drawn.splitlines()) < 110
    assert "exit 1" in drawn
    assert "are folded; --all draws them" in drawn
    assert len(draw(picture, 100, show_all=True).splitlines()) > rows


@pytest.mark.parametrize("path", ALL)
def test_every_moment_of_a_run_can_be_drawn(path: Path) -> None:
    """A recording that stops anywhere is drawn as far as it is known."""
    observations = facts(path / "watch.jsonl")
    for stop in range(1, len(observations), 7):
        told = drive(observations[:stop])
        for picture in waterfalls(told.spans.values(), told.ledger.unfinished(), observations[stop - 1][0]):
            assert draw(picture, 90)
            assert picture.end_ns >= picture.start_ns


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


def test_printable() -> None:
    """Nothing that moves a cursor or turns the direction of writing is printed."""
    assert printable("a\x1b[0m\nb\u202ec\ud800é") == "a�[0m�b�c�é"
