"""The layers of a block in NumPy, forward and backward written out: convolutions, sums and products.

Every layer keeps what its backward pass needs. Maps are (N, C, H, W) or (N, C, D, H, W). Complex inputs are taken too,
so that complex-step differentiation can verify the gradients; decisions are then made on the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shared_specs import layout

from .correlation import correlate, spread, taps
from .padding import pad, unpad
from .rounding import Rounding

Gradients = np.ndarray | tuple[np.ndarray | None, ...]
"""One for each input of a layer; None where only the size of an input counts."""


class Layer:
    """A layer with its tensors, the gradients of the last backward pass and what that needs of the last forward pass.

    `forward` maps the inputs to the output. `backward` maps the gradient of the output to that of the input, or to one
    for each of several, and keeps those of the tensors.
    """

    forward: Callable[..., np.ndarray]
    backward: Callable[[np.ndarray], Gradients]
    keeps: tuple[str, ...] = ()
    """The attributes that `forward` leaves for `backward`, as large as the maps."""

    def __init__(self, layer: layout.Layer, rounding: Rounding):
        self.settings: Any = layer.settings
        self.rounding = rounding
        self.tensors: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}

    def __call__(self, *inputs: np.ndarray, training: bool) -> np.ndarray:
        return self.rounding(self.forward(*inputs, training=training))

    def forget(self) -> None:
        """Let go of the maps of the last pass: at full width they are gigabytes."""
        for name in self.keeps:
            vars(self).pop(name, None)


def per_channel(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values (C,) in the shape in which they broadcast over the map x (N, C, H, W)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def but_channels(x: np.ndarray) -> tuple[int, ...]:
    """The axes of the map x (N, C, H, W) that a sum per channel runs over."""
    return (0, *range(2, x.ndim))


class Conv(Layer):
    """y[n,o,p] = bias[o] + sum over c and t of weight[o,c,t] x[n,c,stride p + dilation t - padding]."""

    keeps = ("x",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        conv = self.settings
        self.margins = [(p, p) for p in conv.padding]
        self.x = pad(x, self.margins, conv.padding_mode)
        y = correlate(self.x, self.tensors["weight"], conv.stride, conv.dilation)
        if "bias" in self.tensors:
            y = self.rounding(y) + per_channel(self.tensors["bias"], y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        conv, r = self.settings, self.rounding
        dw = taps(self.x, dy, conv.kernel, conv.stride, conv.dilation)
        self.gradients["weight"] = r.sum_of_products(dw, dy, self.x)
        if "bias" in self.tensors:
            self.gradients["bias"] = r.sum(dy, but_channels(dy), in_one_row=True)
        padded = spread(dy, self.tensors["weight"], conv.stride, conv.dilation, self.x.shape[2:])
        return r(unpad(padded, self.margins, conv.padding_mode))


class Identity(Layer):
    """The map as it is. So is dropout here: what is random cannot be compared."""

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy


class Sum(Layer):
    """The sum of two maps."""

    def forward(self, one: np.ndarray, other: np.ndarray, *, training: bool) -> np.ndarray:
        return one + other

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return dy, dy


class Multiply(Layer):
    """A map times a gate of one channel, which weighs every pixel."""

    keeps = ("x", "gate")

    def forward(self, x: np.ndarray, gate: np.ndarray, *, training: bool) -> np.ndarray:
        self.x, self.gate = x, gate
        return x * gate

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r = self.rounding
        return r(dy * self.gate), r.sum(r(dy * self.x), 1, keepdims=True)


KINDS = {"conv": Conv, "dropout": Identity, "identity": Identity, "sum": Sum, "multiply": Multiply}
"""The class of each kind of layer here."""
