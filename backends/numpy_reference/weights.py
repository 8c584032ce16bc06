"""Canonical tensors in the NumPy network: one table from leaf to (native name, permutation)."""

from __future__ import annotations

import numpy as np

from shared_specs.layout import Tensor

from .layers import Layer
from .unet import UNet, layer_at

LEAVES = {
    "conv.weight": ("weight", (0, 1, 2, 3)),
    "conv.bias": ("bias", (0,)),
    "norm.weight": ("weight", (0,)),
    "norm.bias": ("bias", (0,)),
    "norm.running_mean": ("running_mean", (0,)),
    "norm.running_var": ("running_var", (0,)),
    "up.weight": ("weight", (0, 1, 2, 3)),
    "up.bias": ("bias", (0,)),
    "head.weight": ("weight", (0, 1, 2, 3)),
    "head.bias": ("bias", (0,)),
}
"""Native axis i is canonical axis permutation[i]. The reference computes in the canonical layouts."""


def native(unet: UNet, tensor: Tensor) -> tuple[Layer, str]:
    """The layer that holds a canonical tensor, and its name there."""
    leaf, _ = LEAVES[tensor.leaf]
    return layer_at(unet, tensor.name.split(".")[:-1]), leaf


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(np.argsort(LEAVES[tensor.leaf][1]))
