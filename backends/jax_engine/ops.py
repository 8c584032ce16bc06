"""The arithmetic of a block's layers, as functions of arrays. Maps are (N, H, W, C) or (N, D, H, W, C).

Group, instance and layer norm are missing: each library's own do what a spec says, once they are told its epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from shared_specs.layout import Convolution
from shared_specs.tables import BatchNorm

from .precision import Numerics

MAPS = {2: "NHWC", 3: "NDHWC"}
"""The axes of a map by the number of spatial dimensions."""

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's padding modes under the names of jnp.pad."""


def convolution(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, settings: Convolution, numerics: Numerics
) -> jax.Array:
    """A convolution with a kernel (kH, kW, in, out), or (kD, kH, kW, in, out)."""
    margins = [(margin, margin) for margin in settings.padding]
    if settings.padding_mode != "zeros":
        x = jnp.pad(x, [(0, 0), *margins, (0, 0)], PADDING_MODES[settings.padding_mode])
        margins = [(0, 0)] * len(margins)
    maps = MAPS[len(margins)]
    y = jax.lax.conv_general_dilated(
        x.astype(numerics.dtype),
        kernel.astype(numerics.dtype),
        window_strides=settings.stride,
        padding=margins,
        rhs_dilation=settings.dilation,
        dimension_numbers=(maps, f"{maps[1:-1]}IO", maps),
        precision=numerics.precision,
    )
    return add_bias(y, bias)


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """In the dtype of the parameters, in which the bias's gradient is summed up."""
    return x if bias is None else (x.astype(bias.dtype) + bias).astype(x.dtype)


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel.

    Raises:
        ValueError: where a channel has one value.
    """
    if x.size == x.shape[-1]:
        raise ValueError(f"expected more than one value a channel in training, got a map of {x.shape}")
    all_but_channels = tuple(range(x.ndim - 1))
    mean = x.mean(all_but_channels)
    return mean, jnp.square(x - mean).mean(all_but_channels)  # E[x^2] - E[x]^2 cancels


def running(
    held: tuple[jax.Array, jax.Array], of_batch: tuple[jax.Array, jax.Array], count: int, settings: BatchNorm
) -> tuple[jax.Array, jax.Array]:
    """Running mean and variance after a batch, with the variance that the spec asks for.

    Args:
        held: those before it.
        of_batch: its mean and biased variance.
        count: of the values of each channel in the batch.
        settings: whose momentum is that of the new batch, as in PyTorch; Flax's is that of the old value.
    """
    mean, variance = of_batch
    kept = variance * (count / (count - 1)) if settings.running_variance == "unbiased" else variance
    momentum = settings.momentum
    return (
        (1 - momentum) * held[0] + momentum * jax.lax.stop_gradient(mean),
        (1 - momentum) * held[1] + momentum * jax.lax.stop_gradient(kept),
    )


def normalised(
    x: jax.Array, statistics: tuple[jax.Array, jax.Array], scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """A map normalised with the mean and the variance of each channel, scaled and shifted."""
    mean, variance = statistics
    scale = scale * jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * scale + bias


def activation(x: jax.Array, kind: str, settings: Any, numerics: Numerics) -> jax.Array:
    """A function of each element, in the dtype of the parameters: in bfloat16 each of its operations would round."""
    return FUNCTIONS[kind](x.astype(numerics.param_dtype), settings).astype(x.dtype)


FUNCTIONS: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "relu": lambda x, settings: jax.nn.relu(x),
    # At 0 the derivative is the slope, as in PyTorch; jax.nn.leaky_relu's is 1.
    "leaky_relu": lambda x, settings: jnp.where(x > 0, x, settings.slope * x),
    "elu": lambda x, settings: jax.nn.elu(x, settings.alpha),
    "gelu": lambda x, settings: jax.nn.gelu(x, approximate=settings.approximation == "tanh"),
    "silu": lambda x, settings: jax.nn.silu(x),
    "tanh": lambda x, settings: jnp.tanh(x),
    "sigmoid": lambda x, settings: jax.nn.sigmoid(x),
    "identity": lambda x, settings: x,
}


def prelu(x: jax.Array, slopes: jax.Array) -> jax.Array:
    """Leaky ReLU with a slope for each channel, or one for all."""
    wide = x.astype(slopes.dtype)
    return jnp.where(wide > 0, wide, slopes * wide).astype(x.dtype)


def multiply(x: jax.Array, y: jax.Array, numerics: Numerics) -> jax.Array:
    """In the dtype of the parameters, since the gradient of a map with one channel is a sum over channels."""
    wide = numerics.param_dtype
    return (x.astype(wide) * y.astype(wide)).astype(x.dtype)
