"""The page as a reader meets it: opened from disk in headless Chromium, without a network."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tandem.report import Findings, to_html

from .made_up import both, check, processes, record, startup, sweep

pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; it comes with the extra `test`"
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is on the path"),
    pytest.mark.xdist_group("browser"),
]

PATIENCE_S = 60.0
"""On a busy machine; nothing here is judged by how long it takes."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # No sandbox, which a container seldom lets it have: the page is our own.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


def findings() -> Findings:
    late = {"startup": startup(11.0, compile_s=9.0), "compilations": 2}
    records = [
        *both(0.010, 0.020),
        *both(0.006, 0.008, tuning="tuned", **late),
        *processes(0.012, "handwritten_pytorch"),
        *sweep("pytorch", 8, size=(32, 32)),
        *sweep("flax_nnx", 4, size=(32, 32)),
        record(None, "numpy_reference", phase="train_step"),
    ]
    return Findings([check()], records, ["a remark"], both(0.010, 0.010, commit="b" * 40))


@dataclass
class Opened:
    """A page, and what went wrong while it was open."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def draw(self, where: str = "") -> list[Any]:
        """Every plot there that is not folded away, each scrolled to and drawn."""
        seen = [plot for plot in self.page.locator(f"{where} .plot").all() if plot.is_visible()]
        for plot in seen:
            plot.scroll_into_view_if_needed()
            plot.locator("svg.main-svg").first.wait_for(timeout=1e3 * PATIENCE_S)
        return seen


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(to_html(findings()), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: Browser, path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the page; at the end, nothing has been complained of on the console, and nothing was asked of a network."""
    made: list[Opened] = []

    def open_page(width: int = 1200, scheme: Any = "light", until: Any = "domcontentloaded") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, accept_downloads=True
        )
        this = Opened(context.new_page())
        made.append(this)
        this.page.on("console", lambda message: this.complaints.append(message.text))
        this.page.on("pageerror", lambda error: this.complaints.append(str(error)))
        this.page.on("request", lambda request: this.requests.append(request.url))
        this.page.goto(path.as_uri(), wait_until=until, timeout=1e3 * PATIENCE_S)
        return this

    yield open_page
    for one in made:
        one.page.context.close()
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(("file:", "blob:", "data:"))] == []


def test_it_opens_and_every_plot_is_drawn(opened: Callable[..., Opened]) -> None:
    this = opened()
    plots = this.draw()
    assert len(plots) >= 8
    for plot in plots:
        box = plot.locator("svg.main-svg").first.bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 80
    drawn = this.page.evaluate("document.querySelectorAll('.plot .point, .plot .bars path, .plot .lines path').length")
    assert drawn > 20, "there is something in the plots"


def test_no_plot_is_blank_when_the_page_has_loaded(opened: Callable[..., Opened]) -> None:
    """So that a capture of the whole page, or paper, has them all though nobody has scrolled to them."""
    page = opened(until="load").page
    blank = "[...document.querySelectorAll('.plot')].filter((one) => !one.querySelector('svg.main-svg'))"
    folded = page.evaluate(f"{blank}.map((one) => one.closest('details:not([open])') !== null)")
    assert all(folded), f"{len(folded)} plots are blank, and not all of them are folded away"
    assert page.locator("iframe").count() == 0, "what held the loading is gone"


def test_folded_plots_are_drawn_when_they_are_unfolded(opened: Callable[..., Opened]) -> None:
    """And tables in them are there: a fold of the roofline has its points."""
    page = opened().page
    fold = page.locator("#roofline details").first
    assert not fold.locator("table").is_visible()
    fold.locator("summary").click()
    assert fold.locator("table").is_visible()


def columns(page: Page, number: int) -> list[str]:
    return page.locator(f"#throughput tbody tr > :nth-child({number})").all_inner_texts()


