"""With which characters and colours is a run drawn?"""

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from tracer.explain.rows import Row, RowKind
from tracer.lifecycle.facts import State

STYLES = {
    "success": "green",
    "failure": "red",
    "error": "magenta",
    "timeout": "yellow",
    "cancellation": "blue",
    "skip": "bright_black",
    "": "cyan",
}


@dataclass(frozen=True, slots=True)
class Glyphs:
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


UNICODE = Glyphs(
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


ASCII = Glyphs(
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


def fit(text: str, width: int, glyphs: Glyphs) -> str:
    """Cut or pad a text to a width in cells."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + glyphs.ellipsis, width)


def style_of(row: Row) -> str:
    """Choose the colour of a row."""
    if row.kind is RowKind.PHASE:
        return "magenta" if row.is_error else "bright_black"
    return STYLES.get(row.result, "cyan")


def mark_of(row: Row, glyphs: Glyphs) -> str:
    """Choose the mark before the name of a row."""
    if row.kind is RowKind.PHASE:
        return glyphs.marks["error"] if row.is_error else glyphs.dot
    if row.result:
        return glyphs.marks.get(row.result, glyphs.dot)
    return glyphs.waiting if row.state is State.WAITING else glyphs.running
