"""All comparisons at a glance: the ratio of the times of a step, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.verdict import Ratio, compare

from ..cells import Names
from .figures import Template, colour, figure, log_axis
from .markup import Html, details

MOST = 40
"""Rows; the tables have all."""

UNFOLDED = 12
"""Rows that may stand above the answers; with more of them they are folded."""


def ratios(records: Sequence[Record], names: Names) -> Html:
    """Every pair of backends in one tuning that was timed with enough processes; "" where there is none."""
    found = compare(record for record in records if record.cell.backend not in contestants.BESIDE)
    pairs = [(each, ratio) for each in found for ratio in each.ratios if ratio.decided]
    pairs = [(each, ratio) for each, ratio in pairs if each.outcome != "not_comparable" and math.isfinite(ratio.ratio)]
    if not pairs:
        return Html("")
    # From the top: a heading for each network and shape, and under it its pairs.
    placed: list[tuple[float, Ratio]] = []
    labels: list[dict[str, Any]] = []
    place, heading = 0.0, ""
    for each, ratio in pairs[:MOST]:
        if (name := names(each.records[0])) != heading:
            heading = name
            place -= 1.1 if labels else 0.5
            labels.append(_label(place + 0.5, name, "left") | {"font": {"weight": 600}})
        placed.append((place, ratio))
        who = "a tie" if ratio.tie else ratio.faster
        pair = "" if len(each.step_s) == 2 else f", {ratio.faster} and {ratio.slower}"
        labels.append(_label(place, f"{each.phase}, {each.records[0].cell.tuning}{pair}: {who}", "left"))
        labels.append(_label(place, f"{ratio.ratio:.2f}", "right"))
        place -= 1
    rows = placed
    low, high = min(ratio.low for _, ratio in rows), max(_shown_high(ratio) for _, ratio in rows)
    layout = {
        "height": round(80 - 38 * place),
        "margin": {"l": 8},
        "xaxis": log_axis("times faster", [max(low, 0.1), high]),
        "yaxis": {"visible": False, "range": [place + 0.4, 0.6]},
        "annotations": labels,
        "shapes": [
            {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "var(--ink)"}}
        ],
    }
    traces = [_trace(rows, who) for who in dict.fromkeys(_who(ratio) for _, ratio in rows)]
    ties = sum(ratio.tie for _, ratio in rows)
    described = (
        "How many times faster the faster of two backends steps, and the 95% interval; grey is a tie. "
        f"{len(rows)} {'comparison' if len(rows) == 1 else 'comparisons'}, {ties} of them ties. "
        "One that reaches the line at 1 cannot be told from noise."
    )
    name = "Every comparison, with its interval"
    made = figure(traces, layout, name, described)
    return made if len(pairs) <= UNFOLDED else details(f"{name} ({len(pairs)})", made)


def _who(ratio: Ratio) -> str:
    return "a tie" if ratio.tie else f"{ratio.faster} is faster"


def _shown_high(ratio: Ratio) -> float:
    """The upper end as far as it is drawn."""
    return min(ratio.high, 20 * ratio.ratio)


def _trace(rows: Sequence[tuple[float, Ratio]], who: str) -> dict[str, Any]:
    own = [(place, ratio) for place, ratio in rows if _who(ratio) == who]
    shade = "var(--soft)" if own[0][1].tie else colour(own[0][1].faster)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": who,
        "x": [ratio.ratio for _, ratio in own],
        "y": [place for place, _ in own],
        "text": [f"{ratio.ratio:.2f}, {ratio.interval}" for _, ratio in own],
        "hovertemplate": Template("%{text}"),
        "marker": {"size": 10, "color": shade},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_shown_high(ratio) - ratio.ratio for _, ratio in own],
            "arrayminus": [ratio.ratio - ratio.low for _, ratio in own],
            "color": shade,
            "thickness": 2,
            "width": 4,
        },
    }


def _label(place: float, text: str, side: str) -> dict[str, Any]:
    at = {"x": 0 if side == "left" else 1, "xref": "paper", "xanchor": side}
    return {
        **at,
        "y": place,
        "yanchor": "bottom",
        "yshift": 6,
        "text": text,
        "showarrow": False,
        "bgcolor": "var(--card)",
    }
