"""The recipe's optimizer as a torch.optim.Optimizer, and its state in canonical names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from shared_specs import SGD, AdamW, Recipe, UNetSpec

from .weights import native, to_canonical

SLOTS = {"momentum": "momentum_buffer", "first_moment": "exp_avg", "second_moment": "exp_avg_sq"}


def build_optimizer(
    recipe: Recipe, parameters: Iterable[torch.nn.Parameter], fused: bool = False
) -> torch.optim.Optimizer:
    chosen, how = recipe.optimizer, {"fused": True} if fused else {}
    if isinstance(chosen, SGD):
        return torch.optim.SGD(
            parameters,
            lr=chosen.learning_rate,
            momentum=chosen.momentum,
            nesterov=chosen.nesterov,
            weight_decay=chosen.weight_decay,
            **how,
        )
    kind = torch.optim.AdamW if isinstance(chosen, AdamW) else torch.optim.Adam
    return kind(
        parameters,
        lr=chosen.learning_rate,
        betas=(chosen.beta1, chosen.beta2),
        eps=chosen.epsilon,
        weight_decay=chosen.weight_decay,
        **how,
    )


def prime(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD its momentum, zero before the first step, where it would make it of that step's gradient.

    A compiled first step would differ from the second, and as CUDA graphs keep an output that the next one overwrites.
    """
    if isinstance(optimizer, torch.optim.SGD):
        for group in optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def optimizer_state(
    optimizer: torch.optim.Optimizer, recipe: Recipe, spec: UNetSpec, module: torch.nn.Module
) -> dict[str, np.ndarray]:
    """The state by canonical name, zero before the first step, when PyTorch has none yet."""
    state: dict[str, np.ndarray] = {}
    step = 0
    for slot in recipe.state_slots:
        for tensor in spec.tensors:
            if not tensor.trainable:
                continue
            parameter = native(module, tensor)
            held = optimizer.state.get(parameter, {})
            step = int(held.get("step", step))
            values = held.get(SLOTS[slot], torch.zeros_like(parameter))
            state[f"{slot}/{tensor.name}"] = to_canonical(tensor, values.detach().cpu().numpy()).copy()
    if "first_moment" in recipe.state_slots:
        state["step"] = np.asarray(step)
    return state
