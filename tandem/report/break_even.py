"""After how many steps a later start has paid off: compiling takes seconds at first, and may save them later.

A process has done n steps after T + (n - 1) s seconds, T being the time to the end of its first step and s that of a
step. One that starts later (T) and steps faster (s) is level with another after

    n = 1 + (T_later - T_sooner) / (s_sooner - s_later)

steps, rounded up.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

from benchmarks import contestants
from benchmarks.levers import Arm
from benchmarks.records import Record
from benchmarks.verdict import FEWEST, comparable_key, latest, ratio

from .scenarios import first_step_s, step_s


@dataclass(frozen=True)
class Running:
    """One backend and tuning: seconds to the first step and of a step, of each process; and of compiling, the median.

    Attributes:
        compile_s: of tracing and compiling, as far as the framework says.
        compiles: whether it compiled at all.
    """

    arm: Arm
    first_step_s: tuple[float, ...]
    step_s: tuple[float, ...]
    compile_s: float
    compiles: bool

    def seconds_for(self, steps: int) -> float:
        """Of the median process, from its start."""
        return statistics.median(self.first_step_s) + (steps - 1) * statistics.median(self.step_s)


@dataclass(frozen=True)
class BreakEven:
    """Attributes:
    steps: after which the one that starts later is level, by the medians of both.
    fewest, most: over all pairs of a process of each.
    """

    later: Running
    sooner: Running
    steps: int
    fewest: int
    most: int

    @property
    def span(self) -> str:
        return f"{self.fewest:,} to {self.most:,}" if self.fewest != self.most else f"{self.fewest:,}"


def steps_to_break_even(later_s: float, later_step_s: float, sooner_s: float, sooner_step_s: float) -> int | None:
    """None where the one that starts later never catches up; 1 where it does not start later."""
    if later_s <= sooner_s:
        return 1
    saved_s = sooner_step_s - later_step_s
    steps = 1 + (later_s - sooner_s) / saved_s if saved_s > 0 else math.inf
    return math.ceil(steps) if math.isfinite(steps) else None


def running(records: Iterable[Record]) -> list[tuple[Record, list[Running]]]:
    """For each group of cells that differ in backend and tuning alone, its first record and its arms."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.NOT_OURS:
            groups.setdefault(comparable_key(record, tunings_together=True), []).append(record)
    found = [(group[0], _arms(latest(group))) for group in groups.values()]
    return [(first, arms) for first, arms in found if arms]


def _arms(records: Sequence[Record]) -> list[Running]:
    by_arm: dict[Arm, list[Record]] = {}
    for record in records:
        if step_s(record) is not None and first_step_s(record) is not None:
            by_arm.setdefault((record.cell.backend, record.cell.tuning), []).append(record)
    return [
        Running(
            arm,
            tuple(value for record in own if (value := first_step_s(record)) is not None),
            tuple(value for record in own if (value := step_s(record)) is not None),
            statistics.median(r.startup.trace_s + r.startup.compile_s for r in own if r.startup),
            any(record.compilations for record in own),
        )
        for arm, own in by_arm.items()
    ]


def break_even(later: Running, sooner: Running) -> BreakEven | None:
    """None unless it is decided that the one starts later, and that it steps faster."""
    if not (_is_more(later.first_step_s, sooner.first_step_s) and _is_more(sooner.step_s, later.step_s)):
        return None
    median = statistics.median
    steps = steps_to_break_even(
        median(later.first_step_s), median(later.step_s), median(sooner.first_step_s), median(sooner.step_s)
    )
    if steps is None:  # so little saved that no number of steps makes up for it
        return None
    processes = product(
        zip(later.first_step_s, later.step_s, strict=True), zip(sooner.first_step_s, sooner.step_s, strict=True)
    )
    each = [steps_to_break_even(*one, *other) for one, other in processes]
    counts = [count for count in each if count is not None]
    return BreakEven(later, sooner, steps, min(counts, default=steps), max(counts, default=steps))


def _is_more(those: Sequence[float], these: Sequence[float]) -> bool:
    """Whether the processes are enough, and far enough apart, to say so: by the rules of `benchmarks.verdict`."""
    found = ratio("these", these, "those", those)
    return found.decided and not found.tie and found.slower == "those"


def undecided_pairs(arms: Iterable[Running]) -> list[tuple[Running, Running]]:
    """Pairs of which no break-even can be stated, as there are too few processes of one of the two."""
    return [
        (one, other)
        for one, other in combinations(arms, 2)
        if _alike(one.arm, other.arm) and min(len(one.step_s), len(other.step_s)) < FEWEST
    ]


def all_break_evens(arms: Iterable[Running]) -> list[BreakEven]:
    """Of all pairs that may be compared: one backend in two tunings, or two backends in one."""
    pairs = [(one, other) for one, other in permutations(arms, 2) if _alike(one.arm, other.arm)]
    return [found for pair in pairs if (found := break_even(*pair)) is not None]


def _alike(one: Arm, other: Arm) -> bool:
    return one[0] == other[0] or one[1] == other[1]
