"""Which is faster, by how much, and whether that can be told from noise at all.

What is repeated is the process: windows within one process share its memory layout, threads and compiled code, so
that each process counts as one observation, the median of its windows. Times are compared as ratios: Welch's
t-interval (Welch 1947, Biometrika 34) for the difference of the mean logarithms, which allows unequal spreads and
needs at least two processes each. With three it has two to four degrees of freedom, and is honestly wide.

Faster is said only where all three hold, and everything else is a tie: the 95% interval of the ratio excludes 1; no
process of the faster was slower than one of the other; the ratio lies above what the harness resolves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import contestants
from .records import Record

CONFIDENCE = 0.95

FEWEST = 3
"""Processes of each, below which nothing is decided."""

BUSY_PERCENT = 25.0
"""Of the cores, in use by others just before a process, above which its time is not to be trusted."""

FASTER = "is {} times faster than"

TOO_FEW = "from too few processes to tell it from noise"

RESOLUTION = 1.01
"""A smaller ratio is a tie however small the spread: the harness itself may cost up to 1% of a step."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster one is than another.

    Attributes:
        ratio: of the times of a step, slower by faster; low and high bound it at 95%.
        processes: how many stand behind each of the two.
        tie: whether the difference cannot be told from that between processes.
    """

    faster: str
    slower: str
    ratio: float
    low: float
    high: float
    processes: tuple[int, int]
    tie: bool

    @property
    def decided(self) -> bool:
        """Whether there were processes enough to say anything."""
        return min(self.processes) >= FEWEST

    @property
    def interval(self) -> str:
        return f"95% interval {_figure(self.low)} to {_figure(self.high)}"

    def words(self, better: str, amount: str) -> str:
        """What it says, where `better` has a place for the ratio and `amount` names what was compared."""
        if not self.decided:
            return words([self], better, amount)
        if self.tie:
            return f"a tie between {self.faster} and {self.slower} (ratio {self.ratio:.2f}, {self.interval})"
        return f"{self.faster} {better.format(f'{self.ratio:.2f}')} {self.slower} ({self.interval})"


def words(ratios: Sequence[Ratio], better: str, amount: str, which: str = "") -> str:
    """What several ratios of one against each other say; once, and in the end, that there are too few processes.

    Args:
        better, amount: as in `Ratio.words`.
        which: follows all of them, as ", both tuned".
    """
    said = [found.words(better, amount) for found in ratios if found.decided]
    if not (open_ := [found for found in ratios if not found.decided]):
        return "; ".join(said) + which if said else ""
    first, *rest = open_
    shares = [f"{first.faster} took {1 / first.ratio:.2f} of the {amount} of {first.slower}"]
    shares += [f"{1 / found.ratio:.2f} of that of {found.slower}" for found in rest]
    return f"{'; '.join([*said, ' and '.join(shares)])}{which}, {TOO_FEW}: take {FEWEST} replicates"


Outcome = Literal["faster", "tie", "undecided", "not_comparable", "not_timed"]


@dataclass(frozen=True)
class Comparison:
    """What the records say of one (spec, phase, shape, precision, tuning, device) on one machine at one commit.

    Attributes:
        step_s: by backend, the times of a step in seconds, one of each process.
        ratios: of the fastest to each other one.
        problems: by backend, why it or some of its processes were not timed.
    """

    title: str
    phase: str
    records: tuple[Record, ...]
    step_s: dict[str, list[float]]
    ratios: tuple[Ratio, ...]
    problems: dict[str, str]
    outcome: Outcome

    @property
    def sentence(self) -> str:
        """One sentence: who is faster and by how much, a tie, or why nothing can be said."""
        if self.outcome == "not_comparable":
            return f"{self.phase}: not comparable: {'; '.join(self.problems.values())}"
        said = [words(self.ratios, FASTER, "time")] if self.ratios else []
        if len(self.step_s) == 1:
            (backend, times), *_ = self.step_s.items()
            said = [f"only {backend} was timed, {1e3 * statistics.median(times):.2f} ms a step"]
        if self.busy and self.step_s:
            said.append("not to be relied on, as other work kept the machine busy meanwhile: measure again")
        return f"{self.phase}: {'; '.join([*said, *self.problems.values()]) or 'nothing was timed'}"

    @property
    def busy(self) -> bool:
        return is_busy(self.records)


def is_busy(records: Iterable[Record]) -> bool:
    """Whether other work used the cores before one of the processes."""
    return any((record.other_work_percent or 0) > BUSY_PERCENT for record in records)


def compare(records: Iterable[Record]) -> list[Comparison]:
    """One comparison for each (spec, phase, shape, precision, tuning, device), in the order in which they come."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend in contestants.NOT_OURS:
            continue  # no verdict between different networks: `levers` shows their times
        groups.setdefault(comparable_key(record), []).append(record)
    return [_compare(latest(group)) for group in groups.values()]


def ratio(first: str, first_s: Sequence[float], second: str, second_s: Sequence[float]) -> Ratio:
    """The faster of two against the slower, each given by the step times of its processes, in seconds."""
    if statistics.mean(map(math.log, first_s)) > statistics.mean(map(math.log, second_s)):
        first, first_s, second, second_s = second, second_s, first, first_s
    found, low, high = relative(second_s, first_s)
    apart = max(first_s) < min(second_s)
    tie = not (low > 1.0 and apart and found > RESOLUTION)
    return Ratio(first, second, found, low, high, (len(first_s), len(second_s)), tie)


