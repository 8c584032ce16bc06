"""Users' own modules behind the contract of a model, in whichever framework they are. Loads none that is not asked for.

A module of PyTorch that is no `UNet` of Tandem's has names of its own, which `backends.trace` finds out.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from shared_specs import Recipe, UNetSpec
from shared_specs.weights import Weights

from . import registry
from .contract import Execution, Model

LIBRARIES = {"pytorch": "torch", "flax_nnx": "flax.nnx", "flax_linen": "flax.linen"}
"""Where each backend's framework has its classes. By name, so that whoever compares modules needs no framework."""


def owner(module: object) -> str | None:
    """The backend whose framework an object's class is of, by the modules of its base classes, or None."""
    homes = [f"{base.__module__}." for base in type(module).__mro__]
    return next((name for name, library in LIBRARIES.items() if any(h.startswith(f"{library}.") for h in homes)), None)


def frozen(module: Any) -> list[str]:
    """The parameters of a PyTorch module that its owner does not train. Flax says it to the optimizer alone."""
    if owner(module) != "pytorch":
        return []
    return [name for name, held in module.named_parameters() if held.is_floating_point() and not held.requires_grad]


def own_names(model: Model) -> Mapping[str, str]:
    """What a user's module calls its layers and tensors, by canonical name, where it has names of its own."""
    return getattr(model, "own_names", {})


def in_another_order(model: Model) -> Mapping[str, str]:
    """By canonical name, the tensors of a user's module that hold the right values in an order that no layer takes."""
    return getattr(model, "in_another_order", {})


def as_model(
    module: object,
    spec: UNetSpec,
    execution: Execution,
    recipe: Recipe = Recipe(),
    port_of: Weights | None = None,
) -> Model | None:
    """A copy of a module behind the contract, with its own weights: what runs is the module, and no build of the spec.

    Args:
        module: of a framework that a backend has; of Flax Linen, bound to its variables.
        spec: what it is to be.
        execution: the copy computes in its precision, whatever the module was made in.
        recipe: loss and optimizer.
        port_of: canonical weights of the network of which it is a port. Where its tensors have names of their own,
            those that have the same values are known, and the model's `has_canonical_weights` is false.

    Returns:
        None where nothing is known of the module's tensors: it is no `UNet` of Tandem's and, in Flax, `port_of` is not
        given.

    Raises:
        BackendError: where its backend is not installed as a whole, or has not this execution.
        WeightsError: where it is a `UNet` of another spec.
        TraceError: where it cannot be copied.
    """
    name = owner(module)
    if name is None:
        return None
    registry.get(name).check_execution(execution)
    adoption = importlib.import_module(f"backends.{name}.adoption.model")
    return adoption.own_model(module, spec, execution, recipe, port_of)
