"""The recipe's optimizer written out, and its state in canonical names."""

from __future__ import annotations

import numpy as np

from shared_specs import SGD, Adam, Recipe, UNetSpec

from .rounding import Rounding
from .unet import UNet
from .weights import native


class Optimizer:
    """One step of SGD, Adam or AdamW over all parameters, by the formulas of `shared_specs.recipe`."""

    def __init__(self, recipe: Recipe, spec: UNetSpec, rounding: Rounding):
        self.recipe, self.rounding, self.step_count = recipe, rounding, 0
        self.tensors = [tensor for tensor in spec.tensors if tensor.trainable]
        self.state = {
            f"{slot}/{tensor.name}": np.zeros(tensor.shape) for slot in recipe.state_slots for tensor in self.tensors
        }

    def step(self, unet: UNet) -> None:
        self.step_count += 1
        for tensor in self.tensors:
            layer, leaf = native(unet, tensor)
            update = self._sgd if isinstance(self.recipe.optimizer, SGD) else self._adam
            layer.tensors[leaf] = self.rounding(update(tensor.name, layer.tensors[leaf], layer.gradients[leaf]))

    def _sgd(self, name: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        chosen = self.recipe.optimizer
        assert isinstance(chosen, SGD)
        g = g + chosen.weight_decay * w
        if chosen.momentum:
            b = self.state[f"momentum/{name}"] = self.rounding(chosen.momentum * self.state[f"momentum/{name}"] + g)
            g = g + chosen.momentum * b if chosen.nesterov else b
        return w - chosen.learning_rate * self.rounding(g)

    def _adam(self, name: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        chosen, t, r = self.recipe.optimizer, self.step_count, self.rounding
        assert not isinstance(chosen, SGD)
        if isinstance(chosen, Adam):
            g = r(g + chosen.weight_decay * w)
        else:
            w = r(w - chosen.learning_rate * chosen.weight_decay * w)
        first, second = f"first_moment/{name}", f"second_moment/{name}"
        m = self.state[first] = r(chosen.beta1 * self.state[first] + (1 - chosen.beta1) * g)
        v = self.state[second] = r(chosen.beta2 * self.state[second] + (1 - chosen.beta2) * r(g * g))
        unbiased_m, unbiased_v = m / (1 - chosen.beta1**t), v / (1 - chosen.beta2**t)
        return w - r(chosen.learning_rate * unbiased_m / (np.sqrt(unbiased_v) + chosen.epsilon))


def optimizer_state(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """The state by canonical name, zero before the first step."""
    state = {name: values.copy() for name, values in optimizer.state.items()}
    if "first_moment" in optimizer.recipe.state_slots:
        state["step"] = np.asarray(optimizer.step_count)
    return state
