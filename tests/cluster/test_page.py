"""The claim of the page, in Debian's Chromium: it can be read, worked by keyboard, and runs nothing but its own. No cluster."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from tests.cluster.lab.builds import install, unfit_here
from tests.explain.test_page import NASTY, recorded, story
from tests.kit import HERE, RECORDINGS, SCENARIOS, drive, facts, large_run, replay
from tracer.explain.page import render
from tracer.explain.phrases import printable
from tracer.explain.waterfall import Waterfall, waterfalls

DESKTOP, PHONE = 1100, 390
PICTURE = HERE.parent / "docs" / "page.png"
PICTURE_BYTES = 150_000

Scheme = Literal["light", "dark"]
SIGHTS: tuple[tuple[int, Scheme], ...] = ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark"))
ROWS = ".row > summary"

# Of each text that can be seen: the contrast of its colour with what lies behind it, by WCAG 2.2, where it is too low.
TOO_FAINT = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(colour).map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    while (one.parentElement && (channels(getComputedStyle(one).backgroundColor)[3] ?? 1) === 0) one = one.parentElement;
    return getComputedStyle(one).backgroundColor;
  };
  return [...document.body.querySelectorAll("*")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && one.checkVisibility())
    .filter((one) => one.tagName !== "SCRIPT")
    .map((one) => {
      const style = getComputedStyle(one);
      const [ours, theirs] = [light(one instanceof SVGElement ? style.fill : style.color), light(behind(one))];
      return [(Math.max(ours, theirs) + 0.05) / (Math.min(ours, theirs) + 0.05), one.textContent];
    })
    .filter(([contrast]) => contrast < 4.5);
}"""
# Whether the page can be moved sideways.
IS_TOO_WIDE = "() => document.documentElement.scrollWidth > window.innerWidth"
ELEMENTS = "() => document.querySelectorAll('*').length"
LONGEST_TASK = """async () => {
  let longest = 0;
  const seen = new PerformanceObserver((all) => all.getEntries().forEach((one) => (longest = Math.max(longest, one.duration))));
  seen.observe({ type: "longtask" });
  document.getElementById("expand").click();
  while (document.querySelector("details.row:not([open])")) await new Promise(requestAnimationFrame);
  await new Promise((done) => setTimeout(done, 200));
  return longest;
}"""

# Somebody who thinks better of it while rows are still being opened.
EXPAND_AND_COLLAPSE = """async () => {
  document.getElementById("expand").click();
  document.getElementById("collapse").click();
  for (let frame = 0; frame < 100; frame++) await new Promise(requestAnimationFrame);
}"""


@dataclass
class Heard:
    """What a page did beside being shown."""

    requests: list[str] = field(default_factory=list)
    refused: list[tuple[str, str | None]] = field(default_factory=list)
    """Of those what the browser did not do, and why."""
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def dismiss(self, dialog: Dialog) -> None:
        """Note a dialog, and close it."""
        self.dialogs.append(dialog.message)
        dialog.dismiss()


