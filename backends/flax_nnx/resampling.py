"""Between the levels of a U-Net in Flax NNX: down, up and merge. Maps are (N, H, W, C)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.schema import Bilinear as BilinearSpec
from shared_specs.schema import MaxPool as MaxPoolSpec
from shared_specs.schema import Merge as MergeSpec
from shared_specs.schema import TransposedConvolution as TransposedConvolutionSpec

from .layers import Numerics, add_bias


def down(spec: UNetSpec) -> nnx.Module:
    return MaxPool(spec.down)


class MaxPool(nnx.Module):
    """The maximum of each window as a selection among strided slices.

    Its gradient is a selection too; that of nnx.max_pool is a select-and-scatter, several times slower on a CPU.
    As in PyTorch the first of equal elements wins, and NaN wins over all.
    """

    def __init__(self, spec: MaxPoolSpec):
        self.kernel, self.stride = spec.kernel, spec.stride

    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = ((size - self.kernel) // self.stride * self.stride + 1 for size in x.shape[1:3])
        best = x[:, : height : self.stride, : width : self.stride]
        for i, j in list(np.ndindex(self.kernel, self.kernel))[1:]:
            rival = x[:, i : i + height : self.stride, j : j + width : self.stride]
            best = jnp.where((rival > best) | jnp.isnan(rival), rival, best)
        return best


def up(spec: UNetSpec, in_channels: int, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    if spec.up.kind == "bilinear":
        return Bilinear(spec.up, numerics)
    return TransposedConv(spec.up, in_channels, in_channels // 2, numerics, rngs)


class Bilinear(nnx.Module):
    """Bilinear interpolation as a matrix along each axis, since jax.image.resize has only `align_corners=False`."""

    def __init__(self, spec: BilinearSpec, numerics: Numerics):
        self.spec, self.numerics = spec, numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        rows, columns = (jnp.asarray(self._matrix(size), x.dtype) for size in x.shape[1:3])
        return jnp.einsum("Hh,nhwc,Ww->nHWc", rows, x, columns, precision=self.numerics.precision)

    def _matrix(self, size: int) -> np.ndarray:
        """The weights (size * scale, size) of the input pixels in each output pixel: a hat around its position."""
        out = np.arange(size * self.spec.scale)
        if self.spec.align_corners:
            position = out * (size - 1) / max(len(out) - 1, 1)
        else:
            position = np.clip((out + 0.5) / self.spec.scale - 0.5, 0, size - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size)))


class TransposedConv(nnx.Module):
    """A transposed convolution; where the windows tile the output it is one matrix product and a reshape.

    nnx.ConvTranspose dilates its input with zeros instead, which makes its gradient slow on a CPU.
    """

    def __init__(
        self,
        spec: TransposedConvolutionSpec,
        in_channels: int,
        out_channels: int,
        numerics: Numerics,
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding, self.numerics = spec.stride, spec.padding, numerics
        shape = (in_channels, spec.kernel, spec.kernel, out_channels)
        init = nnx.initializers.lecun_normal(in_axis=0, out_axis=-1)
        self.kernel = nnx.Param(init(rngs.params(), shape, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_channels, numerics.param_dtype)) if spec.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(self.numerics.dtype)
        size, tiles = kernel.shape[1], kernel.shape[1] == self.stride and self.padding == 0
        if tiles:
            y = jnp.einsum("nhwc,cijo->nhiwjo", x, kernel, precision=self.numerics.precision)
            y = y.reshape(x.shape[0], x.shape[1] * size, x.shape[2] * size, kernel.shape[-1])
        else:
            margin = size - 1 - self.padding
            y = jax.lax.conv_general_dilated(
                x,
                kernel[:, ::-1, ::-1],  # a transposed convolution flips its kernel
                window_strides=(1, 1),
                padding=[(margin, margin)] * 2,
                lhs_dilation=(self.stride, self.stride),
                dimension_numbers=("NHWC", "IHWO", "NHWC"),
                precision=self.numerics.precision,
            )
        return add_bias(y, self.bias)


class Merge(nnx.Module):
    """Join the skip with the upsampled map: make their sizes equal as the spec says, then concatenate."""

    def __init__(self, spec: MergeSpec):
        self.spec = spec

    def __call__(self, skip: jax.Array, upsampled: jax.Array) -> jax.Array:
        rows, columns = skip.shape[1] - upsampled.shape[1], skip.shape[2] - upsampled.shape[2]
        if self.spec.size_mismatch == "crop_skip":
            top, left = self.spec.margin(rows), self.spec.margin(columns)
            skip = skip[:, top : top + upsampled.shape[1], left : left + upsampled.shape[2]]
        elif self.spec.size_mismatch == "pad_upsampled":
            top, left = self.spec.margin(rows), self.spec.margin(columns)
            upsampled = jnp.pad(upsampled, ((0, 0), (top, rows - top), (left, columns - left), (0, 0)))
        maps = {"skip": skip, "upsampled": upsampled}
        return jnp.concatenate([maps[name] for name in self.spec.order], axis=-1)
