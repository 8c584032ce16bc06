"""The same few handles on a layer of each backend, so that one description of a fault serves all of them.

A kit knows its backend's array library, the axes of its maps, where a layer keeps its tensors, and how a layer's
forward pass is replaced from outside. Nothing here is known to the code under test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from einops import rearrange

Wrong = Callable[..., Any]
"""(kit, layer, the right forward, inputs...) to the wrong output. The right forward also takes `training=`."""


class Kit(ABC):
    """What all backends have. Maps are (N, C, H, W), of Flax (N, H, W, C)."""

    channels, rows = 1, 2

    @abstractmethod
    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        """Let the layer of this name compute something else."""

    @abstractmethod
    def training(self, layer: Any) -> bool:
        """Whether the pass under way is one in training mode."""

    @abstractmethod
    def tensor(self, layer: Any, leaf: str) -> Any:
        """A tensor of a layer by its canonical leaf, such as `conv.bias`, as the backend lays it out."""

    @abstractmethod
    def using(self, layer: Any, leaf: str, change: Callable[[Any], Any]) -> Any:
        """A context in which the layer has a changed tensor; `change` is given it in the canonical layout."""

    @abstractmethod
    def assign(self, layer: Any, leaf: str, values: Any) -> None:
        """Give a layer another running statistic, as the backend lays it out."""

    @abstractmethod
    def cast(self, x: Any, dtype: str) -> Any:
        """The values rounded to float32, tf32 or bfloat16, in the dtype that they had."""

    @abstractmethod
    def array(self, values: np.ndarray, like: Any) -> Any:
        """An array of the backend."""

    @abstractmethod
    def join(self, parts: list[Any], axis: int) -> Any:
        """Concatenated along an axis."""

    @abstractmethod
    def flip(self, x: Any, axis: int) -> Any: ...

    @abstractmethod
    def sqrt(self, x: Any) -> Any: ...

    @abstractmethod
    def scale_tensor_gradient(self, model: Any, tensor: str, factor: float) -> None:
        """The gradient of this tensor comes out times the factor."""

    @abstractmethod
    def scale_input_gradient(self, model: Any, layer: str, number: int, factor: float) -> None:
        """What flows back from a layer to its input of this number comes out times the factor."""

    def cut(self, x: Any, axis: int, start: int | None, stop: int | None) -> Any:
        return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]

    def shifted(self, x: Any) -> Any:
        """The map one row further down, with zeros in the first."""
        return self.join([0 * self.cut(x, self.rows, 0, 1), self.cut(x, self.rows, None, -1)], self.rows)

    def per_channel(self, values: Any, x: Any) -> Any:
        """Values (C,) in the shape in which they broadcast over the map."""
        shape = [1] * x.ndim
        shape[self.channels] = -1
        return values.reshape(shape)


class NumPyKit(Kit):
    def __init__(self) -> None:
        from backends.numpy_reference.weights import LEAVES

        self.leaves = LEAVES

    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        layer = model.module.layers[name]
        right = layer.forward

        def forward(*inputs: Any, training: bool) -> Any:
            layer.is_training = training
            default = training
            return wrong(self, layer, lambda *x, training=None: right(*x, training=mode(training, default)), *inputs)

        layer.forward = forward

    def training(self, layer: Any) -> bool:
        return layer.is_training

    def tensor(self, layer: Any, leaf: str) -> Any:
        return layer.tensors[self.leaves[leaf][0]]

    @contextmanager
    def using(self, layer: Any, leaf: str, change: Callable[[Any], Any]) -> Iterator[None]:
        key = self.leaves[leaf][0]
        held = layer.tensors[key]
        layer.tensors[key] = change(held)
        yield
        layer.tensors[key] = held

    def assign(self, layer: Any, leaf: str, values: Any) -> None:
        layer.tensors[self.leaves[leaf][0]] = values

    def cast(self, x: Any, dtype: str) -> Any:
        assert dtype == "float32", "the NumPy reference computes in float64, and NumPy has no narrower type than this"
        return x.astype(np.float32).astype(np.float64)

    def array(self, values: np.ndarray, like: Any) -> Any:
        return values

    def join(self, parts: list[Any], axis: int) -> Any:
        return np.concatenate(parts, axis)

    def flip(self, x: Any, axis: int) -> Any:
        return np.flip(x, axis)

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(x)

    def scale_tensor_gradient(self, model: Any, tensor: str, factor: float) -> None:
        name, _, leaf = tensor.rpartition(".")
        layer = model.module.layers[name]
        right = layer.backward

        def backward(dy: Any) -> Any:
            found = right(dy)
            layer.gradients[leaf] = factor * layer.gradients[leaf]
            return found

        layer.backward = backward

    def scale_input_gradient(self, model: Any, layer: str, number: int, factor: float) -> None:
        built = model.module.layers[layer]
        right = built.backward

        def backward(dy: Any) -> Any:
            found = right(dy)
            if not isinstance(found, tuple):
                return factor * found
            return tuple(factor * each if place == number else each for place, each in enumerate(found))

        built.backward = backward


class PyTorchKit(Kit):
    def __init__(self) -> None:
        from backends.pytorch.weights import LEAVES

        self.leaves = LEAVES

    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        layer = model.module.get_submodule(name)
        right = layer.forward

        def forward(*inputs: Any) -> Any:
            before = layer.training

            def in_mode(*x: Any, training: bool | None = None) -> Any:
                layer.training = mode(training, before)
                try:
                    return right(*x)
                finally:
                    layer.training = before

            return wrong(self, layer, in_mode, *inputs)

        if hasattr(layer, "inplace"):
            layer.inplace = False  # the wrong forward may still want its input
        layer.forward = forward

    def training(self, layer: Any) -> bool:
        return layer.training

    def tensor(self, layer: Any, leaf: str) -> Any:
        return getattr(layer, self.leaves[leaf][0])

    @contextmanager
    def using(self, layer: Any, leaf: str, change: Callable[[Any], Any]) -> Iterator[None]:
        key = self.leaves[leaf][0]  # PyTorch's layouts are the canonical ones
        tensors = layer._parameters if key in layer._parameters else layer._buffers
        held = tensors[key]
        tensors[key] = change(held)
        yield
        tensors[key] = held

    def assign(self, layer: Any, leaf: str, values: Any) -> None:
        layer._buffers[self.leaves[leaf][0]] = values.detach()

    def cast(self, x: Any, dtype: str) -> Any:
        import torch

        if dtype == "tf32":
            # To the nearest number with 10 bits: 2^13 of the 23 of float32 apart.
            return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
        return x.to(getattr(torch, dtype)).to(x.dtype)

    def array(self, values: np.ndarray, like: Any) -> Any:
        return like.new_tensor(values)

    def join(self, parts: list[Any], axis: int) -> Any:
        import torch

        return torch.cat(parts, axis)

    def flip(self, x: Any, axis: int) -> Any:
        return x.flip(axis)

    def sqrt(self, x: Any) -> Any:
        return x.sqrt()

    def scale_tensor_gradient(self, model: Any, tensor: str, factor: float) -> None:
        model.module.get_parameter(tensor).register_hook(lambda gradient: gradient * factor)

    def scale_input_gradient(self, model: Any, layer: str, number: int, factor: float) -> None:
        def wrong(kit: Kit, layer: Any, right: Any, *inputs: Any) -> Any:
            x = inputs[number].detach()
            return right(*inputs[:number], x + factor * (inputs[number] - x), *inputs[number + 1 :])

        self.rewire(model, layer, wrong)


class FlaxKit(Kit):
    channels, rows = -1, 1

    def __init__(self) -> None:
        from backends.flax_nnx.weights import LEAVES

        self.leaves = LEAVES

    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        """The layer gets a class derived from its own: a model keeps classes, and makes its layers of them anew."""
        from flax import nnx

        from backends.flax_nnx.unet import layer_at

        kit, network = self, model.network
        module = nnx.merge(network.graph, network.abstract)
        layer = layer_at(module, name)
        own = type(layer)
        right = own.__call__

        def call(self: Any, *inputs: Any) -> Any:
            before = getattr(self, "use_running_average", None)

            def in_mode(*x: Any, training: bool | None = None) -> Any:
                if training is not None:
                    self.use_running_average = not training
                try:
                    return right(self, *x)
                finally:
                    if training is not None:
                        self.use_running_average = before

            return wrong(kit, self, in_mode, *inputs)

        object.__setattr__(layer, "__class__", type(f"Faulty{own.__name__}", (own,), {"__call__": call}))
        network.graph, network.abstract = nnx.split(module)

    def training(self, layer: Any) -> bool:
        return not layer.use_running_average

    def tensor(self, layer: Any, leaf: str) -> Any:
        return getattr(layer, self.leaves[leaf][0])[...]

    @contextmanager
    def using(self, layer: Any, leaf: str, change: Callable[[Any], Any]) -> Iterator[None]:
        key, pattern = self.leaves[leaf]
        before, after = pattern.split(" -> ")
        variable = getattr(layer, key)
        held = variable.get_value()
        variable.set_value(rearrange(change(rearrange(held, f"{after} -> {before}")), pattern))
        yield
        variable.set_value(held)

    def assign(self, layer: Any, leaf: str, values: Any) -> None:
        getattr(layer, self.leaves[leaf][0])[...] = values

    def cast(self, x: Any, dtype: str) -> Any:
        import jax

        # As it says, and not what a compiler may make of two conversions that undo each other.
        bits = {"float32": (8, 23), "tf32": (8, 10), "bfloat16": (8, 7)}
        return jax.lax.reduce_precision(x, *bits[dtype])

    def array(self, values: np.ndarray, like: Any) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(values, like.dtype)

    def join(self, parts: list[Any], axis: int) -> Any:
        import jax.numpy as jnp

        return jnp.concatenate(parts, axis)

    def flip(self, x: Any, axis: int) -> Any:
        import jax.numpy as jnp

        return jnp.flip(x, axis)

    def sqrt(self, x: Any) -> Any:
        import jax.numpy as jnp

        return jnp.sqrt(x)

    def scale_tensor_gradient(self, model: Any, tensor: str, factor: float) -> None:
        name = tensor.rpartition(".")[0]
        leaf = model.spec.tensor(tensor).leaf

        def wrong(kit: FlaxKit, layer: Any, right: Any, *inputs: Any) -> Any:
            with kit.using(layer, leaf, lambda held: scaled(held, factor)):
                return right(*inputs)

        self.rewire(model, name, wrong)

    def scale_input_gradient(self, model: Any, layer: str, number: int, factor: float) -> None:
        def wrong(kit: Kit, layer: Any, right: Any, *inputs: Any) -> Any:
            return right(*inputs[:number], scaled(inputs[number], factor), *inputs[number + 1 :])

        self.rewire(model, layer, wrong)


def scaled(x: Any, factor: float) -> Any:
    """The value as it is, to the bit, with a gradient times the factor."""
    import jax

    value = jax.lax.stop_gradient(x)
    return value + factor * (x - value)


def mode(asked: bool | None, given: bool) -> bool:
    return given if asked is None else asked


def kit_of(backend: str) -> Kit:
    return {"numpy_reference": NumPyKit, "pytorch": PyTorchKit, "flax_nnx": FlaxKit}[backend]()
