"""The roofline (Williams et al. 2009, CACM 52(4)): how near each cell comes to what the machine can do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.records import Record

from ...units import counted
from ..cells import Names, TimedCell, groups
from ..findings import Findings
from ..scenarios import positive
from .figures import Template, colour, figure, fill, log_axis, symbol
from .left_out import left_out
from .markup import Html, details, paragraph, section
from .tables import Number, number, table

SAID = (
    "Every cell by its analytic FLOPs for each byte that it has to move, and the FLOP/s that it reached. The line is "
    "what this machine reached in the same run: the rate of the fastest copy at the left, of the fastest product or "
    "convolution at the right. Full marks are tuned, pale ones are not. Public U-Nets have no analytic FLOPs."
)

HEAD = ("network, shape", "phase", "backend", "tuning", "FLOP a byte", "FLOP/s", "% of the floor")


def intensity(record: Record) -> float | None:
    """FLOPs for each byte that has to be moved."""
    return positive(record.flops / record.bytes_moved) if record.bytes_moved else None


def rate(record: Record) -> float | None:
    return positive(record.flops_per_s)


def roofline(findings: Findings) -> Html:
    """A figure for each machine, device and precision."""
    cells = [
        cell
        for group in groups(findings.records)
        for cell in group
        if cell.records[0].ceilings and cell.median(rate) and cell.median(intensity)
    ]
    names = Names(findings.records)
    runs = Names(findings.records)
    runs.precisions = runs.devices = set()  # these are in the figure's name in any case
    together: dict[str, list[TimedCell]] = {}
    for cell in cells:
        first = cell.records[0]
        name = f"{first.cell.precision} on {first.cell.device}{runs.rest(first)}"
        together.setdefault(name, []).append(cell)
    figures = [_figure(name, own, names) for name, own in together.items()]
    return section("roofline", "Roofline", paragraph(SAID), left_out(findings), *figures) if figures else Html("")


def _figure(name: str, cells: Sequence[TimedCell], names: Names) -> Html:
    ceilings = [record.ceilings for cell in cells for record in cell.records if record.ceilings]
    flops_per_s = statistics.median(ceiling.flops_per_s for ceiling in ceilings)
    bytes_per_s = statistics.median(ceiling.bytes_per_s for ceiling in ceilings)
    ridge = flops_per_s / bytes_per_s
    places = [x for cell in cells if (x := cell.median(intensity))]
    reached = [y for cell in cells if (y := cell.median(rate))]
    left, right = min([*places, ridge]) / 3, max([*places, ridge]) * 3
    roof: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": "the machine",
        "x": [left, ridge, right],
        "y": [left * bytes_per_s, flops_per_s, flops_per_s],
        "line": {"color": "var(--ink)", "width": 2},
        "hovertemplate": Template("%{x:.3s} FLOP/byte: %{y:.3s}FLOP/s"),
    }
    layout = {
        "height": 440,
        "xaxis": log_axis("FLOP a byte", [left, right]),
        "yaxis": log_axis(
            "FLOP/s", [left * bytes_per_s, flops_per_s, *reached], lambda value: counted(value, "FLOP/s")
        ),
    }
    by_arm: dict[tuple[str, str], list[TimedCell]] = {}
    for cell in cells:
        by_arm.setdefault((cell.backend, cell.tuning), []).append(cell)
    described = (
        f"The machine reaches {counted(flops_per_s, 'FLOP/s')} and {counted(bytes_per_s, 'B/s')}, which meet at "
        f"{ridge:.3g} FLOP a byte. {_nearest(cells, names)}"
    )
    rows = [_row(cell, names) for cell in cells]
    points = details("The points in a table", table(f"The points of {name}", HEAD, rows, range(4, len(HEAD))))
    return figure(
        [roof, *(_trace(own, names) for own in by_arm.values())], layout, f"Roofline, {name}", described, points
    )


def _nearest(cells: Sequence[TimedCell], names: Names) -> str:
    shares = [(share, cell) for cell in cells if (share := cell.median(_share)) is not None]
    if not shares:
        return ""
    share, cell = max(shares, key=lambda one: one[0])
    return f"Nearest to the floor is {cell.arm}, {cell.phase}, {names(cell.records[0])}: {share:.0f}%."


def _share(record: Record) -> float | None:
    return positive(record.percent_of_floor)


def _trace(cells: Sequence[TimedCell], names: Names) -> dict[str, Any]:
    backend, tuning = cells[0].backend, cells[0].tuning
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{backend} {tuning}",
        "x": [cell.median(intensity) for cell in cells],
        "y": [cell.median(rate) for cell in cells],
        "text": [f"{cell.phase}: {names(cell.records[0])}" for cell in cells],
        "marker": {
            "symbol": symbol(backend),
            "size": 11,
            "color": fill(backend, tuning),
            "line": {"color": colour(backend), "width": 1.5},
        },
        "hovertemplate": Template("%{text}<br>%{x:.3s} FLOP/byte: %{y:.3s}FLOP/s"),
    }


def _row(cell: TimedCell, names: Names) -> list[object]:
    reached = cell.median(rate)
    return [
        names(cell.records[0]),
        cell.phase,
        cell.backend,
        cell.tuning,
        number(cell.median(intensity), "{:.1f}"),
        Number.of(reached, counted(reached, "FLOP/s")) if reached else "",
        number(cell.median(_share), "{:.0f}"),
    ]
