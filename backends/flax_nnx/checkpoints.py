"""Flax's checkpoints: folders of Orbax that hold the state of a module, `nnx.state(module)`, or its pure dict."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from shared_specs import UNetSpec, WeightsError
from shared_specs.checkpoints import Checkpoint, listed, widening
from shared_specs.errors import one_line
from shared_specs.files import folder_written_whole
from shared_specs.layout import Tensor
from shared_specs.weights import Weights, check_weights

from ..jax_engine.precision import Numerics
from . import weights as layouts
from .layers import KINDS

METADATA = "_METADATA"
"""The file by which Orbax itself knows a folder that holds a tree of arrays."""

WRAPPERS = ("state", "model", "module", "params")
"""The keys under which training loops keep a module's state, beside the optimizer's and the number of the step."""

DEEPEST = 4
"""Wrappers in wrappers that are opened."""

MOST_COMPRESSED = 1000
"""How many times larger than the folder its arrays may be: weights hardly compress, and zeros beside them do."""


def read(path: Path) -> Checkpoint:
    """The state of a module, by dotted attribute paths such as `encoder.0.block.0.conv.kernel`.

    Whatever devices it was saved from, it is read into NumPy arrays in the dtypes that it has.

    Raises:
        WeightsError: where the folder is no Orbax checkpoint or is damaged, or holds several.
    """
    folder = _folder(path)
    remarks = [] if folder == path else [f"taken from the item {folder.name!r}"]
    tree, more = _unwrapped(_restore(folder))
    tensors = {name: values for name, values in _leaves(tree) if isinstance(values, np.ndarray)}
    narrow = [name for name, values in tensors.items() if values.dtype.name == "bfloat16"]
    for name in narrow:
        tensors[name] = tensors[name].astype(np.float32)
    return Checkpoint(tensors, (*remarks, *more, *([widening(narrow)] if narrow else [])))


def to_canonical(spec: UNetSpec, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical weights from the state of `UNet(spec)`; what the module has no place for keeps a name that is refused.

    The random state of dropout is left out.
    """
    left, found = dict(tensors), {}
    for tensor in spec.tensors:
        if (values := left.pop(native_name(tensor), None)) is not None:
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
        _hang(tree, native_name(tensor).split("."), values)
    for name, values in _random_state(spec):
        _hang(tree, name.split("."), values)
    with folder_written_whole(path) as made, _quiet(), ocp.Checkpointer(_writer()) as checkpointer:
        checkpointer.save(made.resolve(), tree)


def _writer() -> ocp.PyTreeCheckpointHandler:
    """What writes a tree without copying it first, since nothing changes it meanwhile, and without compressing it.

    Trained weights are as good as random: to compress them takes twice the time and saves a twentieth.
    """
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # the keys of dropout
    )
    return ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=handlers)


def _random_state(spec: UNetSpec) -> list[tuple[str, Any]]:
    """What dropout keeps in the module's state, as in a fresh module: keys by dotted attribute paths."""
    dropouts = [layer for layer in spec.layers if layer.kind == "dropout"]
    rngs = nnx.Rngs(0) if dropouts else None  # JAX compiles to make a key, which takes longer than the file
    found: list[tuple[str, Any]] = []
    for layer in dropouts:
        assert rngs is not None
        state = nnx.state(KINDS["dropout"](layer, Numerics(), rngs), nnx.RngState)
        found += [(f"{layer.name}.{name}", values) for name, values in _leaves(nnx.to_pure_dict(state))]
    return found


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is of Orbax, as far as a glance tells."""
    return (path / METADATA).is_file()


def native_name(tensor: Tensor) -> str:
    """The dotted attribute path of a canonical tensor."""
    return f"{tensor.name.rpartition('.')[0]}.{layouts.LEAVES[tensor.leaf][0]}"


def _hang(tree: dict[str, Any], path: list[str], values: Any) -> None:
    """Put an array into the tree as a variable of nnx, whose value Orbax keeps under a key of its own."""
    for key in path:
        tree = tree.setdefault(key, {})
    tree["value"] = values


def _folder(path: Path) -> Path:
    """The folder that holds the arrays: Orbax's managers put it into one of their own, one for each step."""
    if not path.is_dir():
        raise WeightsError(f"{path}: is no folder, expected an Orbax checkpoint")
    if is_checkpoint(path):
        return path
    try:
        below = sorted(child for child in path.iterdir() if child.is_dir())
        items = [child for child in below if is_checkpoint(child)]
        steps = [child.name for child in below if any(is_checkpoint(item) for item in child.iterdir())]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected an Orbax checkpoint") from error
    if len(items) == 1:
        return items[0]
    several = [item.name for item in items] or steps
    if several:
        raise WeightsError(f"{path}: holds {listed(several)}; name one of them, for instance {path / several[-1]}")
    raise WeightsError(
        f"{path}: is no Orbax checkpoint (it holds no {METADATA}); expected a folder that Orbax's StandardCheckpointer "
        "wrote"
    )


def _restore(folder: Path) -> Any:
    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(folder.resolve()).item_metadata
            if metadata is None:
                raise WeightsError(
                    f"{folder}: is no whole Orbax checkpoint (it does not say what it holds); save it again"
                )
            _check_sizes(folder, metadata.tree)
            arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
            return checkpointer.restore(folder.resolve(), args=ocp.args.PyTreeRestore(restore_args=arguments))
    except WeightsError:
        raise
    except Exception as error:  # of a damaged folder Orbax, JSON and TensorStore each tell in errors of their own
        reason = one_line(str(error))[:160] or type(error).__name__
        raise WeightsError(f"{folder}: is no whole Orbax checkpoint ({reason}); save it again") from error


def _check_sizes(folder: Path, tree: Any) -> None:
    """Refuse arrays that no folder of this size can hold, before TensorStore makes room for them. Raises WeightsError.

    Where there is not enough memory it ends the whole process.
    """
    arrays = [leaf for leaf in jax.tree.leaves(tree) if getattr(leaf, "shape", None) is not None]
    said = sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in arrays)
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if said > MOST_COMPRESSED * stored:
        raise WeightsError(
            f"{folder}: says that it holds {said:,} bytes, and has {stored:,} on the disk; save the checkpoint again"
        )


def _unwrapped(tree: Any) -> tuple[Any, list[str]]:
    """The state within what training loops put around it, and a remark on each wrapper."""
    remarks: list[str] = []
    for _ in range(DEEPEST):
        inside = [key for key in WRAPPERS if isinstance(tree, dict) and isinstance(tree.get(key), dict)]
        if len(inside) != 1:
            break
        others = [key for key in tree if key != inside[0]]
        remarks.append(f"taken from {inside[0]!r}" + (f", leaving {listed(others)}" if others else ""))
        tree = tree[inside[0]]
    return tree, remarks


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf by its dotted path, without the key under which the value of a variable is kept."""
    if isinstance(tree, dict) and path and set(tree) == {"value"}:
        tree = tree["value"]
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, below in items:
            yield from _leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs what it does, and warns of what is an error here."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
