"""How are a run's rows laid out: tree, bars on one time axis, durations, results?

Keeps: what a bar says is said in words too; a line fits the layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from tracer.explain.phrases import printable, say_duration, say_result, ticks
from tracer.explain.rows import Row, RowKind
from tracer.explain.terminal.glyphs import Glyphs, fit, mark_of, style_of
from tracer.explain.waterfall import Waterfall

_LABEL_SHARE, LABEL_LIMIT = 0.38, 44
DURATION_WIDTH = 8
_NOTE_LIMIT = 32
_CELLS_PER_TICK = 8
NARROWEST_WITH_BARS = 64


@dataclass(frozen=True, slots=True)
class Line:
    """One row with its place in the tree."""

    row: Row
    guides: str
    folded: int = 0
    """How many rows below it are not drawn."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide each column is."""

    label: int
    bar: int
    """0 if there is no room for bars."""
    note: int


def tree_lines(root: Row, glyphs: Glyphs, *, fold: bool) -> Iterator[Line]:
    """List the lines of the tree. fold: leave out what is below a task that went well."""
    yield Line(root, "")
    yield from _below(root, "", glyphs, fold=fold)


def _below(row: Row, guides: str, glyphs: Glyphs, *, fold: bool) -> Iterator[Line]:
    for index, child in enumerate(row.children):
        is_last = index == len(row.children) - 1
        folded = sum(1 for _ in child.walk()) - 1 if fold and child.went_well else 0
        yield Line(child, guides + (glyphs.last if is_last else glyphs.branch), folded)
        if not folded:
            yield from _below(child, guides + (glyphs.gap if is_last else glyphs.pipe), glyphs, fold=fold)


def find_layout(width: int, lines: list[Line]) -> Layout:
    """Say how wide each column is, on a terminal of this width."""
    widest = max(cell_len(line.guides) + 2 + cell_len(printable(line.row.name)) for line in lines)
    notes = min(_NOTE_LIMIT, max(cell_len(say_line(line)) for line in lines))
    if width < NARROWEST_WITH_BARS:
        note = min(notes, max(0, width // 3))
        return Layout(label=max(8, min(widest, width - DURATION_WIDTH - note - 3)), bar=0, note=note)
    label = min(widest, LABEL_LIMIT, int(width * _LABEL_SHARE))
    note = min(notes, max(12, width // 5))
    return Layout(label, bar=width - label - DURATION_WIDTH - note - 4, note=note)


def say_line(line: Line) -> str:
    """Say the result, what is worth saying beside it, and how much is not drawn."""
    words = (say_result(line.row), f"+{line.folded} rows" if line.folded else "")
    return printable(", ".join(word for word in words if word))


def draw_line(line: Line, picture: Waterfall, layout: Layout, glyphs: Glyphs) -> Text:
    """Draw one line: tree, mark, name, bar, duration, result."""
    row, style = line.row, style_of(line.row)
    room = max(1, layout.label - cell_len(line.guides) - 2)
    is_bold = row.kind in {RowKind.RUN, RowKind.TASK}
    name_style = "bold" if is_bold else "bright_black" if row.kind is RowKind.PHASE else ""
    text = Text()
    text.append(line.guides, "bright_black")
    text.append(mark_of(row, glyphs) + " ", style)
    text.append(fit(printable(row.name), room, glyphs), name_style)
    if layout.bar:
        text.append(" ")
        text.append_text(_bar(row, picture, layout.bar, glyphs))
    text.append(f" {say_duration(row, picture):>{DURATION_WIDTH}} ", "" if row.kind is not RowKind.PHASE else "bright_black")
    text.append(" " + fit(say_line(line), layout.note, glyphs), style)
    return text


def _bar(row: Row, picture: Waterfall, width: int, glyphs: Glyphs) -> Text:
    """Draw where on the time axis the row lies, to half a cell."""
    style = style_of(row)
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


def draw_axis(picture: Waterfall, layout: Layout, glyphs: Glyphs) -> Text:
    """Write the time since the run began above the bars."""
    cells = [" "] * (layout.bar + DURATION_WIDTH)
    for share, said in ticks(picture, max(2, round(layout.bar / _CELLS_PER_TICK))):
        at = round(layout.bar * share)
        label = f"{glyphs.tick}{said}"
        if at + len(label) <= len(cells):
            cells[at : at + len(label)] = label
    return Text(" " * (layout.label + 1) + "".join(cells), "bright_black")
