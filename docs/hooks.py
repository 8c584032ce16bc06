"""What mkdocs calls while it builds the site: README.md is the home page, and its neighbours come along.

On a code host the pages link to each other by where they lie, `docs/specs.md` and `../README.md`. On the site all of
them lie in one folder, and these links are made to fit.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LICENCE = "LICENSE", "licence.md"

PLACES = FROM_ROOT | dict([LICENCE])
"""Where a file of the repository's root lies on the site."""

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """The pages that lie outside of docs/."""
    for name, place in FROM_ROOT.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    name, place = LICENCE
    text = (ROOT / name).read_text(encoding="utf-8")
    files.append(File.generated(config, place, content=f"# Licence\n\n```text\n{text.rstrip()}\n```\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The links of a page, from where they lead in the repository to where that is on the site."""
    place = page.file.src_uri
    if place == FROM_ROOT["README.md"]:
        page.meta["hide"] = ["navigation"]  # it would list this page alone
    origin = next((name for name, at in PLACES.items() if at == place), f"docs/{place}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link[1]))
        there = PLACES.get(target, target.removeprefix("docs/"))
        if there == target:  # neither of the root nor of docs/: mkdocs will say that the site has no such page
            return link[0]
        return f"]({posixpath.relpath(there, posixpath.dirname(place) or '.')}"

    return LINK.sub(moved, markdown)
