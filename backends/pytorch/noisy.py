"""The network in float64 under rounding noise: the source of the noise floor where NumPy would take hours.

Noise lies on every layer's output and on every gradient. What rounds more than once within a layer, or sums, or
decides is written out for its kind, as in `numpy_reference`; any other kind is PyTorch's own module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from shared_specs import Recipe, UNetSpec
from shared_specs.layout import IMAGES, Layer
from shared_specs.weights import Weights

from ..contract import Execution, RoundingNoise, StepResult
from .model import PyTorchModel
from .rounding import CrossEntropy, Normalise, Rounding
from .unet import Step, UNet
from .weights import native

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
    normed, mean, variance = Normalise.apply(x, (0, *range(2, x.ndim)), spec.epsilon, r)  # pyright: ignore[reportGeneralTypeIssues]
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        if spec.running_variance == "unbiased":
            variance = variance * (count / (count - 1))
        for kept, new in ((kept_mean, mean), (kept_variance, variance)):
            kept.copy_(r.noisy((1 - spec.momentum) * kept + spec.momentum * new.reshape(-1)))
    return affine(module, r, normed)


def group_norm(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    groups = layer.out_channels if layer.kind == "instance_norm" else layer.settings.groups
    normed = Normalise.apply(x.reshape(x.shape[0], groups, -1), (2,), layer.settings.epsilon, r)[0]
    return affine(module, r, normed.reshape(x.shape))


def layer_norm(module: Any, layer: Layer, r: Rounding, x: Tensor) -> Tensor:
    return affine(module, r, Normalise.apply(x, (1,), layer.settings.epsilon, r)[0])


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


class NoisyUNet(UNet):
    """The network with noise between its layers and within them."""

    def __init__(self, spec: UNetSpec, rounding: Rounding):
        super().__init__(spec)
        self.rounding = rounding
        self.layers = {layer.name: layer for layer in spec.layers}
        readers = [source for layer in spec.layers for source in layer.inputs]
        self.shared = {name for name in readers if readers.count(name) > 1}
        for module in self.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]

    def every_map(self, images: Tensor) -> dict[str, Tensor]:
        """The output of each layer, none of them dropped."""
        return self._run(images, [(*step, name, ()) for *step, name, _ in self._training])  # type: ignore[misc]

    def _run(self, images: Tensor, steps: list[Step]) -> dict[str, Tensor]:
        r = self.rounding
        maps = {IMAGES: r(images)}
        for parent, key, inputs, name, done_with in steps:
            layer = self.layers[name]
            taken = [r.gradient(maps[source]) for source in inputs]
            y = r(TREATMENTS.get(layer.kind, any_kind)(getattr(parent, key), layer, r, *taken))
            maps[name] = r.gradient(y) if name in self.shared else y  # its gradient is a sum
            for finished in done_with:
                del maps[finished]
        return maps


class NoisyModel(PyTorchModel):
    """The float64 model under rounding noise. Where decisions need it, an exact twin takes every step first."""

    def __init__(self, spec: UNetSpec, noise: RoundingNoise | None, recipe: Recipe, device: str = "cpu"):
        self.rounding, self.steps = Rounding(noise, torch.device(device)), 0
        self.twin = NoisyModel(spec, None, recipe, device) if noise and noise.decides_apart else None
        super().__init__(spec, Execution(device, "float64"), recipe)

    def _new_module(self, spec: UNetSpec) -> UNet:
        return NoisyUNet(spec, self.rounding)

    def load_weights(self, weights: Weights) -> None:
        super().load_weights(weights)
        self.steps = 0
        with torch.no_grad():
            for tensor in self.spec.tensors:
                held = native(self.module, tensor)
                held.copy_(self.rounding.noisy(held))
        self.optimizer.register_step_post_hook(self._round_what_moved)
        if self.twin is not None:
            self.twin.load_weights(weights)

    @torch.no_grad()
    def _round_what_moved(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        for state in optimizer.state.values():
            for slot, values in state.items():
                if isinstance(values, Tensor) and slot != "step":
                    values.copy_(self.rounding.noisy(values))
        for parameter in self.module.parameters():
            parameter.copy_(self.rounding.noisy(parameter))

    def _total(self, heads: tuple[Tensor, ...], targets: list[Tensor]) -> Tensor:
        total = heads[0].new_zeros(())
        for logits, labels, weight in zip(heads, targets, self.spec.loss_weights, strict=True):
            loss: Tensor = CrossEntropy.apply(logits, labels, self.rounding)  # type: ignore[assignment]
            total = self.rounding(total + weight * loss)
        return total

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        self._set_training(False)
        with self._settings(), torch.inference_mode():
            maps = self.module.every_map(self._on_device(images))  # type: ignore[operator]
        return {name: maps[name].cpu().numpy().copy() for name in self.module.layers}  # type: ignore[union-attr]

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        if self.twin is not None:
            twin = self.twin
            self._decide_as_twin(lambda: twin.loss_and_gradients(images, labels))
        return super().loss_and_gradients(images, labels)

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = super().train_step(images, labels)
        self.steps += 1
        if self.twin is not None:
            self.twin.optimizer.step()
        return result

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        step = super().program(phase, images, labels)
        if self.twin is None or phase == "forward":
            return step
        twin_step = self.twin.program(phase, images, labels)

        def after_twin() -> dict[str, Any]:
            self._decide_as_twin(twin_step)
            outputs = step()
            self.steps += phase == "train_step"
            return outputs

        return after_twin

    def _decide_as_twin(self, twin_step: Callable[[], Any]) -> None:
        """Run a step of the twin, and keep what it decided, or decided on where decisions are turned."""
        assert self.twin is not None and self.rounding.noise is not None
        if self.steps and self.rounding.noise.turned_once:
            self.rounding.exact_decisions = None
            return
        exact = self.twin.rounding
        exact.records_maps = self.rounding.noise.turned != 0
        self.rounding.exact_decisions = exact.decisions = deque()
        twin_step()
        exact.decisions = None
