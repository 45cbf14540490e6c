"""How is a run drawn in a terminal? A tree, bars on one time axis, durations, results in words and in colour.

Keeps: a line is never wider than the terminal; what the picture says is said without colour too; no control character of a name
or a message reaches the terminal.
Must not know: where the facts came from.
"""

import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from tracer.explain.waterfall import Cause, Leg, Row, RowKind, Waterfall
from tracer.lifecycle.facts import State
from tracer.tekton.times import SECOND_NS, rfc3339

PIPE_WIDTH = 110  # where no terminal says how wide it is
_NARROWEST_WITH_BARS = 64
_LABEL_SHARE, _LABEL_LIMIT = 0.38, 44
_DURATION_WIDTH = 8
_NOTE_LIMIT = 32
_STEP_FACTS_WIDTH = 48  # of the line that tells of one step: its start, its duration, its result
_FOLD_ABOVE_ROWS = 60  # more do not fit a screen, and most of them say that all went well
_LEGS_SHOWN = 8
_SMALL_SHARE = 0.01
_AXIS_STEPS_S = tuple(base * 10**power for power in range(-3, 7) for base in (1, 2, 5))
_CELLS_PER_TICK = 8
_MINUTE_S = 60  # and as many minutes in an hour

_STYLES = {
    "success": "green",
    "failure": "red",
    "error": "magenta",
    "timeout": "yellow",
    "cancellation": "blue",
    "skip": "bright_black",
    "": "cyan",
}


@dataclass(frozen=True, slots=True)
class _Glyphs:
    """The characters of the picture: a full cell, its left half, its right half, for each sort of bar."""

    step: tuple[str, str, str]
    span: tuple[str, str, str]
    phase: tuple[str, str, str]
    point: str
    goes_on: str
    marks: dict[str, str]
    running: str
    waiting: str
    branch: str
    last: str
    pipe: str
    gap: str
    tick: str
    dot: str
    into: str
    ellipsis: str


