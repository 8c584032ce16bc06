"""Every feature shape for a given input, or one clear error where it does not fit."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ShapeError
from .layout import Axes, Convolution, Layer, Pool
from .sizes import Misfit, TooSmall, is_residual, size_label, sizes_of
from .unit_tables import by_axis

if TYPE_CHECKING:
    from .schema import UNetSpec

Shape = tuple[int, ...]
"""A batch of images or feature maps as (N, C, H, W), or (N, C, D, H, W)."""

LARGEST_INPUT = 2**20
"""The largest side, in pixels, that is tried when looking for one that fits."""

SIZES_IN_A_ROW = 64
"""How many sizes tell that none fits a residual sum: with a total stride of no more, each remainder occurs."""

MOST_TRIES = 4096
"""How many sizes `smallest_input` tries before it says that none fits."""

MOST_STEPS = 2**19
"""Layers that it goes through for all of them together: a network may have tens of thousands."""


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
        sizes = sizes_of(spec, images[2:], strict=True)
    except TooSmall as error:
        layer = error.layer
        raise ShapeError(
            f"{spec.name}: images of {size_label(images[2:])} are too small: {error.reason} {layer.name} "
            f"(level {layer.level}, {size_label(error.left)}); {_smallest_hint(spec)}"
        ) from None
    except Misfit as error:
        if _never_fits(spec, error.layer):
            raise ShapeError(f"{spec.name}: {error}; {_padding_hint(spec, error.layer)}") from None
        raise ShapeError(f"{spec.name}: {error}; take {_divisible_hint(spec)}") from None
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


def sizes_if_it_fits(spec: UNetSpec, images: Axes) -> dict[str, Axes] | None:
    """The spatial size of every map for images of this size, or None where the network cannot take them."""
    try:
        return sizes_of(spec, images, strict=True)
    except (TooSmall, Misfit):
        return None


def _fits(spec: UNetSpec, size: int) -> bool:
    """Whether a square input of this size leaves something at every layer (merges that need equal sizes aside)."""
    try:
        sizes_of(spec, (size,) * spec.dimensions, strict=False)
    except TooSmall:
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
    """What sizes to take where skip and upsampled map do not fit: multiples of the total stride, if they all fit."""
    strides = total_stride(spec)
    if any(sizes_if_it_fits(spec, tuple(factor * stride for stride in strides)) is None for factor in (2, 3)):
        return "another image size"
    if len(set(strides)) == 1:
        sides = "height and width" if spec.dimensions == 2 else "depth, height and width"
        return f"images whose {sides} are divisible by {strides[0]}"
    return f"images whose sides are divisible by {size_label(strides)}"


def _never_fits(spec: UNetSpec, layer: Layer) -> bool:
    """Whether no image size makes the two sides of a residual sum equal, as far as some sizes in a row tell."""
    start = _smallest(spec)
    return is_residual(layer) and all(
        (found := _misfit(spec, size)) is not None and found.layer.name == layer.name
        for size in range(start, start + SIZES_IN_A_ROW)
    )


def _misfit(spec: UNetSpec, size: int) -> Misfit | None:
    """What does not fit first with images of equal sides."""
    try:
        sizes_of(spec, (size,) * spec.dimensions, strict=True)
    except Misfit as misfit:
        return misfit
    except TooSmall:
        pass
    return None


def _padding_hint(spec: UNetSpec, layer: Layer) -> str:
    """What to change where a residual's two sides never have the same size."""
    part = "encoder" if layer.stage == "encoder" else "decoder"
    conv = spec.at(part, layer.level).conv
    kernels, steps = (by_axis(value, spec.dimensions) for value in (conv.kernel, conv.dilation))
    reach = [step * (kernel - 1) for kernel, step in zip(kernels, steps, strict=True)]
    same = [rows // 2 for rows in reach]
    words = f"conv.padding = {same[0] if len(set(same)) == 1 else same}, which keeps the size"
    if any(rows % 2 for rows in reach):
        words = "an odd conv.kernel"
    return (
        f"no image size mends that: at {part} level {layer.level} take {words}, "
        "or a residual.kernel and residual.padding that change the size as the convolutions do"
    )


def total_stride(spec: UNetSpec) -> Axes:
    """By how much the deepest level is smaller than the images, by axis."""
    found = [1] * spec.dimensions
    for layer in spec.layers:
        if (
            layer.stage == "encoder"
            and ".shortcut." not in layer.name
            and isinstance(layer.settings, Convolution | Pool)
        ):
            found = [a * b for a, b in zip(found, layer.settings.stride, strict=True)]
    return tuple(found)


def smallest_input(spec: UNetSpec) -> int:
    """The smallest size of a square or cubic input that the network can take.

    Raises:
        ShapeError: where none up to a generous bound is accepted.
    """
    start = _smallest(spec)
    first = _misfit(spec, start)
    if first is not None and _never_fits(spec, first.layer):
        size = size_label((start,) * spec.dimensions)
        raise ShapeError(f"{spec.name}: with images of {size} {first}; {_padding_hint(spec, first.layer)}")
    stop = start + max(1, min(MOST_TRIES, MOST_STEPS // len(spec.layers)))
    for size in range(start, stop):
        if sizes_if_it_fits(spec, (size,) * spec.dimensions) is not None:
            return size
    last = f": at {stop - 1} pixels, {found}" if (found := _misfit(spec, stop - 1)) is not None else ""
    raise ShapeError(
        f"{spec.name}: no {_equal_sides(spec)} input between {start} and {stop - 1} pixels fits at every level{last}; "
        "take fewer levels or more padding"
    )


def pixels(shape: Shape) -> int:
    """How many pixels a map (N, C, H, W) has, over the batch."""
    return shape[0] * math.prod(shape[2:])
