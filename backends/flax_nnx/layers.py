"""The layers of a block in Flax NNX, one function or class per choice in the spec. Maps are (N, H, W, C)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from shared_specs import UNetSpec
from shared_specs.schema import BatchNorm as BatchNormSpec
from shared_specs.schema import Identity, ReLU
from shared_specs.schema import LeakyReLU as LeakyReLUSpec


@dataclass(frozen=True)
class Numerics:
    """The arithmetic of a module.

    Attributes:
        dtype: of convolutions and maps.
        precision: of products; None is JAX's default, which is TF32 on recent GPUs.
        param_dtype: of parameters, norm statistics and what is summed up.
    """

    dtype: DTypeLike = jnp.float32
    precision: jax.lax.Precision | None = None
    param_dtype: DTypeLike = jnp.float32


def conv(spec: UNetSpec, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Conv(in_channels, out_channels, spec.conv.kernel, spec.conv.padding, spec.conv.bias, numerics, rngs)


def head(spec: UNetSpec, in_channels: int, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Conv(in_channels, spec.out_channels, spec.head.kernel, spec.head.padding, spec.head.bias, numerics, rngs)


class Conv(nnx.Module):
    """A convolution of stride 1, padded alike on every side. Its tensors are those of nnx.Conv.

    nnx.Conv adds its bias in the dtype of the maps, so that in bfloat16 the gradient of the bias is summed there.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        padding: int,
        bias: bool,
        numerics: Numerics,
        rngs: nnx.Rngs,
    ):
        self.padding, self.numerics = padding, numerics
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (kernel, kernel, in_channels, out_channels), numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_channels, numerics.param_dtype)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x.astype(self.numerics.dtype),
            self.kernel[...].astype(self.numerics.dtype),
            window_strides=(1, 1),
            padding=[(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.numerics.precision,
        )
        return add_bias(y, self.bias)


def add_bias(x: jax.Array, bias: nnx.Param | None) -> jax.Array:
    """In the dtype of the parameters, in which the bias's gradient is summed up."""
    return x if bias is None else (x.astype(bias[...].dtype) + bias[...]).astype(x.dtype)


def norm(spec: UNetSpec, channels: int, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    if spec.norm.kind == "group":
        return nnx.GroupNorm(
            channels,
            spec.norm.groups,
            epsilon=spec.norm.epsilon,  # Flax's default is 1e-6, PyTorch's 1e-5
            use_fast_variance=False,  # E[x^2] - E[x]^2 cancels
            dtype=numerics.dtype,
            param_dtype=numerics.param_dtype,
            rngs=rngs,
        )
    assert spec.norm.kind == "batch"
    return BatchNorm(spec.norm, channels, numerics)


class BatchNorm(nnx.Module):
    """Batch norm that keeps the running variance which the spec asks for; nnx.BatchNorm has only the biased one.

    Like nnx.BatchNorm it has `use_running_average`, which `model.train()` and `model.eval()` set.
    """

    def __init__(self, spec: BatchNormSpec, channels: int, numerics: Numerics):
        self.spec, self.dtype = spec, numerics.dtype
        self.use_running_average = False
        self.scale = nnx.Param(jnp.ones(channels, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(channels, numerics.param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, numerics.param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, numerics.param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.scale[...].dtype)
        if self.use_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            mean = x.mean((0, 1, 2))
            variance = jnp.square(x - mean).mean((0, 1, 2))
            count = x.size // x.shape[-1]
            if count == 1:
                raise ValueError(f"expected more than one value a channel in training, got a map of {x.shape}")
            kept = variance * (count / (count - 1)) if self.spec.running_variance == "unbiased" else variance
            momentum = self.spec.momentum  # of the new batch; nnx.BatchNorm's is that of the old value
            self.mean[...] = (1 - momentum) * self.mean[...] + momentum * jax.lax.stop_gradient(mean)
            self.var[...] = (1 - momentum) * self.var[...] + momentum * jax.lax.stop_gradient(kept)
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.spec.epsilon)
        return ((x - mean) * scale + self.bias[...]).astype(self.dtype)


def activation(spec: UNetSpec) -> nnx.Module:
    match spec.activation:
        case LeakyReLUSpec(slope=slope):
            return LeakyReLU(slope)
        case ReLU():
            return LeakyReLU(0.0)
        case Identity():
            return LeakyReLU(1.0)


class LeakyReLU(nnx.Module):
    """x where x > 0, else slope x. At 0 the derivative is the slope, as in PyTorch; nnx.leaky_relu's is 1."""

    def __init__(self, slope: float):
        self.slope = slope

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.slope == 0:
            return nnx.relu(x)
        return x if self.slope == 1 else jnp.where(x > 0, x, self.slope * x)
