"""Between the levels of a U-Net in Flax NNX: down, up and merge; the arithmetic is `jax_engine.resampling`.

Maps are (N, H, W, C) or (N, D, H, W, C).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from shared_specs.layout import Convolution, Layer, Pool
from shared_specs.layout import Resize as ResizeSettings
from shared_specs.tables import Merge as MergeSpec

from ..jax_engine import resampling
from ..jax_engine.precision import Numerics
from .layers import Builder, value


class MaxPool(nnx.Module):
    def __init__(self, settings: Pool):
        self.settings = settings

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.max_pool(x, self.settings)


class AveragePool(nnx.Module):
    def __init__(self, settings: Pool, numerics: Numerics):
        self.settings, self.numerics = settings, numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.average_pool(x, self.settings, self.numerics)


def transposed_conv(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return TransposedConv(layer.settings, layer.in_channels, layer.out_channels, numerics, rngs)


class TransposedConv(nnx.Module):
    """A transposed convolution; nnx.ConvTranspose neither flips its kernel nor knows of the output's padding."""

    def __init__(self, settings: Convolution, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs):
        self.settings, self.numerics = settings, numerics
        shape = (in_channels, *settings.kernel, out_channels)
        init = nnx.initializers.lecun_normal(in_axis=0, out_axis=-1)
        self.kernel = nnx.Param(init(rngs.params(), shape, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_channels, numerics.param_dtype)) if settings.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.transposed_convolution(x, self.kernel[...], value(self.bias), self.settings, self.numerics)


def resize(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Resize(layer.kind, layer.settings, numerics)


class Resize(nnx.Module):
    """Nearest or linear interpolation by a factor, or to the size of a second map."""

    def __init__(self, kind: str, settings: ResizeSettings, numerics: Numerics):
        self.kind, self.settings, self.numerics = kind, settings, numerics

    def __call__(self, x: jax.Array, like: jax.Array | None = None) -> jax.Array:
        return resampling.resize(x, like, self.kind, self.settings, self.numerics)


class PixelShuffle(nnx.Module):
    def __init__(self, scale: int):
        self.scale = scale

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.pixel_shuffle(x, self.scale)


class Merge(nnx.Module):
    """Join skips with the upsampled map: make their sizes equal as the spec says, then concatenate or add."""

    def __init__(self, settings: MergeSpec, numerics: Numerics):
        self.settings, self.numerics = settings, numerics

    def __call__(self, *maps: jax.Array) -> jax.Array:
        return resampling.merge(maps, self.settings, self.numerics)


KINDS: dict[str, Builder] = {
    "max_pool": lambda layer, numerics, rngs: MaxPool(layer.settings),
    "average_pool": lambda layer, numerics, rngs: AveragePool(layer.settings, numerics),
    "transposed_conv": transposed_conv,
    "nearest": resize,
    "linear": resize,
    "pixel_shuffle": lambda layer, numerics, rngs: PixelShuffle(layer.settings.scale),
    "merge": lambda layer, numerics, rngs: Merge(layer.settings, numerics),
}
