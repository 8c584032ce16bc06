"""Throughput: images a second of every cell with intervals, and all that is known of a step in one table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.levers import Levers, levers
from benchmarks.records import Record
from benchmarks.verdict import NO_INTERVAL, bounds

from ...left_out import UNSUPPORTED
from ...units import floors, milliseconds
from ..cells import Names, TimedCell, groups, replicated
from ..findings import Findings
from ..scenarios import positive, step_s
from .bars import Bars, bars, grid
from .left_out import left_out
from .markup import Html, paragraph, section
from .tables import Number, number, table

SAID = (
    "Images a second: the median over fresh processes, and the 95% interval of their geometric mean. Full bars are "
    "tuned, pale ones are not. Every process was gated by parity first, but for public U-Nets, other networks."
)

HEAD = (
    *("network, shape", "phase", "backend", "tuning", "images/s", "95% interval", "ms a step"),
    *("latency ms", "IQR ms", "90th ms"),
    *("times the baseline", "interval of that", "% of the floor", "gate"),
)


def images_per_s(record: Record) -> float | None:
    return positive(record.images_per_s)


IMAGES = Bars("images a second", images_per_s, lambda value: f"{value:.1f}")


def throughput(findings: Findings) -> Html:
    """Bars for each group of cells that are compared, and the table."""
    names, found = Names(findings.records), groups(findings.records)
    figures = [bars(IMAGES, cells, names) for cells in replicated(found)]
    rows = [row for cells in found for row in _rows(cells, names)]
    if not rows:
        return Html("")
    return section(
        "throughput",
        "Throughput",
        paragraph(SAID),
        left_out(findings),
        grid(figures),
        table("Every cell", HEAD, rows, range(4, len(HEAD))),
    )


def _rows(cells: Sequence[TimedCell], names: Names) -> list[list[object]]:
    compared = levers([record for cell in cells for record in cell.records])
    return [_row(cell, compared[0] if compared else None, names) for cell in cells]


def _row(cell: TimedCell, compared: Levers | None, names: Names) -> list[object]:
    row: list[object] = [names(cell.records[0]), cell.phase, cell.backend, cell.tuning]
    gates = [record.gate.distance for record in cell.records if record.gate]
    gate = Number.of(max(gates), floors(max(gates))) if gates else ""
    step = cell.median(step_s)
    if step is None:
        status = next(record.status for record in cell.records).replace("_", " ")
        if status == UNSUPPORTED:
            status = f"{status}: {cell.records[0].message}"
        return [*row, status, *[""] * 8, gate]
    images, interval = cell.median(images_per_s), cell.interval(images_per_s)
    told = ("median", "iqr", "p90")
    latency = [cell.median(lambda record, key=key: (record.latency_ms or {}).get(key)) for key in told]
    return [
        *row,
        number(images, "{:.1f}"),
        f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else NO_INTERVAL,
        Number.of(step, milliseconds(step)),
        *(number(value, "{:.1f}") for value in latency),
        *_against_baseline(cell, compared),
        number(cell.median(lambda record: record.percent_of_floor), "{:.0f}"),
        gate,
    ]


def _against_baseline(cell: TimedCell, compared: Levers | None) -> list[object]:
    for arm in compared.arms if compared else ():
        if (arm.backend, arm.tuning) == (cell.backend, cell.tuning):
            if compared and (arm.backend, arm.tuning) == compared.baseline:
                return ["the baseline", ""]
            return [Number.of(arm.ratio, f"{arm.ratio:.2f}"), bounds(arm.low, arm.high)]
    return ["", ""]
