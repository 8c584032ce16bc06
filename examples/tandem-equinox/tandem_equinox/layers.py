"""One layer for each kind of a spec: Equinox's own where it has one. Maps are (C, H, W) or (C, D, H, W)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from backends.jax_engine import ops, resampling
from backends.jax_engine.precision import Numerics
from shared_specs.layout import Layer

AXIS = "batch"
"""What `jax.vmap` calls the axis of the images, over which batch norm takes its statistics."""

NUMERICS = Numerics(precision=None)
"""Products follow `jax.default_matmul_precision`, as those of Equinox's own layers do."""

Builder = Callable[[Layer, int, jax.Array], Any]
"""Makes the layer, given the number of spatial axes and a key for its initial values."""


def conv(layer: Layer, dimensions: int, key: jax.Array) -> eqx.nn.Conv:
    s, channels = layer.settings, (layer.in_channels, layer.out_channels)
    mode = s.padding_mode.upper()
    return eqx.nn.Conv(
        dimensions, *channels, s.kernel, s.stride, s.padding, s.dilation, use_bias=s.bias, padding_mode=mode, key=key
    )


def transposed_conv(layer: Layer, dimensions: int, key: jax.Array) -> eqx.nn.ConvTranspose:
    s, channels = layer.settings, (layer.in_channels, layer.out_channels)
    return eqx.nn.ConvTranspose(
        dimensions, *channels, s.kernel, s.stride, s.padding, s.output_padding, use_bias=s.bias, key=key
    )


class BatchNorm(eqx.nn.StatefulLayer):
    """Batch norm that keeps the running variance which the spec asks for.

    That of eqx.nn.BatchNorm is always the biased one, and it divides by what is missing of the first batches.
    """

    weight: jax.Array
    bias: jax.Array
    statistics: eqx.nn.StateIndex
    inference: bool
    settings: Any = eqx.field(static=True)

    def __init__(self, layer: Layer):
        ones, zeros = jnp.ones(layer.out_channels), jnp.zeros(layer.out_channels)
        self.weight, self.bias, self.statistics = ones, zeros, eqx.nn.StateIndex((zeros, ones))
        self.inference, self.settings = False, layer.settings

    def __call__(self, x: jax.Array, state: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
        mean, variance = state.get(self.statistics)
        if not self.inference:
            pixels = tuple(range(1, x.ndim))
            held, count = (mean, variance), x[0].size * jax.lax.axis_size(AXIS)
            mean = jax.lax.pmean(x.mean(pixels), AXIS)
            variance = jax.lax.pmean(jnp.square(x - _beside(x, mean)).mean(pixels), AXIS)
            state = state.set(self.statistics, ops.running(held, (mean, variance), count, self.settings))
        scale = self.weight * jax.lax.rsqrt(variance + self.settings.epsilon)
        return (x - _beside(x, mean)) * _beside(x, scale) + _beside(x, self.bias), state


def _beside(x: jax.Array, channels: jax.Array) -> jax.Array:
    return channels.reshape(-1, *(1,) * (x.ndim - 1))


class ChannelNorm(eqx.nn.LayerNorm):
    """Layer norm over the channels of each pixel; that of Equinox is over all that it is given."""

    def __call__(self, x: jax.Array) -> jax.Array:
        pixels = x.reshape(len(x), -1)
        return jax.vmap(super().__call__, in_axes=1, out_axes=1)(pixels).reshape(x.shape)


def group_norm(layer: Layer, groups: int, affine: bool = True) -> eqx.nn.GroupNorm:
    return eqx.nn.GroupNorm(groups, layer.out_channels, layer.settings.epsilon, affine)


def prelu(layer: Layer, dimensions: int, key: jax.Array) -> eqx.nn.PReLU:
    (slopes,) = layer.tensors[0].shape
    return eqx.nn.PReLU(jnp.full((slopes, *(1,) * dimensions), 0.25))


def pool(layer: Layer, dimensions: int, key: jax.Array) -> eqx.nn.Pool:
    name = {"max_pool": "MaxPool", "average_pool": "AvgPool"}[layer.kind]
    s = layer.settings
    return getattr(eqx.nn, f"{name}{dimensions}d")(s.kernel, s.stride, s.padding)


def activation(layer: Layer, dimensions: int, key: jax.Array) -> eqx.nn.Lambda:
    function, settings = ops.FUNCTIONS[layer.kind], layer.settings
    return eqx.nn.Lambda(lambda x: function(x, settings))


class Resampling(eqx.Module):
    """What Equinox has no layer for: a function of Tandem's engine, which takes (N, H, W, C)."""

    function: Callable[..., jax.Array] = eqx.field(static=True)

    def __call__(self, *maps: jax.Array) -> jax.Array:
        return jnp.moveaxis(self.function(*[jnp.moveaxis(x, 0, -1)[None] for x in maps])[0], -1, 0)


def resize(layer: Layer, dimensions: int, key: jax.Array) -> Resampling:
    return Resampling(lambda x, like=None: resampling.resize(x, like, layer.kind, layer.settings, NUMERICS))


class Function(eqx.Module):
    function: Callable[..., jax.Array] = eqx.field(static=True)

    def __call__(self, *maps: jax.Array) -> jax.Array:
        return self.function(*maps)


KINDS: dict[str, Builder] = {
    "conv": conv,
    "transposed_conv": transposed_conv,
    "batch_norm": lambda layer, dimensions, key: BatchNorm(layer),
    "group_norm": lambda layer, dimensions, key: group_norm(layer, layer.settings.groups),
    "instance_norm": lambda layer, dimensions, key: group_norm(layer, layer.out_channels, layer.settings.affine),
    "layer_norm": lambda layer, dimensions, key: ChannelNorm(layer.out_channels, layer.settings.epsilon),
    **dict.fromkeys(ops.FUNCTIONS, activation),
    "prelu": prelu,
    "dropout": lambda layer, dimensions, key: eqx.nn.Dropout(layer.settings.rate),
    "max_pool": pool,
    "average_pool": pool,
    "nearest": resize,
    "linear": resize,
    "pixel_shuffle": lambda layer, dimensions, key: Resampling(
        lambda x: resampling.pixel_shuffle(x, layer.settings.scale)
    ),
    "merge": lambda layer, dimensions, key: Resampling(lambda *maps: resampling.merge(maps, layer.settings, NUMERICS)),
    "sum": lambda layer, dimensions, key: Function(jnp.add),
    "multiply": lambda layer, dimensions, key: Function(jnp.multiply),
}
