"""The layers of a block in Flax Linen, one builder for each kind of the spec; the arithmetic is `jax_engine.ops`.

Maps are (N, H, W, C) or (N, D, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from shared_specs.layout import Convolution, Layer
from shared_specs.tables import BatchNorm as BatchNormSpec

from ..jax_engine import ops
from ..jax_engine.precision import Numerics

Builder = Callable[[Layer, Numerics], nn.Module]


def conv(layer: Layer, numerics: Numerics) -> nn.Module:
    return Conv(layer.settings, layer.out_channels, numerics)


class Conv(nn.Module):
    """A convolution. Its tensors are those of nn.Conv.

    nn.Conv adds its bias in the dtype of the maps, so that in bfloat16 the gradient of the bias is summed there.
    """

    settings: Convolution
    features: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, dtype = (*self.settings.kernel, x.shape[-1], self.features), self.numerics.param_dtype
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), dtype) if self.settings.bias else None
        return ops.convolution(x, kernel, bias, self.settings, self.numerics)


def batch_norm(layer: Layer, numerics: Numerics) -> nn.Module:
    return BatchNorm(layer.settings, numerics)


class BatchNorm(nn.Module):
    """Batch norm that keeps the running variance which the spec asks for; nn.BatchNorm has only the biased one.

    Like nn.BatchNorm it is told `use_running_average`, and keeps `mean` and `var` in the collection `batch_stats`.
    """

    settings: BatchNormSpec
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        shape, dtype = x.shape[-1:], self.numerics.param_dtype
        scale = self.param("scale", nn.initializers.ones, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        x = x.astype(scale.dtype)
        statistics = mean.value, var.value
        if not use_running_average:
            held, statistics = statistics, ops.moments(x)
            if not self.is_initializing():
                mean.value, var.value = ops.running(held, statistics, x.size // x.shape[-1], self.settings)
        return ops.normalised(x, statistics, scale, bias, self.settings.epsilon).astype(self.numerics.dtype)


def instance_norm(layer: Layer, numerics: Numerics) -> nn.Module:
    affine = layer.settings.affine
    return nn.InstanceNorm(use_scale=affine, use_bias=affine, **statistics(layer, numerics))


def group_norm(layer: Layer, numerics: Numerics) -> nn.Module:
    return nn.GroupNorm(layer.settings.groups, **statistics(layer, numerics))


def layer_norm(layer: Layer, numerics: Numerics) -> nn.Module:
    return nn.LayerNorm(**statistics(layer, numerics))


def statistics(layer: Layer, numerics: Numerics) -> dict[str, Any]:
    """What Flax's own norms are told, since none of their defaults is PyTorch's."""
    return {
        "epsilon": layer.settings.epsilon,  # Flax's default is 1e-6, PyTorch's 1e-5
        "use_fast_variance": False,  # E[x^2] - E[x]^2 cancels
        "dtype": numerics.dtype,
        "param_dtype": numerics.param_dtype,
    }


def activation(layer: Layer, numerics: Numerics) -> nn.Module:
    return Activation(layer.kind, layer.settings, numerics)


class Activation(nn.Module):
    kind: str
    settings: Any
    numerics: Numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        return ops.activation(x, self.kind, self.settings, self.numerics)


def prelu(layer: Layer, numerics: Numerics) -> nn.Module:
    (slopes,) = layer.tensors[0].shape
    return PReLU(slopes, numerics)


class PReLU(nn.Module):
    """Leaky ReLU with learned slopes, for each channel or one for all; nn.PReLU has only one."""

    slopes: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.constant(0.25)
        return ops.prelu(x, self.param("negative_slope", init, (self.slopes,), self.numerics.param_dtype))


def dropout(layer: Layer, numerics: Numerics) -> nn.Module:
    return nn.Dropout(layer.settings.rate)


class Sum(nn.Module):
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


class Multiply(nn.Module):
    numerics: Numerics

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
    "sum": lambda layer, numerics: Sum(),
    "multiply": lambda layer, numerics: Multiply(numerics),
}
