"""Down, up and merge, as functions of arrays. Maps are (N, H, W, C) or (N, D, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from shared_specs.layout import Axes, Convolution, Pool, Resize
from shared_specs.tables import Merge

from .ops import MAPS, PADDING_MODES, add_bias
from .precision import Numerics


def max_pool(x: jax.Array, settings: Pool) -> jax.Array:
    """The maximum of each window as a selection among strided slices.

    Its gradient is a selection too; that of a `reduce_window` is a select-and-scatter, several times slower on a CPU.
    As in PyTorch the first of equal elements wins, and NaN wins over all.
    """
    if any(settings.padding):
        margins = [(margin, margin) for margin in settings.padding]
        x = jnp.pad(x, [(0, 0), *margins, (0, 0)], constant_values=-jnp.inf)
    best, *rivals = slices(x, settings)
    for rival in rivals:
        best = jnp.where((rival > best) | jnp.isnan(rival), rival, best)
    return best


def average_pool(x: jax.Array, settings: Pool, numerics: Numerics) -> jax.Array:
    """The mean of each window, as that of strided slices; summed up in the dtype of the parameters."""
    wide = x.astype(numerics.param_dtype)
    return (sum(slices(wide, settings)) / np.prod(settings.kernel)).astype(x.dtype)


def slices(x: jax.Array, pool: Pool) -> Iterator[jax.Array]:
    """The elements of all windows, place by place in reading order: first the first of each window."""
    by_axis = zip(x.shape[1:-1], pool.kernel, pool.stride, strict=True)
    lengths = [(size - kernel) // stride * stride + 1 for size, kernel, stride in by_axis]
    for place in np.ndindex(*pool.kernel):
        ranges = zip(place, lengths, pool.stride, strict=True)
        yield x[(slice(None), *(slice(start, start + length, stride) for start, length, stride in ranges))]


TILES = {
    2: ("nhwc,cijo->nhiwjo", "n h i w j o -> n (h i) (w j) o"),
    3: ("ndhwc,cijko->ndihjwko", "n d i h j w k o -> n (d i) (h j) (w k) o"),
}
"""A transposed convolution whose windows tile the output, by the number of spatial dimensions."""


def transposed_convolution(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, settings: Convolution, numerics: Numerics
) -> jax.Array:
    """A transposed convolution with a kernel (in, kH, kW, out), or (in, kD, kH, kW, out).

    Where the windows tile the output it is one matrix product and a reshape. `jax.lax.conv_transpose` dilates its input
    with zeros instead, which makes its gradient slow on a CPU.
    """
    x, kernel = x.astype(numerics.dtype), kernel.astype(numerics.dtype)
    s = settings
    if s.kernel == s.stride and not any(s.padding) and not any(s.output_padding):
        product, tiled = TILES[len(s.kernel)]
        y = rearrange(jnp.einsum(product, x, kernel, precision=numerics.precision), tiled)
        return add_bias(y, bias)
    maps = MAPS[len(s.kernel)]
    margins = [size - 1 - padding for size, padding in zip(s.kernel, s.padding, strict=True)]
    y = jax.lax.conv_general_dilated(
        x,
        jnp.flip(kernel, range(1, kernel.ndim - 1)),  # a transposed convolution flips its kernel
        window_strides=(1,) * len(s.kernel),
        padding=[(margin, margin + more) for margin, more in zip(margins, s.output_padding, strict=True)],
        lhs_dilation=s.stride,
        dimension_numbers=(maps, f"I{maps[1:-1]}O", maps),
        precision=numerics.precision,
    )
    return add_bias(y, bias)


def resize(x: jax.Array, like: jax.Array | None, kind: str, settings: Resize, numerics: Numerics) -> jax.Array:
    """Nearest or linear interpolation by a factor, or to the size of a second map."""
    size = like.shape[1:-1] if like is not None else _scaled(x.shape[1:-1], settings)
    if kind == "nearest":
        return nearest(x, size, numerics)
    return linear(x, size, settings.align_corners, numerics)


def _scaled(size: Axes, settings: Resize) -> Axes:
    assert settings.scale is not None
    return tuple(side * factor for side, factor in zip(size, settings.scale, strict=True))


def nearest(x: jax.Array, size: Sequence[int], numerics: Numerics) -> jax.Array:
    """Output i takes input floor(i in / out); jax.image.resize takes the one whose centre is nearest."""
    for axis, new in enumerate(size, start=1):
        old = x.shape[axis]
        if new % old == 0:
            x = jnp.repeat(x, new // old, axis)
        else:
            taken = np.arange(new) * old // new
            x = along(x, axis, np.equal.outer(taken, np.arange(old)), numerics)
    return x


def linear(x: jax.Array, size: Sequence[int], align_corners: bool, numerics: Numerics) -> jax.Array:
    """A hat around each output's position, along each axis; jax.image.resize has only `align_corners=False`."""
    for axis, new in enumerate(size, start=1):
        old, out = x.shape[axis], np.arange(new)
        if align_corners:
            position = out * (old - 1) / max(new - 1, 1)
        else:
            position = np.clip((out + 0.5) * old / new - 0.5, 0, old - 1)
        x = along(x, axis, np.maximum(0, 1 - np.abs(np.subtract.outer(position, np.arange(old)))), numerics)
    return x


