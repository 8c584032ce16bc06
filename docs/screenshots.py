"""Pictures of the report and of the terminal, into docs/images: `make screenshots`, or `python -m docs.screenshots`.

`report` shows the records under benchmarks/results beside a check of the same networks, which it runs; or what files or
folders hold that are named after it. `terminal` runs `tandem compare` and shows what it printed. Both take minutes, and
`terminal` wants a quiet machine.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.console import Console
from rich.text import Text

from shared_specs.files import write_atomically
from tandem.report import load, to_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
RESULTS, IMAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "images"

LARGEST_BYTES = 300_000
"""Of a picture, so that the documentation loads quickly."""

VIEWS: dict[str, dict[str, Any]] = {
    "report-light": {"viewport": {"width": 1200, "height": 1000}, "color_scheme": "light"},
    "report-dark": {"viewport": {"width": 1200, "height": 1000}, "color_scheme": "dark"},
    "report-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
"""What a browser is opened with; each is a picture of the first screen."""

SECTIONS = ("parity", "throughput", "roofline", "start")
"""Of the report, each a picture of its first screen, in light."""

CHECK = ("check", "unet_bn_same", "unet_paper", "--precision", "float64,float32", "--json", "check.json")

COMPARE = ("compare", "unet_bn_same", "--narrow", "8", "--size", "64", "--phase", "forward", "--output", "out/first")

COLUMNS = 120


def main(wanted: Sequence[str]) -> None:
    """Take the pictures that were asked for: "report", with paths after it or not, or "terminal"; else all."""
    what, *paths = wanted or ["all"]
    IMAGES.mkdir(exist_ok=True)
    if what in ("all", "report"):
        report(paths)
    if what in ("all", "terminal"):
        terminal()


def report(paths: Sequence[str]) -> None:
    """Pictures of the report of these files; of the first device that has a folder of records, and a check."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        if not paths:
            on_a_terminal([sys.executable, "-m", "tandem", *CHECK], Path(folder))
            paths = [str(min(path for path in RESULTS.glob("*") if path.is_dir())), str(Path(folder) / "check.json")]
        page.write_text(to_html(load(paths)), encoding="utf-8")
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        for name, how in VIEWS.items():
            keep(name, photograph(browser, page, how))
        for section in SECTIONS:
            keep(f"report-{section}", photograph(browser, page, VIEWS["report-light"], section))
        browser.close()


def chromium() -> str:
    """The system's browser. Raises SystemExit where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("needs chromium, chromium-browser or google-chrome on the path; install one")
    return found


def photograph(browser: Browser, page: Path, how: dict[str, Any], section: str = "answer") -> bytes:
    """A PNG of what is seen when the page was opened, or one of its sections was gone to, and its plots were drawn."""
    opened = browser.new_page(**how)
    opened.goto(page.as_uri() + ("" if section == "answer" else f"#{section}"))
    height = how["viewport"]["height"]
    for plot in opened.locator(".plot").all():
        box = plot.bounding_box()
        if box is not None and 0 < box["y"] < height and plot.is_visible():
            plot.locator("svg.main-svg").first.wait_for()
    png = opened.screenshot()
    opened.close()
    return png


def keep(name: str, png: bytes) -> None:
    """Write a picture with 256 colours, which are more than the page has. Raises SystemExit where it is too large."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    save(IMAGES / f"{name}.png", packed.getvalue())


def save(path: Path, content: bytes) -> None:
    if len(content) > LARGEST_BYTES:
        raise SystemExit(f"{path}: would have {len(content)} bytes, expected at most {LARGEST_BYTES}")
    write_atomically(path, content)
    print(f"{path.relative_to(ROOT)}: {len(content) // 1000} kB")


def terminal() -> None:
    """What `tandem compare` prints on a terminal, as an SVG."""
    with tempfile.TemporaryDirectory() as folder:
        printed = on_a_terminal([sys.executable, "-m", "tandem", *COMPARE], Path(folder))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"$ tandem {' '.join(COMPARE)}", style="bold", highlight=False)
    console.print(Text.from_ansi(printed))
    svg = console.export_svg(title="tandem compare")
    save(IMAGES / "compare.svg", re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).encode())  # fetched from afar


def on_a_terminal(command: Sequence[str], folder: Path) -> str:
    """The standard output of a command that takes it for a terminal; progress goes where this process's does."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=theirs, cwd=folder, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux ends a terminal so, whose other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    if process.wait() not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: ended with exit code {process.returncode}")
    return b"".join(parts).decode().replace("\r\n", "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
