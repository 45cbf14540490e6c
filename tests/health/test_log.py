"""What is written about events."""

import io
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import HOSTILE_TEXTS, ManualClock
from tracer.events import Event, Level, What
from tracer.health.log import LONGEST_LINE_BYTES, MOST_REMEMBERED, QUIET_S, Log

MOMENT_NS = 1_787_220_000_042_000_000
Line = dict[str, Any]


class LogClock(ManualClock):
    """A clock whose time of day is known, and whose time passes when the test says so."""

    def unix_ns(self) -> int:
        """Read it."""
        return MOMENT_NS

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class Written:
    """A log and what it wrote."""

    def __init__(self, level: Level = Level.INFO) -> None:
        """Begin with nothing written."""
        self.stream = io.StringIO()
        self.clock = LogClock()
        self.log = Log(self.stream, level, self.clock)

    @property
    def lines(self) -> list[Line]:
        """What was written until now."""
        return [json.loads(line) for line in self.stream.getvalue().split("\n")[:-1]]


def synced(message: str = "All is listed.", fields: Mapping[str, str | int | float] | None = None) -> Event:
    """Make an event."""
    return Event(What.SYNCED, message, fields or {})


def test_a_line_says_when_what_and_how_much_it_matters() -> None:
    """First what every line has, in the same order, then the event's own fields."""
    written = Written()
    written.log.report(Event(What.WATCH_FAILED, "No answer.", {"kind": "Pod", "tries": 3}))
    assert written.stream.getvalue() == (
        '{"time": "2026-08-20T10:00:00.042Z", "level": "warning", "event": "watch_failed", "message": "No answer.",'
        ' "kind": "Pod", "tries": 3}\n'
    )


texts = st.text() | st.sampled_from(HOSTILE_TEXTS) | st.text(st.characters(categories=["Cs", "Cc"]))
values = texts | st.integers() | st.floats() | st.sampled_from((float("nan"), float("inf"), 10**5000))
names = texts | st.sampled_from(("time", "level", "event", "message", "repeats", "dropped"))


@pytest.mark.row("S9")
@given(texts, st.dictionaries(names, values))
def test_whatever_is_in_an_event_becomes_one_line(message: str, fields: dict[str, str | int | float]) -> None:
    """One line of ASCII that any parser takes, of bounded length, and nothing in it is taken for what every line has."""
    written = Written()
    written.log.report(synced(message, fields))
    text = written.stream.getvalue()
    assert text.isascii()
    assert text.isprintable() or (text[-1] == "\n" and text[:-1].isprintable())
    assert len(text) <= LONGEST_LINE_BYTES
    (line,) = written.lines
    assert (line["time"], line["level"], line["event"]) == ("2026-08-20T10:00:00.042Z", "info", "synced")
    assert "repeats" not in line
    json.dumps(line, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(("level", "written"), [("info", 3), ("warning", 2), ("error", 1)])
def test_what_matters_less_is_left_out(level: str, written: int) -> None:
    """The setting names the least that is written."""
    one = Written(Level(level))
    for what in (What.SYNCED, What.WATCH_FAILED, What.SPANS_LOST):
        one.log.report(Event(what, "So it is."))
    assert len(one.lines) == written


def test_the_same_is_written_once_a_minute() -> None:
    """At once the first time; then the next line says how often it was left out. What differs in anything is not the same."""
    written = Written()
    for _ in range(5):
        written.log.report(synced())
    written.log.report(synced(fields={"kind": "Pod"}))
    written.clock.go_on(QUIET_S)
    written.log.report(synced())
    written.clock.go_on(QUIET_S)
    written.log.report(synced())
    assert [line.get("repeats") for line in written.lines] == [None, None, 4, None]


def test_what_is_remembered_is_bounded() -> None:
    """The oldest is forgotten, and so may be written again sooner."""
    written = Written()
    for number in [*range(MOST_REMEMBERED + 1), 1, 0]:
        written.log.report(synced(fields={"number": number}))
    assert len(written.lines) == MOST_REMEMBERED + 2
    assert written.lines[-1]["number"] == 0


def test_a_closed_stream_harms_nobody() -> None:
    """Neither a stream that was closed, nor a pipe that nobody reads any more."""
    written = Written()
    written.stream.close()
    written.log.report(synced())
    reads, writes = os.pipe()
    os.close(reads)
    stream = os.fdopen(writes, "w")
    Log(stream, Level.INFO, LogClock()).report(synced())
    with pytest.raises(BrokenPipeError):
        stream.close()  # what it holds has nowhere to go


def test_nobody_waits_for_a_reader() -> None:
    """Lines that a full pipe has no room for are left out and counted, and every line that came through is whole."""
    reads, writes = os.pipe()
    with os.fdopen(writes, "w") as stream:
        log = Log(stream, Level.INFO, LogClock())
        for number in range(1_000):
            log.report(synced("n" * 10_000, {"number": number}))
        taken = os.read(reads, 1 << 24)
        log.report(synced("There is room again."))
    with os.fdopen(reads, "rb") as rest:
        *lines, last = [json.loads(line) for line in (taken + rest.read()).splitlines()]
    assert [line["number"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < 1_000
    assert (last["message"], last["dropped"]) == ("There is room again.", 1_000 - len(lines))


def test_what_libraries_log_is_written_too() -> None:
    """From `warning` on, its first line alone; of an exception its type and where it was raised, not what it says."""
    written = Written()
    logger, before = logging.getLogger("some.library"), {*logging.getLogger().handlers}
    with written.log.libraries():
        logger.info("Nothing of interest.")
        logger.warning("A %s thing\nwith details", "strange")
        (handler,) = {*logging.getLogger().handlers} - before  # others on the root, such as pytest's, would raise
        handler.handle(logging.makeLogRecord({"msg": "A number: %d", "args": ("none",), "levelno": logging.WARNING}))
        try:
            int("top-secret")
        except ValueError:
            logger.exception("It failed")
    logger.warning("Nobody listens any more.")
    strange, unwritable, failed = written.lines
    assert strange == {
        "time": "2026-08-20T10:00:00.042Z",
        "level": "warning",
        "event": "library",
        "message": "A strange thing",
        "logger": "some.library",
    }
    assert unwritable["message"] == "A message that cannot be written."
    assert (failed["level"], failed["exception"]) == ("error", "ValueError")
    assert __file__ in failed["traceback"]
    assert "invalid literal" not in written.stream.getvalue()
