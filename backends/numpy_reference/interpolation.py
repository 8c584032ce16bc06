"""Interpolation as one matrix for each spatial axis; the backward pass takes their transposes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rounding import Rounding


def nearest(before: int, after: int) -> np.ndarray:
    """The matrix (after, before) of repetition along one axis: output pixel i takes input floor(i before / after)."""
    out = np.arange(after)
    matrix = np.zeros((after, before))
    matrix[out, out * before // after] = 1
    return matrix


def linear(before: int, after: int, align_corners: bool, rounding: Rounding) -> np.ndarray:
    """The matrix (after, before) of linear interpolation along one axis.

    Output pixel i lies at i (before - 1) / (after - 1) with `align_corners`, where the centres of the outer pixels
    coincide, and at (i + 1/2) before / after - 1/2 else, where their outer edges do; positions are clamped.
    """
    out = np.arange(after)
    ratio = (before - 1) / max(after - 1, 1) if align_corners else before / after
    scaled = out * ratio if align_corners else (out + 0.5) * ratio
    if np.frexp(ratio)[0] != 0.5:  # no power of two: frameworks round positions, and so the weights made of them
        scaled = rounding(scaled)
    position = np.clip(scaled if align_corners else scaled - 0.5, 0, before - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, before - 1)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (out, lower), 1 - (position - lower))
    np.add.at(matrix, (out, upper), position - lower)
    return matrix


def apply(matrices: Sequence[np.ndarray], x: np.ndarray, rounding: Rounding) -> np.ndarray:
    """The map x (N, C, H, W) with the first matrix along the rows, the second along the columns, and so on."""
    for axis, matrix in enumerate(matrices, start=2):
        x = rounding(np.moveaxis(np.tensordot(x, matrix, axes=(axis, 1)), -1, axis))
    return x
