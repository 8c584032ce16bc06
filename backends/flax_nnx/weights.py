"""Canonical tensors in a Flax module: one table from leaf to (native name, permutation)."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.layout import Tensor
from shared_specs.weights import Weights, check_weights

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


def load_weights(module: nnx.Module, spec: UNetSpec, weights: Weights) -> None:
    """Copy canonical weights into a module built from the spec, in the module's own precision and on its device.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite; nothing is copied then.
    """
    check_weights(spec, weights)
    for tensor in spec.tensors:
        variable = native(module, tensor)
        held = variable.get_value()
        # A copy: on a CPU, device_put may keep using the caller's memory, which the caller may change.
        values = np.array(to_native(tensor, np.asarray(weights[tensor.name])), dtype=held.dtype, order="C")
        variable.set_value(jax.device_put(values, held.sharding))


def read_weights(module: nnx.Module, spec: UNetSpec) -> dict[str, np.ndarray]:
    """The canonical weights of a module built from the spec, as copies."""
    return {tensor.name: read_tensor(module, tensor) for tensor in spec.tensors}


def read_tensor(module: nnx.Module, tensor: Tensor) -> np.ndarray:
    return to_canonical(tensor, np.array(native(module, tensor).get_value()))
