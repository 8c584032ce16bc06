"""What PyTorch's functions between the levels of a network compute, in the words of the spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .call import Call, Size, by_axis, unsaid


def max_pool(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Call:
    return Call("max_pool", [input], _window(input, kernel_size, stride, padding, ceil_mode, dilation))


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
        return unsaid("average pool with a divisor of its own", input)
    settings = _window(input, kernel_size, stride, padding, ceil_mode)
    del settings["dilation"]
    return Call("average_pool", [input], settings)


def _window(
    x: Tensor, kernel: Size, stride: Size | None, padding: Size, ceil_mode: bool, dilation: Size = 1
) -> dict[str, Any]:
    """The settings of a pool. To round up is to round down where no row is left over, which is told as unseen."""
    axes = x.ndim - 2
    stride = kernel if stride is None or stride == [] else stride
    values = [by_axis(value, axes) for value in (kernel, stride, padding, dilation)]
    left = any((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in zip(x.shape[2:], *values, strict=True))
    return {
        **dict(zip(("kernel", "stride", "padding", "dilation"), values, strict=True)),
        "rounding": "ceil" if ceil_mode and left else "floor",
        "rounding_unseen": ceil_mode and not left,
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
    if antialias and _grows(input, size, scale_factor):
        antialias = False  # it smooths what gets smaller only, and torchvision's resize asks for it always
    if mode not in kinds or antialias:
        return unsaid(f"interpolate in mode {mode}{' with antialias' if antialias else ''}", input)
    if any(factor != int(factor) for factor in factors):
        return unsaid(f"interpolate by {' x '.join(map(str, factors))}", input)
    if mode == "nearest-exact" and size is not None:  # other pixels than "nearest", but by a whole factor
        sizes = zip(by_axis(size, input.ndim - 2), input.shape[2:], strict=True)
        if any(after % before for after, before in sizes):
            return unsaid("interpolate to a size in mode nearest-exact", input)
    settings: dict[str, Any] = {"scale": tuple(int(factor) for factor in factors) or None}
    if kinds[mode] == "linear":
        settings["align_corners"] = bool(align_corners)
    return Call(kinds[mode], [input], settings)


def _grows(x: Tensor, size: Size | None, factor: float | Sequence[float] | None) -> bool:
    """Whether no axis gets shorter."""
    if size is not None:
        return all(after >= before for after, before in zip(by_axis(size, x.ndim - 2), x.shape[2:], strict=True))
    return factor is not None and min(factor if isinstance(factor, Sequence) else (factor,)) >= 1


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
        return unsaid("pad that adds rows and cuts some off", x)
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
    if along not in (1, 1 - tensors[0].ndim):
        return unsaid(f"cat along axis {along}", *tensors)
    return Call("cat", list(tensors))


def add(input: Any, other: Any, alpha: float = 1) -> Call:
    if not isinstance(other, Tensor):
        return Call("identity", [input]) if other == 0 else unsaid("sum with a number", input)  # sum() begins with a 0
    return Call("add", [input, other]) if alpha == 1 else unsaid(f"sum with {alpha} times a map", input, other)


def multiply(input: Any, other: Any) -> Call:
    return Call("multiply", [input, other]) if isinstance(other, Tensor) else unsaid("product with a number", input)


def permute(input: Tensor, *dims: Any) -> Call:
    axes = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
    return Call("permute", [input], {"axes": tuple(int(axis) % input.ndim for axis in axes)})


def movedim(input: Tensor, source: int, destination: int) -> Call:
    axes = [axis for axis in range(input.ndim) if axis != source % input.ndim]
    axes.insert(destination % input.ndim, source % input.ndim)
    return Call("permute", [input], {"axes": tuple(axes)})
