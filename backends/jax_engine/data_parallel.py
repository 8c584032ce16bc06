"""One of several replicas on JAX: processes of one device each, and one mesh over all of them.

A batch that is sharded over the mesh is one batch to `jax.jit`, whose means run over all of it: its statistics are
global. Under `jax.shard_map` each device sees its own images and nothing else, and what is to be the mean of all is
asked for: loss and gradients are, statistics are not.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shared_specs import Recipe, UNetSpec
from shared_specs.shapes import smallest_input
from shared_specs.weights import Weights, check_weights

from ..contract import BackendError, Execution
from .model import JaxModel, NetworkOf
from .network import Arrays
from .precision import effective

AXIS = "replicas"
"""Of the mesh, and the first of every array that differs from replica to replica."""

ALL, OWN = PartitionSpec(), PartitionSpec(AXIS)
"""What is the same everywhere, and what each replica has its part of."""

NEVER_S = 24 * 3600
"""Whoever started the processes has a limit of its own, and can say who hangs."""


def join(rank: int, replicas: int, execution: Execution) -> Execution:
    """Join the other ranks. Where their coordinator is, JAX reads from the environment."""
    if rank == 0:
        check_port(os.environ["JAX_COORDINATOR_ADDRESS"])
    on_a_cpu = execution.device_kind == "cpu"
    if on_a_cpu:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", 1)  # whatever the parent's XLA_FLAGS say
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        num_processes=replicas,
        process_id=rank,
        local_device_ids=None if on_a_cpu else [rank],
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=NEVER_S,
    )
    found = len(jax.devices(execution.device_kind))
    if found != replicas:
        raise BackendError(
            f"JAX finds {found} {execution.device_kind} devices, expected one for each of {replicas} ranks"
        )
    return execution


def check_port(address: str) -> None:
    """Refuse a coordinator's address that somebody uses, on which jaxlib (0.10.2) crashes without a word."""
    host, _, port = address.rpartition(":")
    with socket.socket() as tried:
        try:
            tried.bind((host, int(port)))
        except OSError as error:
            raise BackendError(f"{address}, where the ranks were to meet: {error.strerror}; run it again") from error


def leave() -> None:
    jax.distributed.shutdown()


