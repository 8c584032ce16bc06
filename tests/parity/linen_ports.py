"""The port of `ports.TorchUNet` to Flax Linen, as its owner would write it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from torch import Tensor

from tests.parity.ports import TorchUNet


class BatchNorm(nn.BatchNorm):
    """Keeps the unbiased variance, as PyTorch's does."""

    def __call__(self, x: jax.Array, use_running_average: bool | None = None, **how: Any) -> jax.Array:
        before = self.variables.get("batch_stats", {}).get("var")
        y = super().__call__(x, use_running_average, **how)
        if before is not None and not use_running_average:
            count = x.size // x.shape[-1]
            kept = self.momentum * before
            after = kept + (self.get_variable("batch_stats", "var") - kept) * (count / (count - 1))
            self.put_variable("batch_stats", "var", after)
        return y


class Unit(nn.Module):
    """As published ones have it: a dtype for all layers, and the mode as an argument.

    Attributes:
        frozen_norm: forgets that the norm has a mode.
    """

    features: int
    norm: Any = BatchNorm
    settings: Any = None
    dtype: Any = None
    frozen_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name="conv")(x)
        settings = {"momentum": 0.9, "epsilon": 1e-5, "use_fast_variance": False} | dict(self.settings or {})
        norm = self.norm(dtype=self.dtype, name="norm", **settings)
        return nn.relu(norm(x, use_running_average=self.frozen_norm or not train))


class Reused(Unit):
    """Runs its convolution once more, for a map that nobody reads."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        conv = nn.Conv(self.features, (3, 3), padding=1, name="conv")
        conv(0 * x)
        settings = {"momentum": 0.9, "epsilon": 1e-5, "use_fast_variance": False}
        return nn.relu(self.norm(name="norm", **settings)(conv(x), use_running_average=not train))


class LinenUNet(nn.Module):
    width: int = 4
    first: Any = Unit
    others: Any = Unit
    norm: Any = BatchNorm
    settings: Any = None
    dtype: Any = None
    frozen_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        width, of_all = self.width, {"norm": self.norm, "dtype": self.dtype}
        enter = self.first(width, settings=self.settings, frozen_norm=self.frozen_norm, name="enter", **of_all)
        skip = enter(x, train)
        x = self.others(2 * width, name="bottom", **of_all)(nn.max_pool(skip, (2, 2), (2, 2)), train)
        x = nn.ConvTranspose(width, (2, 2), (2, 2), transpose_kernel=True, dtype=self.dtype, name="up")(x)
        x = self.others(width, name="join", **of_all)(jnp.concatenate([skip, x], -1), train)
        x = nn.Dropout(0.5)(x, deterministic=not train)
        return nn.Conv(2, (1, 1), dtype=self.dtype, name="out")(x)


class ModeAsField(nn.Module):
    """As some have it: the mode belongs to the module."""

    deterministic: bool = True

    def setup(self) -> None:
        self.unet = LinenUNet()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.unet(x, not self.deterministic)


class ModeUnderAnotherName(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, learning: bool = False) -> jax.Array:
        return LinenUNet(name="unet")(x, learning)


class ModeByMutability(nn.Module):
    """As some have it: it trains where its statistics may change."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        return LinenUNet(name="unet")(x, self.is_mutable_collection("batch_stats"))


class WithSigmoid(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.sigmoid(LinenUNet(name="unet")(x, train))


class ChannelsFirst(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return jnp.moveaxis(LinenUNet(name="unet")(jnp.moveaxis(x, 1, -1), train), -1, 1)


class TakesTime(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, train: bool = False) -> jax.Array:
        return LinenUNet(name="unet")(x + time, train)


class DeafUNet(LinenUNet):
    """Does not pass its mode on."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return super().__call__(x, True)


class FixedDtype(LinenUNet):
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return super().__call__(x, train).astype("float32")


class Fails(LinenUNet):
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        raise ValueError("not today")


def variables_of(module: TorchUNet) -> dict[str, Any]:
    """The weights of the original in the collections of the port."""
    parameters: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for name in ("enter", "bottom", "join"):
        conv, norm, _ = getattr(module, name)
        parameters[name] = {
            "conv": {"kernel": laid_out(conv.weight, (2, 3, 1, 0)), "bias": laid_out(conv.bias)},
            "norm": {"scale": laid_out(norm.weight), "bias": laid_out(norm.bias)},
        }
        statistics[name] = {"norm": {"mean": laid_out(norm.running_mean), "var": laid_out(norm.running_var)}}
    for name in ("up", "out"):
        layer = getattr(module, name)
        parameters[name] = {"kernel": laid_out(layer.weight, (2, 3, 1, 0)), "bias": laid_out(layer.bias)}
    return {"params": parameters, "batch_stats": statistics}


def laid_out(tensor: Tensor, axes: tuple[int, ...] | None = None) -> jax.Array:
    return jnp.asarray(np.transpose(tensor.detach().numpy(), axes).copy())


def ported(module: TorchUNet, make: Any = LinenUNet, **settings: Any) -> nn.Module:
    """The port, bound to the weights of the original."""
    return make(**settings).bind(variables_of(module))


def ported_within(module: TorchUNet, make: Any) -> nn.Module:
    """A module that has the port as its `unet`."""
    held = {name: {"unet": tree} for name, tree in variables_of(module).items()}
    return make().bind(held)