class Desk:
    """A browser, and a folder for pages and screenshots."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        """Take both."""
        self._browser = browser
        self._folder = folder

    def show(self, picture: Waterfall, width: int = DESKTOP, *, scripts: bool = True) -> tuple[Page, Heard]:
        """Open a run's page in a window of its own."""
        file = self._folder / "page.html"
        file.write_text(render(picture))
        context = self._browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="light", java_script_enabled=scripts
        )
        page, heard = context.new_page(), Heard()
        page.on("request", lambda request: heard.requests.append(request.url))
        page.on("requestfailed", lambda request: heard.refused.append((request.url, request.failure)))
        page.on("pageerror", lambda error: heard.complaints.append(str(error)))
        page.on("console", lambda said: heard.complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("dialog", heard.dismiss)
        page.goto(file.as_uri())
        assert heard.requests == [file.as_uri()]
        return page, heard

    def keep(self, page: Page, name: str) -> None:
        """Keep a screenshot, for whoever looks into a failure."""
        page.screenshot(path=self._folder / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium; where no cluster can stand nothing is installed, and the tests are skipped."""
    if reason := unfit_here():
        pytest.skip(reason)
    install(["chromium", "fonts-dejavu-core"])
    with sync_playwright() as driver:
        # As root it refuses to start with its sandbox; all that it opens is our own.
        started = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[Desk]:
    """Give a desk, and close its windows in the end."""
    yield Desk(browser, tmp_path)
    for context in browser.contexts:
        context.close()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]])
def test_a_recording(desk: Desk, path: Path) -> None:
    """Each run can be read, light and dark, on a desk and on a phone, with all opened too; nothing is loaded or complained of."""
    for number, picture in enumerate(waterfalls(replay(path / "watch.jsonl"))):
        page, heard = desk.show(picture)
        assert page.locator(f"{ROWS}:visible").count() == sum(1 for _ in picture.root.walk())
        for how in ("first", "opened"):
            for width, scheme in SIGHTS:
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=scheme)
                assert (page.evaluate(IS_TOO_WIDE), page.evaluate(TOO_FAINT)) == (False, []), (how, width, scheme)
                if how == "first":
                    desk.keep(page, f"{number}-{width}-{scheme}")
            page.get_by_role("button", name="Expand all").click()
            page.wait_for_function("() => !document.querySelector('.rows details:not([open])')")
        assert heard == Heard(requests=[page.url])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("failing-step", {"Reason": "Error", "Exit code": "3", "Message": "exit code 3: Error"}),
        ("task-timeout", {"Reason": "TaskRunTimeout", "Exit code": "255", "Message": "exit code 255: Error"}),
    ],
)
def test_the_failing_step_is_open(desk: Desk, name: str, said: dict[str, str]) -> None:
    """What failed can be read without a click, and the line that says why leads to it."""
    page, _ = desk.show(recorded(name))
    why = page.locator(".row[open] .why")
    assert why.is_visible()
    assert dict(zip(why.locator("dt").all_inner_texts(), why.locator("dd").all_inner_texts(), strict=True)) == said
    page.locator(".causes a").last.click()
    assert page.locator("li:target > .row[open] .why").is_visible()


def test_the_keyboard(desk: Desk) -> None:
    """Tab reaches a row and Enter opens its attributes; arrows move between rows, fold them, and open what is folded."""
    page, _ = desk.show(recorded("retries"))
    names = page.locator(f"{ROWS} .name").all_inner_texts()

    def here() -> str:
        return str(page.locator(".row > summary:focus .name").inner_text())

    page.get_by_role("button", name="Collapse all").focus()
    page.keyboard.press("Tab")
    assert here() == names[0]
    assert not page.locator(".panel").first.is_visible()
    page.keyboard.press("Enter")
    assert page.locator(".panel").first.get_by_text("tekton.run.name").is_visible()
    page.keyboard.press("Enter")
    assert not page.locator(".panel").first.is_visible()
    page.keyboard.press("ArrowDown")
    assert here() == names[1] == "flaky"
    seen = page.locator(f"{ROWS}:visible").count()
    page.keyboard.press("ArrowLeft")
    assert page.locator(f"{ROWS}:visible").count() == 2
    assert page.get_by_text(f"+{seen - 2} rows").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator(f"{ROWS}:visible").count() == seen
    page.keyboard.press("ArrowRight")
    assert here() == names[2]
    page.keyboard.press("ArrowLeft")
    assert here() == "flaky"
    page.keyboard.press("ArrowUp")
    assert here() == names[0]
    page.keyboard.press("ArrowUp")
    assert here() == names[0]


def test_without_scripts(desk: Desk) -> None:
    """Where no script runs all can be read and opened; what needs one is not shown."""
    page, heard = desk.show(recorded("retries"), scripts=False)
    assert not page.locator(".tools").is_visible()
    assert all(row.is_visible() for row in page.locator(ROWS).all())
    page.locator(ROWS).nth(2).click()
    assert page.locator(".panel").nth(2).is_visible()
    page.locator(".below > summary").nth(1).click()
    assert not page.locator(ROWS).nth(2).is_visible()
    assert heard.complaints == []


def test_a_run_that_goes_on(desk: Desk) -> None:
    """It is shown as far as it is known."""
    observations = facts(HERE / "recordings" / "failing-step" / "watch.jsonl")
    stop = len(observations) * 7 // 10
    told = drive(observations[:stop])
    (picture,) = waterfalls(told.spans.values(), told.ledger.unfinished(), observations[stop - 1][0])
    for width in (DESKTOP, PHONE):
        page, heard = desk.show(picture, width)
        assert "last heard of" in page.locator(".end").inner_text()
        assert "waiting" in page.locator(".says").last.inner_text()
        assert (page.evaluate(IS_TOO_WIDE), page.evaluate(TOO_FAINT), heard.complaints) == (False, [], [])


@pytest.mark.row("S23")
@pytest.mark.parametrize("text", [*NASTY, "n" * 1_000], ids=range(len(NASTY) + 1))
def test_hostile_text_is_shown(desk: Desk, text: str) -> None:
    """Whatever a name, key, value or message holds: the browser shows it as text, makes nothing of it, and finds room for it."""
    (harmless,) = waterfalls(story(["a"] * 7, "https://dashboard.example/"))
    plain, _ = desk.show(harmless)
    elements = plain.evaluate(ELEMENTS)
    (picture,) = waterfalls(story([text] * 7, "https://dashboard.example/"))
    for width in (DESKTOP, PHONE):
        page, heard = desk.show(picture, width)
        page.get_by_role("button", name="Expand all").click()
        assert page.evaluate(ELEMENTS) == elements
        assert page.evaluate("() => document.querySelector('h1').textContent") == printable(text)
        assert page.locator("h1").is_visible()
        assert not page.evaluate(IS_TOO_WIDE)
        assert heard == Heard(requests=[page.url])


@pytest.mark.row("S23")
def test_what_an_escape_would_miss_is_refused(desk: Desk) -> None:
    """Markup that got into the page all the same neither runs, nor loads, nor changes how anything looks."""
    page, heard = desk.show(recorded("success"))
    colour = page.evaluate("() => getComputedStyle(document.querySelector('h1')).color")
    page.evaluate("""() => {
      const made = document.createRange().createContextualFragment(`
        <img src="https://evil.example/a.png" onerror="alert(1)"><style>h1 { color: red }</style><script>alert(2)</script>
        <p id="evil" style="color: red" onclick="alert(3)">evil</p>`);
      document.querySelector("main").prepend(made);
    }""")
    page.locator("#evil").click()
    colours = "() => ['h1', '#evil'].map((one) => getComputedStyle(document.querySelector(one)).color)"
    assert page.evaluate(colours) == [colour] * 2
    assert heard.dialogs == []
    assert heard.refused == [(url, "csp") for url in heard.requests[1:]]
    assert len(heard.complaints) >= 4


def test_five_hundred_spans(desk: Desk, say: Callable[[str], None]) -> None:
    """A large run is shown folded, and opened whole, attributes and all, without a page of unbounded size."""
    (picture,) = waterfalls(large_run(70))
    rows = sum(1 for _ in picture.root.walk())
    page, heard = desk.show(picture)
    assert page.locator(f"{ROWS}:visible").count() < 90
    longest = page.evaluate(LONGEST_TASK)
    assert page.locator(f"{ROWS}:visible").count() == page.locator(".row[open]").count() == rows
    assert page.evaluate(ELEMENTS) < 80 * rows
    assert heard.complaints == []
    page.get_by_role("button", name="Collapse all").click()
    page.wait_for_function("() => !document.querySelector('.row[open]')")
    page.evaluate(EXPAND_AND_COLLAPSE)
    assert page.locator(".row[open]").count() == 0
    say(f"A page of {rows} spans opened whole: the browser was busy for at most {longest:.0f} ms at a stretch (0: below 50).")


def test_the_picture_of_the_readme(desk: Desk, request: pytest.FixtureRequest) -> None:
    """`--rewrite` takes it anew; it is small enough to be looked at."""
    page, _ = desk.show(recorded("task-timeout"))
    if request.config.getoption("--rewrite"):
        page.screenshot(path=PICTURE, full_page=True)
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.stat().st_size < PICTURE_BYTES
