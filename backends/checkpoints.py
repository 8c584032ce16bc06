"""The formats of checkpoints, each a module with the same functions, by the name of what writes it.

A format's module has

    read(path) -> Checkpoint                            the tensors by their own names and in their own layouts
    to_canonical(spec, tensors) -> dict                 those of a module of ours as canonical weights
    write(path, spec, weights) -> None                  a module of ours with these canonical weights
    is_checkpoint(path) -> bool                         whether a file or folder is of this format, at a glance

Importing this loads no framework.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from . import orbax_folders, registry, torch_files
from .contract import BackendError

FORMATS = {
    "canonical": "shared_specs.checkpoints",
    "pytorch": "backends.pytorch.checkpoints",
    "flax_nnx": "backends.flax_nnx.checkpoints",
    "flax_linen": "backends.flax_linen.checkpoints",
}

SUFFIXES = {"canonical": (".safetensors",), "pytorch": (".pt", ".pth", ".ckpt", ".bin")}
"""Of files."""

FOLDERS = ("flax_nnx", "flax_linen")
"""The formats that are folders of Orbax. A path without a suffix is one for the first."""

BACKENDS = {"canonical": "numpy_reference", "pytorch": "pytorch", "flax_nnx": "flax_nnx", "flax_linen": "flax_linen"}
"""What runs the weights of each format."""


def get(name: str) -> Any:
    """The module of a format.

    Raises:
        BackendError: where its framework is not installed, or cannot be imported.
    """
    reason = registry.missing(BACKENDS[name])
    if reason:
        raise BackendError(reason)
    return importlib.import_module(FORMATS[name])


def look(name: str, path: Path) -> None:
    """Refuse what is told not to be of a format at a glance, before its framework is imported.

    Raises:
        TandemError: where it is a pipe or a device.
        WeightsError: saying what the file is instead, where that is known.
    """
    if name == "pytorch":
        torch_files.look(path)


def format_of_folder(path: Path) -> str:
    """Of which module a folder of Orbax is, by the paths of its arrays. One of something else counts as the first."""
    return "flax_linen" if orbax_folders.holds_linen(path) else FOLDERS[0]
