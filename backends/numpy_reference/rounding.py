"""What rounding does to a computation, imitated in float64: the source of the noise floor."""

from __future__ import annotations

import math
from collections import deque
from functools import cache

import numpy as np

from ..contract import TIE_WIDTH, UNIT_ROUNDOFF, RoundingNoise

Axes = int | tuple[int, ...] | None


class Pool:
    """Standard normal numbers drawn once, and taken from other random places on each time.

    Few numbers are drawn anew, since the floor of a small tensor rests on them alone. Of many the mean square is what
    matters, and there drawing takes longer than all else that is done with them.
    """

    SIZE, FEW = 2**20, 2**12

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)

    def standard_normal(self, shape: tuple[int, ...] = (), dtype: type = np.float64) -> np.ndarray:
        """As a generator's. What it returns may be shared, and is not to be written to."""
        count, numbers = math.prod(shape), _numbers()
        if count <= self.FEW:
            return self._random.standard_normal(shape, dtype)
        pieces = -(-2 * count // self.SIZE)
        each = -(-count // pieces)
        starts = self._random.integers(self.SIZE - each, size=pieces)
        if pieces == 1:
            return numbers[starts[0] : starts[0] + count].reshape(shape)
        return np.concatenate([numbers[start : start + each] for start in starts])[:count].reshape(shape)


@cache
def _numbers() -> np.ndarray:
    """The same in every pool: each takes them from places of its own."""
    numbers = np.random.default_rng(0).standard_normal(Pool.SIZE, np.float32)
    numbers.flags.writeable = False
    return numbers


class Rounding:
    """Multiplies what passes through it by (1 + u xi), xi standard normal. Without noise it does nothing."""

    def __init__(self, noise: RoundingNoise | None = None):
        self.noise = noise
        self._random: Pool | None = None
        if noise is not None:
            self._random = Pool(noise.seed)
        self.decisions: deque[np.ndarray] | None = None  # what was decided on, in order, where that is recorded
        self.exact_decisions: deque[np.ndarray] | None = None  # the same of a run without noise

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.noise is None or self._random is None:
            return x
        factor = np.multiply(
            self._random.standard_normal(np.shape(x), np.float32), self.noise.unit_roundoff, dtype=np.float64
        )
        factor += 1.0  # in place: much of a re-run is this
        return x * factor

    def sum(self, x: np.ndarray, axis: Axes, keepdims: bool = False, in_one_row: bool = False) -> np.ndarray:
        """The sum of n elements, with the noise of adding them up (random-walk forms of Higham 2002, section 4.2).

        Added in blocks of sqrt(n), elements of size a round to within about u a n^(3/4). Added in one row, partial
        sums of mean m and deviation s round to within u sqrt(n^3 m^2 / 3 + n^2 s^2 / 2): so PyTorch adds a
        convolution's bias gradient on a CPU, and in float64 the statistics of a batch norm, which in float32 it adds
        in float64. Precisions coarser than float32 are accumulated in float32.
        """
        total = x.sum(axis, keepdims=keepdims)
        if self.noise is None or self._random is None:
            return total
        n = x.size / max(total.size, 1)
        square = np.mean(np.square(x), axis, keepdims=keepdims)
        if in_one_row or self.noise.unit_roundoff <= UNIT_ROUNDOFF["float64"]:
            mean_square = np.square(total / n)
            size = np.sqrt(n**3 / 3 * mean_square + n**2 / 2 * np.maximum(square - mean_square, 0))
        else:
            size = np.sqrt(square) * n**0.75
        accumulator = min(self.noise.unit_roundoff, UNIT_ROUNDOFF["float32"])
        return self(total) + accumulator * self._random.standard_normal(total.shape) * size

    def sum_of_products(self, total: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The gradient (O, C, kH, kW) of a convolution's weight, with the noise of adding it up.

        Its n terms, one a pixel, are products of the maps `one` (N, O, H, W) and `other` (N, C, H, W); they are taken
        to be of the size that independent maps give, and to be added in blocks as in `sum`. PyTorch's own error in
        float32 on a CPU grows nearly as in one row: at 12,512 pixels it is 37 times that of rounding the result alone.
        """
        if self.noise is None or self._random is None:
            return total
        squares = [np.mean(np.square(x), (0, *range(2, x.ndim))) for x in (one, other)]
        size = np.sqrt(np.outer(*squares)).reshape(*total.shape[:2], *(1,) * (total.ndim - 2))
        accumulator = min(self.noise.unit_roundoff, UNIT_ROUNDOFF["float32"])
        terms = one.size // one.shape[1]
        return self(total) + accumulator * self._random.standard_normal(total.shape) * size * terms**0.75

    def mean(self, x: np.ndarray, axis: Axes, keepdims: bool = False) -> np.ndarray:
        """The mean, with the noise of its sum."""
        total = self.sum(x, axis, keepdims)
        return total / (x.size / max(total.size, 1))

    def decide(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """What a decision about the map x (N, C, H, W) is made on, and how far from a tie it is made the other way.

        The second has one value a channel, signed by the side: as wide as the error that noise has brought so far,
        measured against the run without noise. It is zero where nothing is turned.
        """
        x = np.real(x)
        if self.decisions is not None:
            self.decisions.append(x)
        if self.noise is None or not self.exact_decisions:
            return x, 0.0
        exact = self.exact_decisions.popleft()
        error = np.sqrt(np.mean(np.square(x - exact), (0, *range(2, x.ndim)), keepdims=True))
        return exact, self.noise.turned * TIE_WIDTH * error
