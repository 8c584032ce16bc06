"""What rounding does to a computation, imitated in float64: the source of the noise floor."""

from __future__ import annotations

import numpy as np

from ..contract import RoundingNoise

TIE_WIDTH = 16.0
"""Decisions within this many unit roundoffs of a tie, relative to the map's rms, may go either way.

A convolution's rounding error is a few unit roundoffs of its output's rms; 16 covers what several layers gather.
Rounding seldom flips a decision, but one flipped ReLU moves a gradient by far more than the noise around it, so
every near tie is flipped in some re-runs rather than left to chance.
"""


class Rounding:
    """Multiplies what passes through it by (1 + u xi), xi standard normal. Without noise it does nothing."""

    def __init__(self, noise: RoundingNoise | None = None):
        self.noise = noise
        self._random = np.random.default_rng(noise.seed) if noise else None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.noise is None or self._random is None:
            return x
        xi = self._random.standard_normal(np.shape(x), dtype=np.float32)
        return x * (1.0 + self.noise.unit_roundoff * xi.astype(np.float64))

    def tie(self, x: np.ndarray) -> float:
        """How near to a tie a decision about `x` may go either way: signed, positive where the first side wins."""
        if self.noise is None:
            return 0.0
        return self.noise.tie_break * TIE_WIDTH * self.noise.unit_roundoff * float(np.sqrt(np.mean(np.square(x))))
