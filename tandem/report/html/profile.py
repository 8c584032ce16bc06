"""The error profile: how far each layer's output lies from the reference's, drawn on the U that the layers form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...units import NOTHING, floors
from ..findings import Check, Findings, Measured
from .figures import Template, colour, faded, figure, symbol
from .markup import Html, details, join, paragraph, section
from .tables import Number, table
from .ushape import BAND, DEPTH, LEFT, RIGHT, WIDTH, Axis, Drawing, Point, Seat

PROBE = "activations"

SMALLEST = 0.01
"""Floors at the wall: what is nearer, or the same, is drawn there."""

MANY_LAYERS = 130
"""From which on the dots are small."""

SHOWN_OPEN = 3
"""Figures that are open at once; the others wait to be asked for."""


def profile(findings: Findings) -> Html:
    """A figure for each check that measured the layers."""
    figures = [made for check in findings.checks if (made := of_check(check))]
    what = paragraph(
        "How far every layer's output lies from the reference's, in noise floors. Down the left wall goes the "
        "encoder, along the bottom the deepest level, up the right wall the decoder, as the data do. The farther a "
        "layer is from the reference, the farther its dot stands from the wall, on a logarithmic axis."
    )
    shown = [*figures[:SHOWN_OPEN]]
    if figures[SHOWN_OPEN:]:
        shown.append(details(f"{len(figures) - SHOWN_OPEN} more", join(figures[SHOWN_OPEN:])))
    return section("profile", "Error through the U-Net", *([what, *shown] if shown else []))


def of_check(check: Check) -> Html:
    """The figure of one check; "" where it has no layers that stand in a U."""
    measured = [m for m in check.measurements if m.probe == PROBE]
    if not measured:
        return Html("")
    reference = measured[0].reference
    measured = [m for m in measured if m.reference == reference]
    deep = check.spec.deep_supervision.levels if check.spec.deep_supervision else ()
    drawing = Drawing(dict.fromkeys(m.quantity for m in measured), deep)
    measured = [m for m in measured if m.quantity in drawing.places]
    if not measured:
        return Html("")
    finite = [m.floors for m in measured if math.isfinite(m.floors)]
    axis = Axis(SMALLEST, max(4 * check.limit, 2 * max(finite, default=0.0)))
    first = first_difference(check, measured)
    traces = [*_contours(drawing, axis, check), *_walls(drawing), *_profiles(drawing, axis, measured)]
    name = f"{check.spec.name}, {check.execution.precision}: layers against {reference}"
    layout = {
        "height": round(60 + BAND * drawing.depth + DEPTH + 40),
        "xaxis": {"range": [0, WIDTH], "visible": False, "fixedrange": True},
        "yaxis": {"range": [drawing.bottom - DEPTH - 25, 30], "visible": False, "fixedrange": True},
        "margin": {"l": 0, "r": 0, "t": 8, "b": 0},
        "hovermode": "closest",
        "annotations": [*_labels(drawing, axis, check), *_first(drawing, axis, first)],
    }
    return figure(
        traces,
        layout,
        name,
        description(check, measured, first),
        details("The same as a table", _table(name, measured)),
    )


def first_difference(check: Check, measured: Sequence[Measured]) -> Measured | None:
    """The first layer beyond the limit, in the order of execution."""
    return next((m for m in measured if not m.floors <= check.limit), None)


def description(check: Check, measured: Sequence[Measured], first: Measured | None) -> str:
    """What is to be seen, in words."""
    farthest = max(measured, key=lambda m: m.floors)
    layers = len({m.quantity for m in measured})
    if first is None:
        said = f"All {layers} layers lie within the limit of {check.limit:g}"
    else:
        said = (
            f"The first layer beyond the limit of {check.limit:g} is {first.quantity} of {first.candidate}, "
            f"{floors(first.floors)} floors away"
        )
    return f"{said}; the farthest is {farthest.quantity} of {farthest.candidate} at {floors(farthest.floors)}."


def _profiles(drawing: Drawing, axis: Axis, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """For each backend a line along the way of the data, and one for each node and head beside it."""
    traces = []
    for candidate in dict.fromkeys(m.candidate for m in measured):
        runs: dict[Seat | None, list[Measured]] = {}
        for m in measured:
            if m.candidate == candidate:
                seat = drawing.places[m.quantity].seat
                runs.setdefault(None if seat.part in ("encoder", "decoder", "head") else seat, []).append(m)
        for number, run in enumerate(runs.values()):
            points = [drawing.places[m.quantity].at(axis.share(m.floors)) for m in run]
            traces.append(
                _line(points, colour(candidate), 1.5)
                | {
                    "mode": "lines+markers",
                    "name": candidate,
                    "legendgroup": candidate,
                    "showlegend": number == 0,
                    "customdata": [[m.quantity, floors(m.floors), m.candidate, m.reference] for m in run],
                    "hoverinfo": "all",
                    "hovertemplate": Template(
                        "<b>%{customdata[0]}</b><br>%{customdata[1]} floors<br>%{customdata[2]} vs %{customdata[3]}"
                        "<extra></extra>"
                    ),
                    "marker": {
                        "color": colour(candidate),
                        "symbol": symbol(candidate),
                        "size": 7 if len(drawing.places) <= MANY_LAYERS else 4,
                    },
                }
            )
    return traces


def _walls(drawing: Drawing) -> list[dict[str, Any]]:
    skips = [_line(points, faded("var(--soft)", 45), 2, "dot") for _, points in drawing.skips()]
    return [*skips, *(_line(points, "var(--soft)", 5) for points in drawing.walls())]


def _contours(drawing: Drawing, axis: Axis, check: Check) -> list[dict[str, Any]]:
    grid = [_line(drawing.contour(axis.share(tick)), "var(--rule)", 1) for tick in _ticks(axis, check.limit)]
    return [*grid, _line(drawing.contour(axis.share(check.limit)), "var(--bad)", 1.5, "dash")]


def _ticks(axis: Axis, limit: float) -> list[float]:
    """Powers of ten, few enough to be told apart and none beside the limit."""
    low, high = math.ceil(math.log10(axis.smallest)), math.floor(math.log10(axis.largest))
    step = max(1, math.ceil((high - low) / 5))
    room = math.log10(axis.largest / axis.smallest) / 12
    powers = [float(f"1e{power}") for power in range(low + step, high + 1, step)]
    return [power for power in powers if abs(math.log10(power / limit)) > room]


def _line(points: Sequence[Point], colour: str, width: float, dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": width, "dash": dash},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _labels(drawing: Drawing, axis: Axis, check: Check) -> list[dict[str, Any]]:
    """The ticks at the top of both arms, the levels between them, and the names of the arms."""
    labels = []
    ticks = [(tick, _power(tick), "var(--soft)") for tick in _ticks(axis, check.limit)]
    for tick, words, ink in [*ticks, (check.limit, f"{check.limit:g}", "var(--bad)")]:
        for x, _ in (drawing.contour(axis.share(tick))[0], drawing.contour(axis.share(tick))[-1]):
            labels.append(_text(x, 4, words, ink, yanchor="bottom", size=11))
    widths = check.spec.widths
    lines = dict(drawing.skips())
    for level in drawing.levels:
        channels = f", {widths[level]} channels" if len(widths) > level and not drawing.columns else ""
        y = lines[level][0][1] if level in lines else -BAND * (level + 0.8)
        labels.append(_text(LEFT + 12, y, f"level {level}{channels}", "var(--soft)", xanchor="left", yanchor="bottom"))
    channels = f", {widths[drawing.depth]} channels" if len(widths) > drawing.depth else ""
    labels.append(
        _text(
            (LEFT + RIGHT) / 2,
            drawing.bottom,
            f"level {drawing.depth}{channels}",
            "var(--soft)",
            yanchor="bottom",
            yshift=3,
            size=11,
        )
    )
    labels.append(_text(LEFT + 12, 0, "encoder ↓", "var(--ink)", xanchor="left", yanchor="top"))
    labels.append(_text(RIGHT - 12, 0, "↑ decoder", "var(--ink)", xanchor="right", yanchor="top"))
    return labels


def _power(tick: float) -> str:
    return f"{tick:g}" if tick < 1000 else Template(f"10<sup>{round(math.log10(tick))}</sup>")


def _first(drawing: Drawing, axis: Axis, first: Measured | None) -> list[dict[str, Any]]:
    """A ring and an arrow at the first layer beyond the limit."""
    if first is None:
        return []
    x, y = drawing.places[first.quantity].at(axis.share(first.floors))
    to_left = x < (LEFT + RIGHT) / 2
    return [
        {**_text(x, y, "◯", "var(--bad)", size=18)},
        {
            **_text(x, y, f"first difference: {first.quantity}", "var(--bad)", xanchor="left" if to_left else "right"),
            "showarrow": True,
            "arrowcolor": "var(--bad)",
            "arrowhead": 2,
            "arrowwidth": 1.2,
            "standoff": 9,
            "axref": "x",
            "ayref": "y",
            "ax": LEFT + 14 if to_left else RIGHT - 14,
            "ay": max(y, drawing.bottom) + 24,
        },
    ]


def _text(x: float, y: float, words: str, ink: str, size: int = 12, **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "text": words, "showarrow": False, "font": {"size": size, "color": ink}, **more}


def _table(name: str, measured: Sequence[Measured]) -> Html:
    candidates = list(dict.fromkeys(m.candidate for m in measured))
    by_layer: dict[str, dict[str, float]] = {}
    for m in measured:
        by_layer.setdefault(m.quantity, {})[m.candidate] = m.floors
    rows = [
        [layer, *(Number.of(found[c], floors(found[c])) if c in found else NOTHING for c in candidates)]
        for layer, found in by_layer.items()
    ]
    return table(name, ["layer", *candidates], rows, range(1, 1 + len(candidates)))