def along(x: jax.Array, axis: int, weights: np.ndarray, numerics: Numerics) -> jax.Array:
    """Weighted sums along an axis: output i has the weights (i, j) for the inputs j."""
    axes = MAPS[x.ndim - 2]
    summed = axes[axis]
    product = f"i{summed},{axes}->{axes.replace(summed, 'i')}"
    return jnp.einsum(product, jnp.asarray(weights, x.dtype), x, precision=numerics.precision)


SHUFFLES = {4: "n h w (c i j) -> n (h i) (w j) c", 5: "n d h w (c i j k) -> n (d i) (h j) (w k) c"}


def pixel_shuffle(x: jax.Array, scale: int) -> jax.Array:
    """PyTorch's pixel shuffle: channel (c, i, j) becomes pixel (i, j) of a block of channel c."""
    return rearrange(x, SHUFFLES[x.ndim], **dict.fromkeys("ijk"[: x.ndim - 2], scale))


def merge(maps: Sequence[jax.Array], settings: Merge, numerics: Numerics) -> jax.Array:
    """Join skips with the upsampled map, the last: make their sizes equal, then concatenate or add."""
    *skips, upsampled = maps
    size = skips[0].shape[1:-1]
    match settings.size_mismatch:
        case "crop_skip":
            skips = [cropped(skip, upsampled.shape[1:-1], settings) for skip in skips]
        case "pad_upsampled":
            upsampled = padded(upsampled, size, settings)
        case "resize_upsampled" if settings.resize == "nearest":
            upsampled = nearest(upsampled, size, numerics)
        case "resize_upsampled":
            upsampled = linear(upsampled, size, settings.resize == "linear_align_corners", numerics)
    if settings.kind == "sum":
        return sum(skips, upsampled)
    in_order = [*skips, upsampled] if settings.order == ("skip", "upsampled") else [upsampled, *skips]
    return jnp.concatenate(in_order, axis=-1)


def cropped(x: jax.Array, size: Axes, settings: Merge) -> jax.Array:
    before = [settings.margin(old - new) for old, new in zip(x.shape[1:-1], size, strict=True)]
    return x[(slice(None), *(slice(start, start + new) for start, new in zip(before, size, strict=True)))]


def padded(x: jax.Array, size: Axes, settings: Merge) -> jax.Array:
    differences = [new - old for old, new in zip(x.shape[1:-1], size, strict=True)]
    margins = [(settings.margin(all_), all_ - settings.margin(all_)) for all_ in differences]
    return jnp.pad(x, [(0, 0), *margins, (0, 0)], PADDING_MODES[str(settings.padding_mode)])
