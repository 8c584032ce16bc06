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

from shared_specs import WeightsError

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

UNREAD = {
    (".msgpack", ".flax"): "is of flax.serialization, which is not read; make a folder of it: with "
    "orbax.checkpoint.StandardCheckpointer() as saver: saver.save(FOLDER, flax.serialization.msgpack_restore(BYTES))",
    (".npz", ".npy"): "is of NumPy, which is not read; make a safetensors file of it: "
    "safetensors.numpy.save_file(dict(numpy.load(FILE)), OUT)",
    (".pkl", ".pickle", ".joblib"): "is a pickle, a program that is not run; save the weights where it comes from: "
    "torch.save(module.state_dict(), FILE), or in Flax by orbax.checkpoint.StandardCheckpointer",
    (".h5", ".hdf5", ".keras", ".onnx", ".tflite", ".pb"): "is none of PyTorch's or Flax's weights, which alone are "
    "read; save the state of the module there",
    (".zip", ".tar", ".gz", ".tgz"): "is packed; unpack it, and name what was in it",
}
"""What is often found and not read: its suffixes, and what it is and what to do."""

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
        if (words := unread(path)) is not None and path.is_file() and not torch_files.is_checkpoint(path):
            raise WeightsError(f"{path}: {words}")
        torch_files.look(path)


def format_of_file(path: Path) -> str | None:
    """The format that a file's suffix tells, or else its content; None where neither does.

    Files of torch.save have suffixes of many kinds, such as that of `checkpoint.pth.tar`.
    """
    told = next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)
    return told or ("pytorch" if path.is_file() and torch_files.is_checkpoint(path) else None)


def unread(path: Path) -> str | None:
    """What a file is that is not read, by its suffix, in words that follow its name."""
    return next((words for suffixes, words in UNREAD.items() if path.suffix.lower() in suffixes), None)


def format_of_folder(path: Path) -> str:
    """Of which module a folder of Orbax is, by the paths of its arrays. One of something else counts as the first."""
    return "flax_linen" if orbax_folders.holds_linen(path) else FOLDERS[0]
