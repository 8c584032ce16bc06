"""What rounding does to a computation, imitated in float64 as `numpy_reference/rounding.py` does, through autograd."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..contract import TIE_WIDTH, UNIT_ROUNDOFF, RoundingNoise

Axes = tuple[int, ...]

Decide = Callable[[Tensor, Tensor], Tensor]
"""Makes a decision about a map, given how far from a tie it is made the other way; (1, C, 1, 1), signed by the side."""


POOL = 2**20
"""Normal numbers that a long run draws once, as in `numpy_reference/rounding.py`."""


@dataclass
class Sizes:
    """The mean squares, by channel, of a convolution's input and of its output's gradient, and their pixels.

    The second becomes known on the way back, before the gradient of the weight.
    """

    input: Tensor | None = None
    input_pixels: int = 0
    output: Tensor | None = None
    output_pixels: int = 0
    is_transposed: bool = False


def mean_square(x: Tensor) -> Tensor:
    """By channel."""
    axes = (0, *range(2, x.ndim))
    return torch.linalg.vector_norm(x, dim=axes).square() / (x.numel() / x.shape[1])


class Rounding:
    """Multiplies what passes through it by (1 + u xi), xi standard normal. Without noise it does nothing.

    Called on a map, it puts noise on the map alone; `gradient` puts noise on the gradient that flows back through it.
    """

    def __init__(self, noise: RoundingNoise | None, device: torch.device):
        self.noise = noise
        self._random = torch.Generator(device)
        self._pool: Tensor | None = None
        if noise is not None:
            self._random.manual_seed(noise.seed)
            if noise.long_run:
                self._pool = torch.randn(POOL, generator=self._random, device=device)
        self.decisions: deque[Tensor] | None = None  # where they are recorded: maps that were decided on, or decisions
        self.records_maps = False
        self.exact_decisions: deque[Tensor] | None = None  # the same of a run without noise

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.noise is None else applied(_Forward, x, self)

    def gradient(self, x: Tensor) -> Tensor:
        return x if self.noise is None else applied(_Backward, x, self)

    def noisy(self, x: Tensor) -> Tensor:
        """The map with noise, outside autograd."""
        if self.noise is None:
            return x
        factor = self._normal(x).to(x.dtype)  # drawn in float32, as in NumPy
        return factor.mul_(self.noise.unit_roundoff).add_(1.0).mul_(x)

    def _normal(self, x: Tensor) -> Tensor:
        if self._pool is not None and x.numel() <= POOL // 2:  # from another random place on each time
            start = int(torch.randint(POOL - x.numel(), (), generator=self._random, device=x.device))
            return self._pool[start : start + x.numel()].clone().reshape(x.shape)
        return torch.randn(x.shape, generator=self._random, device=x.device, dtype=torch.float32)

    def sum(self, x: Tensor, axes: Axes, in_one_row: bool = False) -> Tensor:
        """The sum over these axes, which stay, with the noise of adding n elements up, outside autograd.

        `numpy_reference/rounding.py` says where the two forms come from.
        """
        total = x.sum(axes, keepdim=True)
        if self.noise is None:
            return total
        n = x.numel() / max(total.numel(), 1)
        square = torch.linalg.vector_norm(x, dim=axes, keepdim=True).square() / n  # keeps no squared map
        if in_one_row or self.noise.unit_roundoff <= UNIT_ROUNDOFF["float64"]:
            mean_square = (total / n).square()
            size = (n**3 / 3 * mean_square + n**2 / 2 * (square - mean_square).clamp(min=0)).sqrt()
        else:
            size = square.sqrt() * n**0.75
        accumulator = min(self.noise.unit_roundoff, UNIT_ROUNDOFF["float32"])
        return self.noisy(total) + accumulator * self._normal(total) * size

    def mean(self, x: Tensor, axes: Axes) -> Tensor:
        """The mean over these axes, with the noise of its sum."""
        total = self.sum(x, axes)
        return total / (x.numel() / max(total.numel(), 1))

    def kernel(self, weight: Tensor, x: Tensor, is_transposed: bool) -> tuple[Tensor, Sizes]:
        """The weight of a convolution of x, its gradient being a sum over pixels, and what must `see` the output."""
        if self.noise is None or not torch.is_grad_enabled():
            return weight, Sizes()
        sizes = Sizes(mean_square(x.detach()), x.numel() // x.shape[1], is_transposed=is_transposed)
        return applied(_Kernel, weight, sizes, self), sizes

    def see(self, y: Tensor, sizes: Sizes) -> Tensor:
        return y if self.noise is None else applied(_See, y, sizes)

    def sum_of_products(self, total: Tensor, sizes: Sizes) -> Tensor:
        """The gradient of a convolution's weight, with the noise of adding it up, outside autograd.

        `numpy_reference/rounding.py` says how much that is. The first axis of a plain convolution's weight is the
        output's, of a transposed one's the input's.
        """
        assert self.noise is not None
        one, other, terms = sizes.output, sizes.input, sizes.output_pixels
        if sizes.is_transposed:
            one, other, terms = sizes.input, sizes.output, sizes.input_pixels
        assert one is not None and other is not None
        size = torch.outer(one, other).sqrt().reshape(*total.shape[:2], *(1,) * (total.ndim - 2))
        accumulator = min(self.noise.unit_roundoff, UNIT_ROUNDOFF["float32"])
        return self.noisy(total) + accumulator * self._normal(total) * size * terms**0.75

    def spread(self, values: Tensor, like: Tensor, in_one_row: bool = False) -> Tensor:
        """Values repeated along the axes where they have one element and a map has more; their gradient is a sum."""
        return applied(_Spread, values, like.shape, self, in_one_row)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return applied(CrossEntropy, logits, labels, self)

    def decide(self, x: Tensor, decide: Decide) -> Tensor:
        """A decision about the map x, made on the values of the run without noise where there was one.

        One that is turned is made the other way as far from a tie as the noise has moved the map's channel so far.
        """
        x = x.detach()
        if self.noise is None or not self.exact_decisions:
            decision = decide(x, x.new_zeros(()))
            if self.decisions is not None:
                self.decisions.append(x if self.records_maps else decision)
            return decision
        exact = self.exact_decisions.popleft()
        if self.noise.turned == 0:
            return exact
        axes = (0, *range(2, x.ndim))
        error = torch.linalg.vector_norm(x - exact, dim=axes, keepdim=True) / (x.numel() / x.shape[1]) ** 0.5
        return decide(exact, self.noise.turned * TIE_WIDTH * error)


def applied(function: type[Function], *inputs: Any) -> Any:
    """Of `apply` PyTorch's types say nothing."""
    return function.apply(*inputs)


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: Rounding) -> Tensor:
        return rounding.noisy(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Backward(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: Rounding) -> Tensor:
        ctx.rounding = rounding
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.rounding.noisy(gradients[0]), None


class _Kernel(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, sizes: Sizes, rounding: Rounding) -> Tensor:
        ctx.sizes, ctx.rounding = sizes, rounding
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rounding.sum_of_products(gradients[0], ctx.sizes), None, None


class _See(Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, sizes: Sizes) -> Tensor:
        ctx.sizes = sizes
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (dy,) = gradients
        ctx.sizes.output, ctx.sizes.output_pixels = mean_square(dy), dy.numel() // dy.shape[1]
        return dy, None


class _Spread(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, shape: Sequence[int], rounding: Rounding, in_one_row: bool) -> Tensor:
        ctx.rounding, ctx.in_one_row = rounding, in_one_row
        sides = zip(values.shape, shape, strict=True)
        ctx.axes = tuple(axis for axis, (few, many) in enumerate(sides) if few != many)
        return values.expand(*shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        dy = gradients[0]
        return ctx.rounding.sum(dy, ctx.axes, ctx.in_one_row) if ctx.axes else dy, None, None, None


class Normalise(Function):
    """(x - mean) / sqrt(variance + epsilon), with mean and biased variance of the map over some axes; gives all three.

    Written out, since what rounds in it is smaller than the map in places and larger in others.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: Axes, epsilon: float, rounding: Rounding) -> tuple[Tensor, Tensor, Tensor]:
        r = rounding
        mean = r.mean(x, axes)
        variance = r.mean(r.noisy(x - mean).square_(), axes)
        scale = r.noisy((variance + epsilon).rsqrt())
        normed = r.noisy((x - mean) * scale)
        ctx.save_for_backward(normed, scale)
        ctx.mark_non_differentiable(mean, variance)
        ctx.axes, ctx.rounding = axes, rounding
        return normed, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Mean and variance depend on the input too."""
        normed, scale = ctx.saved_tensors
        r, d = ctx.rounding, gradients[0]
        along = r.mean(r.noisy(d * normed), ctx.axes)
        return scale * (d - r.mean(d, ctx.axes) - normed * along), None, None, None


class CrossEntropy(Function):
    """The mean over batch and pixels of -log softmax(logits)[label]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, rounding: Rounding) -> Tensor:
        r, at = rounding, labels[:, None]
        shifted = r.noisy(logits - logits.amax(1, keepdim=True))
        exponentials = r.noisy(shifted.exp())
        total = r.sum(exponentials, (1,))
        chosen = r.noisy(shifted - total.log()).gather(1, at)
        gradient = r.noisy(exponentials / total)
        gradient.scatter_add_(1, at, torch.full_like(chosen, -1.0))
        ctx.save_for_backward(r.noisy(gradient / labels.numel()))
        ctx.rounding = rounding
        return -r.mean(chosen, tuple(range(chosen.ndim))).reshape(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return ctx.rounding.noisy(gradients[0] * gradient), None, None
