"""The U-Net as an ordinary flax.nnx.Module."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from shared_specs import UNetSpec

from . import layers, resampling
from .layers import Numerics


class Unit(nnx.Module):
    """One convolution with its norm and activation, in the order of the spec."""

    def __init__(self, spec: UNetSpec, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs):
        self.order = spec.block.order
        for step in self.order:
            if step == "conv":
                self.conv = layers.conv(spec, in_channels, out_channels, numerics, rngs)
                in_channels = out_channels
            elif step == "norm":
                self.norm = layers.norm(spec, in_channels, numerics, rngs)
            else:
                self.activation = layers.activation(spec)

    def __call__(self, x: jax.Array) -> jax.Array:
        for step in self.order:
            x = getattr(self, step)(x)
        return x


def block(spec: UNetSpec, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs) -> nnx.List:
    widths = [in_channels] + [out_channels] * spec.block.convolutions
    pairs = zip(widths, widths[1:], strict=False)
    return nnx.List(Unit(spec, before, after, numerics, rngs) for before, after in pairs)


class Encoder(nnx.Module):
    """One level on the way down; level 0 does not down-sample."""

    def __init__(self, spec: UNetSpec, level: int, numerics: Numerics, rngs: nnx.Rngs):
        self.down = resampling.down(spec) if level else None
        in_channels = spec.widths[level - 1] if level else spec.in_channels
        self.block = block(spec, in_channels, spec.widths[level], numerics, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.down is not None:
            x = self.down(x)
        for unit in self.block:
            x = unit(x)
        return x


class Decoder(nnx.Module):
    """One level on the way up; merges with the encoder of the same level."""

    def __init__(self, spec: UNetSpec, level: int, numerics: Numerics, rngs: nnx.Rngs):
        below, width = spec.widths[level + 1], spec.widths[level]
        upsampled = below // 2 if spec.up.kind == "transposed_conv" else below
        self.up = resampling.up(spec, below, numerics, rngs)
        self.merge = resampling.Merge(spec.merge)
        self.block = block(spec, width + upsampled, width, numerics, rngs)

    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        x = self.merge(skip, self.up(x))
        for unit in self.block:
            x = unit(x)
        return x


class UNet(nnx.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, H, W, C) to logits (N, H', W', classes). Attribute paths are the canonical names of the spec.

    Args:
        spec: the network.
        dtype: of convolutions and maps.
        param_dtype: of parameters, norm statistics and what is summed up; `dtype` by default.
        precision: of matrix products and convolutions; None is JAX's default, which is TF32 on recent GPUs.
        rngs: for the initial parameters.
    """

    def __init__(
        self,
        spec: UNetSpec,
        *,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike | None = None,
        precision: jax.lax.Precision | None = None,
        rngs: nnx.Rngs,
    ):
        numerics = Numerics(dtype, precision, dtype if param_dtype is None else param_dtype)
        self.encoder = nnx.List(Encoder(spec, level, numerics, rngs) for level in range(spec.levels))
        self.decoder = nnx.List(Decoder(spec, level, numerics, rngs) for level in range(spec.levels - 1))
        self.head = layers.head(spec, spec.widths[0], numerics, rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x, skips = images, []
        for encoder in self.encoder:
            x = encoder(x)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x, skips[level])
        return self.head(x)
