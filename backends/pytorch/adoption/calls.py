"""What PyTorch's functions compute, by name. Each reader has the signature of its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from . import layer_calls, resampling_calls
from .call import Call

READERS: dict[str, Callable[..., Call]] = {
    **dict.fromkeys(("conv2d", "conv3d"), layer_calls.conv),
    **dict.fromkeys(("conv_transpose2d", "conv_transpose3d"), layer_calls.transposed_conv),
    "batch_norm": layer_calls.batch_norm,
    "instance_norm": layer_calls.instance_norm,
    "group_norm": layer_calls.group_norm,
    "layer_norm": layer_calls.layer_norm,
    **{kind: layer_calls.without_settings(kind) for kind in ("relu", "silu", "tanh", "sigmoid")},
    "leaky_relu": layer_calls.leaky_relu,
    "prelu": layer_calls.prelu,
    "elu": layer_calls.elu,
    "gelu": layer_calls.gelu,
    "dropout": layer_calls.dropout,
    **dict.fromkeys(("dropout2d", "dropout3d"), layer_calls.channel_dropout),
    **dict.fromkeys(("max_pool2d", "max_pool3d"), resampling_calls.max_pool),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), resampling_calls.average_pool),
    **dict.fromkeys(("interpolate", "upsample"), resampling_calls.interpolate),
    "upsample_bilinear": resampling_calls.upsample_bilinear,
    "upsample_nearest": resampling_calls.interpolate,
    "pixel_shuffle": resampling_calls.pixel_shuffle,
    "pad": resampling_calls.pad,
    "getitem": resampling_calls.item,
    "narrow": resampling_calls.narrow,
    **dict.fromkeys(("cat", "concat", "concatenate"), resampling_calls.cat),
    **dict.fromkeys(("add", "radd", "iadd"), resampling_calls.add),
    **dict.fromkeys(("mul", "rmul", "imul", "multiply"), resampling_calls.multiply),
    "permute": resampling_calls.permute,
    **dict.fromkeys(("movedim", "moveaxis"), resampling_calls.movedim),
}
"""By the function's name without underscores at its ends: method, operator and function in place are one."""

SAME_VALUES = (
    *("contiguous", "clone", "alias", "detach", "data", "requires_grad", "cpu", "cuda"),
    *("to", "type", "type_as", "float", "double", "half", "bfloat16"),
    *("view", "view_as", "reshape", "reshape_as", "expand", "expand_as", "squeeze", "unsqueeze", "flatten"),
)
"""These change no value where they leave the shape as it is."""


def read(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Call:
    """What a call computes. What is not known here, or is called as no reader expects, is of kind "other"."""
    name = name.strip("_")
    if name in SAME_VALUES and args and isinstance(result, Tensor) and args[0].shape == result.shape:
        return Call("identity", [args[0]])
    reader = READERS.get(name)
    if reader is not None:
        try:
            bound = inspect.signature(reader).bind(*args, **kwargs)
        except TypeError:
            reader = None
        else:
            return reader(*bound.args, **bound.kwargs)
    return Call("other", [part for value in (*args, *kwargs.values()) for part in _parts(value)])


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
