"""A parity verdict for people: a table of probes by pairs of backends and, where there is one, the first difference."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from parity.verdict import told_apart

from .console import console, cut_to_fit, plain_table
from .left_out import NOT_COMPARED, not_compared, takes_no_part
from .units import NOTHING, floors, is_idle

if TYPE_CHECKING:
    from parity import Measurement, Verdict

MOST_DIFFERENCES = 8
"""Diverging quantities that are listed after the first one unless `--verbose` asks for all."""

MOST_PAIRS = 3
"""Beside each other: those of three models."""

ABBREVIATED = {"structure": "struct.", "activations": "activ.", "statistics": "stat.", "gradients": "grad."} | {
    "optimizer": "optim.",
    "trajectory": "traj.",
    "data_parallel": "replicas",
}
"""Headings of narrow columns."""

DIGITS = {"float64": 17}
"""Significant digits of the two values of a difference, by precision; 9, those of float32, in the others."""


def verdict_table(verdict: Verdict) -> RenderableType:
    """One row a probe, one column a pair: the largest distance in noise floors, and where the farthest of all is.

    Of more pairs than fit beside each other, one row a pair and one column a probe.
    """
    title = f"{verdict.spec.name}, {verdict.execution.precision}{_replicas_in_words(verdict)}: "
    table = _by_pair(verdict) if len(verdict.pairs) > MOST_PAIRS else _by_probe(verdict)
    left_out = [Text(f"{said}.", "dim") for said in not_compared(verdict.not_compared, verdict.pairs)]
    answer = Text("equal", "bold green") if verdict.equal else Text(_not_equal(verdict), "bold red")
    limit = Text(f", distances in noise floors, at most {verdict.limit:g} allowed", "dim")
    return Group(Text.assemble((title, "bold"), answer, limit), cut_to_fit(table), *left_out)


def _not_equal(verdict: Verdict) -> str:
    return "DIFFERENT" if verdict.differences else "nothing was compared"


def in_text(verdict: Verdict, columns: int = 112) -> str:
    """The table without colours, for a page that is no terminal, and the first difference with its place and values."""
    text = io.StringIO()
    page = Console(file=text, width=columns, color_system=None, markup=False, highlight=False, emoji=False)
    page.print(verdict_table(verdict))
    table = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    return table + (f"\n\nfirst difference: {verdict.first_difference}" if verdict.first_difference else "")


def _by_probe(verdict: Verdict) -> Table:
    pairs = ["\n".join(pair) for pair in verdict.pairs]
    last = ("farthest quantity",)
    wrap, cut = ((), last) if console().is_terminal else (last, ())  # a file has no --verbose
    table = plain_table("", "probe", *pairs, *last, right=tuple(pairs), wrap=wrap, cut=cut)
    for probe in verdict.probes:
        farthest = verdict.worst(probe)
        cells = [_distance(verdict, probe, pair) for pair in verdict.pairs]
        table.add_row(probe, *cells, farthest.quantity if farthest and farthest.distance > 0 else "")
    return table


def _by_pair(verdict: Verdict) -> Table:
    probes = {probe: ABBREVIATED.get(probe, probe) for probe in verdict.probes}
    table = plain_table("", "pair", *probes.values(), right=tuple(probes.values()))
    for pair in verdict.pairs:
        table.add_row(" | ".join(pair), *(_distance(verdict, probe, pair) for probe in probes))
    return table


def _distance(verdict: Verdict, probe: str, pair: tuple[str, str]) -> Text:
    if takes_no_part(verdict.not_compared, probe, pair):
        return Text(NOT_COMPARED if len(verdict.pairs) <= MOST_PAIRS else "none", "dim")
    idle = is_idle(probe, [m.quantity for m in verdict.measurements if m.probe == probe])
    return _cell(verdict.worst(probe, pair), idle)


def _replicas_in_words(verdict: Verdict) -> str:
    if verdict.replicas == 1:
        return ""
    kind = {"global": "global", "per_replica": "per-replica"}[verdict.recipe.batch_statistics]
    normed = any(layer.kind == "batch_norm" for layer in verdict.spec.layers)
    return f", {verdict.replicas} replicas{f', {kind} statistics' if normed else ''}"


def difference_report(verdict: Verdict, every: bool = False) -> RenderableType:
    """The first difference with its place and both values, then the next few, or every one."""
    first = verdict.first_difference
    assert first is not None
    others = [m for m in verdict.differences if m is not first]
    shown = others if every else others[:MOST_DIFFERENCES]
    parts: list[RenderableType] = [_first(first, verdict.execution.precision)]
    if others:
        parts.append(measurement_table(f"The next of {len(others) + 1:,} differing quantities", shown))
    if len(shown) < len(others):
        parts.append(Text(f"{len(others) - len(shown):,} more; --verbose prints every one", "dim"))
    return Group(*parts)


def measurement_table(title: str, measurements: list[Measurement]) -> RenderableType:
    """One row a measurement."""
    columns = ("probe", "quantity", "pair", "floors", "max abs", "max rel")
    table = plain_table(title, *columns, right=("floors", "max abs", "max rel"))
    for m in measurements:
        pair = f"{m.reference} | {m.candidate}"
        table.add_row(m.probe, m.quantity, pair, _cell(m), f"{m.max_abs_error:.2g}", f"{m.max_rel_error:.2g}")
    return table


def _cell(measurement: Measurement | None, idle: bool = False) -> Text:
    if measurement is None or (idle and measurement.distance == 0):
        return Text(NOTHING, "dim")
    return Text(floors(measurement.distance), "" if measurement.equal else "bold red")


def _first(m: Measurement, precision: str) -> Text:
    apart = f"lies {floors(m.distance)} noise floors from" if m.distance < math.inf else "is infinitely far from"
    text = Text.assemble(
        ("First difference", "bold red"),
        f" in the {m.probe} probe: ",
        (m.quantity, "bold"),
        f"\n  {m.candidate} {apart} {m.reference} (limit {m.limit:g})\n",
    )
    if m.index is None:
        return text + Text("  the two have different shapes, or one of them lacks it")
    theirs, own = told_apart(m.reference_value, m.candidate_value, DIGITS.get(precision, 9))
    width = max(len(m.reference), len(m.candidate))
    where = f"at {tuple(m.index)}" if m.index else "value"
    return text + Text(
        f"  {where}: {m.reference:<{width}} {theirs}\n  {'':{len(where)}}  {m.candidate:<{width}} {own}\n"
    )
