"""Tables that sort by any column, by mouse and by keyboard, and scroll in their own box where they are wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .markup import Html, element, join, text

COLUMNS, ROWS = 4, 40
"""A table with more columns is, on a phone, a list of its rows with their values below each other; with more rows it
scrolls in its own box there too."""


class Number(str):
    """A cell that is sorted by a number and shown as text: `Number.of(0.0123, "12.3 ms")`."""

    value: float

    @classmethod
    def of(cls, value: float, shown: str) -> Number:
        made = cls(shown)
        made.value = value
        return made


def table(caption: object, head: Sequence[object], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> Html:
    """A table whose headers are buttons that sort it.

    Args:
        caption: what it holds.
        rows: cells are text, `Html`, or a `Number`.
        right: the columns aligned on the right.
    """
    to_right, names = set(right), list(map(str, head)) if len(head) > COLUMNS else []
    headers = [
        element(
            "th",
            element("button", title, element("span", class_="order", aria_hidden="true"), type="button"),
            scope="col",
            aria_sort="none",
            class_="right" if column in to_right else None,
        )
        for column, title in enumerate(head)
    ]
    body = [
        element("tr", join([_cell(cell, column, column in to_right, names) for column, cell in enumerate(row)], ""))
        for row in rows
    ]
    kind = "wide" if not names else "wide stacks" if len(body) <= ROWS else "wide stacks long"
    written = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", join(headers, ""))),
        element("tbody", join(body)),
    )
    return element("div", written, class_=kind, tabindex="0", role="region", aria_label=caption)


def _cell(cell: object, column: int, right: bool, names: Sequence[str]) -> Html:
    value = f"{cell.value:.6g}" if isinstance(cell, Number) else None
    shown = cell if isinstance(cell, Html) else text(cell)
    if column == 0:
        return element("th", shown, scope="row", data_value=value, class_="right" if right else None)
    name = names[column] if names and shown else None
    return element("td", shown, data_value=value, data_name=name, class_="right" if right else None)


def number(value: float | None, form: str) -> str:
    """A cell with a number, or "" where there is none."""
    return "" if value is None else Number.of(value, form.format(value))