def test_tables_sort_by_click(opened: Callable[..., Opened]) -> None:
    page = opened().page
    header = page.locator("#throughput thead th").filter(has_text="ms a step")
    for direction, sign in (("ascending", 1), ("descending", -1)):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == direction
        shown = columns(page, 7)
        times = [float(time) for time in shown if time]
        assert len(times) > 5 and times == sorted(times, key=lambda value: sign * value)
        assert shown[: len(times)] == [time for time in shown if time], "what is empty comes last"
    page.locator("#throughput thead th").filter(has_text="backend").locator("button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert columns(page, 3) == sorted(columns(page, 3))


def test_tables_sort_by_keyboard(opened: Callable[..., Opened]) -> None:
    page = opened().page
    header = page.locator("#throughput thead th").filter(has_text="images/s")
    header.locator("button").focus()
    for key, direction in (("Enter", "ascending"), ("Space", "descending")):
        page.keyboard.press(key)
        assert header.get_attribute("aria-sort") == direction
    shown = [float(value) for value in columns(page, 5) if value.replace(".", "").isdigit()]
    assert shown == sorted(shown, reverse=True)


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def bar_colours(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('#throughput .bars path')].map((one) => one.style.stroke)")


def test_the_theme_follows_the_system_and_the_button(opened: Callable[..., Opened]) -> None:
    light, dark = opened(scheme="light"), opened(scheme="dark")
    assert background(light.page) != background(dark.page)
    this = light
    this.draw("#throughput")
    before, colours = background(this.page), bar_colours(this.page)
    button = this.page.locator("#theme")
    assert button.inner_text() == "Dark theme"
    button.focus()
    this.page.keyboard.press("Enter")
    assert background(this.page) == background(dark.page)
    assert button.inner_text() == "Light theme"
    assert colours and bar_colours(this.page) != colours, "plots follow"
    button.click()
    assert (background(this.page), bar_colours(this.page)) == (before, colours)


def test_a_phone_scrolls_down_and_not_sideways(opened: Callable[..., Opened]) -> None:
    width = 390
    this = opened(width=width)
    this.draw()
    for fold in this.page.locator("details > summary").all():
        fold.click()
    assert this.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = this.page.evaluate(
        "(width) => [...document.querySelectorAll('main > section > :not(.wide), figure')]"
        ".filter((one) => one.getBoundingClientRect().right > width).map((one) => one.outerHTML.slice(0, 80))",
        width,
    )
    assert outside == []


NEEDS_ROOM = """[...document.querySelectorAll('.plot, .wide')].filter((one) => one.checkVisibility())
  .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right > innerWidth)
  .map((one) => one.outerHTML.slice(0, 120))"""


def test_on_a_phone_no_table_and_no_plot_is_wider_than_the_screen(opened: Callable[..., Opened]) -> None:
    """A capture would cut it off: the heat map, and the table of every cell with its thirteen columns."""
    this = opened(width=390)
    assert this.draw("#parity"), "the heat map"
    assert this.page.evaluate(NEEDS_ROOM) == []
    for fold in this.page.locator("details > summary").all():
        fold.click()
    assert this.page.evaluate(NEEDS_ROOM) == []
    cell = this.page.locator("#throughput tbody td").nth(3)
    assert cell.evaluate("(one) => getComputedStyle(one, '::before').content") == '"images/s"', (
        "each value has its name"
    )


def test_the_records_can_be_downloaded_and_are_those_of_the_page(opened: Callable[..., Opened]) -> None:
    page = opened().page
    with page.expect_download() as waiting:
        page.locator("button.download").click()
    assert waiting.value.suggested_filename == "tandem-records.json"
    downloaded = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    assert downloaded == json.loads(json.dumps(findings().to_dict()))


def test_the_keyboard_reaches_the_answer_first(opened: Callable[..., Opened]) -> None:
    page = opened().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = numbers(colour).map(channel);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
  };
  const shown = [...document.querySelectorAll("body *:not(svg *):not(script)")].filter((one) =>
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && one.checkVisibility());
  return shown.map((one) => {
    const [text, paper] = [getComputedStyle(one).color, behind(one)].map(luminance);
    return [(Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05), one.outerHTML.slice(0, 80)];
  }).filter(([ratio]) => ratio < 4.5);
}"""
"""Elements whose text has less contrast with what is behind it than WCAG 2.2 asks for at level AA."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Callable[..., Opened], scheme: str) -> None:
    page = opened(scheme=scheme).page
    assert page.evaluate(CONTRAST) == []
    page.evaluate("document.body.style.color = document.body.style.backgroundColor = 'rgb(128, 128, 128)'")
    assert page.evaluate(CONTRAST) != [], "grey on grey would be seen"


def test_paper_is_light_and_shows_what_is_folded(opened: Callable[..., Opened]) -> None:
    this = opened(scheme="dark")
    this.draw()
    before = background(this.page)
    this.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert this.page.locator("details:not([open])").count() == 0
    assert this.page.evaluate("document.documentElement.dataset.theme") == "light"
    deadline = time.monotonic() + PATIENCE_S
    while this.page.evaluate("[...document.querySelectorAll('.plot')].some((one) => !one.querySelector('svg'))"):
        assert time.monotonic() < deadline, "a plot was not drawn for paper"
    this.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert this.page.locator("details[open]").count() == 0
    assert background(this.page) == before
    assert this.page.pdf(format="A4").startswith(b"%PDF")
