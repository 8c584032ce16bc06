"""The network in float64 under rounding noise: the source of the noise floor where NumPy would take hours.

Noise lies on every layer's output and on every gradient. What rounds more than once within a layer, or sums, or
decides is written out for its kind in `noisy_layers.py`, as in `numpy_reference`; any other is PyTorch's own module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_specs import Recipe, UNetSpec
from shared_specs.layout import IMAGES
from shared_specs.weights import Weights

from ..contract import Execution, RoundingNoise, StepResult
from .model import PyTorchModel, by_class
from .noisy_layers import TREATMENTS, any_kind
from .rounding import Rounding
from .unet import Step, UNet, set_overwriting
from .weights import native


class NoisyUNet(UNet):
    """The network with noise between its layers and within them."""

    def __init__(self, spec: UNetSpec, rounding: Rounding):
        super().__init__(spec)
        self.rounding = rounding
        self.layers = {layer.name: layer for layer in spec.layers}
        readers = [source for layer in spec.layers for source in layer.inputs]
        self.shared = {name for name in readers if readers.count(name) > 1}
        set_overwriting(self, spec.layers, False)

    def every_map(self, images: Tensor) -> dict[str, Tensor]:
        """The output of each layer, none of them dropped."""
        return self._run(images, [(parent, key, inputs, name, ()) for parent, key, inputs, name, _ in self._training])

    def _run(self, images: Tensor, steps: list[Step]) -> dict[str, Tensor]:
        r = self.rounding
        maps = {IMAGES: r(images)}
        for parent, key, inputs, name, done_with in steps:
            layer = self.layers[name]
            taken = [r.gradient(maps[source]) for source in inputs]
            y = r(TREATMENTS.get(layer.kind, any_kind)(getattr(parent, key), layer, r, *taken))
            maps[name] = r.gradient(y) if name in self.shared else y  # its gradient is a sum
            for finished in done_with:
                del maps[finished]
        return maps


class NoisyModel(PyTorchModel):
    """The float64 model under rounding noise. Where decisions need it, an exact twin takes every step first."""

    def __init__(self, spec: UNetSpec, noise: RoundingNoise | None, recipe: Recipe, device: str = "cpu"):
        self.rounding, self.steps = Rounding(noise, torch.device(device)), 0
        self.twin = NoisyModel(spec, None, recipe, device) if noise and noise.decides_apart else None
        super().__init__(spec, Execution(device, "float64"), recipe)

    module: NoisyUNet

    def _new_module(self, spec: UNetSpec) -> UNet:
        return NoisyUNet(spec, self.rounding)

    def load_weights(self, weights: Weights) -> None:
        super().load_weights(weights)
        self.steps = 0
        with torch.no_grad():
            for tensor in self.spec.tensors:
                held = native(self.module, tensor)
                held.copy_(self.rounding.noisy(held))
        self.optimizer.register_step_post_hook(self._round_what_moved)
        if self.twin is not None:
            self.twin.load_weights(weights)

    @torch.no_grad()
    def _round_what_moved(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        for state in optimizer.state.values():
            for slot, values in state.items():
                if isinstance(values, Tensor) and slot != "step":
                    values.copy_(self.rounding.noisy(values))
        for parameter in self.module.parameters():
            parameter.copy_(self.rounding.noisy(parameter))

    def _total(self, heads: tuple[Tensor, ...], targets: list[Tensor]) -> Tensor:
        total = heads[0].new_zeros(())
        for logits, labels, weight in zip(heads, targets, self.spec.loss_weights, strict=True):
            total = self.rounding(total + weight * self.rounding.cross_entropy(by_class(logits), labels))
        return total

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        self._set_training(False)
        with self._settings(), torch.inference_mode():
            maps = self.module.every_map(self._on_device(images))
        return {name: maps[name].cpu().numpy().copy() for name in self.module.layers}

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        if self.twin is not None:
            twin = self.twin
            self._decide_as_twin(lambda: twin.loss_and_gradients(images, labels))
        return super().loss_and_gradients(images, labels)

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = super().train_step(images, labels)
        self.steps += 1
        if self.twin is not None:
            self.twin.optimizer.step()
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        step = super().program(phase, images, labels)
        if self.twin is None or phase == "forward":
            return step
        twin_step = self.twin.program(phase, images, labels)

        def after_twin() -> dict[str, Any]:
            self._decide_as_twin(twin_step)
            outputs = step()
            self.steps += phase == "train_step"
            return outputs

        return after_twin

    def _decide_as_twin(self, twin_step: Callable[[], Any]) -> None:
        """Run a step of the twin, and keep what it decided, or decided on where decisions are turned."""
        assert self.twin is not None and self.rounding.noise is not None
        if self.steps and self.rounding.noise.turned_once:
            self.rounding.exact_decisions = None
            return
        exact = self.twin.rounding
        exact.records_maps = self.rounding.noise.turned != 0
        self.rounding.exact_decisions = exact.decisions = deque()
        twin_step()
        exact.decisions = None
