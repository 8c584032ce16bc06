"""Canonical tensors in a Flax module: one table from leaf to (native name, axes)."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.layout import Tensor
from shared_specs.weights import Weights, check_weights

from ..fitting import check_fits
from ..layouts import inverse, laid_out
from .unet import layer_at

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


def native(module: nnx.Module, tensor: Tensor) -> nnx.Variable:
    """The parameter or statistic that holds a canonical tensor."""
    leaf, _ = LEAVES[tensor.leaf]
    return getattr(layer_at(module, tensor.name.rpartition(".")[0]), leaf)


def native_name(tensor: Tensor) -> str:
    """The dotted attribute path of a canonical tensor."""
    return f"{tensor.name.rpartition('.')[0]}.{LEAVES[tensor.leaf][0]}"


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, inverse(LEAVES[tensor.leaf][1]))


def shapes(module: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Of what the module holds, by dotted attribute path, without the state of its random numbers."""
    return {
        ".".join(map(str, path)): variable.get_value().shape
        for path, variable in nnx.to_flat_state(nnx.state(module))
        if not isinstance(variable, nnx.RngState)
    }


def load_weights(module: nnx.Module, spec: UNetSpec, weights: Weights) -> None:
    """Copy canonical weights into a module built from the spec, in the module's own precision and on its device.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite, or where the module was built
            from another spec; nothing is copied then.
    """
    check_fits(spec, shapes(module), native_name, to_native)
    check_weights(spec, weights)
    for tensor in spec.tensors:
        variable = native(module, tensor)
        held = variable.get_value()
        # A copy: on a CPU, device_put may keep using the caller's memory, which the caller may change.
        values = np.array(to_native(tensor, np.asarray(weights[tensor.name])), dtype=held.dtype, order="C")
        variable.set_value(jax.device_put(values, held.sharding))


def read_weights(module: nnx.Module, spec: UNetSpec) -> dict[str, np.ndarray]:
    """The canonical weights of a module built from the spec, as copies.

    Raises:
        WeightsError: where the module was built from another spec.
    """
    check_fits(spec, shapes(module), native_name, to_native)
    return {tensor.name: read_tensor(module, tensor) for tensor in spec.tensors}


def read_tensor(module: nnx.Module, tensor: Tensor) -> np.ndarray:
    return to_canonical(tensor, np.array(native(module, tensor).get_value()))
