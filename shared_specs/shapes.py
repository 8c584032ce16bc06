"""Every feature shape for a given input, or one clear error where it does not fit."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ShapeError
from .layout import IMAGES, Axes, Convolution, Layer, Pool, Resize
from .tables import Merge, PixelShuffle

if TYPE_CHECKING:
    from .schema import UNetSpec

Shape = tuple[int, ...]
"""A batch of images or feature maps as (N, C, H, W), or (N, C, D, H, W)."""

LARGEST_INPUT = 2**20
"""The largest side, in pixels, that is tried when looking for one that fits."""

MOST_TRIES = 4096
"""How many sizes `smallest_input` tries before it says that none fits."""

MOST_STEPS = 2**19
"""Layers that it goes through for all of them together: a network may have tens of thousands."""


class _TooSmall(Exception):
    """Nothing is left after a layer, or less than its padding needs."""

    def __init__(self, layer: Layer, left: Axes, reason: str = "nothing is left after"):
        super().__init__()
        self.layer, self.left, self.reason = layer, left, reason


class _Misfit(Exception):
    """The maps of a merge or a sum do not fit: what is wrong, and whether another input size would mend it."""

    def __init__(self, message: str, equal_sizes_needed: bool = False):
        super().__init__(message)
        self.equal_sizes_needed = equal_sizes_needed


def feature_shapes(spec: UNetSpec, images: Shape) -> dict[str, Shape]:
    """The shape (N, C, H, W) of every layer's output for a batch of images (N, C, H, W), in order.

    Raises:
        ShapeError: where the channels are not the spec's, the image is too small, or a skip and a decoder map
            do not fit; the message names the level and both sizes.
    """
    if len(images) != 2 + spec.dimensions or min(images) < 1:
        raise ShapeError(f"{spec.name}: got images of shape {tuple(images)}, expected {axis_names(spec)}, all positive")
    if images[1] != spec.in_channels:
        raise ShapeError(
            f"{spec.name}: got images with {images[1]} channels, expected {spec.in_channels}; "
            f"images are {axis_names(spec)} and these are {tuple(images)}"
        )
    try:
        sizes = _sizes(spec, images[2:], strict=True)
    except _TooSmall as error:
        layer = error.layer
        raise ShapeError(
            f"{spec.name}: images of {size_label(images[2:])} are too small: {error.reason} {layer.name} "
            f"(level {layer.level}, {size_label(error.left)}); {_smallest_hint(spec)}"
        ) from None
    except _Misfit as error:
        advice = _divisible_hint(spec) if error.equal_sizes_needed else "another image size"
        raise ShapeError(f"{spec.name}: {error}; take {advice}") from None
    return {layer.name: (images[0], layer.out_channels, *sizes[layer.name]) for layer in spec.layers}


def output_shape(spec: UNetSpec, images: Shape) -> Shape:
    """The shape (N, classes, H, W) of the logits. Raises ShapeError as `feature_shapes` does."""
    return feature_shapes(spec, images)[spec.logits]


def size_of(spec: UNetSpec, given: Sequence[int]) -> Axes:
    """A size with one number for each axis: one number alone stands for all of them.

    Raises:
        ShapeError: where there are more or fewer numbers than axes.
    """
    if len(given) == 1:
        return (given[0],) * spec.dimensions
    if len(given) != spec.dimensions:
        raise ShapeError(
            f"{spec.name}: got the size {size_label(given)}, expected one number or {spec.dimensions}, "
            f"as in {'199x207' if spec.dimensions == 2 else '32x96x96'}"
        )
    return tuple(given)


def axis_names(spec: UNetSpec) -> str:
    """How a batch of images lies in memory, in words."""
    return "(N, C, H, W)" if spec.dimensions == 2 else "(N, C, D, H, W)"


def size_label(size: Sequence[int]) -> str:
    """For instance 199x207."""
    return "x".join(map(str, size))


def _sizes(spec: UNetSpec, images: Axes, strict: bool) -> dict[str, Axes]:
    """The spatial size of every map.

    Args:
        spec: the network.
        images: the size of the input.
        strict: raise _Misfit where the maps of a merge or a sum do not fit; else one of their sizes counts.

    Raises:
        _TooSmall: where nothing is left.
    """
    sizes = {IMAGES: images}
    for layer in spec.layers:
        into = [sizes[name] for name in layer.inputs]
        if layer.kind == "merge":
            size = _merged(layer, into) if strict else _some_merged(layer.settings, into)
        else:
            if strict and layer.kind in ("sum", "multiply") and into[0] != into[1]:
                both = f"{size_label(into[0])} and {size_label(into[1])}"
                raise _Misfit(f"sizes differ at {layer.name} (level {layer.level}): {both}", equal_sizes_needed=True)
            size = _after(layer, into)
        if min(size) < 1:
            raise _TooSmall(layer, size)
        sizes[layer.name] = size
    return sizes


def sizes_if_it_fits(spec: UNetSpec, images: Axes) -> dict[str, Axes] | None:
    """The spatial size of every map for images of this size, or None where the network cannot take them."""
    try:
        return _sizes(spec, images, strict=True)
    except (_TooSmall, _Misfit):
        return None


def _after(layer: Layer, into: list[Axes]) -> Axes:
    """A layer's output size; the formulas are those of torch.nn.Conv2d, MaxPool2d, ConvTranspose2d."""
    size = into[0]
    match layer.settings:
        case Convolution() as conv if layer.kind == "transposed_conv":
            return tuple(
                (side - 1) * stride - 2 * padding + kernel + more
                for side, kernel, stride, padding, more in zip(
                    size, conv.kernel, conv.stride, conv.padding, conv.output_padding, strict=True
                )
            )
        case Convolution() as conv:
            # A reflection needs one more pixel than it reflects, and a circle no fewer than it continues.
            needed = {"reflect": 1, "circular": 0}.get(conv.padding_mode)
            if needed is not None and any(s < p + needed for s, p in zip(size, conv.padding, strict=True)):
                raise _TooSmall(layer, size, "there is less than the padding repeats at")
            return _windows(size, conv.kernel, conv.stride, conv.padding, conv.dilation)
        case Pool() as pool:
            return _windows(size, pool.kernel, pool.stride, pool.padding, (1,) * len(size))
        case Resize(scale=None):
            return into[1]
        case Resize(scale=scale) if scale is not None:
            return tuple(side * factor for side, factor in zip(size, scale, strict=True))
        case PixelShuffle(scale=factor):
            return tuple(side * factor for side in size)
        case _:
            return size


