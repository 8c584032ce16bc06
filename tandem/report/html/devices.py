"""Scaling over devices: efficiency with its intervals over the number of devices, and the same in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.device_scaling import DeviceScaling, Point, device_scalings

from ..cells import Names
from ..devices import HEAD, SAID, row, sentence
from ..findings import Findings
from .bars import grid
from .figures import Template, colour, dash, figure, symbol
from .markup import Html, details, paragraph, section
from .tables import table

SHOWN_MOST = 3.0
"""Times the efficiency of one device, up to which an interval is drawn: from two groups it may be enormous."""


def devices(findings: Findings) -> Html:
    """A figure for each network, shape and mode, with one line a backend and tuning."""
    names = Names(findings.records)
    together: dict[str, list[DeviceScaling]] = {}
    for found in device_scalings(findings.records):
        cell, first = found.cell, found.points[0].records[0]
        name = f"{cell.spec_label} {cell.shape_label} {cell.phase}{names.rest(first)}"
        together.setdefault(name, []).append(found)
    if not together:
        return Html("")
    figures = [_figure(name, scalings) for name, scalings in together.items()]
    return section("devices", "Scaling over devices", paragraph(SAID), grid(figures))


def _figure(name: str, scalings: Sequence[DeviceScaling]) -> Html:
    traces = [trace for found in scalings for mode in ("strong", "weak") if (trace := _trace(found, mode))]
    places = sorted({point.replicas for found in scalings for point in found.points})
    layout: dict[str, Any] = {
        "height": 330 + 20 * len(traces),
        "xaxis": {"title": {"text": "devices"}, "tickvals": places, "ticktext": [str(place) for place in places]},
        "yaxis": {"title": {"text": "efficiency, %"}, "rangemode": "tozero"},
    }
    described = " ".join(f"{found.cell.backend} {found.cell.tuning}: {sentence(found)}" for found in scalings)
    rows: list[list[object]] = [
        [found.cell.backend, found.cell.tuning, *row(point)] for found in scalings for point in found.points
    ]
    points = table(f"The points of {name}", ("backend", "tuning", *HEAD), rows, range(4, 10))
    return figure(traces, layout, name, described, details("The points in a table", points))


def _trace(found: DeviceScaling, mode: Any) -> dict[str, Any] | None:
    """Efficiency of a mode over the number of devices, which begins at 100% on one."""
    points = [point for point in found.of(mode) if point.efficiency is not None]
    if not points:
        return None
    backend, tuning = found.cell.backend, found.cell.tuning
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{backend} {tuning}, {mode}",
        "x": [1, *(point.replicas for point in points)],
        "y": [100.0, *(100 * _bounds(point)[0] for point in points)],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [0.0, *(100 * (_bounds(point)[2] - _bounds(point)[0]) for point in points)],
            "arrayminus": [0.0, *(100 * (_bounds(point)[0] - _bounds(point)[1]) for point in points)],
            "color": colour(backend),
        },
        "line": {"color": colour(backend), "dash": dash(tuning) if mode == "weak" else "dot", "width": 2},
        "marker": {"symbol": symbol(backend) if mode == "weak" else f"{symbol(backend)}-open", "size": 9},
        "hovertemplate": Template("%{x}: %{y:.0f}%"),
    }


def _bounds(point: Point) -> tuple[float, float, float]:
    """Efficiency and interval as far as they can be drawn; an open one has no bar."""
    assert point.efficiency is not None
    value, low, high = point.efficiency
    if not math.isfinite(high):
        return value, value, value
    return value, low, max(value, min(high, SHOWN_MOST))
