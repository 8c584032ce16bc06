"""Trees of arrays in folders of Orbax: read into NumPy whatever devices they were saved from, and written."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from shared_specs import WeightsError
from shared_specs.checkpoints import Checkpoint, listed, widening
from shared_specs.errors import one_line
from shared_specs.files import folder_written_whole

from ..orbax_folders import VALUE, folder_of_arrays

DEEPEST = 4
"""Wrappers in wrappers that are opened."""

MOST_COMPRESSED = 1000
"""How many times larger than the folder its arrays may be: weights hardly compress, and zeros beside them do."""


def read_tree(path: Path) -> tuple[Any, list[str]]:
    """The tree of arrays in a folder, and what is to be said of how it was found.

    Raises:
        WeightsError: where the folder is no Orbax checkpoint or is damaged, or holds several.
    """
    folder = folder_of_arrays(path)
    return _restore(folder), [] if folder == path else [f"taken from the item {folder.name!r}"]


def write_tree(path: Path, tree: Any) -> None:
    """Write what Orbax's StandardCheckpointer restores, whole or not at all. Raises TandemError."""
    with folder_written_whole(path) as made, _quiet(), ocp.Checkpointer(_writer()) as checkpointer:
        checkpointer.save(made.resolve(), tree)


def unwrapped(tree: Any, wrappers: Sequence[str], innermost: Sequence[str] = ()) -> tuple[Any, list[str]]:
    """The tree within what training loops put around it, and a remark on each wrapper.

    Args:
        tree: as it was read.
        wrappers: keys under which loops keep it.
        innermost: keys that only the tree itself has.
    """
    remarks: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(tree, dict) or set(innermost) & set(tree):
            break
        inside = [key for key in wrappers if isinstance(tree.get(key), dict)]
        if len(inside) != 1:
            break
        others = [key for key in tree if key != inside[0]]
        remarks.append(f"taken from {inside[0]!r}" + (f", leaving {listed(others)}" if others else ""))
        tree = tree[inside[0]]
    return tree, remarks


def tensors_in(tree: Any, remarks: Sequence[str]) -> Checkpoint:
    """The arrays of a tree by their dotted paths, bfloat16 widened to float32."""
    tensors = {name: values for name, values in leaves(tree) if isinstance(values, np.ndarray)}
    narrow = [name for name, values in tensors.items() if values.dtype.name == "bfloat16"]
    for name in narrow:
        tensors[name] = tensors[name].astype(np.float32)
    return Checkpoint(tensors, (*remarks, *([widening(narrow)] if narrow else [])))


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf by its dotted path, without the key under which the value of a variable of nnx is kept."""
    if isinstance(tree, dict) and path and set(tree) == {VALUE}:
        tree = tree[VALUE]
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, below in items:
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _writer() -> ocp.PyTreeCheckpointHandler:
    """What writes a tree without copying it first, since nothing changes it meanwhile, and without compressing it.

    Trained weights are as good as random: to compress them takes twice the time and saves a twentieth.
    """
    handlers = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # the keys of dropout
    )
    return ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=handlers)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs what it does, and warns of what is an error here."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
