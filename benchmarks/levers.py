"""What each tuning brings: every (backend, tuning) of one comparison against one baseline, as ratios of times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from . import contestants
from .records import Record
from .verdict import comparable_key, latest, relative

Arm = tuple[str, str]
"""A backend and a tuning."""

BASELINES: tuple[Arm, ...] = (("handwritten_pytorch", "default"), ("pytorch", "default"))
"""The first of these that was timed; else the first default that there is."""


@dataclass(frozen=True)
class Lever:
    """One arm: the times of a step of its processes, and their ratio to the baseline's with its 95% interval.

    A peer is another network than the spec's.
    """

    backend: str
    tuning: str
    step_s: tuple[float, ...]
    ratio: float
    low: float
    high: float
    another_network: bool

    @property
    def median_s(self) -> float:
        return statistics.median(self.step_s)


@dataclass(frozen=True)
class Levers:
    """All arms of one (spec, phase, shape, precision, device) on one machine at one commit, fastest first."""

    title: str
    phase: str
    baseline: Arm
    arms: tuple[Lever, ...]


def levers(records: Iterable[Record]) -> list[Levers]:
    """One table for each group in which at least two arms and a baseline were timed."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(comparable_key(record, tunings_together=True), []).append(record)
    return [found for group in groups.values() if (found := _levers(latest(group))) is not None]


def _levers(records: list[Record]) -> Levers | None:
    times: dict[Arm, list[float]] = {}
    for record in records:
        if record.step_s is not None:
            times.setdefault((record.cell.backend, record.cell.tuning), []).append(record.step_s)
    defaults = [arm for arm in times if arm[1] == "default" and arm[0] not in contestants.NOT_OURS]
    baseline = next((arm for arm in (*BASELINES, *defaults) if arm in times), None)
    if baseline is None or len(times) < 2:
        return None
    arms = [
        Lever(*arm, tuple(step_s), *relative(step_s, times[baseline]), arm[0] in contestants.NOT_OURS)
        for arm, step_s in times.items()
    ]
    cell = records[0].cell
    title = f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device}"
    return Levers(title, cell.phase, baseline, tuple(sorted(arms, key=lambda arm: arm.median_s)))
