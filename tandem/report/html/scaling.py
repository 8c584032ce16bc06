"""Scaling: how a step grows with the batch and with the image, up to where memory ends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.records import Record
from benchmarks.scaling import Axis, Sweep

from ...units import milliseconds, sized
from ..cells import Names
from ..findings import Findings
from ..scenarios import memory_bytes, positive
from ..sweeps import end, sweeps
from .bars import grid
from .figures import Template, colour, dash, figure, fill, log_axis, symbol
from .markup import Html, details, element, join, paragraph, section
from .tables import Number, number, table

SAID = (
    "Both axes are logarithmic. Crosses are what was not timed, mostly as it did not fit; they stand at the height of "
    "the last point that was. "
    "A level line means that the cost grows with the pixels alone; where it rises, small work leaves the machine idle."
)

HEAD = ("backend", "tuning", "ms a step", "images/s", "ns a pixel", "memory", "% of the floor")


def scaling(findings: Findings) -> Html:
    """For each axis a figure a network, phase and precision, with one line a backend and tuning."""
    names = Names(findings.records)
    parts = [
        _axis(findings.records, names, "batch", "Over the batch"),
        _axis(findings.records, names, "size", "Over the image size"),
    ]
    return section("scaling", "Scaling", paragraph(SAID), *parts) if any(parts) else Html("")


def _axis(records: Sequence[Record], names: Names, axis: Axis, heading: str) -> Html:
    together: dict[str, list[Sweep]] = {}
    for found in sweeps(records, axis):
        if len(found.records) > 1:
            together.setdefault(_name(found, names), []).append(found)
    if not together:
        return Html("")
    figures = [_figure(name, axis, lines) for name, lines in together.items()]
    return join([element("h3", heading), grid(figures)])


def _name(found: Sweep, names: Names) -> str:
    cell = found.cell
    fixed = f"{'x'.join(map(str, cell.size))} pixels" if found.axis == "batch" else f"batch {cell.batch}"
    return f"{cell.spec_label}{names.rest(found.records[0])}, {fixed}, {cell.phase}"


def _figure(name: str, axis: Axis, lines: Sequence[Sweep]) -> Html:
    traces = [trace for found in lines for trace in _traces(found)]
    places = sorted({_place_on(found, record) for found in lines for record in found.records})
    what = "batch, images" if axis == "batch" else "side of the image, pixels"
    layout = {
        "height": 330 + 20 * len(lines),
        "xaxis": {**log_axis(what, places), **_ticks(places)},
        "yaxis": log_axis("megapixels a second", [value for trace in traces for value in trace["y"]]),
    }
    described = f"Megapixels a second over the {what}. {ends_of(lines)}"
    rows = [_row(found, record) for found in lines for record in sorted(found.records, key=_place)]
    columns = ("batch" if axis == "batch" else "size", *HEAD)
    points = table(f"The points of {name}", columns, rows, (0, *range(3, 8)))
    return figure(traces, layout, name, described, details("The points in a table", points))


def _ticks(places: Sequence[float]) -> dict[str, Any]:
    """A tick at each place that was measured, as far as they stand apart."""
    kept: list[float] = []
    for place in places:
        if not kept or place >= 1.4 * kept[-1]:
            kept.append(place)
    return {"tickvals": kept, "ticktext": [f"{place:g}" for place in kept]}


def _place_on(found: Sweep, record: Record) -> float:
    """The batch, or the side of a square or cube with as many pixels."""
    size = record.cell.size
    return record.cell.batch if found.axis == "batch" else round(math.prod(size) ** (1 / len(size)))


def _place(record: Record) -> int:
    return record.cell.batch * math.prod(record.cell.size)


def megapixels_per_s(record: Record) -> float | None:
    return positive(1e-6 * _place(record) / record.step_s) if record.step_s else None


def _traces(found: Sweep) -> list[dict[str, Any]]:
    """The line, and the places that were not timed, in no process."""
    backend, tuning = found.cell.backend, found.cell.tuning
    by_place: dict[float, list[float]] = {}
    for record in found.records:
        if (value := megapixels_per_s(record)) is not None:
            by_place.setdefault(_place_on(found, record), []).append(value)
    places = sorted(by_place)
    values = [statistics.median(by_place[place]) for place in places]
    arm = f"{backend} {tuning}"
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": arm,
        "legendgroup": arm,
        "x": places,
        "y": values,
        "line": {"color": colour(backend), "dash": dash(tuning), "width": 2},
        "marker": {
            "symbol": symbol(backend),
            "size": 8,
            "color": fill(backend, tuning),
            "line": {"color": colour(backend), "width": 1.5},
        },
        "hovertemplate": Template("%{x}: %{y:.3s} megapixels/s"),
    }
    missing = {place: r.status for r in found.records if (place := _place_on(found, r)) not in by_place}
    failed = sorted(missing.items())
    if not failed or not values:
        return [line]
    crosses = {
        "type": "scatter",
        "mode": "markers",
        "name": f"{arm}: not timed",
        "legendgroup": arm,
        "showlegend": False,
        "x": [place for place, _ in failed],
        "y": [values[-1]] * len(failed),
        "text": [status.replace("_", " ") for _, status in failed],
        "marker": {"symbol": "x", "size": 11, "color": colour(backend)},
        "hovertemplate": Template("%{x}: %{text}"),
    }
    return [line, crosses]


def ends_of(lines: Sequence[Sweep]) -> str:
    """Where the sweeps ended, those together that ended alike."""
    said: dict[str, list[str]] = {}
    for found in lines:
        arm = f"{found.cell.backend} {found.cell.tuning}"
        said.setdefault(end(found), []).append(arm if found.largest is None else f"{arm} {found.largest}")
    return " ".join(f"{end}: {', '.join(arms)}." for end, arms in said.items())


def _row(found: Sweep, record: Record) -> list[object]:
    cell = record.cell
    place = str(cell.batch) if found.axis == "batch" else "x".join(map(str, cell.size))
    row: list[object] = [Number.of(_place_on(found, record), place), cell.backend, cell.tuning]
    if record.step_s is None:
        return [*row, record.status.replace("_", " "), "", "", "", ""]
    memory = memory_bytes(record)
    return [
        *row,
        Number.of(record.step_s, milliseconds(record.step_s)),
        number(record.images_per_s, "{:.1f}"),
        number(Sweep.ns_per_pixel(record), "{:.1f}"),
        Number.of(memory, sized(memory)) if memory else "",
        number(record.percent_of_floor, "{:.0f}"),
    ]
