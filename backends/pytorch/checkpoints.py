"""PyTorch's checkpoints: files of torch.save that hold a state dict. Nothing that a file says is ever executed."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from shared_specs import TandemError, UNetSpec, WeightsError, pickles
from shared_specs.checkpoints import Checkpoint, listed, to_canonical, widening
from shared_specs.files import written_whole
from shared_specs.keymap import from_canonical
from shared_specs.weights import Weights, check_weights

from ..torch_files import is_checkpoint, look, not_whole

__all__ = ["is_checkpoint", "read", "to_canonical", "write"]

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "network_weights", "model", "network", "net", "module")
"""The keys under which training loops keep a state dict, beside the optimizer's and the number of the epoch."""

DEEPEST = 4
"""Wrappers in wrappers that are opened; a dictionary can hold itself."""

BOOKKEEPING = (
    "argparse.Namespace",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "collections.defaultdict",
    "typing.Any",
    *(f"{home}.{name}" for home in ("builtins", "__builtin__") for name in ("dict", "list", "int", "float", "str")),
    *(f"{home}.{kind}Path" for home in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows", "PurePosix")),
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
)
"""What losses, scores and hyper-parameters beside the weights are often made of, which Lightning puts into every file.

None of it is made or imported: an `Unread` takes its place.
"""

ROOM_FOR_TEXT = 2**20
"""Bytes by which the records of a zip file may exceed it: TorchScript, which is refused later, compresses its text."""


class Unread:
    """In place of what is no tensor: it takes any arguments and any state, and does nothing with them."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read(path: Path) -> Checkpoint:
    """The state dict of a file, whose memory is the file itself where it can be mapped.

    Raises:
        WeightsError: where the file is none of torch.save's or is damaged, where it would have to run code, or where
            it holds no state dict.
    """
    found, remarks = _unwrapped(path, _load(path))
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    others = [str(name) for name in found if name not in tensors]
    if others:
        remarks.append(f"no tensor and left out: {listed(others)}")
    foreign = [f"{name} as {_kind(value)}" for name, value in tensors.items() if not _is_plain(value)]
    if foreign:
        raise WeightsError(f"{path}: holds {listed(foreign)}; save plain tensors in float64, float32 or float16")
    vast = [str(name) for name, value in tensors.items() if _exceeds_its_storage(value)]
    if vast:
        raise WeightsError(f"{path}: holds {listed(vast)}, larger than what is stored; save it with .contiguous()")
    narrow = [str(name) for name, value in tensors.items() if value.dtype is torch.bfloat16]
    if narrow:
        remarks.append(widening(narrow))
    return Checkpoint({str(name): _array(value) for name, value in tensors.items()}, tuple(remarks))


def write(path: Path, spec: UNetSpec, weights: Weights) -> None:
    """Write the state dict of `backends.pytorch.UNet(spec)` with these weights, whole or not at all.

    Raises:
        WeightsError: where the weights are not the spec's.
        TandemError: where the file cannot be written.
    """
    check_weights(spec, weights)
    state: dict[str, np.ndarray] = {}
    for tensor in spec.tensors:
        state[tensor.name] = np.asarray(weights[tensor.name])
        if tensor.leaf == "norm.running_var":  # the last leaf of a module that also counts its batches
            state[tensor.name.replace(".running_var", ".num_batches_tracked")] = np.asarray(0)
    _save(path, state)


def write_original(path: Path, spec: UNetSpec, weights: Weights) -> None:
    """Write the original implementation's state dict, by the spec's key map. Raises as `write` does, and SpecError."""
    check_weights(spec, weights)
    _save(path, from_canonical(spec, weights))


def _save(path: Path, state: Weights) -> None:
    tensors = {name: torch.from_numpy(np.require(values, requirements=["C", "W"])) for name, values in state.items()}
    with written_whole(path) as file:
        torch.save(tensors, file)


def _load(path: Path) -> Any:
    """What torch.save wrote: tensors, numbers, text and their containers, and nothing that runs code."""
    is_zip = look(path)
    try:
        wrong = (_zip_problem(path) if is_zip else None) or pickles.problem_of(path, is_zip)
        if wrong is not None:
            raise WeightsError(f"{path}: {wrong}")
        with warnings.catch_warnings(), safe_globals([(Unread, name) for name in BOOKKEEPING]):
            warnings.simplefilter("ignore")  # on formats that are refused below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except TandemError:
        raise
    except pickle.UnpicklingError as error:
        named = _code_in(path)
        what = f"holds objects of {listed(named)}" if named else "holds more than tensors"
        if not named and "GLOBAL" not in str(error):  # so PyTorch calls what is named to be run
            what = "is no whole file of torch.save, or holds more than tensors"
        raise WeightsError(
            f"{path}: {what}, and to open it would run code; nothing was run. "
            "Save module.state_dict() with torch.save where the file comes from"
        ) from error
    except PermissionError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected a file of torch.save") from error
    except Exception as error:  # a damaged file makes torch.load raise anything: IndexError, EOFError, KeyError ...
        ends = isinstance(error, EOFError) or "EOF" in str(error)
        raise not_whole(path, "it is cut off" if ends else "what it holds is damaged") from error


def _zip_problem(path: Path) -> str | None:
    """What is wrong with a zip file that torch.load does not look at, before any of it is unpacked.

    torch.save compresses nothing: records that are larger than their file are made to fill the reader's memory.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        unpacked, size = sum(record.file_size for record in archive.infolist()), path.stat().st_size
        if unpacked > size + ROOM_FOR_TEXT:
            return (
                f"unpacks to {unpacked:,} bytes, more than its own {size:,}, as nothing of torch.save does; "
                "save the state dict again"
            )
        if len(set(names)) < len(names):
            return "holds two records of one name; save the state dict again"
        damaged = archive.testzip()
        return None if damaged is None else f"is damaged at {damaged}, whose checksum differs; copy or save it again"


def _code_in(path: Path) -> list[str]:
    """What a file names that is none of PyTorch's own; nothing where it is damaged or of the old format."""
    try:
        return sorted(name for name in get_unsafe_globals_in_checkpoint(path) if name not in BOOKKEEPING)
    except Exception:
        return []


def _unwrapped(path: Path, found: Any) -> tuple[Mapping[Any, Any], list[str]]:
    """The state dict within what training loops put around it, and a remark on each wrapper."""
    remarks: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(found, Mapping):
            break
        # First of all, as a tensor beside the state dict may be the best loss so far.
        inside = [key for key in WRAPPERS if _holds_tensors(found.get(key))]
        if not inside and not any(isinstance(value, torch.Tensor) for value in found.values()):
            inside = [key for key, value in found.items() if _is_state_dict(value)]
        if len(inside) > 1:
            raise WeightsError(
                f"{path}: holds several state dicts ({listed([str(key) for key in inside])}); save one of them alone: "
                f"torch.save(torch.load(FILE)[{inside[0]!r}], OUT)"
            )
        if not inside:
            break
        others = [str(key) for key in found if key != inside[0]]
        remarks.append(f"taken from {inside[0]!r}" + (f", leaving {listed(others)}" if others else ""))
        found = found[inside[0]]
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path}: holds {_kind(found)}, expected a state dict; save module.state_dict()")
    if not any(isinstance(value, torch.Tensor) for value in found.values()):
        if found and all(isinstance(value, Unread) for value in found.values()):
            raise WeightsError(f"{path}: holds NumPy arrays or other objects, and no tensors; save module.state_dict()")
        keys = listed([repr(key) for key in found]) or "nothing"
        raise WeightsError(
            f"{path}: holds no state dict (its keys: {keys}); expected one, alone or under one of {', '.join(WRAPPERS)}"
        )
    return found, remarks


def _holds_tensors(value: Any, deepest: int = DEEPEST) -> bool:
    """Whether it is a mapping of tensors, or one with such a mapping under a wrapper's key."""
    if not isinstance(value, Mapping) or not deepest:
        return False
    if any(isinstance(part, torch.Tensor) for part in value.values()):
        return True
    return any(_holds_tensors(value.get(key), deepest - 1) for key in WRAPPERS)


def _is_state_dict(value: Any) -> bool:
    """Whether it is a mapping of tensors alone, by their names, under whatever key it stands."""
    is_mapping = isinstance(value, Mapping) and len(value) > 0
    return is_mapping and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items())


def _kind(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"{value.layout if value.layout is not torch.strided else value.dtype}".removeprefix("torch.")


def _is_plain(tensor: torch.Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.dtype is torch.bfloat16 or tensor.dtype in HAS_NUMPY


def _exceeds_its_storage(tensor: torch.Tensor) -> bool:
    """Whether values stand for many elements each, as after `expand`: a few bytes may say that they are a terabyte."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


HAS_NUMPY = (torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8)
HAS_NUMPY += (torch.uint8, torch.bool)


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
