"""Between the levels of a U-Net in NumPy, forward and backward written out: down, up and merge."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared_specs import UNetSpec
from shared_specs.schema import Bilinear as BilinearSpec
from shared_specs.schema import MaxPool as MaxPoolSpec
from shared_specs.schema import Merge as MergeSpec
from shared_specs.schema import TransposedConvolution as TransposedConvolutionSpec

from .layers import PER_CHANNEL, Layer
from .rounding import Rounding


def down(spec: UNetSpec, rounding: Rounding) -> Layer:
    return MaxPool(spec.down, rounding)


class MaxPool(Layer):
    """The maximum of each window; among equal elements the first in reading order wins, as in PyTorch."""

    keeps = ("winner",)

    def __init__(self, spec: MaxPoolSpec, rounding: Rounding):
        super().__init__(rounding)
        self.kernel, self.stride = spec.kernel, spec.stride

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        k = self.kernel
        self.shape = x.shape
        decided_on, tie = self.rounding.decide(x)
        candidates = self._windows(decided_on)
        tie = np.broadcast_to(tie, (1, x.shape[1], 1, 1))[..., None]
        largest = candidates.max(-1, keepdims=True)
        near = (candidates >= largest - abs(tie)) | np.isnan(candidates)
        first, last = near.argmax(-1), k * k - 1 - near[..., ::-1].argmax(-1)
        self.winner = np.where(tie[..., 0] > 0, last, first)
        windows = self._windows(x)
        return np.take_along_axis(windows, self.winner[..., None], -1)[..., 0]

    def _windows(self, x: np.ndarray) -> np.ndarray:
        """Every window of x, its elements in reading order on the last axis."""
        windows = sliding_window_view(x, (self.kernel, self.kernel), axis=(2, 3))[:, :, :: self.stride, :: self.stride]
        return windows.reshape(*windows.shape[:4], -1)

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

    keeps = ("x",)

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
            self.gradients["bias"] = self.rounding.sum(dy, PER_CHANNEL, in_one_row=True)
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
