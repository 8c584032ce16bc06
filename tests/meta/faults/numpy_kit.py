"""The handles on a layer of the NumPy reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .kits import Kit, Wrong, mode


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
