"""A user's own module behind the contract of a model, so that parity can compare it with others."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from shared_specs import Recipe, UNetSpec
from shared_specs.weights import Weights, check_weights

from ...contract import Execution
from ...jax_engine.adoption.model import PortModel
from ...jax_engine.model import JaxModel
from ...jax_engine.precision import numerics
from ..network import Network
from ..unet import UNet
from ..weights import read_weights
from .network import PortNetwork, copy_in, tensors, unbound


class OwnUNet(JaxModel):
    """A copy of a `UNet`, which somebody built, trained or changed.

    Args:
        module: a `backends.flax_linen.UNet`, or of a class of that, bound to its variables.
        spec: what it was built from.
        execution, recipe: how the copy is run.

    Raises:
        WeightsError: where it was built from another spec.
    """

    def __init__(self, module: UNet, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.theirs = module
        check_weights(spec, read_weights(unbound(module)[1], spec), origin=type(module).__name__)
        super().__init__(spec, execution, recipe, Network)

    def _new_network(self) -> Network:
        arithmetic = numerics(self.execution)
        return Network(self.spec, arithmetic, copy_in(self.theirs, arithmetic))

    def _first_weights(self) -> Weights:
        return read_weights(unbound(self.theirs)[1], self.spec)


def own_model(
    module: Any, spec: UNetSpec, execution: Execution, recipe: Recipe, port_of: Weights | None
) -> JaxModel | None:
    """A copy of a module behind the contract; None for one that is no `UNet`, without what it is a port of."""
    if isinstance(module, UNet):
        return OwnUNet(module, spec, execution, recipe)
    if isinstance(module, nn.Module) and port_of is not None:
        return PortModel(module, tensors(module), PortNetwork, spec, execution, recipe, port_of)
    return None
