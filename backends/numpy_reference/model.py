"""The NumPy backend: the float64 reference that says which of two frameworks is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.supervision import labels_of_heads
from shared_specs.weights import Weights, check_weights

from ..contract import Execution, Model, ReferenceBackend, RoundingNoise, StepResult, check_phase
from ..replicas.model import ReplicatedModel
from .capabilities import CAPABILITIES
from .optimizer import Optimizer, optimizer_state
from .rounding import Rounding
from .unet import UNet, weighted_loss
from .weights import native, to_canonical, to_native


class NumPyReference(ReferenceBackend):
    name = "numpy_reference"
    capabilities = CAPABILITIES

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> NumPyModel:
        self.check_execution(execution)
        return NumPyModel(spec, execution, recipe)

    def build_noisy(
        self, spec: UNetSpec, noise: RoundingNoise, recipe: Recipe = Recipe(), device: str = "cpu"
    ) -> NoisyModel:
        self.check_execution(Execution(device, "float64"))
        return NoisyModel(spec, noise, recipe)

    def build_replicas(
        self, spec: UNetSpec, recipe: Recipe, replicas: int, noise: RoundingNoise | None = None
    ) -> ReplicatedModel:
        from . import replicas as written_out  # which is made of this module

        if noise is None:
            return written_out.NumPyReplicas(spec, Execution(precision="float64"), recipe, replicas=replicas)
        return written_out.NoisyReplicas(spec, noise, recipe, replicas=replicas)

    def devices(self) -> list[str]:
        return ["cpu"]

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}


class NumPyModel(Model):
    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe, noise: RoundingNoise | None = None):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        self.rounding = Rounding(noise)
        self.module = UNet(spec, self.rounding)
        self.load_weights(initial_weights(spec))

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        for tensor in self.spec.tensors:
            layer, leaf = native(self.module, tensor)
            values = np.array(weights[tensor.name], dtype=np.float64)
            layer.tensors[leaf] = self.rounding(to_native(tensor, values))
        self.optimizer = Optimizer(self.recipe, self.spec, self.rounding)

    def read_tensor(self, name: str) -> np.ndarray:
        tensor = self.spec.tensor(name)
        layer, leaf = native(self.module, tensor)
        return to_canonical(tensor, layer.tensors[leaf]).copy()

    def parameter_count(self) -> int:
        state = ("running_mean", "running_var")
        tensors = [item for layer in self.module.layers.values() for item in layer.tensors.items()]
        return sum(values.size for leaf, values in tensors if leaf not in state)

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return optimizer_state(self.optimizer)

    def forward(self, images: np.ndarray) -> np.ndarray:
        self.check_images(images)
        (logits,) = self.module(np.asarray(images, np.float64))
        return logits

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        return self.module.maps(np.asarray(images, np.float64), [layer.name for layer in self.spec.layers])

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        return self._differentiate(images, labels)

    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        heads = self.module(np.asarray(images, np.float64), training=True)
        targets = labels_of_heads(self.spec, images.shape, labels)
        loss, head_gradients = weighted_loss(heads, targets, self.spec.loss_weights, self.rounding)
        image_gradient = self.module.backward(head_gradients)
        return StepResult(float(loss), heads[0].copy(), self._gradients(), image_gradient)

    def _gradients(self) -> dict[str, np.ndarray]:
        gradients = {}
        for tensor in self.spec.tensors:
            if tensor.trainable:
                layer, leaf = native(self.module, tensor)
                gradients[tensor.name] = to_canonical(tensor, layer.gradients[leaf]).copy()
        return gradients

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = self.loss_and_gradients(images, labels)
        self.optimizer.step(self.module)
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        if phase == "forward":
            self.check_images(images)
        else:
            self.check_step(images, labels)
        images = np.array(images, np.float64)  # a copy, as on another device: the caller may change its own
        if phase == "forward":
            return lambda: {"logits": self.forward(images)}
        targets = np.array(labels)

        def step() -> dict[str, Any]:
            run = self.train_step if phase == "train_step" else self.loss_and_gradients
            result = run(images, targets)
            outputs: dict[str, Any] = {"loss": np.asarray(result.loss)}
            return outputs if phase == "train_step" else outputs | {"gradients": result.gradients}

        return step

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        gradients = outputs.get("gradients", {})
        fetched = {name: value for name, value in outputs.items() if name != "gradients"}
        return fetched | {f"gradient/{name}": gradient for name, gradient in gradients.items()}

    def effective_precision(self) -> str:
        return str(next(iter(self.weights().values())).dtype)

    def synchronize(self) -> None:
        """NumPy computes as it is called: there is nothing to wait for."""


class NoisyModel(NumPyModel):
    """The reference under rounding noise. Where decisions need it, an exact twin takes every step first."""

    exact: type[NumPyModel] = NumPyModel
    """Of the twin."""

    def __init__(self, spec: UNetSpec, noise: RoundingNoise, recipe: Recipe, **more: Any):
        execution = Execution(precision="float64")
        self.noise, self.steps = noise, 0
        self.twin = self.exact(spec, execution, recipe, **more) if noise.decides_apart else None
        super().__init__(spec, execution, recipe, noise, **more)

    def load_weights(self, weights: Weights) -> None:
        super().load_weights(weights)
        self.steps = 0
        if self.twin is not None:
            self.twin.load_weights(weights)

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.rounding.exact_decisions = None
        if self.twin is not None and not (self.steps and self.noise.turned_once):
            self.rounding.exact_decisions = self.twin.rounding.decisions = deque()
            self.twin.loss_and_gradients(images, labels)
            self.twin.rounding.decisions = None
        return super().loss_and_gradients(images, labels)

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = super().train_step(images, labels)
        self.steps += 1
        if self.twin is not None:
            self.twin.optimizer.step(self.twin.module)
        return result
