"""Between the levels of a U-Net in NumPy, forward and backward written out: down and up."""

from __future__ import annotations

from functools import reduce

import numpy as np
from einops import rearrange

from .correlation import correlate, spread, taps, window, windows
from .interpolation import apply, linear, nearest
from .layers import Layer, but_channels, per_channel
from .padding import pad, unpad


class Pool(Layer):
    """A window that moves over the map: where each of its elements lies, for all places of the window at once."""

    def reached(self, size: tuple[int, ...]) -> list[tuple[slice, ...]]:
        """For each element of the window in reading order, where it lies in a map of this size, margins included."""
        self.ones = (1,) * len(size)
        kernel, stride = self.settings.kernel, self.settings.stride
        self.size = windows(size, kernel, stride, self.ones)
        return [window(tap, self.size, stride, self.ones) for tap in np.ndindex(*kernel)]


class MaxPool(Pool):
    """The maximum of each window; among equal elements the first in reading order wins, as in PyTorch.

    The margins hold minus infinity, so that they never win.
    """

    keeps = ("winner",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.margins = [(p, p) for p in self.settings.padding]
        decided_on, tie = self.rounding.decide(x)
        decided_on, x = (pad(each, self.margins, value=-np.inf) for each in (decided_on, x))
        self.shape = x.shape
        self.places = self.reached(x.shape[2:])
        self.winner = winner(*([each[place] for place in self.places] for each in (decided_on, x)), np.asarray(tie))
        y = np.empty(self.winner.shape, x.dtype)
        for number, place in enumerate(self.places):
            np.copyto(y, x[place], where=self.winner == number)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.zeros(self.shape, dy.dtype)
        for number, place in enumerate(self.places):
            dx[place] += np.where(self.winner == number, dy, 0)
        return self.rounding(unpad(dx, self.margins))


def winner(decided_on: list[np.ndarray], values: list[np.ndarray], tie: np.ndarray) -> np.ndarray:
    """The number of the largest element of each window, as seen in the maps that are decided on, or one near it.

    Where there is a tie to turn, it is the element of the largest magnitude of those no more than `tie` below the
    largest, and where `tie` is positive another one than the largest. A window behind a ReLU may be all zeros but for
    an element that was turned on: its magnitude tells it.
    """
    largest = reduce(np.maximum, decided_on)
    first = np.zeros(largest.shape, np.int32)
    for number in reversed(range(len(decided_on))):
        np.copyto(first, number, where=(decided_on[number] == largest) | np.isnan(decided_on[number]))
    if not np.any(tie):
        return first
    found, farthest = first.copy(), np.full(largest.shape, -1.0)
    for number, (exact, value) in enumerate(zip(decided_on, values, strict=True)):
        near = (exact >= largest - abs(tie)) & ((tie < 0) | (number != first)) & (abs(value) > farthest)
        np.copyto(found, number, where=near)
        np.copyto(farthest, abs(value), where=near)
    return found


class AveragePool(Pool):
    """The mean of each window."""

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.shape = x.shape
        self.places = self.reached(x.shape[2:])
        y = x[self.places[0]]
        for place in self.places[1:]:
            y = self.rounding(y + x[place])
        return y / len(self.places)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        share = self.rounding(dy / len(self.places))
        dx = np.zeros(self.shape, dy.dtype)
        for place in self.places:
            dx[place] += share
        return self.rounding(dx)


class TransposedConv(Layer):
    """y[n,o,stride p + t - padding] += weight[c,o,t] x[n,c,p], and bias[o] everywhere: the adjoint of a convolution."""

    keeps = ("x",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.x = x
        conv = self.settings
        by_axis = zip(x.shape[2:], conv.stride, conv.kernel, conv.padding, conv.output_padding, strict=True)
        # Up to the last pixel that is reached, or to the end of the output where that lies further.
        size = [s * (side - 1) + k + max(more - p, 0) for side, s, k, p, more in by_axis]
        self.margins = [(p, max(p - more, 0)) for p, more in zip(conv.padding, conv.output_padding, strict=True)]
        y = unpad(spread(x, self.tensors["weight"], conv.stride, conv.dilation, size), self.margins)
        if "bias" in self.tensors:
            y = self.rounding(y) + per_channel(self.tensors["bias"], y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        conv, r = self.settings, self.rounding
        if "bias" in self.tensors:
            self.gradients["bias"] = r.sum(dy, but_channels(dy), in_one_row=True)
        by_axis = zip(self.x.shape[2:], conv.stride, conv.kernel, strict=True)
        reached = tuple(slice(s * (side - 1) + k) for side, s, k in by_axis)
        full = pad(dy, self.margins)[(slice(None), slice(None), *reached)]
        dw = taps(full, self.x, conv.kernel, conv.stride, conv.dilation)
        self.gradients["weight"] = r.sum_of_products(dw, self.x, full)
        return r(correlate(full, self.tensors["weight"], conv.stride, conv.dilation))


class Nearest(Layer):
    """Repetition, by a factor for each axis or to the size of a second input."""

    def matrix(self, before: int, after: int) -> np.ndarray:
        return nearest(before, after)

    def forward(self, x: np.ndarray, like: np.ndarray | None = None, *, training: bool) -> np.ndarray:
        scale = self.settings.scale
        sides = x.shape[2:]
        size = [side * factor for side, factor in zip(sides, scale, strict=True)] if like is None else like.shape[2:]
        self.has_like = like is not None
        self.matrices = [self.matrix(before, after) for before, after in zip(sides, size, strict=True)]
        return apply(self.matrices, x, self.rounding)

    def backward(self, dy: np.ndarray) -> np.ndarray | tuple[np.ndarray, None]:
        dx = apply([matrix.T for matrix in self.matrices], dy, self.rounding)
        return (dx, None) if self.has_like else dx


class Linear(Nearest):
    """Linear interpolation along each axis, by a factor or to the size of a second input."""

    def matrix(self, before: int, after: int) -> np.ndarray:
        return linear(before, after, self.settings.align_corners, self.rounding)


PIXEL_SHUFFLE = {
    2: ("n (c i j) h w", "n c (h i) (w j)"),
    3: ("n (c i j k) d h w", "n c (d i) (h j) (w k)"),
}
"""By the number of spatial axes, the map before and after, in PyTorch's order of channels."""


class PixelShuffle(Layer):
    """Channels become pixels, scale of them along each axis (Shi et al. 2016, arXiv 1609.05158)."""

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        before, after = PIXEL_SHUFFLE[x.ndim - 2]
        return rearrange(x, f"{before} -> {after}", **self._factors(x))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        before, after = PIXEL_SHUFFLE[dy.ndim - 2]
        return rearrange(dy, f"{after} -> {before}", **self._factors(dy))

    def _factors(self, x: np.ndarray) -> dict[str, int]:
        factor: int = self.settings.scale
        return dict.fromkeys("ijk"[: x.ndim - 2], factor)


KINDS = {
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "transposed_conv": TransposedConv,
    "nearest": Nearest,
    "linear": Linear,
    "pixel_shuffle": PixelShuffle,
}
"""The class of each kind of layer here."""
