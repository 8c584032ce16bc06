"""What PyTorch's functions compute, in the words of the spec. Each reader has the signature of its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Size = int | Sequence[int]


@dataclass(frozen=True)
class Call:
    """One call, read.

    Attributes:
        kind: as of `backends.trace.Event`.
        inputs: the maps that it reads, or what may be one.
        settings: hyper-parameters.
        tensors: parameters and buffers by leaf; None where there is none.
    """

    kind: str
    inputs: Sequence[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Any] = field(default_factory=dict)


def by_axis(value: Size, axes: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),)
    return values * axes if len(values) == 1 else values


def conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Call:
    kernel = tuple(weight.shape[2:])
    axes, dilation = len(kernel), by_axis(dilation, len(kernel))
    if isinstance(padding, str):
        reach = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        if any(rows % 2 for rows in reach):
            return Call("other", [input])  # more rows after than before
        padding = [rows // 2 for rows in reach]
    settings = {
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "kernel": kernel,
        "stride": by_axis(stride, axes),
        "padding": by_axis(padding, axes),
        "padding_mode": "zeros",
        "dilation": dilation,
        "groups": groups,
        "bias": bias is not None,
    }
    return Call("conv", [input], settings, {"weight": weight, "bias": bias})


def transposed_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Call:
    axes = weight.ndim - 2
    settings = {
        "in_channels": weight.shape[0],
        "out_channels": weight.shape[1] * groups,
        "kernel": tuple(weight.shape[2:]),
        "stride": by_axis(stride, axes),
        "padding": by_axis(padding, axes),
        "output_padding": by_axis(output_padding, axes),
        "dilation": by_axis(dilation, axes),
        "groups": groups,
        "bias": bias is not None,
    }
    return Call("transposed_conv", [input], settings, {"weight": weight, "bias": bias})


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    settings = {
        "epsilon": eps,
        "momentum": momentum,
        "affine": weight is not None,
        "running_statistics": running_mean is not None,
    }
    tensors = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    return Call("batch_norm", [input], settings, tensors)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    settings = {"epsilon": eps, "affine": weight is not None, "running_statistics": running_mean is not None}
    return Call("instance_norm", [input], settings, {"weight": weight, "bias": bias})


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    if num_groups == input.shape[1]:
        return instance_norm(input, weight=weight, bias=bias, eps=eps)
    settings = {"groups": num_groups, "epsilon": eps, "affine": weight is not None}
    return Call("group_norm", [input], settings, {"weight": weight, "bias": bias})


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    if len(normalized_shape) != 1:
        return Call("other", [input])
    settings = {"epsilon": eps, "affine": weight is not None}
    return Call("layer_norm", [input], settings, {"weight": weight, "bias": bias})


def without_settings(kind: str) -> Callable[..., Call]:
    return lambda input, inplace=False: Call(kind, [input])


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Call:
    return Call("leaky_relu", [input], {"slope": float(negative_slope)})


def prelu(input: Tensor, weight: Tensor) -> Call:
    slopes = "one" if weight.numel() == 1 else "per_channel"
    return Call("prelu", [input], {"slopes": slopes}, {"weight": weight})


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Call:
    return Call("elu", [input], {"alpha": float(alpha)})


def gelu(input: Tensor, approximate: str = "none") -> Call:
    return Call("gelu", [input], {"approximation": approximate})


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return Call("dropout" if p else "identity", [input], {"rate": p, "whole_channels": False})


def channel_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return Call("dropout" if p else "identity", [input], {"rate": p, "whole_channels": True})


def max_pool(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Call:
    settings = _window(input, kernel_size, stride, padding, ceil_mode)
    return Call("max_pool", [input], {**settings, "dilation": by_axis(dilation, input.ndim - 2)})


def average_pool(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Call:
    if divisor_override is not None:
        return Call("other", [input])
    return Call("average_pool", [input], _window(input, kernel_size, stride, padding, ceil_mode))


def _window(x: Tensor, kernel: Size, stride: Size | None, padding: Size, ceil_mode: bool) -> dict[str, Any]:
    axes = x.ndim - 2
    return {
        "kernel": by_axis(kernel, axes),
        "stride": by_axis(kernel if stride is None or stride == [] else stride, axes),
        "padding": by_axis(padding, axes),
        "rounding": "ceil" if ceil_mode else "floor",
    }


def interpolate(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Call:
    kinds = {"nearest": "nearest", "nearest-exact": "nearest", "bilinear": "linear", "trilinear": "linear"}
    factors: tuple[float, ...] = ()
    if scale_factor is not None:
        factors = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor,) * (input.ndim - 2)
    if mode not in kinds or antialias or any(factor != int(factor) for factor in factors):
        return Call("other", [input])
    settings: dict[str, Any] = {"scale": tuple(int(factor) for factor in factors) or None}
    if kinds[mode] == "linear":
        settings["align_corners"] = bool(align_corners)
    return Call(kinds[mode], [input], settings)


def upsample_bilinear(input: Tensor, size: Size | None = None, scale_factor: float | None = None) -> Call:
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Call:
    return Call("pixel_shuffle", [input], {"scale": int(upscale_factor)})


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Call:
    axes = input.ndim - 2
    rows = [int(count) for count in pad]
    pairs = list(zip(rows[::2], rows[1::2], strict=True))[::-1]  # PyTorch's last axis comes first
    if any(pair != (0, 0) for pair in pairs[:-axes]):
        return Call("other", [input])
    pairs = [(0, 0)] * (axes - len(pairs)) + pairs[-axes:]
    return _margins(input, pairs, {"constant": "zeros"}.get(mode, mode), value or 0.0)


def _margins(x: Tensor, pairs: Sequence[tuple[int, int]], mode: str = "zeros", value: float = 0.0) -> Call:
    """A pad or a crop by rows (before, after) along each axis; to crop is to pad by less than nothing."""
    rows = [count for pair in pairs for count in pair]
    if not any(rows):
        return Call("identity", [x])
    if max(rows) > 0 and min(rows) < 0:
        return Call("other", [x])
    settings: dict[str, Any] = {
        "before": tuple(abs(before) for before, _ in pairs),
        "after": tuple(abs(after) for _, after in pairs),
    }
    if max(rows) > 0:
        return Call("pad", [x], settings | {"mode": mode, "value": value})
    return Call("crop", [x], settings)


def item(input: Tensor, index: Any) -> Call:
    """A slice: a crop where it takes a box of pixels of all images and channels."""
    indices = list(index) if isinstance(index, tuple) else [index]
    places = [place for place, i in enumerate(indices) if i is Ellipsis]
    if places:
        indices[places[0] : places[0] + 1] = [slice(None)] * (input.ndim - len(indices) + 1)
    if len(indices) > input.ndim or not all(isinstance(i, slice) and i.step in (None, 1) for i in indices):
        return Call("other", [input])
    indices += [slice(None)] * (input.ndim - len(indices))
    pairs = []
    for i, size in zip(indices, input.shape, strict=True):
        start, stop, _ = i.indices(size)
        pairs.append((-start, stop - size))
    return Call("other", [input]) if any(any(pair) for pair in pairs[:2]) else _margins(input, pairs[2:])


def narrow(input: Tensor, dim: int, start: int, length: int) -> Call:
    index = [slice(None)] * input.ndim
    index[dim] = slice(int(start), int(start) + int(length))
    return item(input, tuple(index))


def cat(tensors: Sequence[Tensor], dim: int = 0, axis: int | None = None) -> Call:
    along = dim if axis is None else axis
    return Call("cat" if along in (1, 1 - tensors[0].ndim) else "other", list(tensors))


def add(input: Any, other: Any, alpha: float = 1) -> Call:
    if not isinstance(other, Tensor):
        return Call("identity" if other == 0 else "other", [input])  # Python's sum() begins with a zero
    return Call("add" if alpha == 1 else "other", [input, other])


def multiply(input: Any, other: Any) -> Call:
    return Call("multiply" if isinstance(other, Tensor) else "other", [input, other])


def permute(input: Tensor, *dims: Any) -> Call:
    axes = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
    return Call("permute", [input], {"axes": tuple(int(axis) % input.ndim for axis in axes)})


def movedim(input: Tensor, source: int, destination: int) -> Call:
    axes = [axis for axis in range(input.ndim) if axis != source % input.ndim]
    axes.insert(destination % input.ndim, source % input.ndim)
    return Call("permute", [input], {"axes": tuple(axes)})


READERS: dict[str, Callable[..., Call]] = {
    **dict.fromkeys(("conv2d", "conv3d"), conv),
    **dict.fromkeys(("conv_transpose2d", "conv_transpose3d"), transposed_conv),
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    **{kind: without_settings(kind) for kind in ("relu", "silu", "tanh", "sigmoid")},
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "elu": elu,
    "gelu": gelu,
    "dropout": dropout,
    **dict.fromkeys(("dropout2d", "dropout3d"), channel_dropout),
    **dict.fromkeys(("max_pool2d", "max_pool3d"), max_pool),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), average_pool),
    **dict.fromkeys(("interpolate", "upsample"), interpolate),
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest": interpolate,
    "pixel_shuffle": pixel_shuffle,
    "pad": pad,
    "getitem": item,
    "narrow": narrow,
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(("add", "radd", "iadd"), add),
    **dict.fromkeys(("mul", "rmul", "imul", "multiply"), multiply),
    "permute": permute,
    **dict.fromkeys(("movedim", "moveaxis"), movedim),
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
