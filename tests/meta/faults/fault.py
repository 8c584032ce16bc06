"""What a planted fault is, and the small networks that faults are planted in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backends.contract import Execution, Model
from parity import Batch
from shared_specs import Recipe, UNetSpec
from tests.variants import VARIANTS, built, to_size

NUMPY, PYTORCH, FLAX = (("numpy_reference",), ("pytorch",), ("flax_nnx", "flax_linen"))
ALL = NUMPY + PYTORCH + FLAX
"""Those that train, in which a fault of any probe can be planted."""
ONNX = ("onnxruntime",)
BACKENDS = ALL + ONNX
PRECISION_OF = {"numpy_reference": "float64", "onnxruntime": "float32"}
"""Of the backends that have one alone."""
SGD = Recipe()

OWN_NETWORKS: dict[str, dict[str, Any]] = {
    "two levels": {},
    # No zeros around the map: beside a mean of 300 they would be what varies most.
    "reflect, images of mean 300": VARIANTS["reflect"] | {"images_mean": 300.0},
    "3-D, wide head": VARIANTS["3-D"] | {"head__kernel": 3, "head__padding": 1},
    "circular on a larger map": {"conv__padding_mode": "circular", "size": (8, 12)},
    "output padding, cropped": {"up__kernel": 3, "up__padding": 1, "up__output_padding": 1}
    | to_size("crop_skip", odd_difference="floor")
    | {"size": (6, 8)},
    "square up": {"up__width": "same"},
    "one resolution, equal widths": {"down": {"kind": "none"}, "up": {"kind": "none"}, "widths": [4, 4, 4]},
    "padded pool of negative values": {"down__kernel": 3, "down__padding": 1, "activation": {"kind": "tanh"}},
    # An even kernel makes a difference of 3, where half rounded to even is not half rounded down.
    "crop by three": to_size("crop_skip", odd_difference="half_to_even")
    | {"conv__kernel": 2, "conv__padding": 0, "block__convolutions": 1, "size": (10, 12)},
    "crop by one": to_size("crop_skip", odd_difference="half_to_even"),
}
NETWORKS = VARIANTS | OWN_NETWORKS
"""By name, the changes to a small network of two levels: those of `tests/variants.py`, and a few that faults need."""


class Plant(Protocol):
    """How a fault gets into a model, from outside."""

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model: ...


@dataclass(frozen=True)
class Fault:
    """One fault, planted in one or several backends.

    Attributes:
        name: what is wrong.
        plant: where it is and what it changes.
        probe: the probe that must catch it first.
        quantity: the layer or tensor that must be named first.
        backends: where it is planted.
        network: the small network, a key of NETWORKS.
        recipe, precision: what the model is trained with and computes in.
        because: why that probe and quantity, where the place of the fault does not say it.
    """

    name: str
    plant: Plant
    probe: str
    quantity: str
    backends: tuple[str, ...] = ALL
    network: str = "two levels"
    recipe: Recipe = SGD
    precision: str = "float64"
    because: str = ""

    @property
    def mutants(self) -> list[Mutant]:
        return [Mutant(self, backend) for backend in self.backends]


@dataclass(frozen=True)
class Mutant:
    """A fault in one backend."""

    fault: Fault
    backend: str

    @property
    def name(self) -> str:
        return f"{self.backend}: {self.fault.name}"

    @property
    def setting(self) -> Setting:
        """Where a sound build of the same backend belongs beside it."""
        return Setting(self.fault.network, self.fault.recipe, self._execution)

    @property
    def _execution(self) -> Execution:
        return Execution(precision=PRECISION_OF.get(self.backend, self.fault.precision))

    def build(self) -> Model:
        spec, _ = self.setting.network_and_batch()
        return self.fault.plant.build(self.backend, spec, self._execution, self.fault.recipe)


@dataclass(frozen=True)
class Setting:
    """What a comparison takes beside the backend."""

    network: str
    recipe: Recipe
    execution: Execution

    def network_and_batch(self) -> tuple[UNetSpec, Batch]:
        changes = dict(NETWORKS[self.network])
        mean = changes.pop("images_mean", 0.0)
        spec, images, labels = built(changes)
        return spec, Batch(np.asarray(images + mean), labels, "small images")
