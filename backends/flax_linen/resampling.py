"""Between the levels of a U-Net in Flax Linen: down, up and merge; the arithmetic is `jax_engine.resampling`.

Maps are (N, H, W, C) or (N, D, H, W, C).
"""

from __future__ import annotations

import jax
from flax import linen as nn

from shared_specs.layout import Convolution, Layer, Pool
from shared_specs.layout import Resize as ResizeSettings
from shared_specs.tables import Merge as MergeSpec

from ..jax_engine import resampling
from ..jax_engine.precision import Numerics
from .layers import Builder


class MaxPool(nn.Module):
    settings: Pool

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.max_pool(x, self.settings)


class AveragePool(nn.Module):
    settings: Pool
    numerics: Numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.average_pool(x, self.settings, self.numerics)


def transposed_conv(layer: Layer, numerics: Numerics) -> nn.Module:
    return TransposedConv(layer.settings, layer.out_channels, numerics)


class TransposedConv(nn.Module):
    """A transposed convolution; nn.ConvTranspose neither flips its kernel nor knows of the output's padding."""

    settings: Convolution
    features: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, dtype = (x.shape[-1], *self.settings.kernel, self.features), self.numerics.param_dtype
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=0, out_axis=-1), shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), dtype) if self.settings.bias else None
        return resampling.transposed_convolution(x, kernel, bias, self.settings, self.numerics)


def resize(layer: Layer, numerics: Numerics) -> nn.Module:
    return Resize(layer.kind, layer.settings, numerics)


class Resize(nn.Module):
    """Nearest or linear interpolation by a factor, or to the size of a second map."""

    kind: str
    settings: ResizeSettings
    numerics: Numerics

    def __call__(self, x: jax.Array, like: jax.Array | None = None) -> jax.Array:
        return resampling.resize(x, like, self.kind, self.settings, self.numerics)


class PixelShuffle(nn.Module):
    scale: int

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.pixel_shuffle(x, self.scale)


class Merge(nn.Module):
    """Join skips with the upsampled map: make their sizes equal as the spec says, then concatenate or add."""

    settings: MergeSpec
    numerics: Numerics

    def __call__(self, *maps: jax.Array) -> jax.Array:
        return resampling.merge(maps, self.settings, self.numerics)


KINDS: dict[str, Builder] = {
    "max_pool": lambda layer, numerics: MaxPool(layer.settings),
    "average_pool": lambda layer, numerics: AveragePool(layer.settings, numerics),
    "transposed_conv": transposed_conv,
    "nearest": resize,
    "linear": resize,
    "pixel_shuffle": lambda layer, numerics: PixelShuffle(layer.settings.scale),
    "merge": lambda layer, numerics: Merge(layer.settings, numerics),
}
