"""The PyTorch model: how the module is built, fed, trained and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.folding import fold_norm
from shared_specs.supervision import labels_of_heads
from shared_specs.weights import Weights

from ..contract import CompileReport, Execution, Model, StepResult, check_phase
from . import precision
from .compiling import compile_report, compiled, compiled_for_inference
from .optimizer import build_optimizer, optimizer_state, prime
from .precision import DTYPES, arithmetic
from .tunings import TRAINING, tuning_of
from .unet import UNet
from .weights import copy_weights, native, read_tensor, to_canonical


class PyTorchModel(Model):
    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        self.device, self.dtype = torch.device(execution.device), DTYPES[execution.precision]
        self.tuning = tuning_of(execution)
        by_dimensions = {2: torch.channels_last, 3: torch.channels_last_3d}
        self.layout = by_dimensions[spec.dimensions] if self.tuning.channels_last else torch.contiguous_format
        self.module = self._build(spec)
        self.load_weights(initial_weights(spec))

    def _build(self, spec: UNetSpec) -> UNet:
        module = self._new_module(spec)
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0  # what is random cannot be compared
        return module.to(self.device, self.dtype).to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]

    def _new_module(self, spec: UNetSpec) -> UNet:
        return UNet(spec)

    def load_weights(self, weights: Weights) -> None:
        copy_weights(self.module, self.spec, weights)
        self.optimizer = build_optimizer(self.recipe, self.module.parameters(), self.tuning.fused_optimizer)

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
        self.check_images(images)
        outputs: dict[str, np.ndarray] = {}

        def keep(name: str) -> Callable[..., None]:
            # A copy, since an activation may overwrite its input in place.
            return lambda module, inputs, output: outputs.__setitem__(name, _to_numpy(output))

        handles = [
            self.module.get_submodule(layer.name).register_forward_hook(keep(layer.name)) for layer in self.spec.layers
        ]
        self._set_training(False)
        try:
            with self._settings(), torch.inference_mode():
                self.module.heads(self._on_device(images))
        finally:
            for handle in handles:
                handle.remove()
        return outputs

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        self._set_training(True)
        inputs = self._on_device(images).requires_grad_()
        self.module.zero_grad()

        with self._settings():
            loss, logits = self._loss_and_logits(inputs, self._labels(images, labels))
            loss.backward()
        image_gradient = np.empty(0) if inputs.grad is None else _to_numpy(inputs.grad)
        return StepResult(loss.item(), _to_numpy(logits), self._gradients(), image_gradient)

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = self.loss_and_gradients(images, labels)
        self.optimizer.step()
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        if phase == "forward":
            self.check_images(images)
            return self._inference(self._on_device(images))
        self.check_step(images, labels)
        assert labels is not None
        inputs, targets = self._on_device(images), self._labels(images, labels)
        loss_of = self._loss
        # Dynamo leaves a fused optimizer to Python, https://docs.pytorch.org/docs/stable/compile/programming_model.html
        update = self.optimizer.step
        if self.tuning.compile == TRAINING and not self.tuning.fused_optimizer and phase == "train_step":
            prime(self.optimizer)
            update = compiled(lambda: self.optimizer.step(), self.tuning, fullgraph=False)

        def backward() -> torch.Tensor:
            self._set_training(True)
            self.optimizer.zero_grad()
            if self.tuning.compile == TRAINING:
                torch.compiler.cudagraph_mark_step_begin()  # the last step's outputs may be overwritten
            loss = loss_of(inputs, targets)
            loss.backward()
            return loss.detach()

        def forward_backward() -> dict[str, Any]:
            with self._settings():
                loss = backward()
            return {"loss": loss, "gradients": [parameter.grad for parameter in self.module.parameters()]}

        def train_step() -> dict[str, Any]:
            with self._settings():
                loss = backward()
                update()
            return {"loss": loss}

        return forward_backward if phase == "forward_backward" else train_step

    def _inference(self, inputs: torch.Tensor) -> Callable[[], dict[str, Any]]:
        module: torch.nn.Module | Callable[..., torch.Tensor] = self.module
        if self.tuning.fold_norm:
            spec, weights = fold_norm(self.spec, self.weights())
            module = self._build(spec).eval()
            copy_weights(module, spec, weights)
        without_gradients = torch.inference_mode
        if self.tuning.compile:
            # Programs with constants are for tensors that autograd knows of, which those of inference mode are not.
            without_gradients = torch.no_grad
            self._set_training(False)
            with self._settings():
                module = compiled_for_inference(module, self.tuning, inputs)

        def forward() -> dict[str, Any]:
            self._set_training(False)
            with self._settings(), without_gradients():
                return {"logits": module(inputs)}

        return forward

    @cached_property
    def _loss(self) -> Callable[..., torch.Tensor]:
        return self._for_training(lambda inputs, targets: self._total(self._heads(inputs), targets))

    @cached_property
    def _loss_and_logits(self) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        def run(inputs: torch.Tensor, targets: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            heads = self._heads(inputs)
            return self._total(heads, targets), heads[0]

        return self._for_training(run)

    def _heads(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits of every head, in training."""
        return self.module.heads(inputs)

    def _total(self, heads: tuple[torch.Tensor, ...], targets: list[torch.Tensor]) -> torch.Tensor:
        """The loss: the cross-entropy of every head times its weight."""
        losses = [F.cross_entropy(by_class(logits), labels) for logits, labels in zip(heads, targets, strict=True)]
        if len(losses) == 1 and self.spec.loss_weights == (1.0,):
            return losses[0]
        weighted = [weight * loss for weight, loss in zip(self.spec.loss_weights, losses, strict=True)]
        return reduce(torch.add, weighted)

    def _for_training(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return compiled(function, self.tuning) if self.tuning.compile == TRAINING else function

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = {name: _to_numpy(value) for name, value in outputs.items() if name != "gradients"}
        if "gradients" in outputs:
            fetched |= {f"gradient/{name}": gradient for name, gradient in self._gradients().items()}
        return fetched

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def flags(self) -> dict[str, str]:
        with self._settings():
            searched = str(torch.backends.cudnn.benchmark)
        read = precision.flags(self.execution, next(self.module.parameters()).dtype)
        return read | {"torch.backends.cudnn.benchmark": searched}

    def effective_precision(self) -> str:
        return precision.effective(self.execution, next(self.module.parameters()).dtype)

    def compile_report(self) -> CompileReport:
        return compile_report()

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """The settings of the process while a step runs."""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = self.tuning.autotune_convolutions
        try:
            with arithmetic(self.execution):
                yield
        finally:
            torch.backends.cudnn.benchmark = before

    def _set_training(self, training: bool) -> None:
        if self.module.training is not training:  # `train` walks every submodule: not in each timed step
            self.module.train(training)

    def _gradients(self) -> dict[str, np.ndarray]:
        """Of what has one: a module that was changed may have cut some off."""
        gradients = {}
        for tensor in self.spec.tensors:
            gradient = native(self.module, tensor).grad if tensor.trainable else None
            if gradient is not None:
                gradients[tensor.name] = to_canonical(tensor, _to_numpy(gradient))
        return gradients

    def _on_device(self, images: np.ndarray) -> torch.Tensor:
        return torch.tensor(images, dtype=self.dtype, device=self.device).contiguous(memory_format=self.layout)

    def _labels(self, images: np.ndarray, labels: np.ndarray) -> list[torch.Tensor]:
        """For every head."""
        of_heads = labels_of_heads(self.spec, images.shape, labels)
        return [torch.tensor(each, dtype=torch.int64, device=self.device) for each in of_heads]


def by_class(logits: torch.Tensor) -> torch.Tensor:
    """Logits (N, classes, H, W). A single one is that of class 1, beside a 0 for class 0: binary cross-entropy."""
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy().copy()
