"""The layers of a U-Net in NumPy, forward and backward written out, one function or class per choice in the spec.

Every layer keeps what its backward pass needs. Maps are (N, C, H, W). Complex inputs are taken too, so that
complex-step differentiation can verify the gradients; decisions are then made on the real part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared_specs import UNetSpec
from shared_specs.schema import BatchNorm as BatchNormSpec
from shared_specs.schema import Bilinear as BilinearSpec
from shared_specs.schema import GroupNorm as GroupNormSpec
from shared_specs.schema import MaxPool as MaxPoolSpec
from shared_specs.schema import Merge as MergeSpec
from shared_specs.schema import TransposedConvolution as TransposedConvolutionSpec

from .rounding import Rounding

PER_CHANNEL = (0, 2, 3)
"""The axes of (N, C, H, W) that a sum per channel runs over."""


class Layer:
    """A layer with its tensors, the gradients of the last backward pass and the output of the last forward pass."""

    def __init__(self, rounding: Rounding):
        self.rounding = rounding
        self.tensors: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self.output: np.ndarray | None = None

    def __call__(self, *inputs: np.ndarray, training: bool) -> np.ndarray:
        self.output = self.rounding(self.forward(*inputs, training=training))
        return self.output

    def forward(self, *inputs: np.ndarray, training: bool) -> np.ndarray:
        raise NotImplementedError

    def backward(self, dy: np.ndarray) -> Any:
        """The gradient of the input, given that of the output; gradients of tensors are kept."""
        raise NotImplementedError


def conv(spec: UNetSpec, rounding: Rounding) -> Layer:
    return Conv(spec.conv.padding, rounding)


def head(spec: UNetSpec, rounding: Rounding) -> Layer:
    return Conv(spec.head.padding, rounding)


class Conv(Layer):
    """y[n,o,h,w] = bias[o] + sum over c,i,j of weight[o,c,i,j] x[n,c,h+i-padding,w+j-padding]."""

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
        windows = sliding_window_view(self.x, (rows, columns), axis=(2, 3))  # (N, C, H', W', kH, kW)
        dw = sum(np.tensordot(d, w, axes=([1, 2], [1, 2])) for d, w in zip(dy, windows, strict=True))
        self.gradients["weight"] = self.rounding(np.asarray(dw))
        if "bias" in self.tensors:
            self.gradients["bias"] = self.rounding.sum(dy, PER_CHANNEL)
        # The input's gradient is the full correlation of dy with the flipped kernel, its channels swapped.
        full = np.pad(dy, ((0, 0), (0, 0), (rows - 1, rows - 1), (columns - 1, columns - 1)))
        dx = correlate(full, weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        return self.rounding(dx[:, :, p : dx.shape[2] - p, p : dx.shape[3] - p])


def correlate(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """y[n,o,h,w] = sum over c,i,j of weight[o,c,i,j] x[n,c,h+i,w+j], one image at a time to spare memory."""
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))  # (N, C, H', W', kH, kW)
    return np.stack([np.tensordot(weight, image, axes=([1, 2, 3], [0, 3, 4])) for image in windows])


def norm(spec: UNetSpec, rounding: Rounding) -> Layer:
    if spec.norm.kind == "group":
        return GroupNorm(spec.norm, rounding)
    assert spec.norm.kind == "batch"
    return BatchNorm(spec.norm, rounding)


class BatchNorm(Layer):
    """Ioffe & Szegedy 2015, arXiv 1502.03167: normalise with the batch in training, with the kept state else."""

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
    match spec.activation.kind:
        case "relu":
            return LeakyReLU(0.0, rounding)
        case "leaky_relu":
            return LeakyReLU(spec.activation.slope, rounding)
        case "identity":
            return LeakyReLU(1.0, rounding)


class LeakyReLU(Layer):
    """x where x > 0, else slope x; at 0 the derivative is the slope, as in PyTorch. Slope 0 is ReLU, 1 identity."""

    def __init__(self, slope: float, rounding: Rounding):
        super().__init__(rounding)
        self.slope = slope

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.derivative = np.where(x.real > self.rounding.tie(x.real), 1.0, self.slope)
        return x * self.derivative

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return self.rounding(dy * self.derivative)


def down(spec: UNetSpec, rounding: Rounding) -> Layer:
    return MaxPool(spec.down, rounding)


class MaxPool(Layer):
    """The maximum of each window; among equal elements the first in reading order wins, as in PyTorch."""

    def __init__(self, spec: MaxPoolSpec, rounding: Rounding):
        super().__init__(rounding)
        self.kernel, self.stride = spec.kernel, spec.stride

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        k, s = self.kernel, self.stride
        windows = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::s, ::s]
        windows = windows.reshape(*windows.shape[:4], k * k)
        self.shape = x.shape
        tie = np.broadcast_to(self.rounding.tie(x.real), (1, x.shape[1], 1, 1))[..., None]
        near = windows.real >= windows.real.max(-1, keepdims=True) - abs(tie)
        first, last = near.argmax(-1), k * k - 1 - near[..., ::-1].argmax(-1)
        self.winner = np.where(tie[..., 0] > 0, last, first)
        return np.take_along_axis(windows, self.winner[..., None], -1)[..., 0]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.zeros(self.shape, dy.dtype)
        for i, j in np.ndindex(self.kernel, self.kernel):
            won = np.where(self.winner == i * self.kernel + j, dy, 0)
            rows = slice(i, i + (dy.shape[2] - 1) * self.stride + 1, self.stride)
            columns = slice(j, j + (dy.shape[3] - 1) * self.stride + 1, self.stride)
            dx[:, :, rows, columns] += won
        return self.rounding(dx)


def up(spec: UNetSpec, rounding: Rounding) -> Layer:
    return Bilinear(spec.up, rounding) if spec.up.kind == "bilinear" else TransposedConv(spec.up, rounding)


class Bilinear(Layer):
    """y = R x C^T: bilinear interpolation is one matrix along the rows and one along the columns."""

    def __init__(self, spec: BilinearSpec, rounding: Rounding):
        super().__init__(rounding)
        self.spec = spec

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.rows, self.columns = (interpolation(size, self.spec) for size in x.shape[2:])
        return self.rows @ x @ self.columns.T

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return self.rounding(self.rows.T @ dy @ self.columns)


def interpolation(size: int, spec: BilinearSpec) -> np.ndarray:
    """The matrix (size * scale, size) of linear interpolation along one axis.

    Output pixel i lies at i (size - 1) / (size * scale - 1) with `align_corners`, where the centres of the outer
    pixels coincide, and at (i + 1/2) / scale - 1/2 else, where their outer edges do; positions are clamped.
    """
    out = np.arange(size * spec.scale)
    if spec.align_corners:
        position = out * ((size - 1) / max(size * spec.scale - 1, 1))
    else:
        position = np.clip((out + 0.5) / spec.scale - 0.5, 0, size - 1)
    before = np.minimum(np.floor(position).astype(int), size - 1)
    after = np.minimum(before + 1, size - 1)
    matrix = np.zeros((len(out), size))
    np.add.at(matrix, (out, before), 1 - (position - before))
    np.add.at(matrix, (out, after), position - before)
    return matrix


class TransposedConv(Layer):
    """y[n,o,s h + i - padding, s w + j - padding] += weight[c,o,i,j] x[n,c,h,w], and bias[o] everywhere."""

    def __init__(self, spec: TransposedConvolutionSpec, rounding: Rounding):
        super().__init__(rounding)
        self.kernel, self.stride, self.padding = spec.kernel, spec.stride, spec.padding

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.x = x
        height, width = (self.stride * (size - 1) + self.kernel for size in x.shape[2:])
        taps = np.tensordot(x, self.tensors["weight"], axes=([1], [0]))  # (N, H, W, O, kH, kW)
        full = np.zeros((x.shape[0], taps.shape[3], height, width), taps.dtype)
        for i, j in np.ndindex(self.kernel, self.kernel):
            full[self._reached(i, j)] += taps[..., i, j].transpose(0, 3, 1, 2)
        y = full[:, :, self.padding : height - self.padding, self.padding : width - self.padding]
        if "bias" in self.tensors:
            y = self.rounding(y) + self.tensors["bias"][:, None, None]
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        if "bias" in self.tensors:
            self.gradients["bias"] = self.rounding.sum(dy, PER_CHANNEL)
        p, weight = self.padding, self.tensors["weight"]
        full = np.pad(dy, ((0, 0), (0, 0), (p, p), (p, p)))
        dx, dw = np.zeros_like(self.x), np.zeros_like(weight)
        for i, j in np.ndindex(self.kernel, self.kernel):
            reached = full[self._reached(i, j)]  # (N, O, H, W)
            dx += np.tensordot(reached, weight[:, :, i, j], axes=([1], [1])).transpose(0, 3, 1, 2)
            dw[:, :, i, j] = np.tensordot(self.x, reached, axes=([0, 2, 3], [0, 2, 3]))
        self.gradients["weight"] = self.rounding(dw)
        return self.rounding(dx)

    def _reached(self, i: int, j: int) -> tuple[slice, slice, slice, slice]:
        """Where the kernel's element (i, j) writes in the output, before padding is removed."""
        height, width = self.x.shape[2:]
        rows = slice(i, i + self.stride * (height - 1) + 1, self.stride)
        return (slice(None), slice(None), rows, slice(j, j + self.stride * (width - 1) + 1, self.stride))


