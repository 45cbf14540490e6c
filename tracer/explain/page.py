"""How is a run drawn as one page for a browser, that loads nothing and can be kept?

Keeps: the same picture gives the same bytes; whatever a name or a message holds is text, and no markup and no control character;
nothing runs and nothing styles but the two blocks whose hashes the page's own policy names.
Must not know: where the facts came from, where the page goes, the present time.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import count
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from tracer.explain import phrases
from tracer.explain.phrases import duration, printable, say_instant
from tracer.explain.rows import Row, RowKind
from tracer.explain.waterfall import Waterfall
from tracer.lifecycle.facts import State
from tracer.tekton.reasons import Result
from tracer.telemetry import attributes as keys
from tracer.telemetry.records import Attributes, AttributeValue, SpanRecord

_FOLD_ABOVE_ROWS = 60  # more do not fit a screen, and most of them say that all went well
_TICKS = 8
_DEEPEST = 12  # the style has as many indents; what lies deeper is not drawn further to the right
_LOADER = PackageLoader("tracer.explain", ".")
_URLS = (keys.PIPELINE_RUN_URL, keys.TASK_RUN_URL)


@dataclass(frozen=True, slots=True)
class _Said:
    """One attribute, or another fact of a span."""

    key: str
    value: str
    url: str = ""
    """Where it leads; empty if it is no link."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """A part of the time axis, in per cent of it."""

    start: float
    length: float


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of the tree, with everything below it."""

    number: int
    row: Row
    depth: int
    tone: str
    """Its colour and its mark: a result, a state, or `phase`."""
    bar: _Bar | None
    waits: tuple[_Bar, ...]
    """Where the critical path runs through it."""
    took: str
    says: str
    why: tuple[_Said, ...]
    """Its reason, exit code and message."""
    is_open: bool
    is_folded: bool
    groups: tuple[tuple[str, tuple[_Said, ...]], ...]
    below: tuple["_Line", ...]
    rows_below: int


def render(picture: Waterfall, *, show_all: bool = False) -> str:
    """Draw one run as a page of HTML. show_all: fold nothing, however many rows there are."""
    style, script = _source("page.css"), _source("page.js")
    tree = _Tree(picture, fold=not show_all and sum(1 for _ in picture.root.walk()) > _FOLD_ABOVE_ROWS)
    root = tree.line(picture.root, None, 0)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            picture=picture,
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            root=root,
            number=tree.number,
            url=next((one.url for _, group in root.groups for one in group if one.url), ""),
            ticks=[(100 * share, said) for share, said in phrases.ticks(picture, _TICKS)],
            spent=list(phrases.time_spent(picture)),
            tone=_tone,
            duration=duration,
            phrases=phrases,
        )
    )


def _finalize(value: object) -> object:
    """Clean every text on its way into the page, and refuse to write what is not there."""
    if value is None:
        raise TypeError("The template writes what is not there.")
    return value if hasattr(value, "__html__") else printable(str(value))


def _source(name: str) -> str:
    text, _, _ = _LOADER.get_source(_environment(), name)
    return text


