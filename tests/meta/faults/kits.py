"""The same few handles on a layer of each backend, so that one description of a fault serves all of them.

A kit knows its backend's array library, the axes of its maps, where a layer keeps its tensors, and how a layer's
forward pass is replaced from outside. Nothing here is known to the code under test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

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


def mode(asked: bool | None, given: bool) -> bool:
    return given if asked is None else asked


def kit_of(backend: str) -> Kit:
    """The kit of a backend, by the backend's name."""
    from .flax_kit import FlaxKit
    from .linen_kit import LinenKit
    from .numpy_kit import NumPyKit
    from .pytorch_kit import PyTorchKit

    kits = {"numpy_reference": NumPyKit, "pytorch": PyTorchKit, "flax_nnx": FlaxKit, "flax_linen": LinenKit}
    return kits[backend]()
