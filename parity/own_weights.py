"""The weights with which users' own modules are compared: each one's own, but for what would hide a fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from backends.contract import Model
from backends.layouts import is_telling
from shared_specs import TandemError, UNetSpec, initial_weights
from shared_specs.checkpoints import listed
from shared_specs.weights import Weights, check_weights

from .compare import REFERENCE


def shared_weights(
    models: Mapping[str, Model], before: Mapping[str, Weights], spec: UNetSpec, weights: Weights | None, seed: int
) -> dict[str, Weights]:
    """The weights of each; the NumPy reference has those of the first one of which all are known."""
    if weights is None:
        if all(model.has_canonical_weights for model in models.values()):
            before = _telling(before, initial_weights(spec, seed))
        first = next(before[name] for name, model in models.items() if model.has_canonical_weights)
        return {REFERENCE: first, **before}
    check_weights(spec, weights)
    for name, model in models.items():
        if not model.has_canonical_weights:
            raise TandemError(
                f"{name}: its tensors have names of their own, and it cannot take weights; load them first"
            )
    return dict.fromkeys((REFERENCE, *models), weights)


def _telling(held: Mapping[str, Weights], seeded: Weights) -> dict[str, Weights]:
    """Of each, but seeded values where a tensor is the same constant in all: ones and zeros hide what differs."""
    one, *others = held.values()
    constant = {
        name
        for name, values in one.items()
        if np.ptp(values) == 0 and all(np.array_equal(values, other[name]) for other in others)
    }
    return {
        who: {name: seeded[name] if name in constant else values for name, values in weights.items()}
        for who, weights in held.items()
    }


def rounded(held: Weights, known: Weights, name: str) -> list[str]:
    """That a port has values of its original in a narrower dtype, in words; nothing where it has them as they are."""
    others = [tensor for tensor, values in known.items() if not np.array_equal(values, held[tensor])]
    if not others:
        return []
    return [f"{name} holds {listed(others)} rounded to a narrower dtype, so that it cannot be equal: widen its tensors"]


def unplaced(held: Weights, known: Collection[str], name: str, in_another_order: Mapping[str, str] = {}) -> list[str]:
    """What cannot be seen of a port where not all of its tensors are known, in words.

    Args:
        held: canonical weights that the port is to hold.
        known: the names of those that it has in one place.
        name: of the port.
        in_another_order: where the port has the values of a tensor in another order, by the tensor's name.
    """
    unknown = [tensor for tensor in held if tensor not in known]
    telling = [tensor for tensor in unknown if is_telling(held[tensor])]
    constant = [tensor for tensor in unknown if tensor not in telling]
    strangers = [tensor for tensor in telling if tensor not in in_another_order]
    words = [
        f"{place} of {name} holds the values of {tensor} in another order, by its axes or by the side on which its "
        "kernel begins, than the layer needs"
        for tensor, place in in_another_order.items()
    ]
    if strangers:
        words.append(f"no tensor of {name} alone holds the values of {listed(strangers, 8)}")
    if constant:
        words.append(
            f"{listed(constant, 8)} may lie anywhere in {name}: what is constant, as in a fresh network, says nothing "
            "of its place and hides faults; compare with trained weights"
        )
    return words
