"""How are events written? JSON, one line each; the one door to `logging`.

Keeps: whatever an event holds becomes one line of ASCII that parses; the same is written at most once a minute; nobody waits for
whoever reads the lines, and nothing is raised because of them.
Must not know: what happened, and why it matters.
"""

import json
import logging
import math
import select
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from tracer.clock import Clock
from tracer.events import Event, Level, What
from tracer.tekton.times import rfc3339

QUIET_S = 60.0
"""How long the same is not written again."""
MOST_REMEMBERED = 1_000
LONGEST_LINE_BYTES = 4_096  # a pipe that has room takes so much at once, whole, and lets nobody wait
_LONGEST_TEXTS = (3_000, 1_000, 300, 100, 30)
_HEAD_BYTES = 128  # for what is added last: the time, and how many were left out
_MOST_BITS = 64  # further digits say nothing, and Python refuses to write many of them
_OWN_NAMES = frozenset({"time", "level", "event", "message", "repeats", "dropped"})
_RANKS = {level: rank for rank, level in enumerate(Level)}

_Value = str | int | float
_Say = Callable[[Level, What, str, Mapping[str, _Value]], None]


class Log:
    """Writes what happens on a stream."""

    def __init__(self, stream: TextIO, level: Level, clock: Clock) -> None:
        """Write what matters at least so much."""
        self._stream = stream
        self._rank = _RANKS[level]
        self._clock = clock
        self._has_room = _room_of(stream)
        self._written: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When each body was written last, and how often it was left out since; the oldest comes first."""
        self._dropped = 0
        self._lock = threading.RLock()  # libraries have threads, and a finalizer may log in the midst of it

    def report(self, event: Event) -> None:
        """Write an event, unless it matters too little or was just written."""
        self._say(event.level, event.what, event.message, event.fields)

    @contextmanager
    def libraries(self) -> Iterator[None]:
        """Write what libraries log from `warning` on, too."""
        handler, root = _Libraries(self._say), logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    def _say(self, level: Level, what: What, message: str, fields: Mapping[str, _Value]) -> None:
        if _RANKS[level] < self._rank:
            return
        # A closed stream is nobody's fault, and one that a finalizer writes to in the midst of a write refuses with RuntimeError.
        with self._lock, suppress(OSError, ValueError, RuntimeError):
            body = _body(level, what, message, fields)
            now_s = self._clock.now_s()
            written_s, repeats = self._written.get(body, (-math.inf, 0))
            if now_s - written_s < QUIET_S:
                self._written[body] = (written_s, repeats + 1)
            elif self._write(body, repeats):
                self._written[body] = (now_s, 0)
                self._written.move_to_end(body)
                if len(self._written) > MOST_REMEMBERED:
                    self._written.popitem(last=False)

    def _write(self, body: str, repeats: int) -> bool:
        """Write a line, unless that would mean to wait."""
        if not self._has_room():
            self._dropped += 1
            return False
        now_ns = self._clock.unix_ns()
        time = f"{rfc3339(now_ns)[:-1]}.{now_ns // 1_000_000 % 1_000:03}Z"
        counts = {name: count for name, count in (("repeats", repeats), ("dropped", self._dropped)) if count}
        self._stream.write(f"{json.dumps({'time': time, **json.loads(body), **counts})}\n")
        self._stream.flush()
        self._dropped = 0
        return True


class _Libraries(logging.Handler):
    """Takes what libraries log. Of exceptions their texts are left out, as these may hold anything."""

    def __init__(self, say: _Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, without a lock of our own: the log has one, and two could each wait for the other."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARNING
        fields = {"logger": record.name}
        kind, _, trace = record.exc_info or (None, None, None)
        if kind is not None:
            fields["exception"] = kind.__name__
            if level is Level.ERROR:
                fields["traceback"] = "".join(traceback.format_tb(trace))
        self._say(level, What.LIBRARY, _first_line(record), fields)


def _first_line(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().strip().partition("\n")[0]
    except Exception:  # noqa: BLE001 - its arguments are any objects, which may raise anything when they are written
        return "A message that cannot be written."


def _room_of(stream: TextIO) -> Callable[[], bool]:
    """Prepare to ask whether a stream takes a line at once."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # it lives in memory
        return lambda: True
    return lambda: bool(poll.poll(0))


def _body(level: Level, what: What, message: str, fields: Mapping[str, _Value]) -> str:
    """Write an event but for its time, with texts as long as there is room for."""
    most = 0
    for most in _LONGEST_TEXTS:
        head = {"level": level, "event": what, "message": _short(message, most)}
        rest = {_name(name, most): _plain(value, most) for name, value in fields.items()}
        body = json.dumps({**head, **rest})
        if len(body) <= LONGEST_LINE_BYTES - _HEAD_BYTES:
            return body
    return json.dumps({"level": level, "event": what, "message": _short(message, most)})


def _name(name: str, most: int) -> str:
    """Keep a field apart from what every line has."""
    return f"{name}_" if name in _OWN_NAMES else _short(name, most)


def _plain(value: _Value, most: int) -> _Value:
    """Make a value such as JSON has."""
    match value:
        case int():
            return value if value.bit_length() <= _MOST_BITS else _short(hex(value), most)
        case float():
            return value if math.isfinite(value) else str(value)
        case _:
            return _short(str(value), most)


def _short(text: str, most: int) -> str:
    """Shorten a text in its middle, since both ends say something; half a character becomes a question mark."""
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-(most // 2) :]}"
    return text.encode("utf-8", "replace").decode()
