"""Which lines make up the picture of a run, in which order?"""

from rich.console import Console
from rich.text import Text

from tracer.explain.phrases import duration, printable
from tracer.explain.rows import Row
from tracer.explain.terminal.bars import (
    DURATION_WIDTH,
    LABEL_LIMIT,
    Line,
    draw_axis,
    draw_line,
    find_layout,
    say_line,
    tree_lines,
)
from tracer.explain.terminal.glyphs import ASCII, UNICODE, fit, mark_of, style_of
from tracer.explain.terminal.words import say_head, say_where, say_why
from tracer.explain.waterfall import Waterfall

PIPE_WIDTH = 110  # where no terminal says how wide it is
_STEP_FACTS_WIDTH = 48  # of the line that tells of one step: its start, its duration, its result
_FOLD_ABOVE_ROWS = 60  # more do not fit a screen, and most of them say that all went well


def print_waterfall(console: Console, picture: Waterfall, *, show_all: bool = False) -> None:
    """Draw one run. show_all: draw every row, however many there are."""
    glyphs = ASCII if console.options.ascii_only else UNICODE
    rows = sum(1 for _ in picture.root.walk())
    fold = rows > _FOLD_ABOVE_ROWS and not show_all
    lines = list(tree_lines(picture.root, glyphs, fold=fold))
    layout = find_layout(console.width, lines)
    out = [*say_head(picture, glyphs, console.width), Text()]
    if layout.bar:
        out.append(draw_axis(picture, layout, glyphs))
    out += [draw_line(line, picture, layout, glyphs) for line in lines]
    folded = sum(line.folded for line in lines)
    if folded:
        out.append(Text(f"  {folded} rows of what went well are folded; --all draws them.", style="dim"))
    if picture.causes:
        out += [Text(), *say_why(picture, glyphs, console.width)]
    if picture.critical_path and not picture.root.is_point:
        out += [Text(), *say_where(picture, glyphs, console.width)]
    for text in out:
        text.truncate(console.width, overflow="ellipsis" if glyphs is UNICODE else "crop")
        text.rstrip()
        if glyphs is ASCII:  # a name may hold what the terminal cannot show
            text.plain = text.plain.encode("ascii", "replace").decode()
        console.print(text, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True, highlight=False)


def step_width(console: Console) -> int:
    """Say how wide the names of steps are in `step_line`."""
    return max(12, min(LABEL_LIMIT, console.width - _STEP_FACTS_WIDTH))


def step_line(console: Console, row: Row, since_ns: int) -> Text:
    """Say in one line that a step has ended, with its time since since_ns."""
    glyphs = ASCII if console.options.ascii_only else UNICODE
    began_ns, ended_ns = row.start_ns or since_ns, row.end_ns or since_ns
    return Text.assemble(
        (f"{duration(began_ns - since_ns):>9}  ", "bright_black"),
        (f"{mark_of(row, glyphs)} ", style_of(row)),
        (fit(printable(row.name), step_width(console), glyphs), "bold"),
        f" {'' if row.is_point else duration(ended_ns - began_ns):>{DURATION_WIDTH}}  ",
        (say_line(Line(row, "")), style_of(row)),
    )
