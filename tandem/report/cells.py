"""Records by cell: the processes that timed the same thing, and what they have in common with others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.verdict import comparable_key, latest, mean_with_interval

from .scenarios import Quantity


@dataclass(frozen=True)
class TimedCell:
    """The processes of one backend and tuning at one shape, precision and phase."""

    records: tuple[Record, ...]

    @property
    def backend(self) -> str:
        return self.records[0].cell.backend

    @property
    def tuning(self) -> str:
        return self.records[0].cell.tuning

    @property
    def phase(self) -> str:
        return self.records[0].cell.phase

    @property
    def arm(self) -> str:
        """ "pytorch tuned", or "peer_monai_basic_unet (another network)"."""
        if self.backend in contestants.NOT_OURS:
            return f"{self.backend} (another network)"
        return f"{self.backend} {self.tuning}"

    def values(self, quantity: Quantity) -> list[float]:
        return [value for record in self.records if (value := quantity(record)) is not None]

    def median(self, quantity: Quantity) -> float | None:
        """Over processes; None where none has it."""
        values = self.values(quantity)
        return statistics.median(values) if values else None

    def interval(self, quantity: Quantity) -> tuple[float, float] | None:
        """The 95% interval of the mean over processes; None where there are too few to bound it."""
        values = self.values(quantity)
        low, high = mean_with_interval(values)[1:] if len(values) > 1 else (0.0, math.inf)
        return (low, high) if low > 0 and math.isfinite(high) else None


def groups(records: Iterable[Record]) -> list[list[TimedCell]]:
    """Cells that differ in backend and tuning alone, together, in the order in which they come."""
    found: dict[tuple[object, ...], dict[tuple[str, str], list[Record]]] = {}
    for record in records:
        if record.cell.backend in contestants.NO_OP:
            continue
        key = (*comparable_key(record, tunings_together=True), record.cell.spec_label)
        found.setdefault(key, {}).setdefault((record.cell.backend, record.cell.tuning), []).append(record)
    return [[TimedCell(tuple(latest(own))) for own in arms.values()] for arms in found.values()]


def replicated(found: list[list[TimedCell]]) -> list[list[TimedCell]]:
    """Those with more than one process; the points of a sweep have one each, and are drawn as lines. Else all."""
    return [cells for cells in found if any(len(cell.records) > 1 for cell in cells)] or found


class Names:
    """What cells are called on a page: network and shape, and of the rest what is not the same in all records."""

    def __init__(self, records: Iterable[Record]):
        cells = list(records)
        self.precisions = {record.cell.precision for record in cells}
        self.devices = {record.cell.where for record in cells}
        self.commits = {record.commit for record in cells}
        self.one_machine = all(record.machine.kind == cells[0].machine.kind for record in cells)

    def __call__(self, record: Record) -> str:
        cell = record.cell
        return f"{cell.spec_label} {cell.shape_label}{self.rest(record)}"

    def rest(self, record: Record) -> str:
        """ " bfloat16 at 36869d881a27" where precisions and commits differ; "" where all is the same."""
        cell = record.cell
        parts = [cell.precision] if len(self.precisions) > 1 else []
        parts += [cell.where] if len(self.devices) > 1 else []
        parts += [f"at {short(record.commit)}"] if len(self.commits) > 1 else []
        parts += [f"on {record.machine.label(cell.device)}"] if not self.one_machine else []
        return "".join(f" {part}" for part in parts)


def short(commit: str | None) -> str:
    """Twelve digits of a commit, and whether the sources had been changed since."""
    number, plus, changed = (commit or "no known commit").partition("+")
    return (number[:12] if commit else number) + plus + changed
