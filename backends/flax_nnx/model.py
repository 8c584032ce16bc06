"""The Flax NNX backend: how the module is built, fed, trained and read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.weights import Weights, check_weights

from ..contract import Backend, Execution, Model, StepResult, check_phase
from .optimizer import build_optimizer, optimizer_state
from .unet import UNet
from .weights import native, to_canonical, to_native

DTYPES = {"float64": jnp.float64, "float32": jnp.float32}

Arrays = dict[str, jax.Array]
"""Tensors by canonical name, in Flax's layouts."""


class FlaxNNX(Backend):
    name = "flax_nnx"
    precisions = tuple(DTYPES)
    tunings = ("default",)

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> FlaxModel:
        self.check_execution(execution)
        return FlaxModel(spec, execution, recipe)

    def devices(self) -> list[str]:
        platforms = {device.platform for device in jax.devices()}
        gpus = [f"cuda:{index}" for index in range(len(jax.devices()))] if "gpu" in platforms else []
        return ["cpu", *gpus]

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")}


class FlaxModel(Model):
    """Parameters and statistics live here as plain dictionaries; each step merges them into the module."""

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        kind, _, index = execution.device.partition(":")
        self.device = jax.devices(kind)[int(index or 0)]
        self.dtype = DTYPES[execution.precision]
        self.optimizer = build_optimizer(recipe)
        self._enqueued: dict[str, Any] = {}  # the last outputs, which `synchronize` waits for
        with self._precision():
            # HIGHEST, since JAX's DEFAULT and HIGH both mean TF32 on recent GPUs.
            self.graph, self.abstract = nnx.split(
                nnx.eval_shape(
                    lambda: UNet(spec, dtype=self.dtype, precision=jax.lax.Precision.HIGHEST, rngs=nnx.Rngs(0))
                )
            )
        self.load_weights(initial_weights(spec))

    def _precision(self) -> Any:
        """64-bit types for this model alone: the setting of the process stays as the user has it."""
        return jax.enable_x64(self.execution.precision == "float64")

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        self.parameters: Arrays = {}
        self.statistics: Arrays = {}
        with self._precision():
            for tensor in self.spec.tensors:
                kept = self.parameters if tensor.trainable else self.statistics
                kept[tensor.name] = self._on_device(to_native(tensor, np.asarray(weights[tensor.name])), self.dtype)
            self.optimizer_arrays = jax.device_put(self.optimizer.init(self.parameters), self.device)

    def read_tensor(self, name: str) -> np.ndarray:
        tensor = self.spec.tensor(name)
        held = self.parameters if tensor.trainable else self.statistics
        return to_canonical(tensor, np.array(held[name]))

    def parameter_count(self) -> int:
        parameters = nnx.state(nnx.merge(self.graph, self.abstract), nnx.Param)
        return sum(parameter.size for parameter in jax.tree.leaves(parameters))

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return optimizer_state(self.optimizer_arrays, self.recipe, self.spec)

    def forward(self, images: np.ndarray) -> np.ndarray:
        outputs = self.program("forward", images)()
        return self.fetch(outputs)["logits"]

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        with self._precision():
            captured = self._captured(self.parameters, self.statistics, self._images(images))
        return {layer.name: _nchw(captured[layer.name]) for layer in self.spec.layers}

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        with self._precision():
            (loss, (logits, self.statistics)), (gradients, image_gradient) = self._gradients_and_images(
                self.parameters, self._images(images), self.statistics, self._labels(labels)
            )
        self._latest = gradients
        return StepResult(float(loss), _nchw(logits), self._canonical(gradients), _nchw(image_gradient))

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = self.loss_and_gradients(images, labels)
        with self._precision():
            self.parameters, self.optimizer_arrays = self._update(self._latest, self.optimizer_arrays, self.parameters)
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        if phase == "forward":
            self.check_images(images)
        else:
            self.check_step(images, labels)
        with self._precision():
            inputs = self._images(images)
            targets = None if labels is None else self._labels(labels)

        def forward() -> dict[str, Any]:
            with self._precision():
                self._enqueued = {"logits": self._logits(self.parameters, self.statistics, inputs)}
            return self._enqueued

        def forward_backward() -> dict[str, Any]:
            with self._precision():
                (loss, (_, self.statistics)), gradients = self._gradients(
                    self.parameters, inputs, self.statistics, targets
                )
            self._enqueued = {"loss": loss, "gradients": gradients}
            return self._enqueued

        def train_step() -> dict[str, Any]:
            with self._precision():
                self.parameters, self.statistics, self.optimizer_arrays, loss = self._step(
                    self.parameters, self.statistics, self.optimizer_arrays, inputs, targets
                )
            self._enqueued = {"loss": loss}
            return self._enqueued

        return {"forward": forward, "forward_backward": forward_backward, "train_step": train_step}[phase]

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = {}
        if "logits" in outputs:
            fetched["logits"] = _nchw(outputs["logits"])
        if "loss" in outputs:
            fetched["loss"] = np.array(outputs["loss"])
        gradients = self._canonical(outputs.get("gradients", {}))
        return fetched | {f"gradient/{name}": gradient for name, gradient in gradients.items()}

    def synchronize(self) -> None:
        jax.block_until_ready((self._enqueued, self.parameters, self.statistics, self.optimizer_arrays))

    def flags(self) -> dict[str, str]:
        module = nnx.merge(self.graph, self.abstract)
        products = {str(node.precision) for _, node in nnx.iter_modules(module) if isinstance(node, nnx.Conv)}
        with self._precision():
            x64 = str(jnp.zeros(0).dtype == jnp.float64)
        dtypes = {str(array.dtype) for array in self.parameters.values()}
        return {"precision": ", ".join(products), "jax_enable_x64": x64, "dtype": ", ".join(dtypes)}

    # The compiled functions. Each is pure: what moves comes in as an argument and goes out as a result.

    def _module(self, parameters: Arrays, statistics: Arrays, training: bool) -> UNet:
        module = nnx.merge(self.graph, self.abstract, copy=True)
        for tensor in self.spec.tensors:
            held = parameters if tensor.trainable else statistics
            native(module, tensor).set_value(held[tensor.name])
        module.set_attributes(use_running_average=not training, raise_if_not_found=False)
        return module

    def _loss(
        self, parameters: Arrays, inputs: jax.Array, statistics: Arrays, targets: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, Arrays]]:
        module = self._module(parameters, statistics, training=True)
        logits = module(inputs)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
        moved = {name: native(module, self.spec.tensor(name)).get_value() for name in statistics}
        return loss, (logits, moved)

    @cached_property
    def _logits(self) -> Callable[..., jax.Array]:
        return jax.jit(lambda parameters, statistics, x: self._module(parameters, statistics, training=False)(x))

    @cached_property
    def _captured(self) -> Callable[..., Arrays]:
        def run(parameters: Arrays, statistics: Arrays, inputs: jax.Array) -> Arrays:
            module = self._module(parameters, statistics, training=False)
            _, captured = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)(inputs)
            flat = {".".join(map(str, path)): held.get_value() for path, held in nnx.to_flat_state(captured)}
            return {layer.name: flat[f"{layer.name}.__call__"][0] for layer in self.spec.layers}

        return jax.jit(run)

    @cached_property
    def _gradients(self) -> Callable[..., Any]:
        return jax.jit(jax.value_and_grad(self._loss, has_aux=True))

    @cached_property
    def _gradients_and_images(self) -> Callable[..., Any]:
        return jax.jit(jax.value_and_grad(self._loss, argnums=(0, 1), has_aux=True))

    @cached_property
    def _update(self) -> Callable[..., tuple[Arrays, Any]]:
        def run(gradients: Arrays, state: Any, parameters: Arrays) -> tuple[Arrays, Any]:
            updates, state = self.optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state  # pyright: ignore[reportReturnType]

        return jax.jit(run)

    @cached_property
    def _step(self) -> Callable[..., tuple[Arrays, Arrays, Any, jax.Array]]:
        def run(
            parameters: Arrays, statistics: Arrays, state: Any, inputs: jax.Array, targets: jax.Array
        ) -> tuple[Arrays, Arrays, Any, jax.Array]:
            (loss, (_, statistics)), gradients = jax.value_and_grad(self._loss, has_aux=True)(
                parameters, inputs, statistics, targets
            )
            parameters, state = self._update(gradients, state, parameters)
            return parameters, statistics, state, loss

        return jax.jit(run)

    def _canonical(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """In canonical layouts and order."""
        return {
            tensor.name: to_canonical(tensor, np.array(arrays[tensor.name]))
            for tensor in self.spec.tensors
            if tensor.name in arrays
        }

    def _on_device(self, values: np.ndarray, dtype: Any) -> jax.Array:
        # A copy: on a CPU, device_put may keep using the caller's memory, which the caller may change.
        return jax.device_put(np.array(values, dtype=dtype, order="C"), self.device)

    def _images(self, images: np.ndarray) -> jax.Array:
        return self._on_device(images.transpose(0, 2, 3, 1), self.dtype)

    def _labels(self, labels: np.ndarray) -> jax.Array:
        return self._on_device(labels, np.int32)


def _nchw(array: jax.Array) -> np.ndarray:
    return np.array(array).transpose(0, 3, 1, 2)
