"""The pages of the documentation, and their code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of the page on which it starts, and its text."""

    language: str
    line: int
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[Block]:
    text = read(page)
    found = [Block(m[1], text[: m.start(2)].count("\n"), m[2]) for m in BLOCK.finditer(text)]
    return [block for block in found if block.language == language]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return BLOCK.sub("", read(page))


def rows(text: str) -> list[list[str]]:
    """The cells of every row of the Markdown tables in a text, their heads and rules too."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
