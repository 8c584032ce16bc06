"""The layers of a block in NumPy, forward and backward written out, one function or class per choice in the spec.

Every layer keeps what its backward pass needs. Maps are (N, C, H, W). Complex inputs are taken too, so that
complex-step differentiation can verify the gradients; decisions are then made on the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shared_specs import UNetSpec
from shared_specs.schema import BatchNorm as BatchNormSpec
from shared_specs.schema import GroupNorm as GroupNormSpec
from shared_specs.schema import Identity, ReLU
from shared_specs.schema import LeakyReLU as LeakyReLUSpec

from .rounding import Rounding

PER_CHANNEL = (0, 2, 3)
"""The axes of (N, C, H, W) that a sum per channel runs over."""


class Layer:
    """A layer with its tensors, the gradients of the last backward pass and what that needs of the last forward pass.

    `forward` maps one input, or two where maps are merged, to the output. `backward` maps the gradient of the output
    to that of each input, and keeps those of the tensors.
    """

    forward: Callable[..., np.ndarray]
    backward: Callable[[np.ndarray], Any]
    keeps: tuple[str, ...] = ()
    """The attributes that `forward` leaves for `backward`, as large as the maps."""

    def __init__(self, rounding: Rounding):
        self.rounding = rounding
        self.tensors: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self.output: np.ndarray | None = None

    def __call__(self, *inputs: np.ndarray, training: bool) -> np.ndarray:
        output = self.rounding(self.forward(*inputs, training=training))
        self.output = None if training else output
        return output

    def forget(self) -> None:
        """Let go of the maps of the last pass: at full width they are gigabytes."""
        self.output = None
        for name in self.keeps:
            vars(self).pop(name, None)


def conv(spec: UNetSpec, rounding: Rounding) -> Layer:
    return Conv(spec.conv.padding, rounding)


def head(spec: UNetSpec, rounding: Rounding) -> Layer:
    return Conv(spec.head.padding, rounding)


class Conv(Layer):
    """y[n,o,h,w] = bias[o] + sum over c,i,j of weight[o,c,i,j] x[n,c,h+i-padding,w+j-padding]."""

    keeps = ("x",)

    def __init__(self, padding: int, rounding: Rounding):
        super().__init__(rounding)
        self.padding = padding

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        p = self.padding
        self.x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        y = correlate(self.x, self.tensors["weight"])
        if "bias" in self.tensors:
            y = self.rounding(y) + self.tensors["bias"][:, None, None]
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        weight, p = self.tensors["weight"], self.padding
        rows, columns = weight.shape[2:]
        dw = np.empty_like(weight)
        for i, j in np.ndindex(rows, columns):
            dw[:, :, i, j] = np.sum(flat(dy) @ flat(shifted(self.x, i, j, dy)).swapaxes(1, 2), axis=0)
        self.gradients["weight"] = self.rounding(dw)
        if "bias" in self.tensors:
            self.gradients["bias"] = self.rounding.sum(dy, PER_CHANNEL, in_one_row=True)
        # The input's gradient is the full correlation of dy with the flipped kernel, its channels swapped.
        full = np.pad(dy, ((0, 0), (0, 0), (rows - 1, rows - 1), (columns - 1, columns - 1)))
        dx = correlate(full, weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        return self.rounding(dx[:, :, p : dx.shape[2] - p, p : dx.shape[3] - p])


def correlate(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """y[n,o,h,w] = sum over c,i,j of weight[o,c,i,j] x[n,c,h+i,w+j]: a matrix product for each (i, j)."""
    rows, columns = weight.shape[2:]
    shape = (x.shape[0], weight.shape[0], x.shape[2] - rows + 1, x.shape[3] - columns + 1)
    y = np.zeros(shape, np.result_type(x, weight))
    for i, j in np.ndindex(rows, columns):
        y += (np.ascontiguousarray(weight[:, :, i, j]) @ flat(shifted(x, i, j, y))).reshape(shape)
    return y


def shifted(x: np.ndarray, i: int, j: int, like: np.ndarray) -> np.ndarray:
    """x[n,c,h+i,w+j] for the h and w of another map."""
    return x[:, :, i : i + like.shape[2], j : j + like.shape[3]]


def flat(x: np.ndarray) -> np.ndarray:
    """The map (N, C, H, W) as a matrix (C, H W) for each image."""
    return x.reshape(*x.shape[:2], -1)


def norm(spec: UNetSpec, rounding: Rounding) -> Layer:
    if spec.norm.kind == "group":
        return GroupNorm(spec.norm, rounding)
    assert spec.norm.kind == "batch"
    return BatchNorm(spec.norm, rounding)


class BatchNorm(Layer):
    """Ioffe & Szegedy 2015, arXiv 1502.03167: normalise with the batch in training, with the kept state else."""

    keeps = ("normed",)

    def __init__(self, spec: BatchNormSpec, rounding: Rounding):
        super().__init__(rounding)
        self.spec = spec

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        spec, t, r = self.spec, self.tensors, self.rounding
        if training:
            mean = r.mean(x, PER_CHANNEL)
            variance = r.mean(np.square(r(x - mean[:, None, None])), PER_CHANNEL)
            count = x.size // x.shape[1]
            kept = variance * (count / (count - 1)) if spec.running_variance == "unbiased" else variance
            t["running_mean"] = r((1 - spec.momentum) * t["running_mean"] + spec.momentum * mean)
            t["running_var"] = r((1 - spec.momentum) * t["running_var"] + spec.momentum * kept)
        else:
            mean, variance = t["running_mean"], t["running_var"]
        self.scale = r(1 / np.sqrt(variance + spec.epsilon))
        self.normed = r((x - mean[:, None, None]) * self.scale[:, None, None])
        return t["weight"][:, None, None] * self.normed + t["bias"][:, None, None]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Of the training mode, in which mean and variance depend on the input too."""
        r = self.rounding
        self.gradients["weight"] = r.sum(r(dy * self.normed), PER_CHANNEL)
        self.gradients["bias"] = r.sum(dy, PER_CHANNEL)
        d = r(dy * self.tensors["weight"][:, None, None])
        along = r.mean(r(d * self.normed), PER_CHANNEL)[:, None, None]
        return r(self.scale[:, None, None] * (d - r.mean(d, PER_CHANNEL)[:, None, None] - self.normed * along))


