"""How a training step scales over devices: strong, where the batch of all is fixed, and weak, where that of each is.

What k devices are compared with is one process on one device, without the engine that joins several. Efficiency is the
part of k times its speed that k devices reach: t1 / (k tk) in strong scaling, t1 / tk in weak scaling, where tk is the
time of a step. On a CPU a device is a share of the cores, the same for every number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from backends.devices import too_few_for
from shared_specs import TandemError

from . import contestants, machine
from .cell import Cell
from .records import Record
from .verdict import NO_INTERVAL, latest, relative

Mode = Literal["strong", "weak"]

MODES: tuple[Mode, ...] = ("strong", "weak")


@dataclass(frozen=True)
class Point:
    """One number of replicas in one mode.

    Attributes:
        records: one for each group of processes.
        efficiency: with its 95% interval over groups of processes; None where one of the two was not timed.
    """

    mode: Mode
    replicas: int
    records: tuple[Record, ...]
    efficiency: tuple[float, float, float] | None

    @property
    def batch(self) -> int:
        """Of all replicas together."""
        return self.records[0].cell.batch

    @property
    def step_s(self) -> list[float]:
        """The times of a step, one of each group of processes."""
        return times(self.records)

    @property
    def memory_bytes(self) -> tuple[int, ...]:
        """The peak of each device, or of each process on a CPU, by rank; the most of all groups."""
        held = []
        for record in self.records:
            if record.ranks is not None:
                held.append(record.ranks.peak_device_memory_bytes or record.ranks.peak_memory_bytes)
            elif (alone := record.peak_device_memory_bytes or record.peak_memory_bytes) is not None:
                held.append((alone,))
        return tuple(max(each) for each in zip(*held, strict=False))


@dataclass(frozen=True)
class DeviceScaling:
    """One backend and tuning over numbers of devices.

    Attributes:
        cell: that of one device.
        points: by mode and number of devices, one device among them.
    """

    cell: Cell
    batch_statistics: str
    points: tuple[Point, ...]

    def of(self, mode: Mode) -> list[Point]:
        return [point for point in self.points if point.mode == mode]

    @property
    def title(self) -> str:
        """ "unet_bn_same_narrow4 2x96x96 train_step float32 cpu: pytorch default"."""
        cell = self.cell
        what = f"{cell.spec_label} {cell.shape_label} {cell.phase} {cell.precision} {cell.device}"
        return f"{what}: {cell.backend} {cell.tuning}"


def counts(most: int) -> list[int]:
    """1, 2, 4 ... and `most`."""
    doubled = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [*doubled, most]


def check_devices(device: str, most: int) -> int | None:
    """The cores of each process, None on a GPU. Raises TandemError where there are fewer devices than replicas."""
    if device.partition(":")[0] != device:
        raise TandemError(f"--device {device} is one device, and replicas take one each; give cuda")
    found = found_devices(device)
    if problem := too_few_for(most, device, found):
        raise TandemError(problem)
    return found // most if device == "cpu" else None


def found_devices(kind: str) -> int:
    """How many devices of a kind this process may use; on a CPU, cores."""
    here = machine.this_machine()
    return here.usable_cores if kind == "cpu" else machine.usable_gpus(len(here.gpus))


def plan(cell: Cell, most: int, statistics: str) -> list[Cell]:
    """The cells of strong and weak scaling from the cell of one device; what both have in common comes once.

    Raises:
        TandemError: where the batch does not divide among the devices, or there are fewer devices than `most`.
    """
    cores = check_devices(cell.device, most)
    for replicas in counts(most):
        if cell.batch % replicas:
            raise TandemError(
                f"a batch of {cell.batch} does not divide among {replicas} replicas; give --batch a multiple of "
                f"{math.lcm(*counts(most))}"
            )
    shared = cell.recipe.model_copy(update={"batch_statistics": statistics})
    found = [cell.model_copy(update={"cores": cores})]
    for replicas in counts(most)[1:]:
        for batch in (cell.batch, cell.batch * replicas):
            found.append(
                cell.model_copy(update={"replicas": replicas, "cores": cores, "batch": batch, "recipe": shared})
            )
    return found


def by_turns(cells: Sequence[Cell], replicates: int) -> list[tuple[Cell, int]]:
    """The order in which they are timed, forth and back, so that a drift of the machine hits all alike."""
    return [
        (cell, replicate)
        for replicate in range(1, replicates + 1)
        for cell in (cells if replicate % 2 else reversed(cells))
    ]


def device_scalings(records: Iterable[Record]) -> list[DeviceScaling]:
    """One for each backend, tuning and batch of one device that was timed with replicas too."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.NO_OP:
            groups.setdefault(_key(record), []).append(record)
    found = []
    for group in groups.values():
        alone: dict[int, list[Record]] = {}
        for record in group:
            if record.cell.replicas == 1:
                alone.setdefault(record.cell.batch, []).append(record)
        several = [record for record in group if record.cell.replicas > 1]
        for statistics in dict.fromkeys(record.cell.recipe.batch_statistics for record in several):
            own = [record for record in several if record.cell.recipe.batch_statistics == statistics]
            found += [scaling for one in alone.values() if (scaling := _scaling(one, own, statistics)) is not None]
    return found


def _key(record: Record) -> tuple[object, ...]:
    """What is equal among the points of one scaling; of the recipe, one device has no use for batch statistics."""
    cell = record.cell
    recipe = cell.recipe.model_copy(update={"batch_statistics": "global"})
    what = (record.spec_fingerprint, cell.spec_label, cell.phase, recipe, cell.seed, cell.size)
    how = (cell.backend, cell.tuning, cell.precision, cell.device, cell.cores)
    return *what, *how, record.machine.kind, record.commit


def _scaling(alone: Sequence[Record], several: Sequence[Record], statistics: str) -> DeviceScaling | None:
    cell = alone[0].cell
    points = []
    for mode in MODES:
        by_count: dict[int, list[Record]] = {}
        for record in several:
            if record.cell.batch == cell.batch * (record.cell.replicas if mode == "weak" else 1):
                by_count.setdefault(record.cell.replicas, []).append(record)
        if by_count:
            points.append(_point(mode, alone, alone))
            points += [_point(mode, alone, by_count[count]) for count in sorted(by_count)]
    return DeviceScaling(cell, statistics, tuple(points)) if points else None


def _point(mode: Mode, alone: Sequence[Record], records: Sequence[Record]) -> Point:
    kept = tuple(latest(records))
    replicas = kept[0].cell.replicas
    one_s, own_s = times(latest(alone)), times(kept)
    efficiency = None
    if replicas > 1 and one_s and own_s:
        share = replicas if mode == "strong" else 1
        ratio, low, high = relative(one_s, own_s)
        efficiency = (ratio / share, low / share, high / share)
    return Point(mode, replicas, kept, efficiency)


def times(records: Iterable[Record]) -> list[float]:
    return [record.step_s for record in records if record.step_s is not None]


def percent(efficiency: tuple[float, float, float]) -> tuple[str, str]:
    """The efficiency and its interval, for people, or why there is none: one process each has no spread."""
    value, low, high = efficiency
    interval = f"{100 * low:.0f} to {100 * high:.0f}%" if low > 0 and high < math.inf else NO_INTERVAL
    return f"{100 * value:.0f}%", interval
