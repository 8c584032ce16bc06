"""The handles on a layer of the PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .kits import Kit, Wrong, mode


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
