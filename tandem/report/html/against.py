"""Compared with another run: what has become slower, what faster, what fails."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.verdict import FEWEST, bounds

from ...units import milliseconds
from ..findings import Findings
from ..runs import REGRESSIONS, Change, Runs, compare_runs
from .figures import Template, figure, log_axis
from .markup import Html, bullets, details, element, join, paragraph, section
from .tables import Number, table

HEAD = ("network, shape", "phase", "backend", "tuning", "ms before", "ms after", "times as long", "interval", "became")

COLOURS = {"slower": "var(--bad)", "faster": "var(--good)"}

SAID = 8
"""Regressions that are named at once, the worst of all; the others are folded."""

MOST_ROWS = 40
"""Of the figure, those that changed most; the table has all."""

NOTHING_DECIDED = f"no cell was timed in both runs by {FEWEST} processes or more."


def against(findings: Findings) -> Html:
    """Regressions first, then the ratio of every cell with its interval; "" where there is nothing to compare with."""
    if not findings.against:
        return Html("")
    runs = compare_runs(findings.records, findings.against)
    parts: list[object] = [paragraph(f"{runs.sentence}. {runs.apart}."), _regressions(runs)]
    parts += [paragraph(f"{runs.busy}.", class_="beware")] if runs.busy else []
    parts += [paragraph(f"{runs.unpaired}.")] if runs.unpaired else []
    drawn = [change for change in runs.changes if change.factor is not None]
    if drawn:
        parts.append(_figure(drawn))
    if runs.changes:
        parts.append(table("Every cell that both have", HEAD, map(_row, runs.changes), range(4, 8)))
    return section("against", "Compared with another run", *parts)


def _regressions(runs: Runs) -> Html:
    if not runs.regressions:
        timed = [change for change in runs.changes if change.ratio is not None]
        open_ = sum(change.became == "not decided" for change in timed)
        if open_ == len(timed):
            return paragraph(element("strong", "Nothing can be said of regressions: "), NOTHING_DECIDED)
        have = "has" if open_ == 1 else "have"
        rest = f" {open_} of {len(timed)} cells {have} too few processes to decide." if open_ else ""
        said = f"nothing is slower beyond its interval.{rest}"
        return paragraph(element("strong", "No regression: ", class_="good"), said)
    head = paragraph(element("strong", f"Regressions: {len(runs.regressions)}", class_="bad"))
    said = [_sentence(change) for change in runs.regressions]
    rest = details(f"{len(said) - SAID} more", bullets(said[SAID:])) if said[SAID:] else ""
    return join([head, bullets(said[:SAID]), rest])


def _sentence(change: Change) -> str:
    name = f"{_title(change)} {change.record.cell.backend} {change.record.cell.tuning}"
    if change.factor is None:
        return f"{name}: {change.why}"
    factor, low, high = change.factor
    return f"{name}: {factor:.2f} times as long as before (95% interval {bounds(low, high)})"


def _title(change: Change) -> str:
    cell = change.record.cell
    return f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device} {cell.phase}"


def _figure(changes: Sequence[Change]) -> Html:
    far = sorted(changes, key=lambda change: abs(math.log(_factor(change)[0] or 1.0)))[-MOST_ROWS:]
    rows = sorted(far, key=lambda change: _factor(change)[0])  # the first is drawn at the bottom
    names = [f"{change.record.cell.backend} {change.record.cell.tuning}, {_title(change)}" for change in rows]
    factors = [_factor(change) for change in rows]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": [factor for factor, _, _ in factors],
        "y": list(range(len(rows))),
        "text": [change.became for change in rows],
        "customdata": names,
        "hovertemplate": Template("%{customdata}<br>%{x:.2f} times as long: %{text}<extra></extra>"),
        "marker": {"size": 9, "color": [COLOURS.get(change.became, "var(--soft)") for change in rows]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - factor if math.isfinite(high) else 0.0 for factor, _, high in factors],
            "arrayminus": [factor - low for factor, low, _ in factors],
            "color": "var(--soft)",
            "thickness": 1.2,
            "width": 3,
        },
    }
    layout = {
        "height": 110 + 22 * len(rows),
        "xaxis": log_axis("times as long as before", [1.0, *(end for _, *ends in factors for end in ends)]),
        "yaxis": {
            "tickvals": list(range(len(rows))),
            "ticktext": [f"{change.record.cell.backend} {change.record.cell.tuning}" for change in rows],
            "showgrid": False,
        },
        "shapes": [
            {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "var(--ink)"}}
        ],
    }
    worst = max(changes, key=lambda change: _factor(change)[0])
    described = (
        "The time of a step divided by that of the earlier run, with the 95% interval; right of the line is slower. "
        f"The largest is {_factor(worst)[0]:.2f}, {worst.record.cell.backend} {worst.record.cell.tuning}."
    )
    return figure([trace], layout, "Time of a step, after divided by before", described)


def _factor(change: Change) -> tuple[float, float, float]:
    return change.factor or (1.0, 1.0, 1.0)


def _row(change: Change) -> list[object]:
    cell, factor = change.record.cell, change.factor
    times = [statistics.median(values) if values else None for values in (change.before_s, change.after_s)]
    mark = "bad" if change.became in REGRESSIONS else "good" if change.became == "faster" else None
    return [
        f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device}",
        cell.phase,
        cell.backend,
        cell.tuning,
        *("" if value is None else Number.of(value, milliseconds(value)) for value in times),
        Number.of(factor[0], f"{factor[0]:.2f}") if factor else "",
        bounds(*factor[1:]) if factor else "",
        element("span", change.words, class_=mark),
    ]
