"""Normalisation in NumPy, forward and backward written out."""

from __future__ import annotations

import numpy as np

from shared_specs import layout

from .layers import Layer, but_channels, per_channel
from .rounding import Rounding


class Norm(Layer):
    """weight normed + bias, with normed = (x - mean) / sqrt(variance + epsilon), or normed where it has no weight.

    Mean and biased variance are those of the map's own elements over the axes that a subclass says.
    """

    keeps = ("normed", "scale")

    def grouped(self, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """The map reshaped for the statistics, and the axes there over which they are taken."""
        raise NotImplementedError

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        r = self.rounding
        groups, axes = self.grouped(x)
        centred = r(groups - r.mean(groups, axes, keepdims=True))
        variance = r.mean(np.square(centred), axes, keepdims=True)
        self.scale = r(1 / np.sqrt(variance + self.settings.epsilon))
        self.normed = r(centred * self.scale).reshape(x.shape)
        return self.affine(self.normed)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Mean and variance depend on the input too."""
        r = self.rounding
        d, axes = self.grouped(self.affine_backward(dy))
        normed, _ = self.grouped(self.normed)
        along = r.mean(r(d * normed), axes, keepdims=True)
        return r(self.scale * (d - r.mean(d, axes, keepdims=True) - normed * along)).reshape(dy.shape)

    def affine(self, normed: np.ndarray) -> np.ndarray:
        if "weight" not in self.tensors:
            return normed
        return per_channel(self.tensors["weight"], normed) * normed + per_channel(self.tensors["bias"], normed)

    def affine_backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient of `normed`."""
        if "weight" not in self.tensors:
            return dy
        r = self.rounding
        self.gradients["weight"] = r.sum(r(dy * self.normed), but_channels(dy))
        self.gradients["bias"] = r.sum(dy, but_channels(dy))
        return r(dy * per_channel(self.tensors["weight"], dy))


class BatchNorm(Norm):
    """Ioffe & Szegedy 2015, arXiv 1502.03167: normalise with the batch in training, with the kept state else."""

    def grouped(self, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        return x, but_channels(x)

    def forward(self, x: np.ndarray, *, training: bool) -> np.ndarray:
        spec, t, r = self.settings, self.tensors, self.rounding
        if training:
            mean = r.mean(x, but_channels(x))
            variance = r.mean(np.square(r(x - per_channel(mean, x))), but_channels(x))
            count = x.size // x.shape[1]
            kept = variance * (count / (count - 1)) if spec.running_variance == "unbiased" else variance
            t["running_mean"] = r((1 - spec.momentum) * t["running_mean"] + spec.momentum * mean)
            t["running_var"] = r((1 - spec.momentum) * t["running_var"] + spec.momentum * kept)
        else:
            mean, variance = t["running_mean"], t["running_var"]
        self.scale = per_channel(r(1 / np.sqrt(variance + spec.epsilon)), x)
        self.normed = r((x - per_channel(mean, x)) * self.scale)
        return self.affine(self.normed)


class GroupNorm(Norm):
    """Wu & He 2018, arXiv 1803.08494: normalise each image over groups of channels, in either mode."""

    def __init__(self, layer: layout.Layer, rounding: Rounding):
        super().__init__(layer, rounding)
        self.groups: int = layer.out_channels if layer.kind == "instance_norm" else layer.settings.groups

    def grouped(self, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        return x.reshape(x.shape[0], self.groups, -1), (2,)


class InstanceNorm(GroupNorm):
    """Ulyanov et al. 2016, arXiv 1607.08022: every channel is a group."""


class LayerNorm(Norm):
    """Ba et al. 2016, arXiv 1607.06450: normalise each pixel over its channels."""

    def grouped(self, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        return x, (1,)


KINDS = {"batch_norm": BatchNorm, "instance_norm": InstanceNorm, "group_norm": GroupNorm, "layer_norm": LayerNorm}
"""The class of each kind of layer here."""
