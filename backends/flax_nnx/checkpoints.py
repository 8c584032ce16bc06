"""Flax NNX's checkpoints: folders of Orbax that hold the state of a module, `nnx.state(module)`, or its pure dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.checkpoints import Checkpoint
from shared_specs.weights import Weights, check_weights

from .. import orbax_folders
from ..jax_engine import orbax
from ..jax_engine.precision import Numerics
from ..orbax_folders import VALUE
from . import weights as layouts
from .layers import KINDS

WRAPPERS = ("state", "model", "module", "params")
"""The keys under which training loops keep a module's state, beside the optimizer's and the number of the step."""


def read(path: Path) -> Checkpoint:
    """The state of a module, by dotted attribute paths such as `encoder.0.block.0.conv.kernel`.

    Whatever devices it was saved from, it is read into NumPy arrays in the dtypes that it has.

    Raises:
        WeightsError: where the folder is no Orbax checkpoint or is damaged, or holds several.
    """
    whole, remarks = orbax.read_tree(path)
    tree, more = orbax.unwrapped(whole, WRAPPERS)
    return orbax.tensors_in(tree, [*remarks, *more])


def to_canonical(spec: UNetSpec, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical weights from the state of `UNet(spec)`; what the module has no place for keeps a name that is refused.

    The random state of dropout is left out.
    """
    left, found = dict(tensors), {}
    for tensor in spec.tensors:
        if (values := left.pop(layouts.native_name(tensor), None)) is not None:
            fits = values.ndim == len(tensor.shape)  # what does not is refused for its shape, by who gets it
            found[tensor.name] = layouts.to_canonical(tensor, values) if fits else values
    random = tuple(f"{layer.name}.rngs." for layer in spec.layers if layer.kind == "dropout")
    others = {f"{name} of the Flax state": values for name, values in left.items() if not name.startswith(random)}
    return found | others


def write(path: Path, spec: UNetSpec, weights: Weights) -> None:
    """Write what Orbax's StandardCheckpointer restores into `nnx.state(UNet(spec, rngs=...))`, whole or not at all.

    Raises:
        WeightsError: where the weights are not the spec's.
        TandemError: where the folder cannot be written.
    """
    check_weights(spec, weights)
    tree: dict[str, Any] = {}
    for tensor in spec.tensors:
        values = layouts.to_native(tensor, np.asarray(weights[tensor.name]))
        _hang(tree, layouts.native_name(tensor).split("."), values)
    for name, values in _random_state(spec):
        _hang(tree, name.split("."), values)
    orbax.write_tree(path, tree)


def _random_state(spec: UNetSpec) -> list[tuple[str, Any]]:
    """What dropout keeps in the module's state, as in a fresh module: keys by dotted attribute paths."""
    dropouts = [layer for layer in spec.layers if layer.kind == "dropout"]
    rngs = nnx.Rngs(0) if dropouts else None  # JAX compiles to make a key, which takes longer than the file
    found: list[tuple[str, Any]] = []
    for layer in dropouts:
        assert rngs is not None
        state = nnx.state(KINDS["dropout"](layer, Numerics(), rngs), nnx.RngState)
        found += [(f"{layer.name}.{name}", values) for name, values in orbax.leaves(nnx.to_pure_dict(state))]
    return found


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is of Orbax and holds no variables of Linen, as far as a glance tells."""
    return orbax_folders.is_checkpoint(path) and not orbax_folders.holds_linen(path)


def _hang(tree: dict[str, Any], path: list[str], values: Any) -> None:
    """Put an array into the tree as a variable of nnx, whose value Orbax keeps under a key of its own."""
    for key in path:
        tree = tree.setdefault(key, {})
    tree[VALUE] = values
