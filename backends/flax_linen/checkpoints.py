"""Flax Linen's checkpoints: folders of Orbax that hold the variables of a module, alone or in a training state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared_specs import UNetSpec
from shared_specs.checkpoints import Checkpoint, listed
from shared_specs.weights import Weights, check_weights

from .. import orbax_folders
from ..jax_engine import orbax
from ..orbax_folders import COLLECTIONS
from . import weights as layouts

WRAPPERS = ("state", "train_state", "model", "module", "variables")
"""The keys under which training loops keep the variables. A `TrainState` has them beside the optimizer's state."""


def read(path: Path) -> Checkpoint:
    """The variables of a module, by dotted paths such as `params.encoder.0.block.0.conv.kernel`.

    Whatever devices they were saved from, they are read into NumPy arrays in the dtypes that they have.

    Raises:
        WeightsError: where the folder is no Orbax checkpoint or is damaged, or holds several.
    """
    whole, remarks = orbax.read_tree(path)
    tree, more = orbax.unwrapped(whole, WRAPPERS, innermost=COLLECTIONS)
    variables, others = _collections(tree)
    left_out = [f"left out beside the variables: {listed(others)}"] if others else []
    return orbax.tensors_in(variables, [*remarks, *more, *left_out])


def to_canonical(spec: UNetSpec, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical weights from the variables of `UNet(spec)`; what has no place there keeps a name that is refused."""
    left, found = dict(tensors), {}
    for tensor in spec.tensors:
        if (values := left.pop(layouts.native_name(tensor), None)) is not None:
            fits = values.ndim == len(tensor.shape)  # what does not is refused for its shape, by who gets it
            found[tensor.name] = layouts.to_canonical(tensor, values) if fits else values
    return found | {f"{name} of the Linen variables": values for name, values in left.items()}


def write(path: Path, spec: UNetSpec, weights: Weights) -> None:
    """Write what Orbax's StandardCheckpointer restores into `UNet(spec).init(...)`, whole or not at all.

    Raises:
        WeightsError: where the weights are not the spec's.
        TandemError: where the folder cannot be written.
    """
    check_weights(spec, weights)
    tree: dict[str, Any] = {}
    for tensor in spec.tensors:
        layouts.put(tree, layouts.native(tensor), layouts.to_native(tensor, np.asarray(weights[tensor.name])))
    orbax.write_tree(path, tree)


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is of Orbax and holds variables of Linen, as far as a glance tells."""
    return orbax_folders.is_checkpoint(path) and orbax_folders.holds_linen(path)


def _collections(tree: Any) -> tuple[Any, list[str]]:
    """The collections in a tree, and the keys beside them: the state of the optimizer, or the number of the step.

    Some loops keep all variables where a `TrainState` has the parameters: `params` then holds `params` in its turn.
    """
    if not isinstance(tree, dict):
        return tree, []
    held = {key: tree[key] for key in COLLECTIONS if key in tree}
    inner = held.get("params")
    if isinstance(inner, dict) and isinstance(inner.get("params"), dict):
        held |= {key: inner[key] for key in COLLECTIONS if key in inner}
    return (held, [key for key in tree if key not in COLLECTIONS]) if held else (tree, [])
