"""The layers of a block in Flax NNX, one builder for each kind of the spec; the arithmetic is `jax_engine.ops`.

Maps are (N, H, W, C) or (N, D, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from shared_specs.layout import Convolution, Layer
from shared_specs.tables import BatchNorm as BatchNormSpec

from ..jax_engine import ops
from ..jax_engine.precision import Numerics

Builder = Callable[[Layer, Numerics, nnx.Rngs], nnx.Module]


def conv(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Conv(layer.settings, layer.in_channels, layer.out_channels, numerics, rngs)


class Conv(nnx.Module):
    """A convolution. Its tensors are those of nnx.Conv.

    nnx.Conv adds its bias in the dtype of the maps, so that in bfloat16 the gradient of the bias is summed there.
    """

    def __init__(self, settings: Convolution, in_channels: int, out_channels: int, numerics: Numerics, rngs: nnx.Rngs):
        self.settings, self.numerics = settings, numerics
        shape = (*settings.kernel, in_channels, out_channels)
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_channels, numerics.param_dtype)) if settings.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.convolution(x, self.kernel[...], value(self.bias), self.settings, self.numerics)


def value(parameter: nnx.Param | None) -> jax.Array | None:
    return None if parameter is None else parameter[...]


def batch_norm(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return BatchNorm(layer.settings, layer.out_channels, numerics)


class BatchNorm(nnx.Module):
    """Batch norm that keeps the running variance which the spec asks for; nnx.BatchNorm has only the biased one.

    Like nnx.BatchNorm it has `use_running_average`, which `model.train()` and `model.eval()` set.
    """

    def __init__(self, settings: BatchNormSpec, channels: int, numerics: Numerics):
        self.settings, self.dtype = settings, numerics.dtype
        self.use_running_average = False
        self.scale = nnx.Param(jnp.ones(channels, numerics.param_dtype))
        self.bias = nnx.Param(jnp.zeros(channels, numerics.param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, numerics.param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, numerics.param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.scale[...].dtype)
        statistics = self.mean[...], self.var[...]
        if not self.use_running_average:
            held, statistics = statistics, ops.moments(x)
            self.mean[...], self.var[...] = ops.running(held, statistics, x.size // x.shape[-1], self.settings)
        y = ops.normalised(x, statistics, self.scale[...], self.bias[...], self.settings.epsilon)
        return y.astype(self.dtype)


def instance_norm(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    affine = layer.settings.affine
    return nnx.InstanceNorm(
        layer.out_channels, use_scale=affine, use_bias=affine, rngs=rngs, **statistics(layer, numerics)
    )


def group_norm(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.GroupNorm(layer.out_channels, layer.settings.groups, rngs=rngs, **statistics(layer, numerics))


def layer_norm(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.LayerNorm(layer.out_channels, rngs=rngs, **statistics(layer, numerics))


def statistics(layer: Layer, numerics: Numerics) -> dict[str, Any]:
    """What Flax's own norms are told, since none of their defaults is PyTorch's."""
    return {
        "epsilon": layer.settings.epsilon,  # Flax's default is 1e-6, PyTorch's 1e-5
        "use_fast_variance": False,  # E[x^2] - E[x]^2 cancels
        "dtype": numerics.dtype,
        "param_dtype": numerics.param_dtype,
    }


def activation(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return Activation(layer.kind, layer.settings, numerics)


class Activation(nnx.Module):
    def __init__(self, kind: str, settings: Any, numerics: Numerics):
        self.kind, self.settings, self.numerics = kind, settings, numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.activation(x, self.kind, self.settings, self.numerics)


def prelu(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    (slopes,) = layer.tensors[0].shape
    return PReLU(slopes, numerics)


class PReLU(nnx.Module):
    """Leaky ReLU with learned slopes, for each channel or one for all; nnx.PReLU has only one."""

    def __init__(self, slopes: int, numerics: Numerics):
        self.negative_slope = nnx.Param(jnp.full(slopes, 0.25, numerics.param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.prelu(x, self.negative_slope[...])


def dropout(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Dropout(layer.settings.rate, rngs=rngs)


class Sum(nnx.Module):
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


class Multiply(nnx.Module):
    def __init__(self, numerics: Numerics):
        self.numerics = numerics

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return ops.multiply(x, y, self.numerics)


KINDS: dict[str, Builder] = {
    "conv": conv,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    **dict.fromkeys(ops.FUNCTIONS, activation),
    "prelu": prelu,
    "dropout": dropout,
    "sum": lambda layer, numerics, rngs: Sum(),
    "multiply": lambda layer, numerics, rngs: Multiply(numerics),
}
