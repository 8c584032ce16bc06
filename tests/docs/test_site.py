"""The documentation as a site: it builds without a warning, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from .pages import PAGES, ROOT, read

BROUGHT_ALONG = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the root, under the names that they have on the site."""


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="mkdocs.yml is read with PyYAML, which comes with the extra `docs`")
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs builds the site; install the extra `docs`")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings writes the reference; install the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3_000:]
    return folder


def listed(entries: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(entries, str):
        yield entries
    for entry in entries if isinstance(entries, list) else entries.values() if isinstance(entries, dict) else ():
        yield from listed(entry)


def test_every_page_has_its_place(config: dict[str, Any]) -> None:
    pages = list(listed(config["nav"]))
    assert len(pages) == len(set(pages))
    assert set(pages) == {BROUGHT_ALONG.get(page, page.removeprefix("docs/")) for page in PAGES} | {"licence.md"}


def html(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")  # which is served for any address


def test_every_page_is_built(site: Path, config: dict[str, Any]) -> None:
    assert {path.relative_to(site).as_posix() for path in html(site)} == {
        page.replace(".md", ".html") for page in listed(config["nav"])
    }


class Loads(HTMLParser):
    """What a page makes a browser load, and what it leads to."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.loaded += [given[name] for name in ("src", "srcset", "poster", "data") if name in given]
        if "href" in given:
            (self.links if tag == "a" else self.loaded).append(given["href"])


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in html(site):
        page = Loads(path)
        assert page.loaded
        assert [url for url in page.loaded if re.match(r"(\w+:)?//", url)] == [], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_no_link_leads_out_of_the_site_by_accident(site: Path) -> None:
    """Mkdocs warns of those in Markdown; here those that the hook has moved are followed in what was built."""
    for path in html(site):
        local = [link.partition("#")[0] for link in Loads(path).links if not re.match(r"\w+:|#", link)]
        assert [link for link in local if link and not (path.parent / link).exists()] == [], path.name


def test_no_program_is_published(site: Path) -> None:
    """Nor anything else that lies in docs/ and is no page, image or style sheet."""
    ours = [path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0] != "assets"]
    assert {path.suffix for path in ours} == {".html", ".css", ".svg", ".png", ".json", ".xml", ".gz"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/api/")])
def test_the_reference_shows_what_it_names(site: Path, page: str) -> None:
    text = (site / page.removeprefix("docs/").replace(".md", ".html")).read_text(encoding="utf-8")
    named = re.findall(r"^::: (\S+)$", read(page), re.MULTILINE)
    assert named
    assert [name for name in named if f'id="{name}"' not in text] == []
    members = [name for line in re.findall(r"members: \[(.*)\]", read(page)) for name in line.split(", ")]
    assert [name for name in members if not re.search(rf'id="[\w.]+\.{name}"', text)] == []
