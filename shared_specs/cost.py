"""What a network must compute and move at the least, from the spec alone.

FLOPs are those of the convolutions, plain and transposed, a multiply-add counting 2; biases, norms, activations,
pooling and interpolation are left out (well under 1% of any network of the zoo at full width). A backward pass
costs as much again for the gradient of the weights and as much again for that of the input, which a convolution
of the images, or of what is made of them without parameters, does not need. Heads of deep supervision run in training
alone, and all of their work counts as backward.

Bytes are the fewest that a perfectly fused program moves: each convolution reads its input and its weights once
and writes its output once; everything between two convolutions is fused with them and moves nothing of its own.
The backward pass reads the output's gradient, the input and the weights once each and writes both gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import layout, shapes

if TYPE_CHECKING:
    from .schema import UNetSpec


@dataclass(frozen=True)
class Cost:
    """FLOPs and bytes of one layer or of a sum of layers, for one batch."""

    forward_flops: int = 0
    backward_flops: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forward_flops + other.forward_flops,
            self.backward_flops + other.backward_flops,
            self.forward_bytes + other.forward_bytes,
            self.backward_bytes + other.backward_bytes,
        )

    def in_training_alone(self) -> Cost:
        """The same work where inference leaves it out: all of it counts as backward."""
        return Cost(0, self.forward_flops + self.backward_flops, 0, self.forward_bytes + self.backward_bytes)

    def of_phase(self, phase: str) -> tuple[int, int]:
        """(FLOPs, bytes) of a benchmark phase: "forward", or forward and backward for every other one."""
        if phase == "forward":
            return self.forward_flops, self.forward_bytes
        return self.forward_flops + self.backward_flops, self.forward_bytes + self.backward_bytes


def layer_costs(spec: UNetSpec, images: shapes.Shape, bytes_per_element: int = 4) -> dict[str, Cost]:
    """The cost of every layer, by canonical name, for images (N, C, H, W).

    Raises:
        ShapeError: where the network cannot take the images.
    """
    maps = {layout.IMAGES: images} | shapes.feature_shapes(spec, images)
    learned: set[str] = set()  # maps that depend on a parameter; the others need no gradient
    costs = {}
    for layer in spec.layers:
        costs[layer.name] = Cost()
        if layer.kind in ("conv", "transposed_conv"):
            before, after = maps[layer.inputs[0]], maps[layer.name]
            cost = _convolution(layer, before, after, layer.inputs[0] in learned, bytes_per_element)
            costs[layer.name] = cost.in_training_alone() if layer.is_deep else cost
        if layer.parameter_count or not learned.isdisjoint(layer.inputs):
            learned.add(layer.name)
    return costs


def _convolution(
    layer: layout.Layer, before: shapes.Shape, after: shapes.Shape, passes_gradient: bool, bytes_per_element: int
) -> Cost:
    weight = layer.tensors[0]
    # Every weight meets every output pixel of a convolution, and every input pixel of a transposed one.
    flops = 2 * weight.size * shapes.pixels(before if layer.kind == "transposed_conv" else after)
    inputs, outputs = math.prod(before), math.prod(after)
    return Cost(
        forward_flops=flops,
        backward_flops=2 * flops if passes_gradient else flops,
        forward_bytes=bytes_per_element * (inputs + weight.size + outputs),
        backward_bytes=bytes_per_element * (outputs + inputs + 2 * weight.size + (inputs if passes_gradient else 0)),
    )


def total_cost(spec: UNetSpec, images: shapes.Shape, bytes_per_element: int = 4) -> Cost:
    """The sum of `layer_costs`. Raises ShapeError as it does."""
    return sum(layer_costs(spec, images, bytes_per_element).values(), Cost())
