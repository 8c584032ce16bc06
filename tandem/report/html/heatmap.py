"""Parity at a glance: probes by pairs of backends as a heat map, all precisions of a network beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...left_out import NOT_COMPARED, not_compared, takes_no_part
from ...units import NOTHING, floors, is_idle
from ..findings import Check
from .figures import Template, figure
from .markup import Html

DECADES = 4
"""Shown on either side of the limit; what lies beyond has the colour of the end."""

SCALE = [
    [0.0, "var(--near-0)"],
    [0.5, "var(--near-1)"],
    [0.5, "var(--far-0)"],
    [1.0, "var(--far-1)"],
]
"""The colour jumps at the limit, in the middle."""

ROW_PX, HEAD_PX, FOOT_PX = 46, 90, 60

LABEL = 0.42
"""Of a row, the strip above its cells in which its name stands: so the cells have the whole width of a phone."""


def networks(checks: Iterable[Check]) -> list[list[Check]]:
    """Checks that follow each other and differ in the precision alone."""
    found: list[list[Check]] = []
    for check in checks:
        last = found[-1] if found else []
        precisions = {before.execution.precision for before in last}
        if last and _network(last[0]) == _network(check) and check.execution.precision not in precisions:
            last.append(check)
        else:
            found.append([check])
    return found


def heatmap(checks: Sequence[Check]) -> Html:
    """One network on one input: a row for each precision and pair, a column for each probe."""
    # In one order in every precision, also where one of them lacks a pair.
    order = list(dict.fromkeys(pair for check in checks for pair in check.pairs))
    rows = [(check, pair) for check in checks for pair in order if pair in check.pairs]
    probes = list(dict.fromkeys(probe for check in checks for probe in check.probes))
    distances = [[distance(check, probe, pair) for probe in probes] for check, pair in rows]
    about = [" vs ".join(pair) for _, pair in rows]
    empty = [None] * len(probes)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": probes,
        "y": [edge for row in range(len(rows)) for edge in (row, row + LABEL)] + [len(rows)],
        "z": _under_labels(
            [[_shade(d, check.limit) for d in row] for (check, _), row in zip(rows, distances, strict=True)], empty
        ),
        "text": _under_labels(
            [
                [_text(d, takes_no_part(check.not_compared, probe, pair)) for probe, d in zip(probes, row, strict=True)]
                for (check, pair), row in zip(rows, distances, strict=True)
            ],
            [""] * len(probes),
        ),
        "customdata": _under_labels(
            [
                [[pair, check.execution.precision, f"{check.limit:g}"]] * len(probes)
                for (check, _), pair in zip(rows, about, strict=True)
            ],
            empty,
        ),
        "textfont": {"size": 11},
        "texttemplate": Template("%{text}"),
        "hovertemplate": Template(
            "<b>%{x}</b>, %{customdata[1]}<br>%{customdata[0]}<br>%{text} floors, at most %{customdata[2]} is equal"
            "<extra></extra>"
        ),
        "colorscale": SCALE,
        "zmin": -DECADES,
        "zmax": DECADES,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "colorbar": {
            "orientation": "h",
            "y": 0,
            "yanchor": "top",
            "len": 0.6,
            "title": {"text": "share of the limit", "side": "bottom", "font": {"size": 12}},
            "tickvals": [-DECADES, 0, DECADES],
            "ticktext": [Template(f"10<sup>-{DECADES}</sup>"), "limit", Template(f"10<sup>{DECADES}</sup>")],
            "tickfont": {"size": 11},
            "thickness": 10,
            "outlinewidth": 0,
        },
    }
    layout = {
        "height": HEAD_PX + ROW_PX * len(rows) + FOOT_PX,
        "margin": {"l": 4, "r": 4, "t": 30, "b": FOOT_PX},
        "xaxis": {
            "side": "top",
            "autotickangles": [0, 90],  # upright where there is no room, which needs none at the sides
            "showgrid": False,
            "fixedrange": True,
            "ticks": "",
        },
        "yaxis": {"visible": False, "range": [len(rows), 0], "fixedrange": True},
        "annotations": [
            _label(row + LABEL, f"{_group(check)}: {pair}")
            for row, ((check, _), pair) in enumerate(zip(rows, about, strict=True))
        ],
    }
    shape = "x".join(map(str, checks[0].batch.shape))
    name = ", ".join([f"{checks[0].spec.name} on {shape}", checks[0].execution.device, *checks[0].together])
    return figure([trace], layout, name, description(checks))


def _under_labels(rows: Sequence[list[Any]], strip: list[Any]) -> list[list[Any]]:
    """Each row under the empty strip of its label."""
    return [each for row in rows for each in (strip, row)]


def _label(place: float, text: str) -> dict[str, Any]:
    at = {"x": 0, "xref": "paper", "xanchor": "left", "y": place, "yanchor": "bottom"}
    return {**at, "text": text, "showarrow": False, "font": {"size": 12}}


def distance(check: Check, probe: str, pair: tuple[str, str]) -> float | None:
    """The largest of a probe and pair; None where the probe compared nothing."""
    worst = check.farthest(probe, pair)
    if worst is None:
        return None
    idle = is_idle(probe, [m.quantity for m in check.measurements if m.probe == probe])
    return None if idle and not worst.floors else worst.floors


def description(checks: Sequence[Check]) -> str:
    """What is to be seen, in words."""
    parts = []
    for check in checks:
        farthest = max(check.measurements, key=lambda m: m.floors, default=None)
        answer = "all is equal" if check.equal else "there are differences"
        far = "" if farthest is None else f", the farthest {floors(farthest.floors)} of {check.limit:g} floors away"
        parts.append(f"In {check.execution.precision} {answer}{far}.")
        parts += [f"{said}." for said in not_compared(check.not_compared, check.pairs)]
    return " ".join(parts)


def _text(distance: float | None, left_out: bool) -> str:
    return NOT_COMPARED if left_out else NOTHING if distance is None else floors(distance)


def _group(check: Check) -> str:
    return f"{check.execution.precision} (limit {check.limit:g})"


def _shade(distance: float | None, limit: float) -> float | None:
    """The decimal logarithm of the share of the limit, within what is shown."""
    if distance is None:
        return None
    if distance == 0 or not limit > 0:
        return -DECADES
    if not math.isfinite(distance):
        return DECADES
    return min(max(math.log10(distance / limit), -DECADES), DECADES)


def _network(check: Check) -> tuple[object, ...]:
    return check.spec, check.batch, check.execution.device, check.seed, check.together
