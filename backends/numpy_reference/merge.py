"""How skips and the upsampled map are joined in NumPy, forward and backward written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import interpolation
from .layers import Layer
from .padding import pad, unpad


class Merge(Layer):
    """Make the sizes of the skips and of the upsampled map equal as the spec says, then concatenate them or add."""

    def forward(self, *maps: np.ndarray, training: bool) -> np.ndarray:
        *skips, upsampled = maps
        merge, size = self.settings, skips[0].shape[2:]
        differences = [skip - side for skip, side in zip(size, upsampled.shape[2:], strict=True)]
        self.margins = [(merge.margin(d), d - merge.margin(d)) for d in differences]
        self.widths = [each.shape[1] for each in maps]
        if merge.size_mismatch == "crop_skip":
            skips = [unpad(skip, self.margins) for skip in skips]
        elif merge.size_mismatch == "pad_upsampled":
            upsampled = pad(upsampled, self.margins, merge.padding_mode)
        elif merge.size_mismatch == "resize_upsampled":
            self.matrices = [self._resize(b, a) for b, a in zip(upsampled.shape[2:], size, strict=True)]
            upsampled = interpolation.apply(self.matrices, upsampled, self.rounding)
        if merge.kind == "sum":
            total = skips[0]
            for each in (*skips[1:], upsampled):
                total = self.rounding(total + each)
            return total
        return np.concatenate(self._ordered([*skips, upsampled]), axis=1)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, ...]:
        merge, count = self.settings, len(self.widths)
        if merge.kind == "sum":
            *d_skips, d_upsampled = [dy] * count
        else:
            ends = np.cumsum(self._ordered(self.widths))
            parts = np.split(dy, ends[:-1], axis=1)
            *d_skips, d_upsampled = parts if merge.order[0] == "skip" else [*parts[1:], parts[0]]
        if merge.size_mismatch == "crop_skip":
            d_skips = [pad(d_skip, self.margins) for d_skip in d_skips]
        elif merge.size_mismatch == "pad_upsampled":
            d_upsampled = self.rounding(unpad(d_upsampled, self.margins, merge.padding_mode))
        elif merge.size_mismatch == "resize_upsampled":
            d_upsampled = interpolation.apply([matrix.T for matrix in self.matrices], d_upsampled, self.rounding)
        return (*d_skips, d_upsampled)

    def _ordered(self, values: list[Any]) -> list[Any]:
        """What belongs to the skips and, last, to the upsampled map, in the order of concatenation."""
        return values if self.settings.order[0] == "skip" else [values[-1], *values[:-1]]

    def _resize(self, before: int, after: int) -> np.ndarray:
        if self.settings.resize == "nearest":
            return interpolation.nearest(before, after)
        return interpolation.linear(before, after, self.settings.resize == "linear_align_corners", self.rounding)


KINDS = {"merge": Merge}
"""The class of each kind of layer here."""
