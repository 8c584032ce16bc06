"""Canonical tensors in a Flax module: one table from leaf to (native name, permutation)."""

from __future__ import annotations

import numpy as np
from flax import nnx

from shared_specs.layout import Tensor

LEAVES = {
    "conv.weight": ("kernel", (2, 3, 1, 0)),
    "conv.bias": ("bias", (0,)),
    "norm.weight": ("scale", (0,)),
    "norm.bias": ("bias", (0,)),
    "norm.running_mean": ("mean", (0,)),
    "norm.running_var": ("var", (0,)),
    "up.weight": ("kernel", (0, 2, 3, 1)),
    "up.bias": ("bias", (0,)),
    "head.weight": ("kernel", (2, 3, 1, 0)),
    "head.bias": ("bias", (0,)),
}
"""Native axis i is canonical axis permutation[i]."""


def native(module: nnx.Module, tensor: Tensor) -> nnx.Variable:
    """The parameter or statistic that holds a canonical tensor."""
    leaf, _ = LEAVES[tensor.leaf]
    node = module
    for key in tensor.name.split(".")[:-1]:
        node = node[int(key)] if isinstance(node, nnx.List) else getattr(node, key)
    return getattr(node, leaf)


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return values.transpose(np.argsort(LEAVES[tensor.leaf][1]))