def relative(step_s: Sequence[float], baseline_s: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of the geometric means of two sets of times, and its 95% interval."""
    over, under = [list(map(math.log, times)) for times in (step_s, baseline_s)]
    difference = statistics.mean(over) - statistics.mean(under)
    margin = math.inf
    if min(len(over), len(under)) > 1:
        parts = [statistics.variance(logs) / len(logs) for logs in (over, under)]
        margin = student_t(_degrees_of_freedom(parts, [len(over), len(under)])) * math.sqrt(sum(parts))
    return _exp(difference), _exp(difference - margin), _exp(difference + margin)


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of one value a process, and its 95% interval, which one alone leaves open."""
    logs = list(map(math.log, values))
    mean, margin = statistics.mean(logs), math.inf
    if len(logs) > 1:
        margin = student_t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return _exp(mean), _exp(mean - margin), _exp(mean + margin)


def _degrees_of_freedom(parts: Sequence[float], counts: Sequence[int]) -> float:
    """Welch and Satterthwaite; with no spread at all, the fewest."""
    below = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    return sum(parts) ** 2 / below if below > 0 else min(counts) - 1


def student_t(degrees_of_freedom: float, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t distribution.

    With t = sqrt(v) tan(a), the density is proportional to cos(a)^(v - 1) on (-pi/2, pi/2), which is summed here.
    """
    edges = np.linspace(0.0, np.pi / 2, 20_001)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(np.cos(middles) ** (degrees_of_freedom - 1))])
    angle = np.interp(confidence, below / below[-1], edges)
    return float(np.sqrt(degrees_of_freedom) * np.tan(angle))


NO_INTERVAL = "none: too few processes"
"""In the place of an interval that is open, since one process alone has no spread."""


def bounds(low: float, high: float) -> str:
    """An interval of ratios, "1.20 to 1.40", or why there is none."""
    return f"{_figure(low)} to {_figure(high)}" if low > 0 and math.isfinite(high) else NO_INTERVAL


def _figure(x: float) -> str:
    return f"{x:.2f}" if 0.01 <= x < 100 else "over 100" if x >= 100 else "under 0.01"


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def comparable_key(record: Record, tunings_together: bool = False) -> tuple[object, ...]:
    """What is equal among records that may be compared: all but the backend, and the tuning where that is asked."""
    cell = record.cell
    shape = (cell.batch, cell.size, cell.seed, cell.recipe)
    how = (cell.precision, None if tunings_together else cell.tuning, cell.device, cell.replicas, cell.cores)
    return record.spec_fingerprint, cell.phase, shape, how, record.machine.kind, record.commit


def latest(records: Sequence[Record]) -> list[Record]:
    """Of several records of the same process, for instance loaded twice, the last one measured."""
    kept: dict[tuple[str, str, int], Record] = {}
    for record in sorted(records, key=lambda record: record.started_at):
        kept[record.cell.backend, record.cell.tuning, record.replicate] = record
    chosen = {id(record) for record in kept.values()}
    return [record for record in records if id(record) in chosen]


def superseded(records: Iterable[Record]) -> int:
    """How many processes `latest` leaves out for later ones; what was loaded twice is one."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(comparable_key(record, tunings_together=True), []).append(record)
    measured = {
        (key, record.cell.backend, record.cell.tuning, record.replicate, record.started_at)
        for key, group in groups.items()
        for record in group
    }
    return len(measured) - sum(len(latest(group)) for group in groups.values())


def _compare(records: list[Record]) -> Comparison:
    cell = records[0].cell
    step_s: dict[str, list[float]] = {}
    problems: dict[str, str] = {}
    for record in records:
        if record.step_s is not None:
            step_s.setdefault(record.cell.backend, []).append(record.step_s)
            if record.finite_at_end is False:
                problems[record.cell.backend] = f"{record.cell.backend} had come to NaN or Inf by the end"
        else:
            problems[record.cell.backend] = problem(record)
    ratios, outcome = judge(step_s)
    if any(record.status == "not_comparable" for record in records):
        outcome = "not_comparable"
    title = f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.tuning} {cell.where}"
    return Comparison(title, cell.phase, tuple(records), step_s, ratios, problems, outcome)


def judge(values: Mapping[str, Sequence[float]]) -> tuple[tuple[Ratio, ...], Outcome]:
    """The least of several against each other one, by name one value of each process, and what it amounts to.

    The values are the times of a step, or others of which less is better.
    """
    ranked = sorted(values, key=lambda name: statistics.mean(map(math.log, values[name])))
    ratios = tuple(ratio(ranked[0], values[ranked[0]], name, values[name]) for name in ranked[1:])
    if not ratios:
        return ratios, "not_timed"
    if not all(found.decided for found in ratios):
        return ratios, "undecided"
    return ratios, "tie" if ratios[0].tie else "faster"


def problem(record: Record) -> str:
    """Why it was not timed."""
    who = record.cell.backend
    if record.status == "unsupported":
        return f"{who} {record.message}"
    if record.status == "not_comparable" and record.gate is not None and not record.gate.comparable:
        gate = record.gate
        return (
            f"{who} computes something else: {gate.quantity} lies {gate.distance:.3g} noise floors from the reference, "
            f"at most {gate.limit:g} allowed"
        )
    return f"{who} was not timed ({record.status.replace('_', ' ')}: {record.message})"
