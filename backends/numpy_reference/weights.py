"""Canonical tensors in the NumPy network: one table from leaf to (native name, axes)."""

from __future__ import annotations

import numpy as np

from shared_specs.layout import Tensor

from ..layouts import inverse, laid_out
from .layers import Layer
from .unet import UNet

LEAVES = {
    "conv.weight": ("weight", "o i ... -> o i ..."),
    "conv.bias": ("bias", "o -> o"),
    "norm.weight": ("weight", "c -> c"),
    "norm.bias": ("bias", "c -> c"),
    "norm.running_mean": ("running_mean", "c -> c"),
    "norm.running_var": ("running_var", "c -> c"),
    "activation.weight": ("weight", "c -> c"),
    "up.weight": ("weight", "i o ... -> i o ..."),
    "up.bias": ("bias", "o -> o"),
    "head.weight": ("weight", "o i ... -> o i ..."),
    "head.bias": ("bias", "o -> o"),
}
"""The pattern leads from the canonical layout to the native one. The reference computes in the canonical layouts."""


def native(unet: UNet, tensor: Tensor) -> tuple[Layer, str]:
    """The layer that holds a canonical tensor, and its name there."""
    leaf, _ = LEAVES[tensor.leaf]
    return unet.layers[tensor.name.rpartition(".")[0]], leaf


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, inverse(LEAVES[tensor.leaf][1]))
