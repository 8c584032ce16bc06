"""The layers of a block in Flax NNX, one builder for each kind of the spec.

Maps are (N, H, W, C) or (N, D, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from shared_specs.layout import Convolution, Layer
from shared_specs.tables import BatchNorm as BatchNormSpec


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


Builder = Callable[[Layer, Numerics, nnx.Rngs], nnx.Module]

MAPS = {2: "NHWC", 3: "NDHWC"}
"""The axes of a map by the number of spatial dimensions."""

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's padding modes under the names of jnp.pad."""


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
        margins = [(margin, margin) for margin in self.settings.padding]
        if self.settings.padding_mode != "zeros":
            x = jnp.pad(x, [(0, 0), *margins, (0, 0)], PADDING_MODES[self.settings.padding_mode])
            margins = [(0, 0)] * len(margins)
        maps = MAPS[len(margins)]
        y = jax.lax.conv_general_dilated(
            x.astype(self.numerics.dtype),
            self.kernel[...].astype(self.numerics.dtype),
            window_strides=self.settings.stride,
            padding=margins,
            rhs_dilation=self.settings.dilation,
            dimension_numbers=(maps, f"{maps[1:-1]}IO", maps),
            precision=self.numerics.precision,
        )
        return add_bias(y, self.bias)


def add_bias(x: jax.Array, bias: nnx.Param | None) -> jax.Array:
    """In the dtype of the parameters, in which the bias's gradient is summed up."""
    return x if bias is None else (x.astype(bias[...].dtype) + bias[...]).astype(x.dtype)


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
        if self.use_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            all_but_channels = tuple(range(x.ndim - 1))
            mean = x.mean(all_but_channels)
            variance = jnp.square(x - mean).mean(all_but_channels)  # E[x^2] - E[x]^2 cancels
            count = x.size // x.shape[-1]
            if count == 1:
                raise ValueError(f"expected more than one value a channel in training, got a map of {x.shape}")
            kept = variance * (count / (count - 1)) if self.settings.running_variance == "unbiased" else variance
            momentum = self.settings.momentum  # of the new batch; nnx.BatchNorm's is that of the old value
            self.mean[...] = (1 - momentum) * self.mean[...] + momentum * jax.lax.stop_gradient(mean)
            self.var[...] = (1 - momentum) * self.var[...] + momentum * jax.lax.stop_gradient(kept)
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.settings.epsilon)
        return ((x - mean) * scale + self.bias[...]).astype(self.dtype)


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
    """A function of each element, in the dtype of the parameters: in bfloat16 each of its operations would round."""

    def __init__(self, kind: str, settings: Any, numerics: Numerics):
        self.kind, self.settings, self.numerics = kind, settings, numerics

    def __call__(self, x: jax.Array) -> jax.Array:
        return FUNCTIONS[self.kind](x.astype(self.numerics.param_dtype), self.settings).astype(x.dtype)


FUNCTIONS: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "relu": lambda x, settings: nnx.relu(x),
    # At 0 the derivative is the slope, as in PyTorch; nnx.leaky_relu's is 1.
    "leaky_relu": lambda x, settings: jnp.where(x > 0, x, settings.slope * x),
    "elu": lambda x, settings: nnx.elu(x, settings.alpha),
    "gelu": lambda x, settings: nnx.gelu(x, approximate=settings.approximation == "tanh"),
    "silu": lambda x, settings: nnx.silu(x),
    "tanh": lambda x, settings: jnp.tanh(x),
    "sigmoid": lambda x, settings: nnx.sigmoid(x),
    "identity": lambda x, settings: x,
}


def prelu(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    (slopes,) = layer.tensors[0].shape
    return PReLU(slopes, numerics)


class PReLU(nnx.Module):
    """Leaky ReLU with learned slopes, for each channel or one for all; nnx.PReLU has only one."""

    def __init__(self, slopes: int, numerics: Numerics):
        self.negative_slope = nnx.Param(jnp.full(slopes, 0.25, numerics.param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.negative_slope[...]
        wide = x.astype(slope.dtype)
        return jnp.where(wide > 0, wide, slope * wide).astype(x.dtype)


def dropout(layer: Layer, numerics: Numerics, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Dropout(layer.settings.rate, rngs=rngs)


class Sum(nnx.Module):
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y


class Multiply(nnx.Module):
    """In the dtype of the parameters, since the gradient of a map with one channel is a sum over channels."""

    def __init__(self, numerics: Numerics):
        self.numerics = numerics

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        wide = self.numerics.param_dtype
        return (x.astype(wide) * y.astype(wide)).astype(x.dtype)


KINDS: dict[str, Builder] = {
    "conv": conv,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    **dict.fromkeys(FUNCTIONS, activation),
    "prelu": prelu,
    "dropout": dropout,
    "sum": lambda layer, numerics, rngs: Sum(),
    "multiply": lambda layer, numerics, rngs: Multiply(numerics),
}
