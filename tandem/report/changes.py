"""What would change the answer of a scenario: only what follows from the records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.cell import Cell
from benchmarks.records import Record
from benchmarks.scaling import ENDS
from benchmarks.verdict import ratio
from shared_specs.shapes import size_label

from .answers import Answer
from .break_even import Running, break_even, running
from .scenarios import first_step_s, step_s
from .sweeps import sweeps
from .verdicts import Setting


@dataclass(frozen=True)
class Dimension:
    """One thing in which two cells may differ.

    Attributes:
        value: of a cell.
        where: "At batch 8".
    """

    name: str
    value: Callable[[Cell], object]
    where: Callable[[Cell], str]


DIMENSIONS = (
    Dimension("tuning", lambda cell: cell.tuning, lambda cell: f"With both {cell.tuning}"),
    Dimension("batch", lambda cell: cell.batch, lambda cell: f"At batch {cell.batch}"),
    Dimension("size", lambda cell: cell.size, lambda cell: f"At {size_label(cell.size)} pixels"),
    Dimension("precision", lambda cell: cell.precision, lambda cell: f"In {cell.precision}"),
    Dimension("phase", lambda cell: cell.phase, lambda cell: f"For {cell.phase}"),
    Dimension("device", lambda cell: cell.device, lambda cell: f"On {cell.device}"),
)


def changes(setting: Setting, records: Sequence[Record]) -> list[str]:
    """Sentences, each of which follows from the records; none where nothing does."""
    found = [said for dimension in DIMENSIONS if (said := _along(setting, dimension))]
    headline = setting.headline
    if headline.outcome in ("faster", "tie") and headline.scenario.quantity is step_s:
        found += _few_steps(headline, records)
    if headline.scenario.quantity is first_step_s:
        found += _many_steps(headline, records)
    return found


def beside(setting: Setting, records: Sequence[Record]) -> list[str]:
    """Sentences that belong to the answer: what tuning brings to who is ahead, and the largest batches that fit."""
    found = _own_tuning(setting)
    if setting.headline.scenario.identity == "training-memory":
        found += _largest_batches(setting.headline, records)
    return found


def _along(setting: Setting, dimension: Dimension) -> str:
    """Where only this differs and another is ahead; the nearest such place, and the others named."""
    own = setting.headline
    if dimension.name == "phase" and own.scenario.prefers != "throughput":
        return ""  # who asks for the memory of training does not mean inference
    other = [a for a in setting.others if _differs_in(own, a, dimension) and _changes(own, a)]
    if not other:
        return ""
    here = own.records[0].cell
    other.sort(key=lambda answer: _distance(here, answer.records[0].cell))
    nearest, rest = other[0], other[1:]
    said = f"{dimension.where(nearest.records[0].cell)}, {nearest.phrase}"
    same = [a for a in rest if (a.leader, a.outcome) == (nearest.leader, nearest.outcome)]
    places = [_value(dimension, answer.records[0].cell) for answer in same]
    return f"{said}; likewise at {', '.join(places)}" if places else said


def _value(dimension: Dimension, cell: Cell) -> str:
    value = dimension.value(cell)
    return size_label(value) if isinstance(value, tuple) else str(value)


def _distance(one: Cell, other: Cell) -> float:
    """How far two cells lie apart in images and pixels."""
    pixels = [cell.batch * math.prod(cell.size) for cell in (one, other)]
    return abs(math.log(pixels[0] / pixels[1]))


def _differs_in(one: Answer, other: Answer, dimension: Dimension) -> bool:
    """In this alone."""
    first, second = one.records[0], other.records[0]
    named = {d.name: d.value(first.cell) != d.value(second.cell) for d in DIMENSIONS}
    rest = [
        (r.spec_fingerprint, r.cell.recipe, r.cell.seed, r.machine.kind, r.commit, r.cell.spec_label)
        for r in (first, second)
    ]
    return rest[0] == rest[1] and named.pop(dimension.name) and not any(named.values())


def _changes(one: Answer, other: Answer) -> bool:
    """Whether the other says something else; what is not decided only where another is ahead."""
    if other.outcome == "not_comparable":
        return True
    if other.outcome == "undecided":
        return one.outcome == "faster" and other.leader != one.winner
    return other.outcome in ("faster", "tie") and (other.outcome, other.winner) != (one.outcome, one.winner)


def _few_steps(headline: Answer, records: Iterable[Record]) -> list[str]:
    """Who throughput puts second, or tied, may be done sooner where there are few steps."""
    arms = _arms_of(headline, records)
    if headline.winner is None or headline.winner not in arms:
        return []
    found = [break_even(arms[headline.winner], arm) for name, arm in arms.items() if name != headline.winner]
    return [
        f"Up to about {paid.steps:,} steps ({paid.span}), {paid.sooner.arm[0]} is done sooner: it starts earlier"
        for paid in found
        if paid is not None and paid.steps > 1
    ]


def _many_steps(headline: Answer, records: Iterable[Record]) -> list[str]:
    """Who starts later may catch up."""
    arms = _arms_of(headline, records)
    if headline.winner is None or headline.winner not in arms:
        return []
    found = [break_even(arm, arms[headline.winner]) for name, arm in arms.items() if name != headline.winner]
    return [
        f"After about {paid.steps:,} steps ({paid.span}), {paid.later.arm[0]} has caught up"
        for paid in found
        if paid is not None
    ]


def _arms_of(headline: Answer, records: Iterable[Record]) -> dict[str, Running]:
    """The running times of the backends of an answer, by name."""
    own = {id(record) for record in headline.records}
    groups = running(record for record in records if id(record) in own)
    return {arm.arm[0]: arm for _, arms in groups for arm in arms}


def _largest_batches(headline: Answer, records: Sequence[Record]) -> list[str]:
    """The largest batch that fits, from sweeps that memory has ended."""
    own = [record for record in records if record.cell.backend not in contestants.BESIDE]
    found = [
        each
        for each in sweeps(own, "batch")
        if _of_sweep(each.records[0]) == _of_sweep(headline.records[0])
        and each.ended in ENDS
        and each.largest is not None
    ]
    found.sort(key=lambda each: -(each.largest or 0))
    by_size: dict[tuple[int, ...], list[str]] = {}
    for each in found:
        by_size.setdefault(each.cell.size, []).append(f"{each.cell.backend} ({each.cell.tuning}) {each.largest}")
    return [
        f"The largest batch that fits, in images of {size_label(size)} pixels: {', '.join(said)}"
        for size, said in by_size.items()
    ]


def _of_sweep(record: Record) -> tuple[object, ...]:
    """What a sweep and an answer have in common: how much fits is of one machine alone."""
    cell = record.cell
    what = (record.spec_fingerprint, cell.phase, cell.recipe, cell.precision, cell.device)
    return *what, record.machine.kind, record.commit


def _own_tuning(setting: Setting) -> list[str]:
    """What the tuning of the winner brings over its own default."""
    own = setting.headline
    tuning = own.records[0].cell.tuning
    if own.winner is None or tuning == "default":
        return []
    for other in setting.others:
        if (
            other.records[0].cell.tuning == "default"
            and own.winner in other.values
            and _differs_in(own, other, DIMENSIONS[0])
        ):
            names = (f"{own.winner} {tuning}", f"{own.winner} default")
            brought = ratio(names[0], own.values[own.winner], names[1], other.values[own.winner])
            return [f"Tuning alone: {brought.words(own.scenario.better, own.scenario.amount)}"]
    return []
