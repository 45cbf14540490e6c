"""What is said around the picture: how it ended, why, and where the time went?"""

import textwrap
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from tracer.explain.causes import Cause, Leg
from tracer.explain.rows import RowKind
from tracer.explain.terminal.bars import NARROWEST_WITH_BARS
from tracer.explain.terminal.glyphs import STYLES, Glyphs, duration, fit, mark_of, printable, style_of
from tracer.explain.waterfall import Waterfall
from tracer.tekton.times import rfc3339

_LEGS_SHOWN = 8
_SMALL_SHARE = 0.01
_QUESTIONS = {"cancellation": "Why it was cancelled", "timeout": "Why it timed out"}


def say_head(picture: Waterfall, glyphs: Glyphs, width: int) -> list[Text]:
    """Say which run it is, how it ended and when it began."""
    root = picture.root
    style = style_of(root)
    took = duration(picture.end_ns - picture.start_ns)
    open_for = f" for {took} now" if picture.is_until_now else f", last heard of {took} after it began"
    ended, when = (root.result, f" in {took}") if picture.is_finished else (str(root.state), open_for)
    first = Text.assemble(
        (f"{mark_of(root, glyphs)} ", f"bold {style}"),
        (printable(f"{picture.kind} {picture.namespace}/{picture.run_name}" if picture.namespace else picture.run_name), "bold"),
        "  ",
        (ended, f"bold {style}"),
        (when, "bold"),
    )
    began = rfc3339(picture.start_ns).replace("T", " ").replace("Z", " UTC")
    facts = [f"began {began}", f"trace {picture.trace_id}"]
    if width >= NARROWEST_WITH_BARS + 16:
        facts = [f"  {glyphs.dot}  ".join(facts)]
    return [first, *(Text(f"  {fact}", "bright_black") for fact in facts)]


def say_why(picture: Waterfall, glyphs: Glyphs, width: int) -> Iterator[Text]:
    """Say why it did not end well."""
    yield Text(_QUESTIONS.get(picture.root.result, "Why it failed"), "bold")
    for cause in picture.causes:
        yield _cause(cause, picture, glyphs)
        indent = "      "
        for line in textwrap.wrap(printable(cause.message), max(20, width - len(indent))):
            yield Text(indent + line, "bright_black")


def _cause(cause: Cause, picture: Waterfall, glyphs: Glyphs) -> Text:
    style = STYLES.get(cause.result, "")
    facts = [printable(cause.reason)] if cause.reason else []
    if cause.exit_code is not None:
        facts.append(f"exit code {cause.exit_code}")
    return Text.assemble(
        (f"  {glyphs.marks.get(cause.result, glyphs.dot)} ", style),
        (printable(glyphs.into.join(cause.path) or picture.run_name), "bold"),
        ("  " + cause.result, style),
        ("  " + ", ".join(facts) if facts else "", ""),
    )


def say_where(picture: Waterfall, glyphs: Glyphs, width: int) -> Iterator[Text]:
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
            fit(_leg_name(leg, glyphs), label, glyphs),
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


def _leg_name(leg: Leg, glyphs: Glyphs) -> str:
    return printable(glyphs.into.join(leg.path) or "the run itself")


def _joined(legs: tuple[Leg, ...]) -> list[Leg]:
    """Add up legs with the same path: a step that was left and came back to."""
    total: dict[tuple[str, ...], Leg] = {}
    for leg in legs:
        known = total.get(leg.path)
        total[leg.path] = Leg(leg.path, leg.kind, leg.duration_ns + (known.duration_ns if known is not None else 0))
    return list(total.values())
