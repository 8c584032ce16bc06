"""The PyTorch backend: how the module is built, fed, trained and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.weights import Weights

from ..contract import Backend, Execution, Model, StepResult, check_phase
from .optimizer import build_optimizer, optimizer_state
from .unet import UNet
from .weights import load_weights, native, read_tensor, to_canonical

DTYPES = {"float64": torch.float64, "float32": torch.float32}

# Each engine has a switch of its own, and cuDNN's convolutions use TF32 unless told otherwise
# (https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices).
ENGINE_NAMES = ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")
ENGINES: tuple[Any, ...] = attrgetter(*ENGINE_NAMES)(torch.backends)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep every engine from replacing float32 by TF32 or bfloat16, and put the user's settings back after."""
    before = [engine.fp32_precision for engine in ENGINES]
    try:
        for engine in ENGINES:
            engine.fp32_precision = "ieee"
        yield
    finally:
        for engine, precision in zip(ENGINES, before, strict=True):
            engine.fp32_precision = precision


class PyTorch(Backend):
    name = "pytorch"
    precisions = tuple(DTYPES)
    tunings = ("default",)

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> PyTorchModel:
        self.check_execution(execution)
        return PyTorchModel(spec, execution, recipe)

    def devices(self) -> list[str]:
        return ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def versions(self) -> dict[str, str]:
        versions = {"torch": str(torch.__version__)}
        if torch.cuda.is_available():
            versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        return versions


class PyTorchModel(Model):
    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        self.device, self.dtype = torch.device(execution.device), DTYPES[execution.precision]
        self.module = UNet(spec).to(self.device, self.dtype)
        self.load_weights(initial_weights(spec))

    def load_weights(self, weights: Weights) -> None:
        load_weights(self.module, self.spec, weights)
        self.optimizer = build_optimizer(self.recipe, self.module.parameters())

    def read_tensor(self, name: str) -> np.ndarray:
        return read_tensor(self.module, self.spec.tensor(name))

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return optimizer_state(self.optimizer, self.recipe, self.spec, self.module)

    def forward(self, images: np.ndarray) -> np.ndarray:
        outputs = self.program("forward", images)()
        return self.fetch(outputs)["logits"]

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(name: str) -> Callable[..., None]:
            # A copy, since an activation may overwrite its input in place.
            return lambda module, inputs, output: outputs.__setitem__(name, _to_numpy(output))

        handles = [
            self.module.get_submodule(layer.name).register_forward_hook(keep(layer.name)) for layer in self.spec.layers
        ]
        try:
            self.forward(images)
        finally:
            for handle in handles:
                handle.remove()
        return outputs

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        self._set_training(True)
        inputs = self._on_device(images).requires_grad_()
        self.module.zero_grad()
        with exact_float32():
            logits = self.module(inputs)
            loss = F.cross_entropy(logits, self._labels(labels))
            loss.backward()
        assert inputs.grad is not None
        return StepResult(loss.item(), _to_numpy(logits), self._gradients(), _to_numpy(inputs.grad))

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = self.loss_and_gradients(images, labels)
        self.optimizer.step()
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        if phase == "forward":
            self.check_images(images)
        else:
            self.check_step(images, labels)
        inputs = self._on_device(images)

        def forward() -> dict[str, Any]:
            self._set_training(False)
            with exact_float32(), torch.inference_mode():
                return {"logits": self.module(inputs)}

        if phase == "forward":
            return forward
        assert labels is not None
        targets = self._labels(labels)

        def forward_backward() -> dict[str, Any]:
            self._set_training(True)
            with exact_float32():
                self.optimizer.zero_grad()
                loss = F.cross_entropy(self.module(inputs), targets)
                loss.backward()
            return {"loss": loss.detach(), "gradients": [parameter.grad for parameter in self.module.parameters()]}

        def train_step() -> dict[str, Any]:
            loss = forward_backward()["loss"]
            self.optimizer.step()
            return {"loss": loss}

        return forward_backward if phase == "forward_backward" else train_step

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = {name: _to_numpy(value) for name, value in outputs.items() if name != "gradients"}
        if "gradients" in outputs:
            fetched |= {f"gradient/{name}": gradient for name, gradient in self._gradients().items()}
        return fetched

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def flags(self) -> dict[str, str]:
        with exact_float32():
            read = {
                f"torch.backends.{name}.fp32_precision": str(engine.fp32_precision)
                for name, engine in zip(ENGINE_NAMES, ENGINES, strict=True)
            }
        return read | {"dtype": str(next(self.module.parameters()).dtype)}

    def _set_training(self, training: bool) -> None:
        if self.module.training is not training:  # `train` walks every submodule: not in each timed step
            self.module.train(training)

    def _gradients(self) -> dict[str, np.ndarray]:
        gradients = {}
        for tensor in self.spec.tensors:
            if tensor.trainable:
                gradient = native(self.module, tensor).grad
                assert gradient is not None
                gradients[tensor.name] = to_canonical(tensor, _to_numpy(gradient))
        return gradients

    def _on_device(self, images: np.ndarray) -> torch.Tensor:
        return torch.tensor(images, dtype=self.dtype, device=self.device)

    def _labels(self, labels: np.ndarray) -> torch.Tensor:
        return torch.tensor(labels, dtype=torch.int64, device=self.device)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
