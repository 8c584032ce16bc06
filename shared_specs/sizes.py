"""The spatial size of every map for images of some size, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .layout import IMAGES, Axes, Convolution, Layer, Pool, Resize
from .tables import Merge, PixelShuffle

if TYPE_CHECKING:
    from .schema import UNetSpec


class TooSmall(Exception):
    """Nothing is left after a layer, or less than its padding needs."""

    def __init__(self, layer: Layer, left: Axes, reason: str = "nothing is left after"):
        super().__init__()
        self.layer, self.left, self.reason = layer, left, reason


class Misfit(Exception):
    """The maps of a merge or a sum do not fit: where, and what is wrong."""

    def __init__(self, layer: Layer, message: str):
        super().__init__(message)
        self.layer = layer


def size_label(size: Sequence[int]) -> str:
    """For instance 199x207."""
    return "x".join(map(str, size))


def sizes_of(spec: UNetSpec, images: Axes, strict: bool) -> dict[str, Axes]:
    """The spatial size of every map.

    Args:
        spec: the network.
        images: the size of the input.
        strict: raise Misfit where the maps of a merge or a sum do not fit; else one of their sizes counts.

    Raises:
        TooSmall: where nothing is left.
    """
    sizes = {IMAGES: images}
    for layer in spec.layers:
        into = [sizes[name] for name in layer.inputs]
        if layer.kind == "merge":
            size = _merged(layer, into) if strict else _some_merged(layer.settings, into)
        else:
            if strict and layer.kind in ("sum", "multiply") and into[0] != into[1]:
                both = f"{size_label(into[0])} and {size_label(into[1])}"
                both += ", after the convolutions and after the shortcut" if is_residual(layer) else ""
                raise Misfit(layer, f"sizes differ at {layer.name} (level {layer.level}): {both}")
            size = _after(layer, into)
        if min(size) < 1:
            raise TooSmall(layer, size)
        sizes[layer.name] = size
    return sizes


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
                raise TooSmall(layer, size, "there is less than the padding repeats at")
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
    """The size after a merge. Raises Misfit."""
    merge: Merge = layer.settings
    skip, upsampled = into[0], into[-1]
    at = f"at level {layer.level}: the skip is {size_label(skip)} and the upsampled map {size_label(upsampled)}"
    if any(other != skip for other in into[:-1]):
        raise Misfit(layer, f"sizes differ at level {layer.level}: {' and '.join(map(size_label, into))}")
    if merge.size_mismatch == "error" and skip != upsampled:
        raise Misfit(layer, f"sizes differ {at}")
    if merge.size_mismatch == "resize_upsampled":
        return skip
    margins = [s - u for s, u in zip(skip, upsampled, strict=True)]
    if min(margins) < 0:
        verb = "cropped" if merge.size_mismatch == "crop_skip" else "padded"
        raise Misfit(layer, f"sizes do not fit {at}, so it cannot be {verb} to fit")
    furthest = [max(merge.margin(m), m - merge.margin(m)) for m in margins]
    if merge.padding_mode == "reflect" and any(f >= u for f, u in zip(furthest, upsampled, strict=True)):
        raise Misfit(layer, f"sizes do not fit {at}, so there is too little to reflect")
    return upsampled if merge.size_mismatch == "crop_skip" else skip


def _some_merged(merge: Merge, into: list[Axes]) -> Axes:
    return into[0] if merge.size_mismatch in ("pad_upsampled", "resize_upsampled") else into[-1]


def is_residual(layer: Layer) -> bool:
    return layer.kind == "sum" and ".block." in layer.name
