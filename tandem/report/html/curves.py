"""Loss curves of all backends, with the envelope of what rounding alone does to the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.envelope import PARTED, Curves, Judged, distances

from ...units import share
from ..findings import Findings
from .figures import Template, colour, faded, figure
from .markup import Html, details, paragraph, section
from .tables import Number, table

BAND, RERUN = faded("var(--accent)", 12), faded("var(--soft)", 35)
"""Colours of what re-runs reached, and of the re-runs."""

DASHES = ("solid", "dash", "dot")
"""By the order of backends, since sound curves lie upon each other."""


def curves(findings: Findings) -> Html:
    """A figure for each record of loss curves."""
    what = paragraph(
        "All backends are trained from the same weights on the same batch at every step. The band is as far as re-runs "
        "of the float64 reference under rounding noise have been from it so far: no two sound builds need agree better "
        "than that. What is allowed is more, since a few re-runs do not go as far as chance can."
    )
    return section("loss-curves", "Loss curves", *([what] if findings.curves else []), *map(of_record, findings.curves))


def of_record(record: Curves) -> Html:
    """Losses above, their distance from the reference below."""
    steps = list(range(1, record.steps + 1))
    traces = [*_losses(record, steps), *_distances(record, steps)]
    spread = max(record.reference) / min(record.reference) if min(record.reference) > 0 else 1.0
    layout = {
        "height": 660,
        "xaxis": {"anchor": "y2", "title": {"text": "step"}, "zeroline": False},
        "yaxis": {
            "domain": [0.56, 1],
            "title": {"text": "loss"},
            "type": "log" if spread > 10 else "linear",
            "zeroline": False,
        },
        "yaxis2": {
            "domain": [0, 0.48],
            "title": {"text": "distance from the reference"},
            "type": "log",
            "exponentformat": "power",
            "tickfont": {"size": 12},
            "gridcolor": "var(--rule)",
            "automargin": True,
        },
        "hovermode": "x",
        **_parted(record),
    }
    name = f"{record.name}, {record.execution.precision}, {record.steps} steps of {record.recipe.optimizer.kind}"
    return figure(traces, layout, name, description(record), details("The same as a table", _table(name, record)))


def description(record: Curves) -> str:
    """What is to be seen, in words."""
    first, last = record.reference[0], record.reference[-1]
    shape = "x".join(map(str, record.batch.shape))
    parted = record.envelope[-1] / abs(last) if last else 0.0
    said = "; ".join([*map(_said, record.judged), *(f"{name} {lacks}" for name, lacks in record.left_out.items())])
    horizon = ""
    if record.parted_at is not None:
        horizon = (
            f"; from step {record.parted_at} on, where they differ by more than {PARTED:.0%}, little is left to judge"
        )
    return (
        f"Above the loss on {shape}, {record.batch.origin}: the reference's falls from {first:.4g} to {last:.4g}. "
        f"Below how far each curve is from it. Under rounding noise alone, re-runs part by {parted:.1e} of the loss"
        f"{horizon}. {said}."
    )


def _said(judged: Judged) -> str:
    farthest = share(judged.farthest)
    if judged.within:
        return f"{judged.backend} stays within: at its farthest it is at {farthest} of what is allowed"
    return f"{judged.backend} is outside from step {judged.left_at} on: up to {farthest} times what is allowed"


def _parted(record: Curves) -> dict[str, Any]:
    """A line where re-runs have become different runs."""
    if record.parted_at is None:
        return {}
    line = {"color": "var(--soft)", "width": 1, "dash": "dot"}
    place = {"x0": record.parted_at, "x1": record.parted_at, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
    words = f"re-runs differ by more than {PARTED:.0%} of the loss"
    label = {"x": record.parted_at, "y": 1, "yref": "paper", "text": words, "showarrow": False, "xanchor": "left"}
    ink = {"font": {"size": 11, "color": "var(--soft)"}, "xshift": 5, "yanchor": "top"}
    return {"shapes": [{"type": "line", "line": line, **place}], "annotations": [label | ink]}


def _losses(record: Curves, steps: Sequence[int]) -> list[dict[str, Any]]:
    upper = [loss + wide for loss, wide in zip(record.reference, record.envelope, strict=True)]
    lower = [loss - wide for loss, wide in zip(record.reference, record.envelope, strict=True)]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [*steps, *reversed(steps)],
        "y": [*upper, *reversed(lower)],
        "fill": "toself",
        "fillcolor": BAND,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": "as far as re-runs under rounding noise went",
        "legendgroup": "envelope",
        "showlegend": False,
    }
    reference = _curve(steps, record.reference, f"{record.judge}, float64 (reference)", "var(--numpy-reference)", 4)
    backends = [
        _curve(steps, curve.losses, curve.backend, colour(curve.backend), 2, DASHES[number % len(DASHES)])
        for number, curve in enumerate(record.curves)
    ]
    return [band, reference, *backends]


def _curve(
    steps: Sequence[int], losses: Sequence[float], name: str, ink: str, width: float, dash: str = "solid"
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(steps),
        "y": list(losses),
        "name": name,
        "legendgroup": name,
        "line": {"color": ink, "width": width, "dash": dash},
        "hovertemplate": Template("%{y:.6g}"),
    }


def _distances(record: Curves, steps: Sequence[int]) -> list[dict[str, Any]]:
    """On a logarithmic axis; where a curve is the reference to the last bit, it stands at the foot."""
    runs = [rerun.losses for rerun in record.reruns if rerun.times == 1] + [curve.losses for curve in record.curves]
    errors = [distances(run, record.reference) for run in runs]
    count = len(runs) - len(record.curves)
    foot = min((error for run in errors for error in run if error > 0), default=1.0) / 2
    envelope = _below(steps, record.envelope, "as far as re-runs under rounding noise went", "var(--soft)", foot)
    allowed = _below(steps, record.allowed, "allowed", "var(--bad)", foot)
    return [
        *(
            _below(steps, run, "re-runs", RERUN, foot) | {"showlegend": False, "hoverinfo": "skip"}
            for run in errors[:count]
        ),
        envelope | {"fill": "tozeroy", "fillcolor": BAND, "line": {"color": "var(--soft)", "width": 1}},
        allowed | {"line": {"color": "var(--bad)", "width": 1.5, "dash": "dash"}},
        *(
            _below(steps, run, curve.backend, colour(curve.backend), foot) | {"showlegend": False}
            for curve, run in zip(record.curves, errors[count:], strict=True)
        ),
    ]


def _below(steps: Sequence[int], errors: Sequence[float], name: str, ink: str, foot: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(steps),
        "y": [max(error, foot) for error in errors],
        "yaxis": "y2",
        "name": name,
        "legendgroup": name,
        "line": {"color": ink, "width": 1.5},
    }


def _table(name: str, record: Curves) -> Html:
    losses = {curve.backend: curve.losses for curve in record.curves}
    rows: list[list[object]] = [[f"{record.judge}, float64", *_ends(record.reference), "", "", ""]]
    for said in record.judged:
        left = "" if said.left_at is None else Number.of(said.left_at, str(said.left_at))
        farthest = Number.of(said.farthest, share(said.farthest))
        at = Number.of(said.farthest_at, str(said.farthest_at))
        rows.append([said.backend, *_ends(losses[said.backend]), farthest, at, left])
    head = ["backend", "first loss", "last loss", "farthest, share of what is allowed", "at step", "left at step"]
    return table(name, head, rows, range(1, len(head)))


def _ends(losses: Sequence[float]) -> list[Number]:
    return [Number.of(loss, f"{loss:.6f}") for loss in (losses[0], losses[-1])]
