"""No time without parity: a cell whose fingerprint strays from the reference gets no throughput."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import psutil

import backends
from backends.contract import UNIT_ROUNDOFF, Execution, Model, ReferenceBackend
from parity.noise_floor import distance, floor, limit_of, reruns
from shared_specs import TandemError, initial_weights
from shared_specs.shapes import feature_shapes

from . import fingerprint
from .cell import Cell
from .machine import FREE_MEMORY_SHARE
from .records import Gate


@dataclass(frozen=True)
class Reference:
    """The float64 values of a fingerprint, and how far rounding alone moves each of them."""

    quantities: fingerprint.Fingerprint
    floors: dict[str, float]
    limit: float


@dataclass
class References:
    """The references of a run, each computed once. It is the parent that computes them, never a timed process."""

    _known: dict[tuple[object, ...], Reference] = field(default_factory=dict)

    def has(self, cell: Cell) -> bool:
        return _key(cell) in self._known

    def get(self, cell: Cell) -> Reference:
        """The reference of this cell: a few runs of NumPy at its exact shape, seconds for a small network.

        Raises:
            TandemError: where it would not fit into the memory that is free.
        """
        key = _key(cell)
        if key not in self._known:
            _check_room(cell)
            self._known[key] = _compute(cell)
        return self._known[key]


def judge(reference: Reference | None, candidate: Mapping[str, Sequence[float]]) -> Gate:
    """The verdict on a fingerprint: the distance of its worst quantity, in floors."""
    assert reference is not None
    worst, farthest = "", 0.0
    for name, values in reference.quantities.items():
        given = np.asarray(candidate.get(name, []), np.float64)
        here = distance(given, values, reference.floors[name])
        if here > farthest or not worst:
            worst, farthest = name, here
    unexpected = sorted(candidate.keys() - reference.quantities.keys())
    if unexpected:
        worst, farthest = unexpected[0], np.inf
    return Gate(comparable=farthest <= reference.limit, distance=farthest, quantity=worst, limit=reference.limit)


def _check_room(cell: Cell) -> None:
    """Fail before the kernel ends this process, and with it the run."""
    needed, free = reference_bytes(cell), psutil.virtual_memory().available
    if needed > FREE_MEMORY_SHARE * free:
        raise TandemError(
            f"the NumPy reference would take about {needed / 2**30:.0f} GiB and {free / 2**30:.0f} are free; "
            "there is no time without parity, so take a smaller batch or size"
        )


def reference_bytes(cell: Cell) -> int:
    """About what the reference takes of memory: float64, and three maps kept for each layer's output in training."""
    images = 1 if cell.phase != "forward" else len(fingerprint.ends(cell.batch)) / cell.batch
    outputs = sum(math.prod(shape) for shape in feature_shapes(cell.network, cell.images_shape).values())
    return int(8 * outputs * images * (2 if cell.phase == "forward" else 3))


def _key(cell: Cell) -> tuple[object, ...]:
    return cell.network.fingerprint, cell.images_shape, cell.precision, cell.seed, cell.phase, cell.recipe


def _compute(cell: Cell) -> Reference:
    backend = cast(ReferenceBackend, backends.get("numpy_reference"))
    spec, unit_roundoff = cell.network, UNIT_ROUNDOFF[cell.precision]
    quantities = _run(backend.build(spec, Execution(precision="float64"), cell.recipe), cell)
    noisy, turned = (
        [_run(backend.build_noisy(spec, noise, cell.recipe), cell) for noise in noises]
        for noises in reruns(unit_roundoff, cell.seed)
    )
    floors = {
        name: floor(values, [run[name] for run in noisy], [run[name] for run in turned], unit_roundoff)
        for name, values in quantities.items()
    }
    return Reference(quantities, floors, limit_of(unit_roundoff))


def _run(model: Model, cell: Cell) -> fingerprint.Fingerprint:
    model.load_weights(initial_weights(cell.network, cell.seed))
    images, labels = cell.batch_arrays()
    if cell.phase == "forward":  # the reference need not compute what is not compared
        images = images[fingerprint.ends(len(images))]
    step = model.program(cell.phase, images, labels)
    return fingerprint.take(model, step, cell.phase, step())
