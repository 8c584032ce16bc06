"""Canonical tensors in the variables of a Linen module: one table from leaf to (native name, axes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from shared_specs import UNetSpec
from shared_specs.layout import Tensor
from shared_specs.weights import Weights, check_weights

from ..fitting import check_fits
from ..layouts import inverse, laid_out
from ..orbax_folders import COLLECTIONS

LEAVES = {
    "conv.weight": ("kernel", "o i ... -> ... i o"),
    "conv.bias": ("bias", "c -> c"),
    "norm.weight": ("scale", "c -> c"),
    "norm.bias": ("bias", "c -> c"),
    "norm.running_mean": ("mean", "c -> c"),
    "norm.running_var": ("var", "c -> c"),
    "activation.weight": ("negative_slope", "c -> c"),
    "up.weight": ("kernel", "i o ... -> i ... o"),
    "up.bias": ("bias", "c -> c"),
    "head.weight": ("kernel", "o i ... -> ... i o"),
    "head.bias": ("bias", "c -> c"),
}
"""Leaf to (native name, canonical axes -> native axes)."""

Variables = Mapping[str, Any]
"""What `UNet(spec).init` returns: `{"params": ..., "batch_stats": ...}`, the second where there is batch norm."""


def native(tensor: Tensor) -> tuple[str, ...]:
    """The path of a canonical tensor in the variables."""
    leaf, _ = LEAVES[tensor.leaf]
    return ("params" if tensor.trainable else "batch_stats", *tensor.name.split(".")[:-1], leaf)


def native_name(tensor: Tensor) -> str:
    """That path with dots."""
    return ".".join(native(tensor))


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, inverse(LEAVES[tensor.leaf][1]))


def shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    """Of parameters and statistics, by dotted path; what else a module sows is none of its weights."""
    held: dict[str, Any] = {name: variables[name] for name in COLLECTIONS if name in variables}
    flat: Any = flatten_dict(held, sep=".")
    return {name: array.shape for name, array in flat.items()}


def load_weights(variables: Variables, spec: UNetSpec, weights: Weights) -> dict[str, Any]:
    """Variables with canonical weights, in the precision and on the device of the ones given, which stay as they are.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite, or where the variables
            are of another spec.
    """
    check_fits(spec, shapes(variables), native_name, to_native)
    check_weights(spec, weights)
    loaded = jax.tree.map(lambda array: array, dict(variables))  # the tree anew, with the same arrays
    for tensor in spec.tensors:
        held = at(variables, native(tensor))
        # A copy: on a CPU, device_put may keep using the caller's memory, which the caller may change.
        values = np.array(to_native(tensor, np.asarray(weights[tensor.name])), dtype=held.dtype, order="C")
        put(loaded, native(tensor), jax.device_put(values, held.sharding))
    return loaded


def read_weights(variables: Variables, spec: UNetSpec) -> dict[str, np.ndarray]:
    """The canonical weights in the variables of a module built from the spec, as copies.

    Raises:
        WeightsError: where the variables are of another spec.
    """
    check_fits(spec, shapes(variables), native_name, to_native)
    return {tensor.name: read_tensor(variables, tensor) for tensor in spec.tensors}


def read_tensor(variables: Variables, tensor: Tensor) -> np.ndarray:
    return to_canonical(tensor, np.array(at(variables, native(tensor))))


def at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What a tree of dictionaries holds at a path."""
    node: Any = tree
    for key in path:
        node = node[key]
    return node


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Put a value into a tree of dictionaries."""
    *branches, leaf = path
    for key in branches:
        tree = tree.setdefault(key, {})
    tree[leaf] = value