@cache
def _environment() -> Environment:
    return Environment(
        loader=_LOADER,
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _hash(block: str) -> str:
    """Name a block of the page in its policy."""
    return f"sha256-{b64encode(sha256(block.encode()).digest()).decode()}"


class _Tree:
    """Makes the lines of a picture, and counts them."""

    def __init__(self, picture: Waterfall, *, fold: bool) -> None:
        """Prepare. fold: show less of what went well."""
        self._picture = picture
        self._fold = fold
        self._count = count()
        self._causes = {id(cause.row) for cause in picture.causes}
        self._legs: dict[int, list[_Bar]] = {}
        for leg in picture.critical_path:
            self._legs.setdefault(id(leg.row), []).append(self._bar(leg.start_ns, leg.end_ns))
        self._numbers: dict[int, int] = {}  # by identity, as the others: rows that say the same are not the same

    def line(self, row: Row, above: SpanRecord | None, depth: int) -> _Line:
        """Make the line of a row, and all below it. above: the nearest span above it."""
        number = self._numbers[id(row)] = next(self._count)
        below = tuple(self.line(child, row.span or above, depth + 1) for child in row.children)
        end_ns = row.end_ns if row.end_ns is not None else self._picture.end_ns
        return _Line(
            number=number,
            row=row,
            depth=min(depth, _DEEPEST),
            tone=_tone(row),
            bar=self._bar(row.start_ns, end_ns) if row.start_ns is not None else None,
            waits=tuple(self._legs.get(id(row), ())),
            took=phrases.say_duration(row, self._picture),
            says=phrases.say_result(row),
            why=tuple(_why(row)),
            is_open=self._is_open(row),
            is_folded=self._fold and row.went_well,
            groups=tuple((title, group) for title, said in self._groups(row, above) if (group := tuple(said))),
            below=below,
            rows_below=sum(1 + one.rows_below for one in below),
        )

    def number(self, row: Row) -> int:
        """Say on which line a row stands, once all lines are made."""
        return self._numbers[id(row)]

    def _is_open(self, row: Row) -> bool:
        """Say whether a row is to be read first: it is why the run failed, and nothing below it says so more closely."""
        return [one for one in row.walk() if id(one) in self._causes] == [row] if id(row) in self._causes else False

    def _bar(self, start_ns: int, end_ns: int) -> _Bar:
        whole = max(1, self._picture.end_ns - self._picture.start_ns)
        start, end = (min(100.0, max(0.0, 100 * (at_ns - self._picture.start_ns) / whole)) for at_ns in (start_ns, end_ns))
        return _Bar(start, max(0.0, end - start))

    def _groups(self, row: Row, above: SpanRecord | None) -> Iterator[tuple[str, Iterable[_Said]]]:
        """List what is known of a row, under headings; of its resource what that of the span above does not say."""
        span = row.span
        yield "", self._times(row)
        if span is None:
            return
        known = set(above.resource) if above is not None else set()
        yield "Attributes", _said(span.attributes)
        yield "Resource", _said(tuple(one for one in span.resource if one not in known))
        for event in span.events:
            yield f"Event {event.name}", (_Said("time", self._when(event.at_ns)), *_said(event.attributes))
        for link in span.links:
            ids = (_Said("trace id", link.trace_id.hex()), _Said("span id", link.span_id.hex()))
            yield "Link", (*ids, *_said(link.attributes))

    def _times(self, row: Row) -> Iterator[_Said]:
        if row.start_ns is not None:
            yield _Said("start", self._when(row.start_ns))
        if row.end_ns is not None:
            yield _Said("end", self._when(row.end_ns))
        if row.span is not None:
            yield _Said("span id", row.span.span_id.hex())

    def _when(self, at_ns: int) -> str:
        after_ns = at_ns - self._picture.start_ns
        return f"{say_instant(at_ns)}, {'+' if after_ns >= 0 else '-'}{duration(abs(after_ns))}"


def _tone(row: Row) -> str:
    if row.kind is RowKind.PHASE:
        return "error" if row.is_error else "phase"
    if row.result:
        return row.result if row.result in set(Result) else "phase"
    return "waiting" if row.state is State.WAITING else "running"


def _why(row: Row) -> Iterator[_Said]:
    message = row.message or (row.span.description if row.span is not None else "")
    if row.reason:
        yield _Said("Reason", row.reason)
    if row.exit_code is not None:
        yield _Said("Exit code", str(row.exit_code))
    if message:
        yield _Said("Message", message)


def _said(attributes: Attributes) -> Iterator[_Said]:
    for key, value in attributes:
        text = _text(value)
        yield _Said(key, text, text if key in _URLS and _leads_somewhere(text) else "")


def _text(value: AttributeValue) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _leads_somewhere(url: str) -> bool:
    """Say whether a browser may follow it: to a host, over HTTP, with no character that it would read in a way of its own."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and url.isascii() and url.isprintable() and " " not in url
