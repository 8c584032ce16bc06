"""How a step grows with the batch or with the image, up to where memory ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from shared_specs import ShapeError, UNetSpec
from shared_specs.shapes import LARGEST_INPUT, feature_shapes, size_of, smallest_input

from .cell import Cell
from .records import Record, Status

Axis = Literal["batch", "size"]

AXES: tuple[Axis, ...] = ("batch", "size")

ENDS: tuple[Status, ...] = ("out_of_memory", "killed", "timed_out")
"""A record of one of these says that nothing larger needs to be tried."""

Measure = Callable[[Cell], Record]


@dataclass(frozen=True)
class Sweep:
    """One backend along one axis: the records in the order in which they were measured, and what they amount to.

    Attributes:
        largest: the largest batch, or side in pixels, that was timed; None where none was.
        ended: the status at which it ended, or None where it was stopped by `most`.
    """

    cell: Cell
    axis: Axis
    records: tuple[Record, ...]
    largest: int | None
    ended: str | None

    @property
    def timed(self) -> list[Record]:
        """From small to large."""
        return sorted((record for record in self.records if record.step_s is not None), key=self.place)

    def place(self, record: Record) -> int:
        return record.cell.batch if self.axis == "batch" else record.cell.size[0]

    @staticmethod
    def ns_per_pixel(record: Record) -> float | None:
        """Nanoseconds of a step for one input pixel: level where the cost grows with the pixels alone."""
        if record.step_s is None:
            return None
        return 1e9 * record.step_s / (record.cell.batch * math.prod(record.cell.size))


def sweep(cell: Cell, axis: Axis, measure: Measure, most: int) -> Sweep:
    """Double the batch or the side until one does not fit, or `most` is passed; then close in on the largest that does.

    What does not fit is a record like any other, and the run goes on.
    """
    records: list[Record] = []

    def fits(value: int) -> bool:
        records.append(measure(_at(cell, axis, value)))
        return records[-1].step_s is not None

    values = steps(cell.network, axis, most)
    largest, too_large = None, None
    for value in values:
        if fits(value):
            largest = value
        elif records[-1].status == "unsupported":
            break
        elif largest is not None or records[-1].status in ENDS:  # one alone may be too few to train a batch norm on
            too_large = value
            break
    ended = records[-1].status if too_large is not None else None
    if axis == "batch" and ended in ENDS:
        while largest is not None and too_large is not None and too_large - largest > 1:
            middle = (largest + too_large) // 2
            if fits(middle):
                largest = middle
            elif records[-1].status in ENDS:
                too_large = middle
            else:
                ended = records[-1].status
                break
    return Sweep(cell, axis, tuple(records), largest, ended)


def _at(cell: Cell, axis: Axis, value: int) -> Cell:
    return cell.model_copy(update={"batch": value} if axis == "batch" else {"size": size_of(cell.network, (value,))})


def steps(spec: UNetSpec, axis: Axis, most: int) -> Sequence[int]:
    """1, 2, 4 ... for batches; the smallest side that fits at or above each doubling for sizes."""
    values, start = [], 1 if axis == "batch" else smallest_input(spec)
    wanted = start
    while wanted <= most:
        value = wanted if axis == "batch" else _side(spec, wanted)
        if value > most:
            break
        values.append(value)
        wanted *= 2
    return values


def _side(spec: UNetSpec, at_least: int) -> int:
    """The smallest side of a square image, at or above this, that the network takes. Raises ShapeError if none."""
    for side in range(at_least, min(at_least + 4096, LARGEST_INPUT)):
        try:
            feature_shapes(spec, (1, spec.in_channels, *size_of(spec, (side,))))
        except ShapeError:
            continue
        return side
    raise ShapeError(f"{spec.name}: takes no square image from {at_least} pixels on; name another --size")
