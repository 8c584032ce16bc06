"""The recipe's optimizer as an optax.GradientTransformation, and its state in canonical names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from optax import tree_utils

from shared_specs import SGD, AdamW, Recipe, UNetSpec
from shared_specs.layout import Tensor

SLOTS = {"momentum": "trace", "first_moment": "mu", "second_moment": "nu"}


def build_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    chosen = recipe.optimizer
    if isinstance(chosen, AdamW):
        return optax.adamw(
            chosen.learning_rate, chosen.beta1, chosen.beta2, chosen.epsilon, weight_decay=chosen.weight_decay
        )
    if isinstance(chosen, SGD):
        # optax.sgd with momentum 0 would still keep a trace; PyTorch keeps none.
        step = optax.sgd(chosen.learning_rate, chosen.momentum or None, chosen.nesterov)
    else:
        step = optax.adam(chosen.learning_rate, chosen.beta1, chosen.beta2, chosen.epsilon)
    return optax.chain(optax.add_decayed_weights(chosen.weight_decay), step) if chosen.weight_decay else step


def optimizer_state(
    state: Any, recipe: Recipe, spec: UNetSpec, to_canonical: Callable[[Tensor, np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """The state by canonical name, zero before the first step."""
    read: dict[str, np.ndarray] = {}
    for slot in recipe.state_slots:
        held = tree_utils.tree_get(state, SLOTS[slot])
        for tensor in spec.tensors:
            if tensor.trainable:
                read[f"{slot}/{tensor.name}"] = to_canonical(tensor, np.array(held[tensor.name]))
    if "first_moment" in recipe.state_slots:
        read["step"] = np.array(tree_utils.tree_get(state, "count"))
    return read
