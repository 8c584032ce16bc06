"""Canonical tensors in a PyTorch module: one table from leaf to (native name, permutation)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from shared_specs.layout import Tensor

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
"""Native axis i is canonical axis permutation[i]. PyTorch's layouts are the canonical ones."""


def native(module: nn.Module, tensor: Tensor) -> torch.Tensor:
    """The parameter or buffer that holds a canonical tensor."""
    leaf, _ = LEAVES[tensor.leaf]
    return getattr(module.get_submodule(tensor.name.rpartition(".")[0]), leaf)


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(np.argsort(LEAVES[tensor.leaf][1]))
