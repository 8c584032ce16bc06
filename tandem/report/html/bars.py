"""Bars, one a backend and tuning, of one quantity: a small figure for each network and shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.verdict import NO_INTERVAL

from ..cells import Names, TimedCell
from ..scenarios import Quantity
from .figures import Template, colour, figure, fill
from .markup import Html, details, element, join

SHOWN = 6
"""Figures of a section that are shown at once; the others are folded."""


@dataclass(frozen=True)
class Bars:
    """What is drawn.

    Attributes:
        axis: what the value is, with its unit.
        shown: a value for people.
        ascending: whether the least is the best, and stands on top.
    """

    axis: str
    quantity: Quantity
    shown: Callable[[float], str]
    ascending: bool = False


def bars(kind: Bars, cells: Sequence[TimedCell], names: Names) -> Html:
    """The median over processes with the 95% interval of their geometric mean; "" where nobody has a value."""
    rows = [(cell, value) for cell in cells if (value := cell.median(kind.quantity)) is not None]
    if not rows:
        return Html("")
    rows.sort(key=lambda row: row[1], reverse=kind.ascending)  # the first is drawn at the bottom
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(rows))),
        "x": [value for _, value in rows],
        "width": 0.42,
        "customdata": [[cell.arm, kind.shown(value), _interval(kind, cell)] for cell, value in rows],
        "hovertemplate": Template("%{customdata[0]}: %{customdata[1]}<br>%{customdata[2]}<extra></extra>"),
        "marker": {
            "color": [fill(cell.backend, cell.tuning) for cell, _ in rows],
            "line": {"color": [colour(cell.backend) for cell, _ in rows], "width": 1.5},
        },
        "error_x": _whiskers(kind, rows),
    }
    labels = [
        label
        for place, (cell, value) in enumerate(rows)
        for label in (_label(place, cell.arm, "left"), _label(place, kind.shown(value), "right"))
    ]
    layout = {
        "height": 56 + 44 * len(rows),
        "margin": {"l": 8, "t": 0},
        "xaxis": {"title": {"text": kind.axis}, "rangemode": "tozero"},
        "yaxis": {"visible": False, "range": [-0.5, len(rows) - 0.3]},
        "annotations": labels,
    }
    best, value = rows[-1]
    least = "least" if kind.ascending else "most"
    described = f"{kind.axis[:1].upper()}{kind.axis[1:]}, {least} on top: {best.arm} with {kind.shown(value)}."
    return figure([trace], layout, f"{names(cells[0].records[0])}, {cells[0].phase}", described)


def _label(place: int, text: str, side: str) -> dict[str, Any]:
    """Above its bar, which leaves the bars the whole width of a phone."""
    at = {"x": 0 if side == "left" else 1, "xref": "paper", "xanchor": side}
    over = {} if side == "left" else {"bgcolor": "var(--card)"}  # the value, where a long name reaches it
    return {**at, **over, "y": place, "yanchor": "bottom", "yshift": 9, "text": text, "showarrow": False}


def _interval(kind: Bars, cell: TimedCell) -> str:
    interval = cell.interval(kind.quantity)
    return (
        f"95% interval {kind.shown(interval[0])} to {kind.shown(interval[1])}"
        if interval
        else f"95% interval {NO_INTERVAL}"
    )


def _whiskers(kind: Bars, rows: Iterable[tuple[TimedCell, float]]) -> dict[str, Any]:
    below, above = [], []
    for cell, value in rows:
        low, high = cell.interval(kind.quantity) or (value, value)
        below.append(max(value - low, 0.0))
        above.append(max(high - value, 0.0) if math.isfinite(high) else 0.0)
    width = {"color": "var(--ink)", "thickness": 1.2, "width": 4}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **width}


def grid(figures: Sequence[Html]) -> Html:
    """Side by side where there is room, and the later ones folded."""
    made = [one for one in figures if one]
    if not made:
        return Html("")
    shown = element("div", join(made[:SHOWN]), class_="grid")
    rest = made[SHOWN:]
    return join([shown, details(f"{len(rest)} more", element("div", join(rest), class_="grid"))]) if rest else shown
