"""A user's own module behind the contract of a model, so that parity can compare it with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from shared_specs import Recipe, UNetSpec, WeightsError
from shared_specs.checkpoints import listed
from shared_specs.weights import Weights

from ...contract import BackendError, Execution
from ..model import JaxModel
from ..network import Arrays
from ..precision import Numerics
from .network import PortNetwork, dotted
from .pairing import Held, Path, in_another_order, pair

PortNetworkOf = Callable[[Any, UNetSpec, Numerics, Mapping[Path, str]], PortNetwork]
"""(module, spec, numerics, canonical names by path), for instance a library's class."""


class PortModel(JaxModel):
    """A copy of a module with names of its own, of whose tensors some are known by their values.

    Weights, gradients and the outputs of layers are those of known tensors; what it computes is all of the module's.

    Args:
        module: maps images (N, H, W, C) to logits (N, H', W', classes).
        held: its tensors.
        port: what makes its network.
        spec: what it is to be.
        execution, recipe: how the copy is run.
        port_of: canonical weights, which the module is to hold.
    """

    has_canonical_weights = False

    def __init__(
        self,
        module: Any,
        held: Mapping[Path, Held],
        port: PortNetworkOf,
        spec: UNetSpec,
        execution: Execution,
        recipe: Recipe,
        port_of: Weights,
    ):
        if execution.precision not in ("float64", "float32"):
            raise BackendError(
                f"{type(module).__name__} is a module of your own, which Tandem cannot run in {execution.precision}; "
                "take float64 or float32, or build it with the UNet of its backend"
            )
        self.theirs, self._held = module, held
        self.places = pair(spec, port_of, held)
        names = {place.path: name for name, place in self.places.items()}
        super().__init__(spec, execution, recipe, lambda spec, numerics: port(module, spec, numerics, names))
        self.in_another_order = {
            name: dotted(path) for name, path in in_another_order(spec, port_of, held, self.places).items()
        }

    network: PortNetwork

    @property
    def own_names(self) -> dict[str, str]:
        """What the module calls the known layers and tensors, by canonical name."""
        return self.network.own_names()

    def _first_weights(self) -> Weights:
        return {
            name: place.to_canonical(np.asarray(self._held[place.path].values)) for name, place in self.places.items()
        }

    def load_weights(self, weights: Weights) -> None:
        """Takes the known tensors; the others become again what they are in the user's module."""
        apart = sorted(set(weights) ^ set(self.places))
        if apart:
            raise WeightsError(
                f"{type(self.theirs).__name__}: {len(self.places)} of its tensors are known, and not {listed(apart)}"
            )
        self._place(1)
        with self._precision():
            arrays = dict(self.network.first)
            for name, values in weights.items():
                arrays[name] = self._on_device(self.places[name].to_native(np.asarray(values)), self.dtype)
            arrays = jax.device_put(arrays, self.whole)
            trained = self.network.trained
            self.parameters = {name: array for name, array in arrays.items() if name in trained}
            self.statistics = {name: array for name, array in arrays.items() if name not in trained}
            self.optimizer_arrays = jax.device_put(self.optimizer.init(self.parameters), self.whole)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: self.read_tensor(name) for name in self.places}

    def read_tensor(self, name: str) -> np.ndarray:
        held = self.parameters if name in self.parameters else self.statistics
        return self.places[name].to_canonical(np.array(held[name]))

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return {}  # its effect is compared

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the layers that hold a known kernel or scale, and of no others."""
        self.check_images(images)
        with self._precision():
            inputs = self._images(images)
            captured = self._checked(self.network.captured, images)(self.parameters, self.statistics, inputs)
        known = ((layer.name, captured.get(layer.name)) for layer in self.spec.layers)
        return {name: np.moveaxis(np.array(output), -1, 1) for name, output in known if output is not None}

    def _canonical(self, arrays: Arrays) -> dict[str, np.ndarray]:
        known = ((name, place) for name, place in self.places.items() if name in arrays)
        return {name: place.to_canonical(np.array(arrays[name])) for name, place in known}
