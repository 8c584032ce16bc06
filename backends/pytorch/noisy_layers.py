"""The layers under rounding noise that round more than once within, or sum, or decide: written out for their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from shared_specs.layout import Layer

from .rounding import Normalise, Rounding, applied

Treatment = Callable[..., Tensor]
"""Computes a layer from (module, layer, rounding, *inputs). Noise on its output and on the gradients that it gives to
its inputs is put there by the network."""


def any_kind(module: Any, layer: Layer, r: Rounding, *inputs: Tensor) -> Tensor:
    parameters = {name: r.gradient(parameter) for name, parameter in module.named_parameters()}
    return functional_call(module, parameters, inputs)


def convolution(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    """Plain or transposed: the bias is added to a product that was rounded."""
    weight, sizes = r.kernel(module.weight, x, layer.kind == "transposed_conv")
    tensors: dict[str, Any] = {"weight": weight, "bias": None}
    y = r.see(functional_call(module, tensors, (x,)), sizes)
    if module.bias is None:
        return y
    return r(y) + r.spread(by_channel(module.bias, y), y, in_one_row=True)


def by_channel(values: Tensor, x: Tensor) -> Tensor:
    """Values (C,) in the shape in which they broadcast over the map x (N, C, H, W)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def batch_norm(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    spec = layer.settings
    kept_mean, kept_variance = module.running_mean, module.running_var
    if not module.training:
        scale = r((kept_variance + spec.epsilon).rsqrt())
        return affine(module, r, r((x - by_channel(kept_mean, x)) * by_channel(scale, x)))
    normed, mean, variance = applied(Normalise, x, (0, *range(2, x.ndim)), spec.epsilon, r)
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        if spec.running_variance == "unbiased":
            variance = variance * (count / (count - 1))
        for kept, new in ((kept_mean, mean), (kept_variance, variance)):
            kept.copy_(r.noisy((1 - spec.momentum) * kept + spec.momentum * new.reshape(-1)))
    return affine(module, r, normed)


def group_norm(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    groups = layer.out_channels if layer.kind == "instance_norm" else layer.settings.groups
    normed = applied(Normalise, x.reshape(x.shape[0], groups, -1), (2,), layer.settings.epsilon, r)[0]
    return affine(module, r, normed.reshape(x.shape))


def layer_norm(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    return affine(module, r, applied(Normalise, x, (1,), layer.settings.epsilon, r)[0])


def affine(module: Any, r: Rounding, normed: Tensor) -> Tensor:
    if module.weight is None:
        return normed
    weight = r.gradient(r.spread(by_channel(module.weight, normed), normed))
    return weight * r.gradient(normed) + r.spread(by_channel(module.bias, normed), normed)


def relu(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    return torch.where(r.decide(x, torch.gt), x, 0.0)


def leaky_relu(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    return torch.where(r.decide(x, torch.gt), x, layer.settings.slope * x)


def prelu(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    slope = r.gradient(r.spread(by_channel(module.weight, x), x))
    return torch.where(r.decide(x, torch.gt), x, slope * x)


def elu(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    alpha = layer.settings.alpha
    if alpha == 1:  # the derivative has no jump at 0, and nothing is decided there
        return any_kind(module, layer, r, x)
    passes = r.decide(x, torch.gt)
    return torch.where(passes, x, alpha * r.gradient(r(torch.expm1(torch.where(passes, 0.0, x)))))


def max_pool(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    winners = r.decide(x, partial(winner, layer, x.detach()))
    return x.flatten(2).gather(2, winners.flatten(2)).reshape(winners.shape)


def winner(layer: Layer, values: Tensor, decided_on: Tensor, tie: Tensor) -> Tensor:
    """Where in the flattened map each window has its largest element, as `numpy_reference/resampling.py` has it."""
    pool = layer.settings
    take = F.max_pool2d if values.ndim == 4 else F.max_pool3d
    largest, first = take(decided_on, pool.kernel, pool.stride, pool.padding, return_indices=True)
    if not tie.any():
        return first
    margins = [margin for padding in reversed(pool.padding) for margin in (padding, padding)]
    padded, exact = (F.pad(each, margins, value=-torch.inf) for each in (values.abs(), decided_on))
    sides = values.shape[2:]
    numbers = F.pad(torch.arange(sides.numel(), device=values.device).reshape(1, 1, *sides), margins)
    found, farthest = first.clone(), torch.full_like(largest, -1.0)
    for tap in np.ndindex(*pool.kernel):
        by_axis = zip(tap, largest.shape[2:], pool.stride, strict=True)
        place = (..., *(slice(t, t + stride * (side - 1) + 1, stride) for t, side, stride in by_axis))
        near = (exact[place] >= largest - tie.abs()) & ((tie < 0) | (numbers[place] != first))
        near &= padded[place] > farthest
        found = torch.where(near, numbers[place], found)
        farthest = torch.where(near, padded[place], farthest)
    return found


def linear(module: Any, layer: Layer, r: Rounding, x: Tensor, like: Tensor | None = None) -> Tensor:
    scale = layer.settings.scale
    size = like.shape[2:] if like is not None else [s * f for s, f in zip(x.shape[2:], scale, strict=True)]
    return resize(x, size, layer.settings.align_corners, r)


def resize(x: Tensor, size: Sequence[int], align_corners: bool, r: Rounding) -> Tensor:
    """Linear interpolation as one matrix for each axis: frameworks round its positions, and so its weights."""
    for axis, after in enumerate(size, start=2):
        weights = interpolation(x.shape[axis], after, align_corners, r, x)
        x = r.gradient(r((x.movedim(axis, -1) @ weights.T).movedim(-1, axis)))
    return x


def interpolation(before: int, after: int, align_corners: bool, r: Rounding, like: Tensor) -> Tensor:
    """The matrix (after, before) of `numpy_reference/interpolation.py`."""
    out = torch.arange(after, device=like.device, dtype=like.dtype)
    ratio = (before - 1) / max(after - 1, 1) if align_corners else before / after
    scaled = out * ratio if align_corners else (out + 0.5) * ratio
    if np.frexp(ratio)[0] != 0.5:
        scaled = r.noisy(scaled)
    position = (scaled if align_corners else scaled - 0.5).clamp(0, before - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=before - 1)
    matrix, rows = torch.zeros(after, before, device=like.device, dtype=like.dtype), torch.arange(after)
    matrix[rows, lower] = 1 - (position - lower)
    matrix[rows, upper] += position - lower
    return matrix


def merge(module: Any, layer: Layer, r: Rounding, *maps: Tensor) -> Tensor:
    how = layer.settings
    if how.size_mismatch == "resize_upsampled" and how.resize != "nearest":
        *skips, upsampled = maps
        maps = (*skips, resize(upsampled, skips[0].shape[2:], how.resize == "linear_align_corners", r))
    return any_kind(module, layer, r, *maps)


def multiply(module: Any, layer: Layer, r: Rounding, x: Tensor, gate: Tensor) -> Tensor:
    return x * r.gradient(r.spread(gate, x))


TREATMENTS: dict[str, Treatment] = {
    "conv": convolution,
    "transposed_conv": convolution,
    "batch_norm": batch_norm,
    "instance_norm": group_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "elu": elu,
    "max_pool": max_pool,
    "linear": linear,
    "merge": merge,
    "multiply": multiply,
}
"""The kinds that need more than noise on what they give and on the gradients of what they take."""
