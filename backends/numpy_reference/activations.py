"""Activations in NumPy, forward and backward written out."""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from .layers import Identity, Layer, but_channels, per_channel
from .rounding import Rounding


class LeakyReLU(Layer):
    """x where x > 0, else slope x; at 0 the derivative is the slope, as in PyTorch."""

    keeps = ("passes",)

    def slope(self, x: np.ndarray) -> float | np.ndarray:
        return self.settings.slope

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        decided_on, tie = self.rounding.decide(x)
        self.passes = decided_on > tie
        return x * np.where(self.passes, 1.0, self.slope(x))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return self.rounding(dy * np.where(self.passes, 1.0, self.slope(dy)))


class ReLU(LeakyReLU):
    """max(x, 0)."""

    def slope(self, x: np.ndarray) -> float:
        return 0.0


class PReLU(LeakyReLU):
    """He et al. 2015, arXiv 1502.01852: the slope is learned, one for all channels or one for each."""

    keeps = ("passes", "x")

    def slope(self, x: np.ndarray) -> np.ndarray:
        return per_channel(self.tensors["weight"], x)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.x = x
        return super().forward(x, training=training)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        sloped = r(np.where(self.passes, 0.0, dy * self.x))
        if len(self.tensors["weight"]) == 1:
            self.gradients["weight"] = r.sum(sloped, None).reshape(1)
        else:
            self.gradients["weight"] = r.sum(sloped, but_channels(dy))
        return super().backward(dy)


class ELU(Layer):
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016, arXiv 1511.07289)."""

    keeps = ("passes", "below")

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        # With alpha 1 the derivative has no jump at 0, and nothing is decided there.
        decided_on, tie = (np.real(x), 0.0) if self.settings.alpha == 1 else self.rounding.decide(x)
        self.passes = decided_on > tie
        self.below = self.rounding(np.expm1(np.where(self.passes, 0.0, x)))
        return np.where(self.passes, x, self.settings.alpha * self.below)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        return r(dy * np.where(self.passes, 1.0, self.settings.alpha * r(self.below + 1)))


class GELU(Layer):
    """x Phi(x) (Hendrycks & Gimpel 2016, arXiv 1606.08415), Phi the normal distribution's CDF or its tanh form.

    Phi(x) = (1 + erf(x / sqrt(2))) / 2, or (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
    """

    keeps = ("x",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.x = x
        return x * self._cdf(self._sigmoidal(x))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r, x = self.rounding, self.x
        sigmoidal = self._sigmoidal(x)
        if self.settings.approximation == "tanh":
            inner = r(np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * r(np.square(x))))
            density = r(0.5 * r(1 - r(np.square(sigmoidal))) * inner)
        else:
            density = r(np.exp(r(-np.square(x) / 2)) / np.sqrt(2 * np.pi))
        return r(dy * r(self._cdf(sigmoidal) + r(x * density)))

    def _sigmoidal(self, x: np.ndarray) -> np.ndarray:
        """The erf or the tanh."""
        r = self.rounding
        if self.settings.approximation == "tanh":
            return r(np.tanh(r(np.sqrt(2 / np.pi) * r(x + 0.044715 * r(x * np.square(x))))))
        return r(erf(r(x / np.sqrt(2))))

    def _cdf(self, sigmoidal: np.ndarray) -> np.ndarray:
        return self.rounding((1 + sigmoidal) / 2)


class SiLU(Layer):
    """x sigmoid(x)."""

    keeps = ("x", "gate")

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.x, self.gate = x, sigmoid(x, self.rounding)
        return x * self.gate

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        return r(dy * r(self.gate * r(1 + r(self.x * r(1 - self.gate)))))


class Tanh(Layer):
    keeps = ("y",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.y = self.rounding(np.tanh(x))
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        return r(dy * r(1 - r(np.square(self.y))))


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    keeps = ("y",)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        self.y = sigmoid(x, self.rounding)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        r = self.rounding
        return r(dy * r(self.y * r(1 - self.y)))


def sigmoid(x: np.ndarray, rounding: Rounding) -> np.ndarray:
    """1 / (1 + exp(-x)), in the form that does not overflow for either sign."""
    positive = np.real(x) >= 0
    small = rounding(np.exp(np.where(positive, -x, x)))
    return rounding(np.where(positive, 1.0, small) / rounding(1 + small))


KINDS = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "prelu": PReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "identity": Identity,
}
"""The class of each kind of layer here."""
