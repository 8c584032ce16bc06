"""Markdown from text that files hold: whatever it is, it is shown as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shared_specs.errors import one_line, printable

from ..provenance import Code

SPECIAL = re.compile(r"[\\`*\[\]<>&|~#!$@]|(?<![^\W_])_|_(?![^\W_])|(?<=:)/(?=/)|(?<=www)\.", re.IGNORECASE)
"""What Markdown, or GitHub's kind of it, would read as more than text; an underscore within a word is none of it."""


def plain(text: str) -> str:
    """Text from a file as Markdown that shows it, whatever it is, on one line: no markup, no links, no HTML."""
    return SPECIAL.sub(r"\\\g<0>", one_line(printable(text)))


def code(text: str) -> str:
    """The same in a fixed-width font, which takes everything as it stands but these signs."""
    shown = one_line(printable(text))
    return plain(text) if not shown or set(shown) & set("`\\|") else f"`{shown}`"


def shown(text: str) -> str:
    """Text of either kind."""
    return code(text) if isinstance(text, Code) else plain(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A Markdown table, padded so that it also reads well as text; `right` are the columns aligned on the right."""
    cells = [[shown(cell) for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]
    to_right = set(right)
    rule = ["-" * (width - 1) + ":" if i in to_right else "-" * width for i, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in to_right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
