"""The page of a run, as bytes: `tests/cluster/test_page.py` opens it in a browser."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import HERE, HOSTILE_TEXTS, RECORDINGS, SCENARIOS, drive, facts, large_run, replay, span_record
from tracer.explain.page import render
from tracer.explain.phrases import printable, say_result
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.telemetry import attributes as keys
from tracer.telemetry.records import Slot, SpanEvent, SpanRecord

ALL = [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]]
VOID = {"meta"}
LOADING = {"link", "img", "iframe", "object", "embed", "form", "base", "audio", "video", "image", "foreignobject"}


class Reader(HTMLParser):
    """Reads a page as a tree; whatever is not closed where it should be fails."""

    def __init__(self) -> None:
        """Begin above the page's only root."""
        super().__init__()
        self._tree = TreeBuilder()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element; none has an attribute twice."""
        assert len({name for name, _ in attrs}) == len(attrs)
        self._tree.start(tag, {name: value or "" for name, value in attrs})
        self._open.append(tag)
        if tag in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self._open.pop() == tag
        self._tree.end(tag)

    def handle_data(self, data: str) -> None:
        """Take text, which stands in an element but for the white space around the page."""
        if self._open:
            self._tree.data(data)
        else:
            assert not data.strip()

    def root(self) -> Element:
        """Give the page."""
        self.close()
        assert not self._open
        return self._tree.close()


def parsed(page: str) -> Element:
    """Read a page."""
    assert page.startswith("<!doctype html>\n")
    reader = Reader()
    reader.feed(page)
    return reader.root()


def said(element: Element | None) -> str:
    """Give the text of an element and what is in it."""
    assert element is not None
    return "".join(element.itertext()).strip()


def with_class(root: Element, name: str) -> list[Element]:
    """Find the elements of a class."""
    return [one for one in root.iter() if name in one.get("class", "").split()]


def links(root: Element) -> list[str]:
    """Find where the page leads, but for places in itself."""
    return [one.get("href", "") for one in root.iter("a") if not re.fullmatch(r"#r\d+", one.get("href", ""))]


def shape(root: Element) -> list[tuple[str, tuple[str, ...]]]:
    """List the elements, with the names of their attributes."""
    return [(one.tag, tuple(one.attrib)) for one in root.iter()]


def pictures(path: Path) -> list[Waterfall]:
    """Draw every run of a recording."""
    return waterfalls(replay(path / "watch.jsonl"))


def recorded(name: str) -> Waterfall:
    """Draw the only run of a recording."""
    (picture,) = pictures(HERE / "recordings" / name)
    return picture


def check_policy(page: str, root: Element) -> None:
    """Check that the page's policy allows its two blocks by their hashes and nothing else, and that there is nothing else."""
    (policy,) = [one.get("content", "") for one in root.iter("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    (style,), (script,) = list(root.iter("style")), list(root.iter("script"))
    hashes = [b64encode(sha256((block.text or "").encode()).digest()).decode() for block in (style, script)]
    blocks = f"style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"
    assert policy == f"default-src 'none'; {blocks}; base-uri 'none'; form-action 'none'"
    for one in root.iter():
        assert one.tag not in LOADING
        assert not [name for name in one.attrib if name in {"style", "src", "srcdoc", "srcset"} or name.startswith("on")]
    assert all(one.get("href", "").startswith("#") for one in root.iter("use"))
    assert not re.search(r"@import|url\(|https?:", style.text or "")
    assert printable(page.replace("\n", "")) == page.replace("\n", "")


@pytest.mark.parametrize("path", ALL)
def test_a_recording(path: Path) -> None:
    """Every run is a page that is well-formed, says each row once, in order, and loads nothing; the same run is the same page."""
    again = pictures(path)
    for picture, twin in zip(pictures(path), again, strict=True):
        page = render(picture)
        root = parsed(page)
        check_policy(page, root)
        assert links(root) == []
        assert [said(one.find("span")) for one in with_class(root, "name")] == [row.name for row in picture.root.walk()]
        assert [said(one).removesuffix(said(one.find("span")) if len(one) else "") for one in with_class(root, "says")] == [
            say_result(row) for row in picture.root.walk()
        ]
        assert picture.trace_id in page
        assert render(twin) == page


def opened(root: Element) -> list[str]:
    """List the names of the rows that stand open."""
    rows = [one for one in with_class(root, "row") if "open" in one.attrib]
    return [said(one.find("./summary/span/span")) for one in rows]


def test_the_failing_step_stands_open() -> None:
    """What failed is named first, leads to its row, and that row stands open with reason, exit code and message."""
    picture = recorded("failing-step")
    root = parsed(render(picture))
    (cause,) = with_class(root, "causes")
    assert " ".join(said(cause).split()) == "test › unit failure Error, exit code 3"
    (link,) = cause.iter("a")
    (item,) = [one for one in root.iter("li") if one.get("id") == link.get("href", "").removeprefix("#")]
    assert opened(root) == ["unit"] == opened(item)
    (why,) = with_class(item, "why")
    assert said(why).split("\n") == ["ReasonError", "Exit code3", "Messageexit code 3: Error"]


def test_of_causes_the_lowest_stand_open() -> None:
    """A task that timed out is named, and its step stands open; what never ran is said."""
    picture = recorded("task-timeout")
    root = parsed(render(picture))
    assert 'TaskRun "run-slow" failed to finish within "6s"' in said(with_class(root, "causes")[0])
    assert opened(root) == ["soak"]
    assert [said(one) for one in with_class(root, "says")][-1] == "never ran"


def test_what_came_before_the_first_step_and_the_critical_path() -> None:
    """Phases are rows of their own; the bars under which the path runs are those of its legs."""
    picture = recorded("task-timeout")
    root = parsed(render(picture))
    assert [said(one.find("span")) for one in with_class(root, "k-phase")] == ["schedule", "start containers"]
    marked = [one for one in with_class(root, "row") if with_class(one, "wait")]
    assert [said(one.find("./summary/span/span")) for one in marked] == [leg.row.name for leg in picture.critical_path]
    (table,) = root.iter("table")
    words = " ".join(said(table).split())
    assert words.startswith("LegDurationShare slow › schedule 844 ms 13% slow › start containers 3.58 s 55%")


def test_each_attribute_of_each_span_is_there() -> None:
    """Nothing that a span says is left out."""
    picture = recorded("image-pull")
    for row, item in zip(picture.root.walk(), with_class(parsed(render(picture)), "row"), strict=True):
        assert row.span is not None
        there = {(said(key), said(value)) for dl in item.iter("dl") for key, value in zip(dl[::2], dl[1::2], strict=True)}
        texts = {key: ", ".join(value) if isinstance(value, tuple) else str(value) for key, value in row.span.attributes}
        assert there >= texts.items()
        assert ("span id", row.span.span_id.hex()) in there


@pytest.mark.parametrize("path", ALL)
def test_every_moment_of_a_run(path: Path) -> None:
    """A recording that stops anywhere is a page, with each row that is known."""
    observations = facts(path / "watch.jsonl")
    for stop in range(1, len(observations), 17):
        told = drive(observations[:stop])
        for picture in waterfalls(told.spans.values(), told.ledger.unfinished(), observations[stop - 1][0]):
            root = parsed(render(picture))
            assert len(with_class(root, "row")) == sum(1 for _ in picture.root.walk())
            (end,) = with_class(root, "end")
            assert ("last heard of" in said(end)) == (not picture.is_finished)


def test_five_hundred_spans() -> None:
    """A large run folds what went well, unless all is asked for, and stays of a size that a browser is quick with."""
    (picture,) = waterfalls(large_run(70))
    rows = sum(1 for _ in picture.root.walk())
    page = render(picture)
    root = parsed(page)
    assert rows > 500
    assert len(page) < 2_500 * rows
    assert sum(1 for _ in root.iter()) < 80 * rows
    folds = with_class(root, "below")
    assert said(folds[0]).startswith(f"{rows - 1} rows below RUN")
    assert "open" in folds[0].attrib
    assert sum("open" not in one.attrib for one in folds) == 69
    assert all("open" in one.attrib for one in with_class(parsed(render(picture, show_all=True)), "below"))


def story(texts: list[str], url: str) -> list[SpanRecord]:
    """Tell a run with a task and a step that failed, whose every text is given."""
    name, task, step, message, key, value, event = texts
    failure = ((keys.TASK_RUN_RESULT, "failure"), (keys.ERROR_TYPE, event))
    top = ((keys.PIPELINE_RESULT, "failure"), (keys.RUN_NAME, name), (keys.PIPELINE_RUN_URL, url))
    blank = replace(span_record("r", ""), is_error=True, description=message)
    return [
        replace(blank, slot=Slot("run", "r"), span_id=b"1" * 8, name=name, attributes=top),
        replace(blank, slot=Slot("task", "t"), span_id=b"2" * 8, parent_span_id=b"1" * 8, name=task, attributes=failure),
        replace(
            blank,
            span_id=b"3" * 8,
            parent_span_id=b"2" * 8,
            name=step,
            attributes=(*failure, (f"x{key}", value), (f"y{key}", (value, value))),
            events=(SpanEvent(event, blank.start_ns, ((key, value),)),),
        ),
    ]


NASTY = (
    '</script><img src=x onerror="alert(1)">',
    "<!--",
    "]]>",
    "</style><style>*{display:none}</style>",
    "\"' onmouseover=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x202e;",
    "a\x1b[2J\r\n\u202eb\u2028c",
    *[text for text in HOSTILE_TEXTS if len(text) < 100],
)
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(min_size=1, max_size=30), min_size=7, max_size=7)


@pytest.mark.row("S23")
@given(TEXTS)
def test_hostile_text_is_text(texts: list[str]) -> None:
    """Whatever names, keys, values and messages hold: the page has the elements that harmless words have, and shows the text."""
    (picture,) = waterfalls(story(texts, "https://dashboard.example/"))
    page = render(picture)
    root = parsed(page)
    check_policy(page, root)
    harmless = [f"word{index}" for index in range(7)]
    (plain,) = waterfalls(story(harmless, "https://dashboard.example/"))
    assert shape(root) == shape(parsed(render(plain)))
    whole = "".join(root.itertext())
    assert all(printable(text) in whole for text in texts)


@pytest.mark.row("S23")
@given(
    st.sampled_from(
        [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java\nscript:alert(1)",
            " https://x.example",
            "data:text/html,<script>alert(1)</script>",
            "//evil.example",
            "https:evil",
            "https://[",
            "https://x.example/\u202egpj",
            "https://x.example/\x00",
            "vbscript:x",
            "file:///etc/passwd",
            "",
        ]
    )
    | st.text(max_size=40)
)
def test_a_url_that_is_no_web_page_is_no_link(url: str) -> None:
    """Only what leads to a host over HTTP becomes a link."""
    (picture,) = waterfalls(story(["a"] * 7, url))
    assert all(re.match(r"https?://[!-~]", link) for link in links(parsed(render(picture))))
    if not url.startswith(("http://", "https://")) or not url.isascii():
        assert links(parsed(render(picture))) == []


def test_the_page_of_a_run_is_a_link() -> None:
    """The URL that `spans.run_url` gave a run leads there, in the head and among its attributes, and tells nobody whence."""
    url = "https://dashboard.example/#/namespaces/ci/pipelineruns/run?a=1&b=%22"
    root = parsed(render(waterfalls(story(["a"] * 7, url))[0]))
    assert links(root) == [url, url]
    assert [one.get("rel") for one in root.iter("a") if one.get("href") == url] == ["noopener noreferrer"] * 2
