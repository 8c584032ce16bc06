"""What the records say in a scenario of cells that differ in the backend alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.verdict import Outcome, Ratio, comparable_key, is_busy, judge, latest, problem, words

from .scenarios import Scenario


@dataclass(frozen=True)
class Answer:
    """What the records say of cells that differ in the backend alone.

    Attributes:
        values: by backend, one of each process.
        ratios: of the best to each other one.
        problems: by backend, why it has none.
    """

    scenario: Scenario
    records: tuple[Record, ...]
    values: dict[str, list[float]]
    ratios: tuple[Ratio, ...]
    outcome: Outcome
    problems: dict[str, str]

    @property
    def winner(self) -> str | None:
        return self.ratios[0].faster if self.outcome == "faster" else None

    @property
    def leader(self) -> str | None:
        """Who is ahead, told from noise or not."""
        return self.ratios[0].faster if self.ratios else None

    @property
    def phrase(self) -> str:
        """The best against each other one, or why nothing can be said; no sentence yet."""
        return self._said("")

    @property
    def sentence(self) -> str:
        """The same with the tuning that both have."""
        tuning = self.records[0].cell.tuning
        if len(self.values) < 2:
            return f"{tuning}: {self._said('')}"
        return self._said(f", both {tuning}" if len(self.values) == 2 else f", all {tuning}")

    def _said(self, tuning: str) -> str:
        if self.outcome == "not_comparable":
            return f"not comparable: {'; '.join(self.problems.values())}"
        said = words(self.ratios, self.scenario.better, self.scenario.amount, tuning)
        if len(self.values) == 1:
            (backend, values), *_ = self.values.items()
            said = f"only {backend} was measured, {self.scenario.shown(statistics.median(values))}"
        beware = "not to be relied on, as other work kept the machine busy meanwhile"
        return (
            "; ".join(filter(None, [said, beware if self.is_busy else "", *self.problems.values()]))
            or "nothing was measured"
        )

    @property
    def is_busy(self) -> bool:
        """Whether other work may have decided it; it moves times, and no memory."""
        return self.scenario.amount == "time" and bool(self.values) and is_busy(self.records)

    @property
    def medians(self) -> str:
        """The values themselves, best first: "29.00 ms a step against 42.30 ms a step"."""
        order = [self.ratios[0].faster, *(ratio.slower for ratio in self.ratios)] if self.ratios else []
        return ", ".join(f"{name} {self.scenario.shown(statistics.median(self.values[name]))}" for name in order)


def answers(records: Iterable[Record], scenario: Scenario) -> list[Answer]:
    """One for all that is compared with each other, as in `benchmarks.verdict`, in every phase and at every batch.

    Public U-Nets are other networks, and the hand-written module is no backend: neither can be chosen. Replicas, and
    processes that have some of the cores alone, answer another question (`tandem.report.devices`).
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.BESIDE and record.cell.is_alone:
            groups.setdefault(comparable_key(record), []).append(record)
    return [_answer(latest(group), scenario) for group in groups.values()]


def _answer(records: list[Record], scenario: Scenario) -> Answer:
    values: dict[str, list[float]] = {}
    problems: dict[str, str] = {}
    for record in records:
        if record.status != "ok":
            problems[record.cell.backend] = problem(record)
        elif (value := scenario.quantity(record)) is not None:
            values.setdefault(record.cell.backend, []).append(value)
            if record.finite_at_end is False:
                problems[record.cell.backend] = f"{record.cell.backend} had come to NaN or Inf by the end"
    ratios, outcome = judge(values)
    if any(record.status == "not_comparable" for record in records):
        outcome = "not_comparable"
    return Answer(scenario, tuple(records), values, ratios, outcome, problems)
