"""The reference of the gate: `python -m benchmarks.reference` is the process that computes one with a framework.

A float64 fingerprint and its noise floors take dozens of steps. For a small cell they are NumPy's, computed in the
parent. For a large one they are those of a framework's own reference, on the cell's device.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import psutil

import backends
from backends.contract import UNIT_ROUNDOFF, Backend, Execution, Model, ReferenceBackend, RoundingNoise
from backends.processes import FREE_MEMORY_SHARE
from backends.replicas.model import has_batch_norm
from parity.noise_floor import combine, limit_of, reruns, rms
from shared_specs import TandemError, initial_weights
from shared_specs.shapes import feature_shapes

from . import fingerprint, protocol
from .cell import Cell


@dataclass(frozen=True)
class Reference:
    """The float64 values of a fingerprint, and how far rounding alone moves each of them.

    Attributes:
        by: the backend that computed it.
    """

    quantities: fingerprint.Fingerprint
    floors: dict[str, float]
    limit: float
    by: str = "numpy_reference"

    def to_json(self) -> dict[str, Any]:
        quantities = {name: values.tolist() for name, values in self.quantities.items()}
        return {"quantities": quantities, "floors": self.floors, "limit": self.limit, "by": self.by}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Reference:
        quantities = {name: np.asarray(given, np.float64) for name, given in values["quantities"].items()}
        return cls(quantities, values["floors"], values["limit"], values["by"])


def compute(cell: Cell, by: str, device: str = "cpu") -> Reference:
    """The fingerprint of a cell in float64, and its floors in the cell's precision.

    One run after the other: of each only the fingerprint is kept.
    """
    backend = cast(ReferenceBackend, backends.get(by))
    unit_roundoff = UNIT_ROUNDOFF[cell.precision]
    quantities = _run(_build(backend, cell, device, None), cell)

    def deviations(noises: Iterable[RoundingNoise]) -> list[dict[str, float]]:
        found = []
        for noise in noises:
            run = _run(_build(backend, cell, device, noise), cell)
            found.append({name: rms(run[name] - values) for name, values in quantities.items()})
        return found

    noisy, turned = map(deviations, reruns(unit_roundoff, cell.seed))
    floors = {
        name: combine([run[name] for run in noisy], [run[name] for run in turned], values, unit_roundoff)
        for name, values in quantities.items()
    }
    return Reference(quantities, floors, limit_of(unit_roundoff), by)


def replicas_apart(cell: Cell) -> int:
    """How many replicas have to be told apart: all where each has batch statistics of its own, else they are one."""
    own = cell.recipe.batch_statistics == "per_replica" and has_batch_norm(cell.network)
    return cell.replicas if own else 1


def _build(backend: ReferenceBackend, cell: Cell, device: str, noise: RoundingNoise | None) -> Model:
    if (apart := replicas_apart(cell)) > 1:
        return backend.build_replicas(cell.network, cell.recipe, apart, noise)
    if noise is None:
        return backend.build(cell.network, Execution(device, "float64"), cell.recipe)
    return backend.build_noisy(cell.network, noise, cell.recipe, device)


def _run(model: Model, cell: Cell) -> fingerprint.Fingerprint:
    model.load_weights(initial_weights(cell.network, cell.seed))
    images, labels = cell.batch_arrays()
    if cell.phase == "forward":  # the reference need not compute what is not compared
        images = images[fingerprint.ends(len(images))]
    step = model.program(cell.phase, images, labels)
    try:
        return fingerprint.take(model, step, cell.phase, step())
    finally:
        del step
        gc.collect()  # a model and its program hold each other, and their maps may fill the device


def check_room(cell: Cell, by: str) -> None:
    """Fail before the kernel ends this process, and with it the run. Raises TandemError."""
    needed, free = reference_bytes(cell), psutil.virtual_memory().available
    if needed > FREE_MEMORY_SHARE * free:
        name = {"numpy_reference": "NumPy", "pytorch": "PyTorch"}.get(by, by)
        raise no_room(f"the {name} reference would take about {needed / 2**30:.0f} GiB and {free / 2**30:.0f} are free")


def no_room(what: str) -> TandemError:
    return TandemError(f"{what}; there is no time without parity, so take a smaller batch or size")


def reference_bytes(cell: Cell) -> int:
    """About what a reference takes of memory: float64, and three maps kept for each layer's output in training."""
    images = 1 if cell.phase != "forward" else len(fingerprint.ends(cell.batch)) / cell.batch
    outputs = sum(math.prod(shape) for shape in feature_shapes(cell.network, cell.images_shape).values())
    return int(8 * outputs * images * (2 if cell.phase == "forward" else 3))


def answer(cell: dict[str, Any], by: str) -> protocol.Answer:
    """The reference of a cell, given as JSON, on the cell's device where the framework has it, else on the CPU."""
    asked = Cell.model_validate(cell)
    device = asked.device if _has(backends.get(by), asked.device) else "cpu"
    if device == "cpu":  # a GPU without room says so itself, and harms nobody
        check_room(asked, by)
    return compute(asked, by, device).to_json()


def _has(backend: Backend, device: str) -> bool:
    return any(device in (known, known.partition(":")[0]) for known in backend.devices())


def main() -> None:
    protocol.die_with_parent()
    answers = protocol.claim_stdout()
    protocol.serve({"reference": answer}, answers)


if __name__ == "__main__":
    main()
