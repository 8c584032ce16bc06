"""Correlation in any number of dimensions and its two adjoints, each a matrix product for every tap of the kernel.

A tap t is one element of the kernel, a pixel p one of the map. Both have an index for each spatial axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared_specs.layout import Axes


def correlate(x: np.ndarray, weight: np.ndarray, stride: Axes, dilation: Axes) -> np.ndarray:
    """y[n,o,p] = sum over c and t of weight[o,c,t] x[n,c,stride p + dilation t]."""
    kernel = weight.shape[2:]
    shape = (x.shape[0], weight.shape[0], *windows(x.shape[2:], kernel, stride, dilation))
    y = np.zeros(shape, np.result_type(x, weight))
    for tap in np.ndindex(*kernel):
        y += (at(weight, tap) @ flat(x[window(tap, shape[2:], stride, dilation)])).reshape(shape)
    return y


def spread(y: np.ndarray, weight: np.ndarray, stride: Axes, dilation: Axes, size: Sequence[int]) -> np.ndarray:
    """The adjoint of `correlate` in x, which has this size: x[n,c,stride p + dilation t] += weight[o,c,t] y[n,o,p]."""
    x = np.zeros((y.shape[0], weight.shape[1], *size), np.result_type(y, weight))
    flat_y, shape = flat(y), (*x.shape[:2], *y.shape[2:])
    for tap in np.ndindex(*weight.shape[2:]):
        x[window(tap, shape[2:], stride, dilation)] += (at(weight, tap).T @ flat_y).reshape(shape)
    return x


def taps(x: np.ndarray, y: np.ndarray, kernel: Axes, stride: Axes, dilation: Axes) -> np.ndarray:
    """The adjoint of `correlate` in the weight: w[o,c,t] = sum over n, p of y[n,o,p] x[n,c,stride p + dilation t]."""
    weight = np.empty((y.shape[1], x.shape[1], *kernel), np.result_type(x, y))
    flat_y = flat(y)
    for tap in np.ndindex(*kernel):
        shifted = flat(x[window(tap, y.shape[2:], stride, dilation)])
        weight[(slice(None), slice(None), *tap)] = np.sum(flat_y @ shifted.swapaxes(1, 2), axis=0)
    return weight


def windows(size: Sequence[int], kernel: Sequence[int], stride: Axes, dilation: Axes) -> Axes:
    """How many windows of the kernel fit, by axis."""
    by_axis = zip(size, kernel, stride, dilation, strict=True)
    return tuple((side - d * (k - 1) - 1) // s + 1 for side, k, s, d in by_axis)


def window(tap: Axes, size: Sequence[int], stride: Axes, dilation: Axes) -> tuple[slice, ...]:
    """Where the pixels stride p + dilation t lie in a map, for all p of a map of this size."""
    by_axis = zip(tap, size, stride, dilation, strict=True)
    return (slice(None), slice(None), *(slice(d * t, d * t + s * (side - 1) + 1, s) for t, side, s, d in by_axis))


def at(weight: np.ndarray, tap: Axes) -> np.ndarray:
    """The matrix (O, C) of one tap."""
    return np.ascontiguousarray(weight[(slice(None), slice(None), *tap)])


def flat(x: np.ndarray) -> np.ndarray:
    """The map (N, C, H, W) as a matrix (C, H W) for each image."""
    return x.reshape(*x.shape[:2], -1)
