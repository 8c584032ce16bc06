"""How a tensor's axes lie: `o i ... -> ... i o` says where each goes, whatever the number of spatial axes `...`.

einops writes layouts so. It is not used here: of the first NumPy array that it meets it asks each framework that is
loaded whether it is one of its own, and PyTorch loads its compiler to answer, which takes seconds.
"""

from __future__ import annotations

import numpy as np


def laid_out(values: np.ndarray, axes: str) -> np.ndarray:
    """A view of the array with its axes in the order on the right of the arrow."""
    before, after = (side.split() for side in axes.split(" -> "))
    spatial = [f"axis {number}" for number in range(values.ndim - len(before) + before.count("..."))]
    names = _spelt_out(before, spatial)
    return values.transpose([names.index(name) for name in _spelt_out(after, spatial)])


def inverse(axes: str) -> str:
    """The way back."""
    before, after = axes.split(" -> ")
    return f"{after} -> {before}"


def is_telling(values: np.ndarray) -> bool:
    """Whether the values of a tensor say where it belongs: the ones and zeros of a fresh norm do not."""
    return bool(np.ptp(values) > 0) or (values.size == 1 and values.item() not in (0, 1))


def _spelt_out(names: list[str], spatial: list[str]) -> list[str]:
    return [each for name in names for each in (spatial if name == "..." else [name])]