class GroupNorm(Layer):
    """Wu & He 2018, arXiv 1803.08494: normalise each image over groups of channels, in either mode."""

    keeps = ("normed",)

    def __init__(self, spec: GroupNormSpec, rounding: Rounding):
        super().__init__(rounding)
        self.spec = spec

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        r = self.rounding
        grouped = x.reshape(x.shape[0], self.spec.groups, -1)
        centred = r(grouped - r.mean(grouped, 2, keepdims=True))
        self.scale = r(1 / np.sqrt(r.mean(np.square(centred), 2, keepdims=True) + self.spec.epsilon))
        self.normed = r(centred * self.scale).reshape(x.shape)
        return self.tensors["weight"][:, None, None] * self.normed + self.tensors["bias"][:, None, None]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        self.gradients["weight"] = r.sum(r(dy * self.normed), PER_CHANNEL)
        self.gradients["bias"] = r.sum(dy, PER_CHANNEL)
        d = r(dy * self.tensors["weight"][:, None, None]).reshape(dy.shape[0], self.spec.groups, -1)
        normed = self.normed.reshape(d.shape)
        along = r.mean(r(d * normed), 2, keepdims=True)
        return r(self.scale * (d - r.mean(d, 2, keepdims=True) - normed * along)).reshape(dy.shape)


def activation(spec: UNetSpec, rounding: Rounding) -> Layer:
    match spec.activation:
        case LeakyReLUSpec(slope=slope):
            return LeakyReLU(slope, rounding)
        case ReLU():
            return LeakyReLU(0.0, rounding)
        case Identity():
            return LeakyReLU(1.0, rounding)


class LeakyReLU(Layer):
    """x where x > 0, else slope x; at 0 the derivative is the slope, as in PyTorch. Slope 0 is ReLU, 1 identity."""

    keeps = ("passes",)

    def __init__(self, slope: float, rounding: Rounding):
        super().__init__(rounding)
        self.slope = slope

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        decided_on, tie = self.rounding.decide(x)
        self.passes = decided_on > tie
        return x * self._derivative()

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return self.rounding(dy * self._derivative())

    def _derivative(self) -> np.ndarray:
        return np.where(self.passes, 1.0, self.slope)
