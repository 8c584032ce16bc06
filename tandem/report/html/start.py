"""The start: where the time to the first step goes, and after how many steps compiling has paid off."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.records import Record, Startup
from benchmarks.verdict import FEWEST

from ...units import milliseconds, seconds
from ..break_even import BreakEven, Running, all_break_evens, running, undecided_pairs
from ..cells import Names, TimedCell, groups
from ..findings import Findings
from .bars import grid
from .figures import Template, colour, dash, figure, log_axis
from .left_out import left_out
from .markup import Html, details, element, paragraph, section
from .tables import Number, number, table

SAID = (
    "Seconds from the start of a process to the end of its n-th step: what starts late and steps fast overtakes, where "
    "two lines cross. A process has done n steps after T + (n - 1) s, with the medians of the time to the first step "
    "T and of a step s."
)

PARTS = ("start_s", "import_s", "join_s", "build_s", "program_s", "first_call_s", "trace_s", "compile_s")

PARTS_HEAD = (
    *("network, shape", "phase", "backend", "tuning", "first step", "interpreter", "import", "joining", "build"),
    *("program", "first call", "of it tracing", "compiling", "compiled again", "graph breaks"),
)

PAID_HEAD = (
    *("network, shape", "phase", "starts later", "than", "starts later by", "compiling takes", "saves a step"),
    *("level after steps", "over all pairs of processes"),
)


def start(findings: Findings) -> Html:
    """A figure for each group of cells, the steps to break even, and the parts of the start."""
    found = running(findings.records)
    if not found:
        return Html("")
    names = Names(findings.records)
    drawn = [each for each in found if any(len(arm.step_s) > 1 for arm in each[1])] or found
    figures = [_figure(f"{names(first)}, {first.cell.phase}", arms) for first, arms in drawn]
    paid = [_paid(names(first), first, each) for first, arms in drawn for each in all_break_evens(arms)]
    rows = [row for cells in groups(findings.records) for cell in cells if (row := _parts(cell, names))]
    parts = [paragraph(SAID), left_out(findings), grid(figures)]
    undecided = [pair for _, arms in drawn for pair in undecided_pairs(arms)]
    if paid or undecided:
        parts.append(element("h3", "Steps to break even"))
        parts += [table(_CAPTION, PAID_HEAD, paid, range(4, len(PAID_HEAD)))] if paid else []
        parts += [paragraph(_undecided(undecided), class_="soft")] if undecided else []
    parts += [details("The way to the first step", table("Medians over processes", PARTS_HEAD, rows, range(4, 15)))]
    return section("start", "Start and compiling", *parts)


_CAPTION = (
    "One backend in two tunings, or two backends in one, where it is decided that one starts later and steps faster: "
    "after how many steps it is level, by the medians and over all pairs of processes"
)


def _undecided(pairs: Sequence[tuple[Running, Running]]) -> str:
    """Which pairs have no number, and why."""
    named = dict.fromkeys(f"{' '.join(one.arm)} and {' '.join(other.arm)}" for one, other in pairs)
    return (
        f"None is stated for {', '.join(named)}: too few processes to decide who starts later or steps faster. "
        f"Take {FEWEST} replicates."
    )


def _figure(name: str, arms: Sequence[Running]) -> Html:
    crossings = [paid.steps for paid in all_break_evens(arms)]
    last = max(100, 10 * max(crossings, default=0))
    steps = sorted({round(10 ** (n / 12)) for n in range(12 * 9) if 10 ** (n / 12) <= last} | {last})
    layout = {
        "height": 330 + 20 * len(arms),
        "xaxis": log_axis("steps", steps, "{:,.0f}".format),
        "yaxis": log_axis("seconds since the start", [arm.seconds_for(n) for arm in arms for n in (1, last)]),
    }
    first = min(arms, key=lambda arm: arm.seconds_for(1))
    final = min(arms, key=lambda arm: arm.seconds_for(last))
    described = (
        f"First at the first step: {' '.join(first.arm)}, {seconds(first.seconds_for(1))} after its start. "
        f"Ahead at step {last:,}, where the lines end: {' '.join(final.arm)}."
    )
    if len(arms) > 1 and min(len(arm.step_s) for arm in arms) < FEWEST:
        described += " This is by the medians of so few processes that it is not decided."
    return figure([_line(arm, steps) for arm in arms], layout, name, described)


def _line(arm: Running, steps: Sequence[int]) -> dict[str, Any]:
    backend, tuning = arm.arm
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{backend} {tuning}",
        "x": list(steps),
        "y": [arm.seconds_for(count) for count in steps],
        "line": {"color": colour(backend), "dash": dash(tuning), "width": 2},
        "hovertemplate": Template("step %{x:,}: %{y:.3s} s"),
    }


def _paid(name: str, first: Record, paid: BreakEven) -> list[object]:
    later, sooner = paid.later, paid.sooner
    delay = statistics.median(later.first_step_s) - statistics.median(sooner.first_step_s)
    saved = statistics.median(sooner.step_s) - statistics.median(later.step_s)
    return [
        name,
        first.cell.phase,
        " ".join(later.arm),
        " ".join(sooner.arm),
        Number.of(delay, seconds(delay)),
        Number.of(later.compile_s, seconds(later.compile_s)) if later.compiles else "",
        Number.of(saved, f"{milliseconds(saved)} ms"),
        Number.of(paid.steps, f"{paid.steps:,}"),
        paid.span,
    ]


def _parts(cell: TimedCell, names: Names) -> list[object]:
    """The medians over processes of the parts of the start; none where no process has them."""
    starts: list[Startup] = [record.cold_startup for record in cell.records if record.cold_startup]
    if not starts:
        return []
    total = statistics.median(startup.time_to_first_step_s for startup in starts)
    medians = [statistics.median(getattr(startup, part) for startup in starts) for part in PARTS]
    counts = [cell.median(lambda record, of=of: getattr(record, of)) for of in ("recompilations", "graph_breaks")]
    shown = [Number.of(value, seconds(value)) for value in (total, *medians)]
    counted = [number(count, "{:.0f}") for count in counts]
    return [names(cell.records[0]), cell.phase, cell.backend, cell.tuning, *shown, *counted]
