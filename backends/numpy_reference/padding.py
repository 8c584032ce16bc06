"""Padding in the four modes of the spec, and its adjoint, which brings gradients back to where values came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Margins = Sequence[tuple[int, int]]
"""Pixels before and after the map, for each spatial axis."""

MODES: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names; a reflection does not repeat the outermost pixel, as in PyTorch."""


def pad(x: np.ndarray, margins: Margins, mode: str = "zeros", value: float = 0.0) -> np.ndarray:
    """The map x (N, C, H, W) within margins; those of "zeros" hold `value`."""
    if not np.any(margins):
        return x
    every = ((0, 0), (0, 0), *margins)
    if mode == "zeros":
        return np.pad(x, every, constant_values=value)
    return np.pad(x, every, MODES[mode])


def unpad(dy: np.ndarray, margins: Margins, mode: str = "zeros") -> np.ndarray:
    """The gradient of x, given that of `pad`: a pixel has the sum over all places that it was copied to.

    For "zeros" that is the map without its margins.
    """
    for axis, (before, after) in enumerate(margins, start=2):
        size = dy.shape[axis] - before - after
        dx = dy[_along(axis, slice(before, before + size))]
        if mode != "zeros" and before + after:
            dx = dx.copy()
            source = np.pad(np.arange(size), (before, after), MODES[mode])
            for place in (*range(before), *range(before + size, dy.shape[axis])):
                dx[_along(axis, source[place])] += dy[_along(axis, place)]
        dy = dx
    return dy


def _along(axis: int, index: int | slice) -> tuple[int | slice, ...]:
    return (slice(None),) * axis + (index,)
