"""Between the levels of a U-Net in Flax NNX: down, up and merge. Maps are (N, H, W, C) or (N, D, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from shared_specs.layout import Axes, Convolution, Layer, Pool
from shared_specs.layout import Resize as ResizeSettings
from shared_specs.tables import Merge as MergeSpec

from .layers import MAPS, PADDING_MODES, Builder, Numerics, add_bias


class MaxPool(nnx.Module):
    """The maximum of each window as a selection among strided slices.

    Its gradient is a selection too; that of nnx.max_pool is a select-and-scatter, several times slower on a CPU.
    As in PyTorch the first of equal elements wins, and NaN wins over all.
    """

    def __init__(self, settings: Pool):
        self.settings = settings

    def __call__(self, x: jax.Array) -> jax.Array:
        if any(self.settings.padding):
            margins = [(margin, margin) for margin in self.settings.padding]
            x = jnp.pad(x, [(0, 0), *margins, (0, 0)], constant_values=-jnp.inf)
        best, *rivals = slices(x, self.settings)
        for rival in rivals:
            best = jnp.where((rival > best) | jnp.isnan(rival), rival, best)
        return best


class AveragePool(nnx.Module):
    """The mean of each window, as that of strided slices; summed up in the dtype of the parameters."""

    def __init__(self, settings: Pool, numerics: Numerics):
        self.settings, self.numerics = settings, numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(self.numerics.param_dtype)
        return (sum(slices(wide, self.settings)) / np.prod(self.settings.kernel)).astype(x.dtype)


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


def transposed_conv(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return TransposedConv(layer.settings, layer.in_channels, layer.out_channels, numerics, rngs)


class TransposedConv(nnx.Module):
    """A transposed convolution; where the windows tile the output it is one matrix product and a reshape.

    nnx.ConvTranspose dilates its input with zeros instead, which makes its gradient slow on a CPU.
    """

    def __init__(self, settings: Convolution, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs):
        self.settings, self.numerics = settings, numerics
        shape = (in_channels, *settings.kernel, out_channels)
        init = nnx.initializers.lecun_normal(in_axis=0, out_axis=-1)
        self.kernel = nnx.Param(init(rngs.params(), shape, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_channels, numerics.param_dtype)) if settings.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x, kernel = x.astype(self.numerics.dtype), self.kernel[...].astype(self.numerics.dtype)
        s = self.settings
        if s.kernel == s.stride and not any(s.padding) and not any(s.output_padding):
            product, tiled = TILES[len(s.kernel)]
            y = rearrange(jnp.einsum(product, x, kernel, precision=self.numerics.precision), tiled)
            return add_bias(y, self.bias)
        maps = MAPS[len(s.kernel)]
        margins = [size - 1 - padding for size, padding in zip(s.kernel, s.padding, strict=True)]
        y = jax.lax.conv_general_dilated(
            x,
            jnp.flip(kernel, range(1, kernel.ndim - 1)),  # a transposed convolution flips its kernel
            window_strides=(1,) * len(s.kernel),
            padding=[(margin, margin + more) for margin, more in zip(margins, s.output_padding, strict=True)],
            lhs_dilation=s.stride,
            dimension_numbers=(maps, f"I{maps[1:-1]}O", maps),
            precision=self.numerics.precision,
        )
        return add_bias(y, self.bias)


def resize(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Resize(layer.kind, layer.settings, numerics)


class Resize(nnx.Module):
    """Nearest or linear interpolation by a factor, or to the size of a second map."""

    def __init__(self, kind: str, settings: ResizeSettings, numerics: Numerics):
        self.kind, self.settings, self.numerics = kind, settings, numerics

    def __call__(self, x: jax.Array, like: jax.Array | None = None) -> jax.Array:
        size = like.shape[1:-1] if like is not None else self._scaled(x.shape[1:-1])
        if self.kind == "nearest":
            return nearest(x, size, self.numerics)
        return linear(x, size, self.settings.align_corners, self.numerics)

    def _scaled(self, size: Axes) -> Axes:
        assert self.settings.scale is not None
        return tuple(side * factor for side, factor in zip(size, self.settings.scale, strict=True))


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


class PixelShuffle(nnx.Module):
    """PyTorch's pixel shuffle: channel (c, i, j) becomes pixel (i, j) of a block of channel c."""

    def __init__(self, scale: int):
        self.scale = scale

    def __call__(self, x: jax.Array) -> jax.Array:
        return rearrange(x, SHUFFLES[x.ndim], **dict.fromkeys("ijk"[: x.ndim - 2], self.scale))


class Merge(nnx.Module):
    """Join skips with the upsampled map: make their sizes equal as the spec says, then concatenate or add."""

    def __init__(self, settings: MergeSpec, numerics: Numerics):
        self.settings, self.numerics = settings, numerics

    def __call__(self, *maps: jax.Array) -> jax.Array:
        *skips, upsampled = maps
        size = skips[0].shape[1:-1]
        match self.settings.size_mismatch:
            case "crop_skip":
                skips = [self._cropped(skip, upsampled.shape[1:-1]) for skip in skips]
            case "pad_upsampled":
                upsampled = self._padded(upsampled, size)
            case "resize_upsampled" if self.settings.resize == "nearest":
                upsampled = nearest(upsampled, size, self.numerics)
            case "resize_upsampled":
                upsampled = linear(upsampled, size, self.settings.resize == "linear_align_corners", self.numerics)
        if self.settings.kind == "sum":
            return sum(skips, upsampled)
        in_order = [*skips, upsampled] if self.settings.order == ("skip", "upsampled") else [upsampled, *skips]
        return jnp.concatenate(in_order, axis=-1)

    def _cropped(self, x: jax.Array, size: Axes) -> jax.Array:
        before = [self.settings.margin(old - new) for old, new in zip(x.shape[1:-1], size, strict=True)]
        return x[(slice(None), *(slice(start, start + new) for start, new in zip(before, size, strict=True)))]

    def _padded(self, x: jax.Array, size: Axes) -> jax.Array:
        differences = [new - old for old, new in zip(x.shape[1:-1], size, strict=True)]
        margins = [(self.settings.margin(all_), all_ - self.settings.margin(all_)) for all_ in differences]
        return jnp.pad(x, [(0, 0), *margins, (0, 0)], PADDING_MODES[str(self.settings.padding_mode)])


KINDS: dict[str, Builder] = {
    "max_pool": lambda layer, numerics, rngs: MaxPool(layer.settings),
    "average_pool": lambda layer, numerics, rngs: AveragePool(layer.settings, numerics),
    "transposed_conv": transposed_conv,
    "nearest": resize,
    "linear": resize,
    "pixel_shuffle": lambda layer, numerics, rngs: PixelShuffle(layer.settings.scale),
    "merge": lambda layer, numerics, rngs: Merge(layer.settings, numerics),
}
