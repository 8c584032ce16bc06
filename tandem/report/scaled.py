"""What records of scaling say in short: of each sweep how fast, the time of a step, memory, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.cell import Cell
from benchmarks.device_scaling import MODES, DeviceScaling, Point, device_scalings, percent
from benchmarks.records import Record
from benchmarks.scaling import AXES, Axis, Sweep
from benchmarks.verdict import FEWEST, NO_INTERVAL
from shared_specs.shapes import size_label

from ..units import milliseconds, sized
from .devices import name
from .scenarios import memory_bytes
from .sweeps import end, sweeps
from .verdicts import Verdict

NO_CHOICE_YET = "Which backend to choose is not what these records are of. This measures it:"


@dataclass(frozen=True)
class Scaled:
    """One sweep, or one mode of scaling over devices.

    Attributes:
        what: network, shape, phase, precision and device.
        who: backend and tuning, and what grew.
        choice: the answer, in a few words.
        beside: what else the records tell: times, memory, and why there is no interval.
        section: of the page, that shows all of it.
    """

    what: str
    who: str
    choice: str
    beside: tuple[str, ...]
    section: str

    @property
    def sentence(self) -> str:
        return f"{self.choice}: {'; '.join(self.beside)}"


Place = tuple[Cell, str | None]
"""A cell and the commit at which it was timed."""


def place_of(record: Record) -> Place:
    return record.cell, record.commit


def points(records: Sequence[Record]) -> set[Place]:
    """What are points of a sweep, or of scaling over devices."""
    found = [record for axis in AXES for sweep in sweeps(records, axis) for record in sweep.records]
    found += [record for scaling in device_scalings(records) for point in scaling.points for record in point.records]
    return {place_of(record) for record in found}


def nothing_else(records: Sequence[Record], verdicts: Iterable[Verdict]) -> bool:
    """Whether there are records of scaling alone, which decide no scenario."""
    decided = any(setting.headline.outcome in ("faster", "tie") for each in verdicts for setting in each.settings)
    of_scaling = points(records)
    return bool(records) and not decided and all(place_of(record) in of_scaling for record in records)


def scaled(records: Sequence[Record]) -> list[Scaled]:
    """One for each sweep and mode, devices first."""
    found = [_over_devices(each, mode) for each in device_scalings(records) for mode in MODES if each.of(mode)]
    return found + [_swept(each) for axis in AXES for each in sweeps(records, axis)]


def _over_devices(found: DeviceScaling, mode: str) -> Scaled:
    """At the most devices."""
    cell = found.cell
    *_, last = [point for point in found.points if point.mode == mode]
    what = f"{cell.spec_label} {cell.shape_label} {cell.phase} {cell.precision} {cell.device}"
    who = f"{cell.backend} {cell.tuning}, {name(last)}"
    where = last.records[0].cell.where
    beside = [where]
    if not last.step_s:
        return Scaled(what, who, "not timed", (*beside, last.records[0].status.replace("_", " ")), "devices")
    choice = "efficiency not known"
    if last.efficiency is None:
        beside.append("one device alone was not timed")
    else:
        value, interval = percent(last.efficiency)
        choice = f"{value} efficient"
        beside.append(_no_interval(last) if interval == NO_INTERVAL else f"95% interval {interval}")
    beside.append(f"{milliseconds(statistics.median(last.step_s))} ms a step")
    if last.memory_bytes:
        beside.append(f"{sized(max(last.memory_bytes))} of memory at most for each")
    return Scaled(what, who, choice, tuple(beside), "devices")


def _no_interval(point: Point) -> str:
    groups = "one run" if len(point.step_s) == 1 else f"{len(point.step_s)} runs"
    return f"no interval from {groups} (take --replicates {FEWEST})"


def _swept(found: Sweep) -> Scaled:
    """At the place with the most pixels a second."""
    cell, axis = found.cell, found.axis
    fixed = f"{size_label(cell.size)} pixels" if axis == "batch" else f"batch {cell.batch}"
    what = f"{cell.spec_label} {fixed} {cell.phase} {cell.precision} {cell.device}"
    who = f"{cell.backend} {cell.tuning}, {'over the batch' if axis == 'batch' else 'over the image size'}"
    by_place: dict[int, list[Record]] = {}
    for record in found.timed:
        by_place.setdefault(found.place(record), []).append(record)
    if not by_place:
        reasons = dict.fromkeys(record.status.replace("_", " ") for record in found.records)
        return Scaled(what, who, "nothing timed", tuple(reasons), "scaling")
    best = min(by_place.values(), key=lambda own: _seconds(own) / _pixels(own[0]))
    step_s, first = _seconds(best), best[0].cell
    beside = [f"{first.batch / step_s:.1f} images/s", f"{milliseconds(step_s)} ms a step"]
    memory = [held for record in best if (held := memory_bytes(record)) is not None]
    beside += [f"{sized(max(memory))} of memory"] if memory else []
    beside.append(end_of(found))
    beside += ["no intervals, as each point is one process"] if max(map(len, by_place.values())) == 1 else []
    return Scaled(what, who, f"fastest at {_place(axis, best[0])}", tuple(beside), "scaling")


def end_of(found: Sweep) -> str:
    """How far the sweep came, in a clause."""
    said = end(found)
    return f"{said[:1].lower()}{said[1:]}" + ("" if found.largest is None else f": {found.largest}")


def _place(axis: Axis, record: Record) -> str:
    return f"batch {record.cell.batch}" if axis == "batch" else f"{size_label(record.cell.size)} pixels"


def _seconds(records: Iterable[Record]) -> float:
    return statistics.median(record.step_s for record in records if record.step_s is not None)


def _pixels(record: Record) -> int:
    return record.cell.batch * math.prod(record.cell.size)