class Merge(Layer):
    """Join the skip with the upsampled map: make their sizes equal as the spec says, then concatenate."""

    def __init__(self, spec: MergeSpec, rounding: Rounding):
        super().__init__(rounding)
        self.spec = spec

    def forward(self, skip: np.ndarray, upsampled: np.ndarray, *, training: bool) -> np.ndarray:
        self.skip_shape, self.upsampled_shape = skip.shape, upsampled.shape
        if self.spec.size_mismatch == "crop_skip":
            skip = skip[self._inner()]
        elif self.spec.size_mismatch == "pad_upsampled":
            padded = np.zeros((*upsampled.shape[:2], *skip.shape[2:]), upsampled.dtype)
            padded[self._inner()] = upsampled
            upsampled = padded
        maps = {"skip": skip, "upsampled": upsampled}
        return np.concatenate([maps[name] for name in self.spec.order], axis=1)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of the skip and of the upsampled map."""
        widths = {"skip": self.skip_shape[1], "upsampled": self.upsampled_shape[1]}
        parts = np.split(dy, [widths[self.spec.order[0]]], axis=1)
        d = dict(zip(self.spec.order, parts, strict=True))
        if self.spec.size_mismatch == "crop_skip":
            whole = np.zeros(self.skip_shape, dy.dtype)
            whole[self._inner()] = d["skip"]
            d["skip"] = whole
        elif self.spec.size_mismatch == "pad_upsampled":
            d["upsampled"] = d["upsampled"][self._inner()]
        return d["skip"], d["upsampled"]

    def _inner(self) -> tuple[slice, ...]:
        """Where the smaller, upsampled map lies in the skip."""
        inner = [slice(None), slice(None)]
        for skip, upsampled in zip(self.skip_shape[2:], self.upsampled_shape[2:], strict=True):
            margin = self.spec.margin(skip - upsampled)
            inner.append(slice(margin, margin + upsampled))
        return tuple(inner)
