"""What is said around the picture: how it ended, why, and where the time went?"""

import textwrap
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from tracer.explain.causes import Cause
from tracer.explain.phrases import (
    ask_why,
    duration,
    printable,
    say_end,
    say_instant,
    say_reason,
    say_run,
    say_shares,
    time_spent,
)
from tracer.explain.rows import RowKind
from tracer.explain.terminal.bars import NARROWEST_WITH_BARS
from tracer.explain.terminal.glyphs import STYLES, Glyphs, fit, mark_of, style_of
from tracer.explain.waterfall import Waterfall


def say_head(picture: Waterfall, glyphs: Glyphs, width: int) -> list[Text]:
    """Say which run it is, how it ended and when it began."""
    style = style_of(picture.root)
    ended, when = say_end(picture)
    first = Text.assemble(
        (f"{mark_of(picture.root, glyphs)} ", f"bold {style}"),
        (printable(f"{picture.kind} {say_run(picture)}" if picture.namespace else say_run(picture)), "bold"),
        "  ",
        (ended, f"bold {style}"),
        (when, "bold"),
    )
    facts = [f"began {say_instant(picture.start_ns)}", f"trace {picture.trace_id}"]
    if width >= NARROWEST_WITH_BARS + 16:
        facts = [f"  {glyphs.dot}  ".join(facts)]
    return [first, *(Text(f"  {fact}", "bright_black") for fact in facts)]


def say_why(picture: Waterfall, glyphs: Glyphs, width: int) -> Iterator[Text]:
    """Say why it did not end well."""
    yield Text(ask_why(picture), "bold")
    for cause in picture.causes:
        yield _cause(cause, picture, glyphs)
        indent = "      "
        for line in textwrap.wrap(printable(cause.row.message), max(20, width - len(indent))):
            yield Text(indent + line, "bright_black")


def _cause(cause: Cause, picture: Waterfall, glyphs: Glyphs) -> Text:
    result = cause.row.result
    style = STYLES.get(result, "")
    facts = printable(say_reason(cause.row))
    return Text.assemble(
        (f"  {glyphs.marks.get(result, glyphs.dot)} ", style),
        (printable(glyphs.into.join(cause.path) or picture.run_name), "bold"),
        ("  " + result, style),
        ("  " + facts if facts else "", ""),
    )


def say_where(picture: Waterfall, glyphs: Glyphs, width: int) -> Iterator[Text]:
    """List where the time went, with the share of each part."""
    yield Text.assemble(("Where the time went", "bold"), (f"  {say_shares(picture)}", "bright_black"))
    spent = [(one, printable(glyphs.into.join(one.path) or "the run itself")) for one in time_spent(picture)]
    widest = max((cell_len(name) for one, name in spent if one.row is not None), default=0)
    label = min(widest, max(12, width - 40))
    for one, name in spent:
        said = f"  {duration(one.duration_ns):>8}  {one.share:>4.0%}"
        if one.row is None:
            yield Text(f"    {name:<{label}}{said}", "bright_black")
            continue
        is_step = one.row.kind is RowKind.STEP
        kind = glyphs.step if is_step else glyphs.phase
        bar = kind[0] * max(1, round(one.share * 20))
        yield Text.assemble("    ", fit(name, label, glyphs), said, "  ", (bar, "cyan" if is_step else "bright_black"))