def _windows(size: Axes, kernel: Axes, stride: Axes, padding: Axes, dilation: Axes) -> Axes:
    by_axis = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in by_axis)


def _merged(layer: Layer, into: list[Axes]) -> Axes:
    """The size after a merge. Raises _Misfit."""
    merge: Merge = layer.settings
    skip, upsampled = into[0], into[-1]
    at = f"at level {layer.level}: the skip is {size_label(skip)} and the upsampled map {size_label(upsampled)}"
    if any(other != skip for other in into[:-1]):
        raise _Misfit(f"sizes differ at level {layer.level}: {' and '.join(map(size_label, into))}", True)
    if merge.size_mismatch == "error" and skip != upsampled:
        raise _Misfit(f"sizes differ {at}", equal_sizes_needed=True)
    if merge.size_mismatch == "resize_upsampled":
        return skip
    margins = [s - u for s, u in zip(skip, upsampled, strict=True)]
    if min(margins) < 0:
        verb = "cropped" if merge.size_mismatch == "crop_skip" else "padded"
        raise _Misfit(f"sizes do not fit {at}, so it cannot be {verb} to fit")
    furthest = [max(merge.margin(m), m - merge.margin(m)) for m in margins]
    if merge.padding_mode == "reflect" and any(f >= u for f, u in zip(furthest, upsampled, strict=True)):
        raise _Misfit(f"sizes do not fit {at}, so there is too little to reflect")
    return upsampled if merge.size_mismatch == "crop_skip" else skip


def _some_merged(merge: Merge, into: list[Axes]) -> Axes:
    return into[0] if merge.size_mismatch in ("pad_upsampled", "resize_upsampled") else into[-1]


def _fits(spec: UNetSpec, size: int) -> bool:
    """Whether a square input of this size leaves something at every layer (merges that need equal sizes aside)."""
    try:
        _sizes(spec, (size,) * spec.dimensions, strict=False)
    except _TooSmall:
        return False
    return True


def _smallest(spec: UNetSpec) -> int:
    """The smallest size that `_fits`, found by bisection: a larger input never leaves less."""
    return 1 + bisect.bisect_left(range(1, LARGEST_INPUT), True, key=lambda size: _fits(spec, size))


def _smallest_hint(spec: UNetSpec) -> str:
    smallest = _smallest(spec)
    if smallest == LARGEST_INPUT:
        return f"no input below {size_label((LARGEST_INPUT,) * spec.dimensions)} is large enough"
    return f"the smallest {_equal_sides(spec)} input is {smallest}"


def _equal_sides(spec: UNetSpec) -> str:
    return "square" if spec.dimensions == 2 else "cubic"


def _divisible_hint(spec: UNetSpec) -> str:
    """What sizes to take where skip and upsampled map must agree: multiples of the total stride, if they all fit."""
    strides = total_stride(spec)
    if any(sizes_if_it_fits(spec, tuple(factor * stride for stride in strides)) is None for factor in (2, 3)):
        return "another image size"
    if len(set(strides)) == 1:
        sides = "height and width" if spec.dimensions == 2 else "depth, height and width"
        return f"images whose {sides} are divisible by {strides[0]}"
    return f"images whose sides are divisible by {size_label(strides)}"


def total_stride(spec: UNetSpec) -> Axes:
    """By how much the deepest level is smaller than the images, by axis."""
    found = [1] * spec.dimensions
    for layer in spec.layers:
        is_shortcut = ".shortcut." in layer.name or layer.kind == "transposed_conv"
        if layer.stage == "encoder" and not is_shortcut and isinstance(layer.settings, Convolution | Pool):
            found = [a * b for a, b in zip(found, layer.settings.stride, strict=True)]
    return tuple(found)


def smallest_input(spec: UNetSpec) -> int:
    """The smallest size of a square or cubic input that the network can take.

    Raises:
        ShapeError: where none up to a generous bound is accepted.
    """
    start = _smallest(spec)
    stop = start + max(1, min(MOST_TRIES, MOST_STEPS // len(spec.layers)))
    for size in range(start, stop):
        if sizes_if_it_fits(spec, (size,) * spec.dimensions) is not None:
            return size
    raise ShapeError(
        f"{spec.name}: no {_equal_sides(spec)} input between {start} and {stop - 1} pixels fits at every level; "
        "take fewer levels or more padding"
    )


def pixels(shape: Shape) -> int:
    """How many pixels a map (N, C, H, W) has, over the batch."""
    return shape[0] * math.prod(shape[2:])
