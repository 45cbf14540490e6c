"""How is a run said in words, wherever it is drawn: a result, a duration, a time, why it failed, where the time went?

Keeps: no control character of a name or a message passes `printable`.
Must not know: what draws it, colours, widths, the present time.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from tracer.explain.rows import Row, RowKind
from tracer.explain.waterfall import Waterfall
from tracer.tekton.times import SECOND_NS, rfc3339

_MINUTE_S = 60  # and as many minutes in an hour
_AXIS_STEPS_S = tuple(base * 10**power for power in range(-3, 7) for base in (1, 2, 5))
_LEGS_SHOWN = 8
_SMALL_SHARE = 0.01
_QUESTIONS = {"cancellation": "Why it was cancelled", "timeout": "Why it timed out"}


@dataclass(frozen=True, slots=True)
class Spent:
    """A part of the run's time: a leg of the critical path, with all the times that it was come back to, or what is left."""

    path: tuple[str, ...]
    """Names from the task down to the step; one word or two for what is left."""
    row: Row | None
    """None for what is left."""
    duration_ns: int
    share: float


def printable(text: str) -> str:
    """Replace what could move the cursor, ring a bell or turn the direction of writing."""
    return "".join("�" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else character for character in text)


def duration(nanoseconds: int) -> str:
    """Write a duration for people: `12 ms`, `3.58 s`, `4 m 05 s`, `2 h 03 m`."""
    seconds = max(0, nanoseconds) / SECOND_NS
    for below, text in ((0.9995, f"{seconds * 1000:.0f} ms"), (9.995, f"{seconds:.2f} s"), (59.95, f"{seconds:.1f} s")):
        if seconds < below:
            return text
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


def say_instant(instant_ns: int) -> str:
    """Write when it was: `2026-11-21 15:43:47.579 UTC`, to the second, the millisecond or finer, as it is known."""
    second = rfc3339(instant_ns).replace("T", " ").removesuffix("Z")
    parts = re.findall("...", f"{instant_ns % SECOND_NS:09}")
    while parts and parts[-1] == "000":
        parts.pop()
    return f"{second}{'.' if parts else ''}{''.join(parts)} UTC"


def say_run(picture: Waterfall) -> str:
    """Name the run."""
    return f"{picture.namespace}/{picture.run_name}" if picture.namespace else picture.run_name


def say_end(picture: Waterfall) -> tuple[str, str]:
    """Say how it ended, or where it stands, and in which time, the second to follow the first at once."""
    took = duration(picture.end_ns - picture.start_ns)
    if picture.is_finished:
        return picture.root.result, f" in {took}"
    return str(picture.root.state), f" for {took} now" if picture.is_until_now else f", last heard of {took} after it began"


def say_result(row: Row) -> str:
    """Say the result, and what is worth saying beside it."""
    if row.kind is RowKind.PHASE:
        return "error" if row.is_error else ""
    result = row.result if row.end_ns is not None or row.result else str(row.state)
    return ", ".join(word for word in ("" if result == "skip" and row.note else result, row.note) if word)


def say_duration(row: Row, picture: Waterfall) -> str:
    """Say how long a row took so far; nothing for what has none."""
    if row.start_ns is None or row.is_point:
        return ""
    return duration((row.end_ns if row.end_ns is not None else picture.end_ns) - row.start_ns)


def ticks(picture: Waterfall, most: int) -> Iterator[tuple[float, str]]:
    """Divide the time axis into round parts, at most so many: each tick's share of the axis, and its time since the run began."""
    whole_s = max(1, picture.end_ns - picture.start_ns) / SECOND_NS
    step = next((one for one in _AXIS_STEPS_S if whole_s / one <= most), _AXIS_STEPS_S[-1])
    tick = 0
    while tick * step <= whole_s:
        yield tick * step / whole_s, _say_tick(tick * step)
        tick += 1


def _say_tick(seconds: float) -> str:
    if seconds >= _MINUTE_S:
        return duration(round(seconds * SECOND_NS))
    return f"{seconds:g} s" if seconds else "0"


def ask_why(picture: Waterfall) -> str:
    """Ask why it did not end well."""
    return _QUESTIONS.get(picture.root.result, "Why it failed")


def say_reason(row: Row) -> str:
    """Say the reason for which it ended, and the exit code."""
    facts = [row.reason] if row.reason else []
    if row.exit_code is not None:
        facts.append(f"exit code {row.exit_code}")
    return ", ".join(facts)


def say_shares(picture: Waterfall) -> str:
    """Say which share of the critical path its steps have."""
    in_steps = sum(leg.duration_ns for leg in picture.critical_path if leg.row.kind is RowKind.STEP) / _whole_ns(picture)
    return f"on the critical path: steps {in_steps:.0%}, waiting for them {max(0.0, 1 - in_steps):.0%}"


def time_spent(picture: Waterfall) -> Iterator[Spent]:
    """List the longest legs of the critical path, in time, then what is left; nothing for a run without one."""
    if not picture.critical_path or picture.root.is_point:
        return
    whole_ns = _whole_ns(picture)
    rows: dict[tuple[str, ...], Row] = {}
    spent_ns: dict[tuple[str, ...], int] = {}
    for leg in picture.critical_path:
        rows.setdefault(leg.path, leg.row)
        spent_ns[leg.path] = spent_ns.get(leg.path, 0) + leg.duration_ns
    legs = [Spent(path, row, spent_ns[path], spent_ns[path] / whole_ns) for path, row in rows.items()]
    longest = {leg.path for leg in sorted(legs, key=lambda leg: -leg.duration_ns)[:_LEGS_SHOWN]}
    shown = [leg for leg in legs if leg.path in longest and leg.share >= _SMALL_SHARE]
    yield from shown
    named_ns = sum(leg.duration_ns for leg in shown)
    others_ns = sum(leg.duration_ns for leg in legs) - named_ns
    between_ns = whole_ns - named_ns - others_ns
    if len(shown) < len(legs):
        yield Spent((f"{len(legs) - len(shown)} shorter",), None, others_ns, others_ns / whole_ns)
    if between_ns >= whole_ns * _SMALL_SHARE:
        yield Spent(("between them",), None, between_ns, between_ns / whole_ns)


def _whole_ns(picture: Waterfall) -> int:
    return max(1, picture.end_ns - picture.start_ns)
