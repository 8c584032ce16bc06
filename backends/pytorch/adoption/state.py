"""The state dict of a user's own module, read and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_specs import checkpoints as safetensors
from shared_specs.checkpoints import listed
from shared_specs.naming import prefixes, taken_off

from ...trace import TraceError
from .. import checkpoints as torch_files
from .tracing import reason


def read_state(module: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as NumPy, as copies; what NumPy has no type for comes as float32."""
    return {key: _to_numpy(tensor) for key, tensor in module.state_dict().items()}


def _to_numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def load_state(module: nn.Module, path: str) -> tuple[str, ...]:
    """Load a state dict into a module, from a file of torch.save or of safetensors, without running code of it.

    Returns:
        Remarks on what was taken off or left out on the way.

    Raises:
        WeightsError: where the file cannot be read, or would run code.
        TraceError: where its tensors are not the module's.
    """
    found = (safetensors if path.endswith(".safetensors") else torch_files).read(Path(path))
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in found.tensors.items()}
    own = module.state_dict()
    prefix = max(prefixes(found.tensors), key=lambda p: sum(key.removeprefix(p) in own for key in tensors))
    tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    apart = {
        "missing": [key for key in own if key not in tensors],
        "unexpected": [key for key in tensors if key not in own],
        "of another shape": [key for key in own if key in tensors and _shape(tensors[key]) != _shape(own[key])],
    }
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        kinds = "; ".join(f"{what} {listed(keys)}" for what, keys in apart.items() if keys) or reason(error)
        name = type(module).__name__
        raise TraceError(
            f"{path}: is no checkpoint of {name}: {kinds}; give that of the module as it is made"
        ) from error
    return (*found.remarks, *taken_off(prefix, found.tensors))


def _shape(value: Any) -> tuple[int, ...]:
    """Of a tensor; a module may keep other things in its state dict."""
    return tuple(getattr(value, "shape", ()))
