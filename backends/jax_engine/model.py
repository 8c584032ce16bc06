"""The model of backends on JAX: how a network is fed, compiled, trained and read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.cost import total_cost
from shared_specs.folding import fold_norm, without_norm
from shared_specs.shapes import smallest_input
from shared_specs.supervision import labels_of_heads
from shared_specs.weights import Weights, check_weights

from ..contract import CompileReport, Execution, Model, StepResult, check_phase
from .compiling import Compiler, for_few_runs
from .network import Arrays, Network
from .optimizer import build_optimizer, optimizer_state
from .precision import DTYPES, Numerics, numerics
from .tunings import tuning_of

NetworkOf = Callable[[UNetSpec, Numerics], Network]
"""What makes a network, for instance its class."""


class JaxModel(Model):
    """Parameters and statistics live here as plain dictionaries; each step hands them to the network.

    Args:
        spec, execution, recipe: what is built, how it is run, and with what it is trained.
        network: what makes the network, and the one that inference runs where the norm is folded.
    """

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe, network: NetworkOf):
        self.spec, self.execution, self.recipe, self._network_of = spec, execution, recipe, network
        self.tuning = tuning_of(execution)
        kind, _, index = execution.device.partition(":")
        self.devices = jax.devices(kind) if self.tuning.shard_batch else [jax.devices(kind)[int(index or 0)]]
        self.dtype = DTYPES[execution.precision]
        self.optimizer = build_optimizer(recipe)
        self._checks: dict[tuple[Callable[..., Any], tuple[int, ...]], Callable[..., Any]] = {}
        self._enqueued: dict[str, Any] = {}  # the last outputs, which `synchronize` waits for
        with self._precision():
            self.network = self._new_network()
            self.compiler = Compiler(self.tuning)
        self.load_weights(self._first_weights())

    def _new_network(self) -> Network:
        return self._network_of(self.spec, numerics(self.execution))

    def _first_weights(self) -> Weights:
        return initial_weights(self.spec)

    def _precision(self) -> Any:
        """64-bit types for this model alone: the setting of the process stays as the user has it."""
        return jax.enable_x64(self.execution.precision == "float64")

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        self._place(1)
        with self._precision():
            self.parameters, self.statistics = self._arrays(self.spec, weights)
            self.optimizer_arrays = jax.device_put(self.optimizer.init(self.parameters), self.whole)

    def read_tensor(self, name: str) -> np.ndarray:
        tensor = self.spec.tensor(name)
        held = self.parameters if tensor.trainable else self.statistics
        return self.network.to_canonical(tensor, np.array(held[name]))

    def parameter_count(self) -> int:
        with self._precision():
            return self.network.parameter_count()

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return optimizer_state(self.optimizer_arrays, self.recipe, self.spec, self.network.to_canonical)

    def forward(self, images: np.ndarray) -> np.ndarray:
        outputs = self.program("forward", images)()
        return self.fetch(outputs)["logits"]

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        with self._precision():
            inputs = self._images(images)
            captured = self._checked(self.network.captured, images)(self.parameters, self.statistics, inputs)
        return {layer.name: self._channels_first(captured[layer.name]) for layer in self.spec.layers}

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        with self._precision():
            inputs, targets = self._images(images), self._labels(images, labels)
            differentiate = self._checked(self._gradients_and_images, images)
            (loss, (logits, self.statistics)), (gradients, image_gradient) = differentiate(
                self.parameters, inputs, self.statistics, targets
            )
        self._latest = gradients
        return StepResult(
            float(loss), self._channels_first(logits), self._canonical(gradients), self._channels_first(image_gradient)
        )

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
            if phase == "forward":
                return self._inference(inputs)
            assert labels is not None
            targets = self._labels(images, labels)
            state = (self.parameters, self.statistics, self.optimizer_arrays)
            if phase == "forward_backward":
                compute = self.compiler(self._gradients, self.parameters, inputs, self.statistics, targets)
            else:
                donated = (0, 1, 2) if self.tuning.donate else ()
                compute = self.compiler(self._step, *state, inputs, targets, donate_argnums=donated)

        whole = self.whole

        def forward_backward() -> dict[str, Any]:
            self._move(whole)
            with self._precision():
                (loss, (_, self.statistics)), gradients = compute(self.parameters, inputs, self.statistics, targets)
            self._enqueued = {"loss": loss, "gradients": gradients}
            return self._enqueued

        def train_step() -> dict[str, Any]:
            self._move(whole)
            with self._precision():
                self.parameters, self.statistics, self.optimizer_arrays, loss = compute(
                    self.parameters, self.statistics, self.optimizer_arrays, inputs, targets
                )
            self._enqueued = {"loss": loss}
            return self._enqueued

        return forward_backward if phase == "forward_backward" else train_step

    def _inference(self, inputs: jax.Array) -> Callable[[], dict[str, Any]]:
        network, folded = self.network, None
        if self.tuning.fold_norm:
            network, folded = self._folded_network, self._arrays(*fold_norm(self.spec, self.weights()))
        compute = self.compiler(network.logits, *(folded or (self.parameters, self.statistics)), inputs)
        whole = self.whole

        def forward() -> dict[str, Any]:
            if folded is None:
                self._move(whole)
            with self._precision():
                self._enqueued = {"logits": compute(*(folded or (self.parameters, self.statistics)), inputs)}
            return self._enqueued

        return forward

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = {}
        if "logits" in outputs:
            fetched["logits"] = self._channels_first(outputs["logits"])
        if "loss" in outputs:
            fetched["loss"] = np.array(outputs["loss"])
        gradients = self._canonical(outputs.get("gradients", {}))
        return fetched | {f"gradient/{name}": gradient for name, gradient in gradients.items()}

    def synchronize(self) -> None:
        jax.block_until_ready((self._enqueued, self.parameters, self.statistics, self.optimizer_arrays))

    def flags(self) -> dict[str, str]:
        with self._precision():
            x64 = str(jnp.zeros(0).dtype == jnp.float64)
        dtypes = {str(array.dtype) for array in self.parameters.values()}
        devices = str(len(self.whole.device_set))
        return self.network.flags() | {"jax_enable_x64": x64, "dtype": ", ".join(dtypes), "devices": devices}

    def effective_precision(self) -> str:
        if not self.compiler.precision:
            with self._precision():
                sides = (smallest_input(self.spec),) * self.spec.dimensions
                shape = (1, self.spec.in_channels, *sides)
                self.compiler(self.network.logits, self.parameters, self.statistics, self._images(np.zeros(shape)))
        return self.compiler.precision

    def compile_report(self) -> CompileReport:
        return self.compiler.report

    @cached_property
    def _folded_network(self) -> Network:
        # One for the life of the model, by which the compiler knows its program again.
        return self._network_of(without_norm(self.spec), numerics(self.execution))

    @cached_property
    def _gradients(self) -> Callable[..., Any]:
        return jax.value_and_grad(self.network.loss, has_aux=True)

    @cached_property
    def _gradients_and_images(self) -> Callable[..., Any]:
        return jax.value_and_grad(self.network.loss, argnums=(0, 1), has_aux=True)

    @cached_property
    def _update(self) -> Callable[..., tuple[Arrays, Any]]:
        def run(gradients: Arrays, state: Any, parameters: Arrays) -> tuple[Arrays, Any]:
            updates, state = self.optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state  # pyright: ignore[reportReturnType]

        return jax.jit(run)

    def _step(
        self, parameters: Arrays, statistics: Arrays, state: Any, inputs: jax.Array, targets: list[jax.Array]
    ) -> tuple[Arrays, Arrays, Any, jax.Array]:
        (loss, (_, statistics)), gradients = self._gradients(parameters, inputs, statistics, targets)
        parameters, state = self._update(gradients, state, parameters)
        return parameters, statistics, state, loss

    def _checked(self, function: Callable[..., Any], images: np.ndarray) -> Callable[..., Any]:
        """A program that checks alone run."""
        key = function, images.shape
        if key not in self._checks:
            flops, _ = total_cost(self.spec, images.shape).of_phase("forward_backward")
            self._checks[key] = for_few_runs(function, flops)
        return self._checks[key]

    def _arrays(self, spec: UNetSpec, weights: Weights) -> tuple[Arrays, Arrays]:
        """Weights on the device: those that are trained, and the statistics."""
        arrays: tuple[Arrays, Arrays] = {}, {}
        for tensor in spec.tensors:
            values = self.network.to_native(tensor, np.asarray(weights[tensor.name]))
            arrays[not tensor.trainable][tensor.name] = self._on_device(values, self.dtype)
        return arrays

    def _canonical(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """In canonical layouts and order."""
        return {
            tensor.name: self.network.to_canonical(tensor, np.array(arrays[tensor.name]))
            for tensor in self.spec.tensors
            if tensor.name in arrays
        }

    def _place(self, batch: int) -> None:
        """Choose the devices: as many as share the batch evenly. What the model holds moves there."""
        count = max(n for n in range(1, len(self.devices) + 1) if batch % n == 0)
        mesh = Mesh(np.array(self.devices[:count]), ("batch",))
        self.split: Sharding = NamedSharding(mesh, PartitionSpec("batch"))
        self._move(NamedSharding(mesh, PartitionSpec()))

    def _move(self, whole: Sharding) -> None:
        """Put what the model holds where a program expects it: other calls may have moved it."""
        if getattr(self, "whole", None) == whole:
            return
        self.whole = whole
        if hasattr(self, "optimizer_arrays"):
            held = (self.parameters, self.statistics, self.optimizer_arrays)
            self.parameters, self.statistics, self.optimizer_arrays = jax.device_put(held, whole)

    def _on_device(self, values: np.ndarray, dtype: Any, split: bool = False) -> jax.Array:
        # A copy: on a CPU, device_put may keep using the caller's memory, which the caller may change.
        return jax.device_put(np.array(values, dtype=dtype, order="C"), self.split if split else self.whole)

    def _images(self, images: np.ndarray) -> jax.Array:
        self._place(len(images))
        return self._on_device(np.moveaxis(images, 1, self.network.channels), self.dtype, split=True)

    def _labels(self, images: np.ndarray, labels: np.ndarray) -> list[jax.Array]:
        """For every head."""
        of_heads = labels_of_heads(self.spec, images.shape, labels)
        return [self._on_device(each, np.int32, split=True) for each in of_heads]

    def _channels_first(self, array: jax.Array) -> np.ndarray:
        # NumPy's own types: it knows JAX's bfloat16 only through a library, and not how to add it up.
        values = np.array(array, np.float32 if array.dtype == jnp.bfloat16 else None)
        return np.moveaxis(values, self.network.channels, 1)
