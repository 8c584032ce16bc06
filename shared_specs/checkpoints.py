"""Checkpoint files: what is found in one, and those that need no framework, which are safetensors.

A framework's own format is in `backends/<name>/checkpoints.py`, with the functions that stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from .errors import WeightsError
from .weights import DTYPES, Weights, kinds_in, opened, save_weights

if TYPE_CHECKING:
    from .schema import UNetSpec

KINDS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16}
KINDS |= {"I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}
"""Of safetensors, those that NumPy has; BF16 besides, which is widened."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: by the names and in the layouts that they have there.
        remarks: what was taken off, left out or widened on the way, in words.
        metadata: what a safetensors file says of itself.
    """

    tensors: dict[str, np.ndarray]
    remarks: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Checkpoint:
    """Every tensor of a safetensors file.

    Raises:
        WeightsError: where the file is none or is truncated, or holds what NumPy has no type for.
    """
    with opened(path) as file:
        metadata, kinds = file.metadata() or {}, kinds_in(file)
        foreign = [f"{name} as {kind}" for name, kind in kinds.items() if kind not in KINDS and kind != "BF16"]
        if foreign:
            raise WeightsError(f"{path}: holds {listed(foreign)}; save it as one of {', '.join(DTYPES)}")
        narrow = [name for name, kind in kinds.items() if kind == "BF16"]
        tensors = {name: file.get_tensor(name) for name in kinds if name not in narrow}
        if narrow:
            tensors |= _widened(path, narrow)
    remarks = (widening(narrow),) if narrow else ()
    return Checkpoint({name: tensors[name] for name in kinds}, remarks, metadata)


def _widened(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Tensors in bfloat16, which NumPy has not, as float32: their 16 bits are the upper half of it."""
    found = {}
    for name, entry in deserialize(path.read_bytes()):
        if name in names:
            upper = np.frombuffer(entry["data"], np.uint16).astype(np.uint32)
            found[name] = (upper << 16).view(np.float32).reshape(entry["shape"])
    return found


def write(path: Path, spec: UNetSpec, weights: Weights) -> None:
    """Write canonical weights, whole or not at all. Raises WeightsError, TandemError."""
    save_weights(path, weights, spec)


def is_checkpoint(path: Path) -> bool:
    """Whether a file is of this format, as far as a glance tells."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError, ValueError):
        return False


def to_canonical(spec: UNetSpec, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical weights from tensors that have their canonical names.

    A PyTorch module counts its batches beside the running statistics, which no spec has a use for.
    """
    counters = {
        tensor.name.replace(".running_mean", ".num_batches_tracked")
        for tensor in spec.tensors
        if tensor.leaf == "norm.running_mean"
    }
    return {name: tensor for name, tensor in tensors.items() if name not in counters}


def widening(names: list[str]) -> str:
    """The remark on tensors that were in bfloat16."""
    return f"bfloat16 became float32, which holds every value of it exactly: {listed(names)}"


def listed(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name if len(name) <= 200 else f"{name[:197]}..." for name in names[:most]) + more
