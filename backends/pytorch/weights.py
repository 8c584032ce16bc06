"""Canonical tensors in a PyTorch module: one table from leaf to (native name, axes)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from shared_specs import UNetSpec
from shared_specs.layout import Tensor
from shared_specs.weights import Weights, check_weights

from ..fitting import check_fits
from ..layouts import inverse, laid_out

LEAVES = {
    "conv.weight": ("weight", "o i ... -> o i ..."),
    "conv.bias": ("bias", "c -> c"),
    "norm.weight": ("weight", "c -> c"),
    "norm.bias": ("bias", "c -> c"),
    "norm.running_mean": ("running_mean", "c -> c"),
    "norm.running_var": ("running_var", "c -> c"),
    "activation.weight": ("weight", "c -> c"),
    "up.weight": ("weight", "i o ... -> i o ..."),
    "up.bias": ("bias", "c -> c"),
    "head.weight": ("weight", "o i ... -> o i ..."),
    "head.bias": ("bias", "c -> c"),
}
"""Leaf to (native name, canonical axes -> native axes). PyTorch's layouts are the canonical ones."""


def native(module: nn.Module, tensor: Tensor) -> torch.Tensor:
    """The parameter or buffer that holds a canonical tensor."""
    leaf, _ = LEAVES[tensor.leaf]
    return getattr(module.get_submodule(tensor.name.rpartition(".")[0]), leaf)


def native_name(tensor: Tensor) -> str:
    """The key of a canonical tensor in the state dict."""
    return f"{tensor.name.rpartition('.')[0]}.{LEAVES[tensor.leaf][0]}"


def to_native(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, LEAVES[tensor.leaf][1])


def to_canonical(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    return laid_out(values, inverse(LEAVES[tensor.leaf][1]))


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of what the module holds, by its key in the state dict; batches are only counted, and `torch.compile` wraps."""
    state = {name.removeprefix("_orig_mod."): tuple(held.shape) for name, held in module.state_dict().items()}
    return {name: shape for name, shape in state.items() if not name.endswith(".num_batches_tracked")}


def load_weights(module: nn.Module, spec: UNetSpec, weights: Weights) -> None:
    """Copy canonical weights into a module built from the spec, in the module's own precision and on its device.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite, or where the module was built
            from another spec; nothing is copied then.
    """
    check_fits(spec, shapes(module), native_name, to_native)
    copy_weights(module, spec, weights)


def copy_weights(module: nn.Module, spec: UNetSpec, weights: Weights) -> None:
    """As `load_weights`, into any module that has a place for them: of one that holds more, parity's probes tell.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite; nothing is copied then.
    """
    check_weights(spec, weights)
    with torch.no_grad():
        for tensor in spec.tensors:
            values = to_native(tensor, np.asarray(weights[tensor.name]))
            native(module, tensor).copy_(torch.tensor(values))


def read_weights(module: nn.Module, spec: UNetSpec) -> dict[str, np.ndarray]:
    """The canonical weights of a module built from the spec, as copies.

    Raises:
        WeightsError: where the module was built from another spec.
    """
    check_fits(spec, shapes(module), native_name, to_native)
    return {tensor.name: read_tensor(module, tensor) for tensor in spec.tensors}


def read_tensor(module: nn.Module, tensor: Tensor) -> np.ndarray:
    return to_canonical(tensor, native(module, tensor).detach().cpu().numpy().copy())
