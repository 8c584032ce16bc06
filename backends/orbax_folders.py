"""What a folder of Orbax shows without JAX, whose import takes seconds: whether it is one, and of which module."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from shared_specs import WeightsError
from shared_specs.checkpoints import listed

METADATA = "_METADATA"
"""The file by which Orbax itself knows a folder that holds a tree of arrays."""

LARGEST_METADATA_BYTES = 2**26
"""Of which a glance reads no more; that of a network of a thousand tensors has less than 2^20."""

VALUE = "value"
"""The key under which Orbax keeps the value of a variable of nnx."""

FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""What folders of other libraries hold that are taken for one of Orbax."""

COLLECTIONS = ("params", "batch_stats")
"""Of Linen's variables: those that are trained, and the running statistics."""


def folder_of_arrays(path: Path) -> Path:
    """The folder that holds the arrays: Orbax's managers put it into one of their own, one for each step.

    Raises:
        WeightsError: where there is none, or several.
    """
    if not path.is_dir():
        raise WeightsError(f"{path}: is no folder, expected an Orbax checkpoint")
    if is_checkpoint(path):
        return path
    try:
        inside = sorted(path.iterdir(), key=_by_step)
        below = [child for child in inside if child.is_dir()]
        items = [child for child in below if is_checkpoint(child)]
        steps = [child.name for child in below if any(is_checkpoint(item) for item in child.iterdir())]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected an Orbax checkpoint") from error
    if len(items) == 1:
        return items[0]
    if not items and len(steps) == 1:
        return folder_of_arrays(path / steps[0])
    several = [item.name for item in items] or steps
    if several:
        raise WeightsError(f"{path}: holds {listed(several)}; name one of them, for instance {path / several[-1]}")
    files = [child for child in inside if child.suffix.lower() in FILES and child.is_file()]
    advice = f"name a file in it, for instance {files[-1]}" if files else "expected one of Orbax's StandardCheckpointer"
    raise WeightsError(f"{path}: is no Orbax checkpoint (it holds no {METADATA}); {advice}")


def _by_step(path: Path) -> tuple[bool, int, str]:
    """Steps in the order of their numbers, after what is none."""
    return path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0, path.name


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is of Orbax, as far as a glance tells."""
    return (path / METADATA).is_file()


def holds_linen(path: Path) -> bool:
    """Whether a folder holds the variables of a Linen module, by the paths of its arrays.

    Where it cannot be read, or is none of Orbax's, it does not; whoever reads it says what is wrong.
    """
    try:
        paths = _paths(folder_of_arrays(path))
    except (WeightsError, OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return any(set(COLLECTIONS) & set(keys) for keys in paths) and not any(keys[-1] == VALUE for keys in paths)


def _paths(folder: Path) -> list[tuple[str, ...]]:
    """The keys that lead to each array. Orbax writes them as the text of a tuple."""
    metadata = folder / METADATA
    if metadata.stat().st_size > LARGEST_METADATA_BYTES:
        raise ValueError("too large to be told at a glance")
    tree = json.loads(metadata.read_text(encoding="utf-8"))["tree_metadata"]
    return [tuple(map(str, ast.literal_eval(keys))) for keys in tree]
