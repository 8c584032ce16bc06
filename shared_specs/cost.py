"""What a network must compute and move at the least, from the spec alone.

FLOPs are those of the convolutions, plain and transposed, a multiply-add counting 2; biases, norms, activations,
pooling and interpolation are left out (well under 1% of any network of the zoo at full width). A backward pass
costs as much again for the gradient of the weights and as much again for that of the input, which the first
convolution does not need.

Bytes are the fewest that a perfectly fused program moves: each convolution reads its input and its weights once
and writes its output once; everything between two convolutions is fused with them and moves nothing of its own.
The backward pass reads the output's gradient, the input and the weights once each and writes both gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import layout

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

    def of_phase(self, phase: str) -> tuple[int, int]:
        """(FLOPs, bytes) of a benchmark phase: "forward", or forward and backward for every other one."""
        if phase == "forward":
            return self.forward_flops, self.forward_bytes
        return self.forward_flops + self.backward_flops, self.forward_bytes + self.backward_bytes


def layer_costs(spec: UNetSpec, images: layout.Shape, bytes_per_element: int = 4) -> dict[str, Cost]:
    """The cost of every layer, by canonical name, for images (N, C, H, W).

    Raises:
        ShapeError: where the network cannot take the images.
    """
    shapes = layout.feature_shapes(spec, images)
    costs: dict[str, Cost] = {}
    before = images
    # The images need no gradient, and so the first layer does not compute one, if it is a convolution.
    first = spec.layers[0].name
    for layer in spec.layers:
        after = shapes[layer.name]
        is_convolution = layer.kind in ("conv", "transposed_conv")
        costs[layer.name] = _convolution(layer, before, after, bytes_per_element, first) if is_convolution else Cost()
        before = after
    return costs


def _convolution(
    layer: layout.Layer, before: layout.Shape, after: layout.Shape, bytes_per_element: int, first: str
) -> Cost:
    weight = layer.tensors[0]
    # Every weight meets every output pixel of a convolution, and every input pixel of a transposed one.
    pixels = before if layer.kind == "transposed_conv" else after
    flops = 2 * weight.size * pixels[0] * pixels[2] * pixels[3]
    inputs, outputs = math.prod(before), math.prod(after)
    takes_images = layer.name == first
    return Cost(
        forward_flops=flops,
        backward_flops=flops if takes_images else 2 * flops,
        forward_bytes=bytes_per_element * (inputs + weight.size + outputs),
        backward_bytes=bytes_per_element * (outputs + inputs + 2 * weight.size + (0 if takes_images else inputs)),
    )


def total_cost(spec: UNetSpec, images: layout.Shape, bytes_per_element: int = 4) -> Cost:
    """The sum of `layer_costs`. Raises ShapeError as it does."""
    return sum(layer_costs(spec, images, bytes_per_element).values(), Cost())
