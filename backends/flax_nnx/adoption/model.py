"""A user's own module behind the contract of a model, so that parity can compare it with others."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import nnx

from shared_specs import Recipe, UNetSpec, WeightsError
from shared_specs.weights import Weights, check_weights

from ...contract import Execution
from ...jax_engine.adoption.model import PortModel
from ...jax_engine.model import JaxModel
from ...jax_engine.precision import numerics
from ..network import Network
from ..unet import UNet
from ..weights import native, read_weights
from .network import PortNetwork, copy_in, tensors, variables


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


def own_model(
    module: Any, spec: UNetSpec, execution: Execution, recipe: Recipe, port_of: Weights | None
) -> JaxModel | None:
    """A copy of a module behind the contract; None for one that is no `UNet`, without what it is a port of."""
    if isinstance(module, UNet):
        return OwnUNet(module, spec, execution, recipe)
    if isinstance(module, nnx.Module) and port_of is not None:
        return PortModel(module, tensors(module), PortNetwork, spec, execution, recipe, port_of)
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
