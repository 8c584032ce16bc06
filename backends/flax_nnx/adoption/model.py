"""A user's own module behind the contract of a model, so that parity can compare it with others."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from shared_specs import Recipe, UNetSpec, WeightsError
from shared_specs.checkpoints import listed
from shared_specs.weights import Weights, check_weights

from ...contract import BackendError, Execution
from ...jax_engine.model import JaxModel
from ...jax_engine.network import Arrays
from ...jax_engine.precision import numerics
from ..network import Network
from ..unet import UNet
from ..weights import native, read_weights
from .network import PortNetwork, copy_in, variables
from .pairing import pair


class OwnUNet(JaxModel):
    """A copy of a `UNet`, which somebody built, trained or changed.

    Args:
        module: a `backends.flax_nnx.UNet`, or of a class of that.
        spec: what it was built from.
        execution, recipe: how the copy is run.

    Raises:
        WeightsError: where it was built from another spec.
    """

    def __init__(self, module: UNet, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.theirs = module
        _check_tensors(module, spec)
        super().__init__(spec, execution, recipe, Network)

    def _new_network(self) -> Network:
        arithmetic = numerics(self.execution)
        return Network(self.spec, arithmetic, copy_in(self.theirs, arithmetic))

    def _first_weights(self) -> Weights:
        return read_weights(self.theirs, self.spec)


class PortModel(JaxModel):
    """A copy of a module with names of its own, of whose tensors some are known by their values.

    Weights, gradients and the outputs of layers are those of known tensors; what it computes is all of the module's.

    Args:
        module: any nnx.Module that maps images (N, H, W, C) to logits (N, H', W', classes). Its mode is set as
            `module.train()` and `module.eval()` do.
        spec: what it is to be.
        execution, recipe: how the copy is run.
        port_of: canonical weights, which the module is to hold.
    """

    has_canonical_weights = False

    def __init__(self, module: nnx.Module, spec: UNetSpec, execution: Execution, recipe: Recipe, port_of: Weights):
        if execution.precision not in ("float64", "float32"):
            raise BackendError(
                f"{type(module).__name__} is a module of your own, which Tandem cannot run in {execution.precision}; "
                "take float64 or float32, or build it with backends.flax_nnx.UNet"
            )
        self.theirs = module
        self.places = pair(spec, port_of, variables(module))
        super().__init__(spec, execution, recipe, Network)

    network: PortNetwork

    def _new_network(self) -> Network:
        names = {place.path: name for name, place in self.places.items()}
        return PortNetwork(self.theirs, self.spec, numerics(self.execution), names)

    def _first_weights(self) -> Weights:
        held = variables(self.theirs)
        return {
            name: place.to_canonical(np.asarray(held[place.path].get_value())) for name, place in self.places.items()
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


def own_model(
    module: Any, spec: UNetSpec, execution: Execution, recipe: Recipe, port_of: Weights | None
) -> JaxModel | None:
    """A copy of a module behind the contract; None for one that is no `UNet`, without what it is a port of."""
    if isinstance(module, UNet):
        return OwnUNet(module, spec, execution, recipe)
    if isinstance(module, nnx.Module) and port_of is not None:
        return PortModel(module, spec, execution, recipe, port_of)
    return None


def _check_tensors(module: UNet, spec: UNetSpec) -> None:
    """Raises WeightsError where the module has not the tensors of the spec, and no others."""
    held: dict[str, np.ndarray] = {}
    for tensor in spec.tensors:
        try:
            held[tensor.name] = np.asarray(native(module, tensor).get_value())
        except (AttributeError, IndexError):
            continue
    if len(held) == len(spec.tensors):
        held = read_weights(module, spec)
    check_weights(spec, held, origin=type(module).__name__)
    others = len(variables(module)) - len(spec.tensors)
    if others:
        raise WeightsError(f"{type(module).__name__}: has {others} tensors more than {spec.name}; name another spec")
