"""A U-Net in PyTorch and a port of it to Flax, both written by hand, as their owners would write them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor, nn
from torch.nn import functional as F


def unit(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class TorchUNet(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.enter, self.bottom = unit(1, width), unit(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join, self.out = unit(2 * width, width), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enter(x)
        x = self.up(self.bottom(F.max_pool2d(skip, 2)))
        return self.out(self.join(torch.cat([skip, x], 1)))


class BatchNorm(nnx.BatchNorm):
    """Keeps the unbiased variance, as PyTorch's does."""

    def __call__(self, x: jax.Array, **how: Any) -> jax.Array:
        before = self.var[...]
        y = super().__call__(x, **how)
        if not self.use_running_average:
            count = x.size // x.shape[-1]
            kept = self.momentum * before
            self.var[...] = kept + (self.var[...] - kept) * (count / (count - 1))
        return y


class Unit(nnx.Module):
    def __init__(self, before: int, after: int, rngs: nnx.Rngs, norm: Any, **settings: Any):
        self.conv = nnx.Conv(before, after, (3, 3), padding=1, rngs=rngs)
        settings = {"momentum": 0.9, "epsilon": 1e-5, "use_fast_variance": False} | settings
        self.norm = norm(after, rngs=rngs, **settings)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.conv(x)))


class RawUnit(nnx.Module):
    """Holds the tensors of its convolution itself, and computes more than that."""

    def __init__(self, *given: Any, **settings: Any):
        unit = Unit(*given, **settings)
        self.kernel, self.bias, self.norm = unit.conv.kernel, unit.conv.bias, unit.norm

    @property
    def conv(self) -> RawUnit:
        return self  # for whoever ports the weights

    def __call__(self, x: jax.Array) -> jax.Array:
        axes = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, self.kernel[...], (1, 1), "SAME", dimension_numbers=axes)
        return nnx.relu(self.norm(y + self.bias[...]))


class SplitUnit(Unit):
    """Adds the bias of its convolution itself."""

    def __init__(self, before: int, after: int, rngs: nnx.Rngs, norm: Any, **settings: Any):
        super().__init__(before, after, rngs, norm, **settings)
        self.conv = nnx.Conv(before, after, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.shift = nnx.Param(jnp.zeros(after))

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.conv(x) + self.shift[...]))


class FlaxUNet(nnx.Module):
    def __init__(self, width: int = 4, norm: Any = BatchNorm, first: Any = Unit, **settings: Any):
        rngs = nnx.Rngs(0)
        self.enter = first(1, width, rngs, norm, **settings)
        self.bottom = Unit(width, 2 * width, rngs, norm)
        self.up = nnx.ConvTranspose(2 * width, width, (2, 2), strides=(2, 2), transpose_kernel=True, rngs=rngs)
        self.join, self.out = Unit(2 * width, width, rngs, norm), nnx.Conv(width, 2, (1, 1), rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = self.enter(x)
        x = self.up(self.bottom(nnx.max_pool(skip, (2, 2), (2, 2))))
        return self.out(self.drop(self.join(jnp.concatenate([skip, x], -1))))


class ToldUnit(Unit):
    """As many publish them: the mode goes through every call, and is no state of the module."""

    def __call__(self, x: jax.Array, training: bool = True) -> jax.Array:
        self.norm.use_running_average = not training
        return nnx.relu(self.norm(self.conv(x)))


class ToldUNet(FlaxUNet):
    def __init__(self, **settings: Any):
        super().__init__(first=ToldUnit, **settings)

    def __call__(self, x: jax.Array, *, training: bool) -> jax.Array:
        skip = self.enter(x, training=training)
        x = self.up(self.bottom(nnx.max_pool(skip, (2, 2), (2, 2))))
        return self.out(self.drop(self.join(jnp.concatenate([skip, x], -1)), deterministic=not training))


def trained() -> TorchUNet:
    """With weights that have nothing constant."""
    torch.manual_seed(0)
    module = TorchUNet()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if "running_var" in name else 0.3 * torch.randn_like(tensor))
    return module


def ported(module: TorchUNet, make: Any = FlaxUNet, **settings: Any) -> FlaxUNet:
    """The port, with the weights of the original."""
    flax = make(**settings)
    for name in ("enter", "bottom", "join"):
        conv, norm, _ = getattr(module, name)
        unit = getattr(flax, name)
        put(unit.conv.kernel, conv.weight, (2, 3, 1, 0))
        put(unit.shift if isinstance(unit, SplitUnit) else unit.conv.bias, conv.bias)
        for theirs, ours in (("scale", norm.weight), ("bias", norm.bias), ("mean", norm.running_mean)):
            put(getattr(unit.norm, theirs), ours)
        put(unit.norm.var, norm.running_var)
    put(flax.up.kernel, module.up.weight, (2, 3, 1, 0))
    put(flax.up.bias, module.up.bias)
    put(flax.out.kernel, module.out.weight, (2, 3, 1, 0))
    put(flax.out.bias, module.out.bias)
    return flax


def put(variable: nnx.Variable, tensor: Tensor, axes: tuple[int, ...] | None = None) -> None:
    variable.set_value(jnp.asarray(np.transpose(tensor.detach().numpy(), axes).copy()))
