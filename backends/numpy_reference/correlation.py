"""Correlation in any number of dimensions and its two adjoints, as matrix products over blocks of the map.

A tap t is one element of the kernel, a pixel p one of the map. Both have an index for each spatial axis. All taps of a
block of pixels are laid out as columns and multiplied at once: a block fits the processor's cache, which makes wide
maps of few channels, those of a narrow network, two to four times faster than a product for every tap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared_specs.layout import Axes

BLOCK = 2**13
"""Pixels a block. Of 2^12 to 2^17, this and 2^14 were fastest on the maps of a narrow 3-D network."""


def correlate(x: np.ndarray, weight: np.ndarray, stride: Axes, dilation: Axes) -> np.ndarray:
    """y[n,o,p] = sum over c and t of weight[o,c,t] x[n,c,stride p + dilation t]."""
    kernel = weight.shape[2:]
    y = np.empty((len(x), len(weight), *windows(x.shape[2:], kernel, stride, dilation)), np.result_type(x, weight))
    matrix = weight.reshape(len(weight), -1)
    for block, columns in blocks(x, kernel, stride, dilation):
        y[block] = (matrix @ columns).reshape(y[block].shape)
    return y


def spread(y: np.ndarray, weight: np.ndarray, stride: Axes, dilation: Axes, size: Sequence[int]) -> np.ndarray:
    """The adjoint of `correlate` in x, which has this size: x[n,c,stride p + dilation t] += weight[o,c,t] y[n,o,p]."""
    kernel = weight.shape[2:]
    if set(stride) == {1}:  # every tap reaches every pixel: the correlation with the flipped kernel
        by_axis = zip(dilation, kernel, y.shape[2:], size, strict=True)
        padded = np.pad(y, [(0, 0), (0, 0), *((d * (k - 1), whole - side) for d, k, side, whole in by_axis)])
        return correlate(padded, np.flip(weight, tuple(range(2, weight.ndim))).swapaxes(0, 1), stride, dilation)
    x = np.zeros((len(y), weight.shape[1], *size), np.result_type(y, weight))
    for tap in np.ndindex(*kernel):
        product = np.ascontiguousarray(weight[(slice(None), slice(None), *tap)].T) @ y.reshape(*y.shape[:2], -1)
        x[window(tap, y.shape[2:], stride, dilation)] += product.reshape(*x.shape[:2], *y.shape[2:])
    return x


def taps(x: np.ndarray, y: np.ndarray, kernel: Axes, stride: Axes, dilation: Axes) -> np.ndarray:
    """The adjoint of `correlate` in the weight: w[o,c,t] = sum over n, p of y[n,o,p] x[n,c,stride p + dilation t]."""
    weight = np.zeros((y.shape[1], x.shape[1] * int(np.prod(kernel))), np.result_type(x, y))
    for block, columns in blocks(x, kernel, stride, dilation):
        weight += y[block].reshape(len(weight), -1) @ columns.T
    return weight.reshape(y.shape[1], x.shape[1], *kernel)


def blocks(
    x: np.ndarray, kernel: Axes, stride: Axes, dilation: Axes
) -> Iterator[tuple[tuple[int | slice, ...], np.ndarray]]:
    """The places of blocks in the output (N, O, ...), each with its columns (C T, P): what its pixels are sums of."""
    size = windows(x.shape[2:], kernel, stride, dilation)
    axes = tuple(range(1, len(size) + 1))
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    steps = *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation)
    rows = max(1, BLOCK * size[0] // max(int(np.prod(size)), 1))
    for image in range(len(x)):
        seen = sliding_window_view(x[image], spans, axes)[(slice(None), *steps)]
        seen = np.moveaxis(seen, range(-len(size), 0), axes)  # (C, T..., P...)
        for first in range(0, size[0], rows):
            part = seen[(slice(None), *(slice(None) for _ in kernel), slice(first, first + rows))]
            columns = part.reshape(x.shape[1] * int(np.prod(kernel)), -1)
            yield (image, slice(None), slice(first, first + rows)), columns


def windows(size: Sequence[int], kernel: Sequence[int], stride: Axes, dilation: Axes) -> Axes:
    """How many windows of the kernel fit, by axis."""
    by_axis = zip(size, kernel, stride, dilation, strict=True)
    return tuple((side - d * (k - 1) - 1) // s + 1 for side, k, s, d in by_axis)


def window(tap: Axes, size: Sequence[int], stride: Axes, dilation: Axes) -> tuple[slice, ...]:
    """Where the pixels stride p + dilation t lie in a map, for all p of a map of this size."""
    by_axis = zip(tap, size, stride, dilation, strict=True)
    return (slice(None), slice(None), *(slice(d * t, d * t + s * (side - 1) + 1, s) for t, side, s, d in by_axis))