_UNICODE = _Glyphs(
    step=("█", "▌", "▐"),
    span=("━", "╸", "╺"),
    phase=("─", "╴", "╶"),
    point="╷",
    goes_on="▶",
    marks={"success": "✓", "failure": "✗", "error": "✗", "timeout": "✗", "cancellation": "⊘", "skip": "○"},
    running="●",
    waiting="◌",
    branch="├ ",
    last="└ ",
    pipe="│ ",
    gap="  ",
    tick="┆",
    dot="·",
    into=" › ",
    ellipsis="…",
)
_ASCII = _Glyphs(
    step=("#", "#", "#"),
    span=("=", "=", "="),
    phase=("-", "-", "-"),
    point="|",
    goes_on=">",
    marks={"success": "+", "failure": "x", "error": "x", "timeout": "x", "cancellation": "/", "skip": "o"},
    running="*",
    waiting=".",
    branch="|-",
    last="`-",
    pipe="| ",
    gap="  ",
    tick="|",
    dot="-",
    into=" > ",
    ellipsis="~",
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One row with its place in the tree."""

    row: Row
    guides: str
    folded: int = 0
    """How many rows below it are not drawn."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How wide each column is."""

    label: int
    bar: int
    """0 if there is no room for bars."""
    note: int


def print_waterfall(console: Console, picture: Waterfall, *, show_all: bool = False) -> None:
    """Draw one run. show_all: draw every row, however many there are."""
    glyphs = _ASCII if console.options.ascii_only else _UNICODE
    rows = sum(1 for _ in picture.root.walk())
    fold = rows > _FOLD_ABOVE_ROWS and not show_all
    lines = list(_lines(picture.root, glyphs, fold=fold))
    layout = _layout(console.width, lines)
    out = [*_head(picture, glyphs, console.width), Text()]
    if layout.bar:
        out.append(_axis(picture, layout, glyphs))
    out += [_draw(line, picture, layout, glyphs) for line in lines]
    folded = sum(line.folded for line in lines)
    if folded:
        out.append(Text(f"  {folded} rows of what went well are folded; --all draws them.", style="dim"))
    if picture.causes:
        out += [Text(), *_why(picture, glyphs, console.width)]
    if picture.critical_path and not picture.root.is_point:
        out += [Text(), *_where(picture, glyphs, console.width)]
    for line_ in out:
        line_.truncate(console.width, overflow="ellipsis" if glyphs is _UNICODE else "crop")
        line_.rstrip()
        console.print(line_, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True, highlight=False)


def step_width(console: Console) -> int:
    """Say how wide the names of steps are in `step_line`."""
    return max(12, min(_LABEL_LIMIT, console.width - _STEP_FACTS_WIDTH))


def step_line(console: Console, row: Row, since_ns: int) -> Text:
    """Say in one line that a step has ended, with its time since since_ns."""
    glyphs = _ASCII if console.options.ascii_only else _UNICODE
    began_ns, ended_ns = row.start_ns or since_ns, row.end_ns or since_ns
    return Text.assemble(
        (f"{duration(began_ns - since_ns):>9}  ", "bright_black"),
        (f"{_mark(row, glyphs)} ", _style(row)),
        (_fit(printable(row.name), step_width(console), glyphs), "bold"),
        f" {'' if row.is_point else duration(ended_ns - began_ns):>{_DURATION_WIDTH}}  ",
        (_words(_Line(row, "")), _style(row)),
    )


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


# ---------------------------------------------------------------- the tree


def _lines(root: Row, glyphs: _Glyphs, *, fold: bool) -> Iterator[_Line]:
    yield _Line(root, "")
    yield from _below(root, "", glyphs, fold=fold)


def _below(row: Row, guides: str, glyphs: _Glyphs, *, fold: bool) -> Iterator[_Line]:
    for index, child in enumerate(row.children):
        is_last = index == len(row.children) - 1
        folded = sum(1 for _ in child.walk()) - 1 if fold and _went_well(child) else 0
        yield _Line(child, guides + (glyphs.last if is_last else glyphs.branch), folded)
        if not folded:
            yield from _below(child, guides + (glyphs.gap if is_last else glyphs.pipe), glyphs, fold=fold)


def _went_well(row: Row) -> bool:
    return row.kind is RowKind.TASK and row.result == "success" and not any(below.is_error for below in row.walk())


def _layout(width: int, lines: list[_Line]) -> _Layout:
    widest = max(cell_len(line.guides) + 2 + cell_len(printable(line.row.name)) for line in lines)
    notes = min(_NOTE_LIMIT, max(cell_len(_words(line)) for line in lines))
    if width < _NARROWEST_WITH_BARS:
        note = min(notes, max(0, width // 3))
        return _Layout(label=max(8, min(widest, width - _DURATION_WIDTH - note - 3)), bar=0, note=note)
    label = min(widest, _LABEL_LIMIT, int(width * _LABEL_SHARE))
    note = min(notes, max(12, width // 5))
    return _Layout(label, bar=width - label - _DURATION_WIDTH - note - 4, note=note)


def _words(line: _Line) -> str:
    """Say the result, and what is worth saying beside it."""
    row = line.row
    if row.kind is RowKind.PHASE:
        return "error" if row.is_error else ""
    result = row.result if row.end_ns is not None or row.result else str(row.state)
    words = ["" if result == "skip" and row.note else result, row.note]
    if line.folded:
        words.append(f"+{line.folded} rows")
    return printable(", ".join(word for word in words if word))


def _style(row: Row) -> str:
    if row.kind is RowKind.PHASE:
        return "magenta" if row.is_error else "bright_black"
    return _STYLES.get(row.result, "cyan")


def _mark(row: Row, glyphs: _Glyphs) -> str:
    if row.kind is RowKind.PHASE:
        return glyphs.marks["error"] if row.is_error else glyphs.dot
    if row.result:
        return glyphs.marks.get(row.result, glyphs.dot)
    return glyphs.waiting if row.state is State.WAITING else glyphs.running


def _draw(line: _Line, picture: Waterfall, layout: _Layout, glyphs: _Glyphs) -> Text:
    row, style = line.row, _style(line.row)
    room = max(1, layout.label - cell_len(line.guides) - 2)
    is_bold = row.kind in {RowKind.RUN, RowKind.TASK}
    name_style = "bold" if is_bold else "bright_black" if row.kind is RowKind.PHASE else ""
    text = Text()
    text.append(line.guides, "bright_black")
    text.append(_mark(row, glyphs) + " ", style)
    text.append(_fit(printable(row.name), room, glyphs), name_style)
    if layout.bar:
        text.append(" ")
        text.append_text(_bar(row, picture, layout.bar, glyphs))
    text.append(f" {_duration_of(row, picture):>{_DURATION_WIDTH}} ", "" if row.kind is not RowKind.PHASE else "bright_black")
    text.append(" " + _fit(_words(line), layout.note, glyphs), style)
    return text


def _duration_of(row: Row, picture: Waterfall) -> str:
    if row.start_ns is None or row.is_point:
        return ""
    return duration((row.end_ns if row.end_ns is not None else picture.end_ns) - row.start_ns)


def _bar(row: Row, picture: Waterfall, width: int, glyphs: _Glyphs) -> Text:
    """Draw where on the time axis the row lies, to half a cell."""
    style = _style(row)
    if row.start_ns is None:
        return Text(" " * width)
    end_ns = row.end_ns if row.end_ns is not None else picture.end_ns
    first, last = _halves(row.start_ns, picture, width), _halves(end_ns, picture, width)
    if row.is_point:
        at = min(width - 1, first // 2)
        return Text.assemble(" " * at, (glyphs.point, style), " " * (width - at - 1))
    first = min(first, 2 * width - 1)
    last = max(last, first + 1)
    kind = {RowKind.STEP: glyphs.step, RowKind.PHASE: glyphs.phase}.get(row.kind, glyphs.span)
    cells = []
    for cell in range(width):
        left, right = first <= 2 * cell < last, first <= 2 * cell + 1 < last
        cells.append(kind[0] if left and right else kind[1] if left else kind[2] if right else " ")
    if row.end_ns is None:
        cells[min(width - 1, max(first // 2, (last - 1) // 2))] = glyphs.goes_on
    return Text("".join(cells), style)


def _halves(at_ns: int, picture: Waterfall, width: int) -> int:
    """Say at which half cell of the time axis an instant lies."""
    whole = max(1, picture.end_ns - picture.start_ns)
    return max(0, min(2 * width, round(2 * width * (at_ns - picture.start_ns) / whole)))


def _axis(picture: Waterfall, layout: _Layout, glyphs: _Glyphs) -> Text:
    """Write the time since the run began above the bars."""
    whole_s = max(1, picture.end_ns - picture.start_ns) / SECOND_NS
    most = max(2, round(layout.bar / _CELLS_PER_TICK))
    step = next((one for one in _AXIS_STEPS_S if whole_s / one <= most), _AXIS_STEPS_S[-1])
    cells = [" "] * (layout.bar + _DURATION_WIDTH)
    tick = 0
    while tick * step <= whole_s:
        at = round(layout.bar * tick * step / whole_s)
        label = f"{glyphs.tick}{_tick(tick * step)}"
        if at + len(label) <= len(cells):
            cells[at : at + len(label)] = label
        tick += 1
    return Text(" " * (layout.label + 1) + "".join(cells), "bright_black")


def _tick(seconds: float) -> str:
    if seconds >= _MINUTE_S:
        return duration(round(seconds * SECOND_NS))
    return f"{seconds:g} s" if seconds else "0"


def _fit(text: str, width: int, glyphs: _Glyphs) -> str:
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + glyphs.ellipsis, width)


# ---------------------------------------------------------------- the words around it


def _head(picture: Waterfall, glyphs: _Glyphs, width: int) -> list[Text]:
    root = picture.root
    style = _style(root)
    took = duration(picture.end_ns - picture.start_ns)
    ended, when = (
        (root.result, f" in {took}") if picture.is_finished else (str(root.state), f", last heard of {took} after it began")
    )
    first = Text.assemble(
        (f"{_mark(root, glyphs)} ", f"bold {style}"),
        (printable(f"{picture.kind} {picture.namespace}/{picture.run_name}" if picture.namespace else picture.run_name), "bold"),
        "  ",
        (ended, f"bold {style}"),
        (when, "bold"),
    )
    began = rfc3339(picture.start_ns).replace("T", " ").replace("Z", " UTC")
    facts = [f"began {began}", f"trace {picture.trace_id}"]
    if width >= _NARROWEST_WITH_BARS + 16:
        facts = [f"  {glyphs.dot}  ".join(facts)]
    return [first, *(Text(f"  {fact}", "bright_black") for fact in facts)]


_QUESTIONS = {"cancellation": "Why it was cancelled", "timeout": "Why it timed out"}


def _why(picture: Waterfall, glyphs: _Glyphs, width: int) -> Iterator[Text]:
    yield Text(_QUESTIONS.get(picture.root.result, "Why it failed"), "bold")
    for cause in picture.causes:
        yield _cause(cause, picture, glyphs)
        indent = "      "
        for line in textwrap.wrap(printable(cause.message), max(20, width - len(indent))):
            yield Text(indent + line, "bright_black")


def _cause(cause: Cause, picture: Waterfall, glyphs: _Glyphs) -> Text:
    style = _STYLES.get(cause.result, "")
    facts = [printable(cause.reason)] if cause.reason else []
    if cause.exit_code is not None:
        facts.append(f"exit code {cause.exit_code}")
    return Text.assemble(
        (f"  {glyphs.marks.get(cause.result, glyphs.dot)} ", style),
        (printable(glyphs.into.join(cause.path) or picture.run_name), "bold"),
        ("  " + cause.result, style),
        ("  " + ", ".join(facts) if facts else "", ""),
    )


def _where(picture: Waterfall, glyphs: _Glyphs, width: int) -> Iterator[Text]:
    """List the legs of the critical path, in time, with their share of the whole."""
    whole = max(1, picture.end_ns - picture.start_ns)
    legs = _joined(picture.critical_path)
    shown = sorted(sorted(legs, key=lambda leg: -leg.duration_ns)[:_LEGS_SHOWN], key=legs.index)
    shown = [leg for leg in shown if leg.duration_ns / whole >= _SMALL_SHARE]
    in_steps = sum(leg.duration_ns for leg in legs if leg.kind is RowKind.STEP)
    yield Text.assemble(
        ("Where the time went", "bold"),
        (
            f"  on the critical path: steps {in_steps / whole:.0%}, waiting for them {max(0.0, 1 - in_steps / whole):.0%}",
            "bright_black",
        ),
    )
    label = min(max((cell_len(_leg_name(leg, glyphs)) for leg in shown), default=0), max(12, width - 40))
    for leg in shown:
        share = leg.duration_ns / whole
        is_step = leg.kind is RowKind.STEP
        kind = glyphs.step if is_step else glyphs.phase
        yield Text.assemble(
            "    ",
            _fit(_leg_name(leg, glyphs), label, glyphs),
            f"  {duration(leg.duration_ns):>8}  {share:>4.0%}  ",
            (kind[0] * max(1, round(share * 20)), "cyan" if is_step else "bright_black"),
        )
    named = sum(leg.duration_ns for leg in shown)
    others = sum(leg.duration_ns for leg in legs) - named
    if len(shown) < len(legs):
        yield _rest_of_time(f"{len(legs) - len(shown)} shorter", others, whole, label)
    if whole - named - others >= whole * _SMALL_SHARE:
        yield _rest_of_time("between them", whole - named - others, whole, label)


def _rest_of_time(name: str, nanoseconds: int, whole: int, label: int) -> Text:
    return Text(f"    {name:<{label}}  {duration(nanoseconds):>8}  {nanoseconds / whole:>4.0%}", "bright_black")


def _leg_name(leg: Leg, glyphs: _Glyphs) -> str:
    return printable(glyphs.into.join(leg.path) or "the run itself")


def _joined(legs: tuple[Leg, ...]) -> list[Leg]:
    """Add up legs with the same path: a step that was left and came back to."""
    total: dict[tuple[str, ...], Leg] = {}
    for leg in legs:
        known = total.get(leg.path)
        total[leg.path] = Leg(leg.path, leg.kind, leg.duration_ns + (known.duration_ns if known is not None else 0))
    return list(total.values())