class Replica(JaxModel):
    """What it holds are arrays of all replicas, of which each process has its part."""

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe, network: NetworkOf):
        self.mesh = Mesh(np.array(jax.devices(execution.device_kind)), (AXIS,))
        self.whole, self.split = NamedSharding(self.mesh, ALL), NamedSharding(self.mesh, OWN)
        self.has_own_statistics = recipe.batch_statistics == "per_replica"
        super().__init__(spec, execution, recipe, network)

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        with self._precision():
            self.parameters, self.statistics = self._arrays(self.spec, weights)
            if self.has_own_statistics:
                held = {name: np.array(array) for name, array in self.statistics.items()}
                self.statistics = {name: self._on_device(x[None], x.dtype, split=True) for name, x in held.items()}
            self.optimizer_arrays = jax.jit(self.optimizer.init, out_shardings=self.whole)(self.parameters)

    def read_tensor(self, name: str) -> np.ndarray:
        tensor = self.spec.tensor(name)
        held = (self.parameters if tensor.trainable else self._own_statistics())[name]
        return self.network.to_canonical(tensor, np.array(_own(held)))

    def forward(self, images: np.ndarray) -> np.ndarray:
        self.check_images(images)
        return self._channels_first(self._alone(self.network.logits, images))

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        captured = self._alone(self.network.captured, images)
        return {layer.name: self._channels_first(captured[layer.name]) for layer in self.spec.layers}

    def check_step(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Whoever split the batch has checked all of it."""

    def effective_precision(self) -> str:
        with self._precision():
            sides = (smallest_input(self.spec),) * self.spec.dimensions
            images = jnp.zeros((1, *sides, self.spec.in_channels), self.dtype)
            parameters = {name: _own(array) for name, array in self.parameters.items()}
            inputs = jnp.moveaxis(images, -1, self.network.channels)
            traced = jax.make_jaxpr(self.network.logits)(parameters, self._own_statistics(), inputs)
        return effective(traced.jaxpr)

    def _alone(self, function: Callable[..., Any], images: np.ndarray) -> Any:
        """What a function of weights and images is on this device."""
        with self._precision():
            inputs = jax.device_put(
                np.array(np.moveaxis(images, 1, self.network.channels), self.dtype), self.mesh.local_devices[0]
            )
            parameters = {name: _own(array) for name, array in self.parameters.items()}
            return jax.jit(function)(parameters, self._own_statistics(), inputs)

    def _own_statistics(self) -> Arrays:
        own = {name: _own(array) for name, array in self.statistics.items()}
        return {name: array[0] for name, array in own.items()} if self.has_own_statistics else own

    @cached_property
    def _gradients(self) -> Callable[..., Any]:
        return self._of_all(jax.value_and_grad(self.network.loss, has_aux=True), ALL)

    @cached_property
    def _gradients_and_images(self) -> Callable[..., Any]:
        return self._of_all(jax.value_and_grad(self.network.loss, argnums=(0, 1), has_aux=True), (ALL, OWN))

    def _of_all(self, differentiate: Callable[..., Any], gradients: Any) -> Callable[..., Any]:
        """The loss and the gradients of the whole batch, and where each output is to be."""
        moved = OWN if self.has_own_statistics else ALL
        places = (ALL, (OWN, moved)), gradients
        if not self.has_own_statistics:
            shardings = jax.tree.map(lambda place: NamedSharding(self.mesh, place), places, is_leaf=_is_place)
            return lambda *arguments: _constrained(differentiate(*arguments), shardings)

        def on_own_images(parameters: Arrays, inputs: jax.Array, statistics: Arrays, targets: list[jax.Array]) -> Any:
            # Of what is the same everywhere, JAX would sum up the gradients by itself.
            parameters = jax.lax.pcast(parameters, AXIS, to="varying")
            own = {name: array[0] for name, array in statistics.items()}
            (loss, (logits, moved)), found = differentiate(parameters, inputs, own, targets)
            moved = {name: array[None] for name, array in moved.items()}
            return (self.mean(loss), (logits, moved)), self._means(found)

        return jax.shard_map(on_own_images, mesh=self.mesh, in_specs=(ALL, OWN, OWN, OWN), out_specs=places)

    def _means(self, found: Any) -> Any:
        """The gradients of the whole batch's loss from those of each replica's."""
        if isinstance(found, dict):
            return self.mean(found)
        of_parameters, of_images = found
        return self.mean(of_parameters), of_images / self.mesh.size

    def mean(self, values: Any) -> Any:
        """Over all replicas, of what each of them has.

        In one reduction: on a CPU XLA joins none, and each of them takes some 10 ms (jaxlib 0.10.2).
        """
        flat, as_it_was = ravel_pytree(values)
        return as_it_was(jax.lax.pmean(flat, AXIS))

    def _step(
        self, parameters: Arrays, statistics: Arrays, state: Any, inputs: jax.Array, targets: list[jax.Array]
    ) -> tuple[Arrays, Arrays, Any, jax.Array]:
        places = self.whole, self.split if self.has_own_statistics else self.whole, self.whole, self.whole
        return _constrained(super()._step(parameters, statistics, state, inputs, targets), places)

    def _place(self, batch: int) -> None:
        """The devices are always the same."""

    def _on_device(self, values: np.ndarray, dtype: Any, split: bool = False) -> jax.Array:
        own = np.array(values, dtype=dtype, order="C")
        return jax.make_array_from_process_local_data(self.split if split else self.whole, own)

    def _channels_first(self, array: jax.Array) -> np.ndarray:
        return super()._channels_first(_own(array))


def _own(array: jax.Array) -> jax.Array:
    """The part of an array that this process has: all of it, where it is the same everywhere."""
    return array.addressable_data(0)


def _is_place(value: object) -> bool:
    return isinstance(value, PartitionSpec)


def _constrained(outputs: Any, shardings: Any) -> Any:
    """The outputs at their places; a sharding stands for that of all arrays at its place in the tree."""
    return jax.lax.with_sharding_constraint(outputs, shardings)
