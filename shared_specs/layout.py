"""The layers that a spec means, each with its name, its tensors and the maps that it reads. No framework is needed.

A backend needs one thing only: for each kind of layer, a module. `network.py` makes the layers from the spec.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

IMAGES = "images"
"""The name of the input, beside those of the layers."""

Axes = tuple[int, ...]
"""One number for each spatial axis: (height, width), or (depth, height, width)."""


@dataclass(frozen=True)
class Tensor:
    """A canonical tensor, in PyTorch's layout.

    Attributes:
        name: dotted canonical name, for instance `encoder.0.block.1.conv.weight`.
        leaf: what the tensor is, for instance `conv.weight`, `norm.running_var` or `up.bias`.
        shape: (out, in, kH, kW) for a convolution, (in, out, kH, kW) for a transposed one, else (channels,); in 3-D
            kernels are (kD, kH, kW).
        trainable: False for normalisation state.
    """

    name: str
    leaf: str
    shape: tuple[int, ...]
    trainable: bool = True

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Convolution:
    """A convolution, or a transposed one, with its numbers by axis."""

    kernel: Axes
    stride: Axes
    padding: Axes
    padding_mode: str
    dilation: Axes
    output_padding: Axes
    bias: bool


@dataclass(frozen=True)
class Pool:
    """A pooling window, by axis."""

    kernel: Axes
    stride: Axes
    padding: Axes


@dataclass(frozen=True)
class Resize:
    """Interpolation by a factor for each axis, or to the size of a second input where `scale` is None."""

    scale: Axes | None
    align_corners: bool = False


@dataclass(frozen=True)
class Layer:
    """One named layer. Level 0 is full resolution.

    Attributes:
        kind: what it computes; docs/specs.md lists the kinds.
        stage: "encoder", "decoder", "head" or "deep_head".
        inputs: the layers whose outputs it reads, in order; IMAGES is the network's input.
        settings: Convolution, Pool, Resize, or the spec's own table.
    """

    name: str
    kind: str
    stage: str
    level: int
    inputs: tuple[str, ...]
    in_channels: int
    out_channels: int
    settings: Any = None
    tensors: tuple[Tensor, ...] = ()

    @property
    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(tensor.size for tensor in self.tensors if tensor.trainable)

    @property
    def is_deep(self) -> bool:
        """Whether it serves deep supervision alone, and so training alone."""
        return self.stage == "deep_head"


def schedule(layers: Sequence[Layer], outputs: Iterable[str]) -> list[tuple[Layer, tuple[str, ...]]]:
    """Each layer with the maps that nothing needs after it, so that their memory can be used again."""
    kept = set(outputs)
    last_use: dict[str, int] = {}
    for number, layer in enumerate(layers):
        last_use |= dict.fromkeys((layer.name, *layer.inputs), number)
    done_with: list[list[str]] = [[] for _ in layers]
    for name, number in last_use.items():
        if name not in kept:
            done_with[number].append(name)
    return [(layer, tuple(done_with[number])) for number, layer in enumerate(layers)]
