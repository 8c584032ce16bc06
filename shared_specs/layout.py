"""What a spec means: its layers in order, their tensors, and every feature shape. No framework is needed."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ShapeError

if TYPE_CHECKING:
    from .schema import UNetSpec

Shape = tuple[int, int, int, int]
"""A batch of images or feature maps as (N, C, H, W)."""

LARGEST_INPUT = 2**20
"""The largest height or width, in pixels, that is tried when looking for one that fits."""

MOST_TRIES = 4096
"""How many sizes `smallest_input` tries before it says that none fits."""


@dataclass(frozen=True)
class Tensor:
    """A canonical tensor, in PyTorch's layout.

    Attributes:
        name: dotted canonical name, for instance `encoder.0.block.1.conv.weight`.
        leaf: what the tensor is, for instance `conv.weight`, `norm.running_var` or `up.bias`.
        shape: (out, in, kH, kW) for a convolution, (in, out, kH, kW) for a transposed one, else (channels,).
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
class Layer:
    """One named layer. Level 0 is full resolution; `stage` is "encoder", "decoder" or "head"."""

    name: str
    kind: str
    stage: str
    level: int
    in_channels: int
    out_channels: int
    tensors: tuple[Tensor, ...] = ()

    @property
    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(tensor.size for tensor in self.tensors if tensor.trainable)


def layers(spec: UNetSpec) -> Iterator[Layer]:
    """Every layer of the network in the order of execution."""
    channels = spec.in_channels
    for level, width in enumerate(spec.widths):
        if level:
            yield Layer(f"encoder.{level}.down", spec.down.kind, "encoder", level, channels, channels)
        yield from _block(spec, "encoder", level, channels, width)
        channels = width
    for level in reversed(range(spec.levels - 1)):
        upsampled = channels // 2 if spec.up.kind == "transposed_conv" else channels
        yield _up(spec, level, channels, upsampled)
        merged = spec.widths[level] + upsampled
        yield Layer(f"decoder.{level}.merge", "merge", "decoder", level, upsampled, merged)
        yield from _block(spec, "decoder", level, merged, spec.widths[level])
        channels = spec.widths[level]
    head = _weights("head", "head", (spec.out_channels, channels, spec.head.kernel, spec.head.kernel), spec.head.bias)
    yield Layer("head", "conv", "head", 0, channels, spec.out_channels, head)


def _block(spec: UNetSpec, stage: str, level: int, channels: int, width: int) -> Iterator[Layer]:
    for unit in range(spec.block.convolutions):
        for step in spec.block.order:
            name = f"{stage}.{level}.block.{unit}.{step}"
            if step == "conv":
                shape = (width, channels, spec.conv.kernel, spec.conv.kernel)
                tensors = _weights(name, "conv", shape, spec.conv.bias)
                yield Layer(name, "conv", stage, level, channels, width, tensors)
                channels = width
            elif step == "norm":
                kind = f"{spec.norm.kind}_norm"
                yield Layer(name, kind, stage, level, channels, channels, _norm(name, kind, channels))
            else:
                yield Layer(name, spec.activation.kind, stage, level, channels, channels)


def _up(spec: UNetSpec, level: int, channels: int, upsampled: int) -> Layer:
    name = f"decoder.{level}.up"
    tensors: tuple[Tensor, ...] = ()
    if spec.up.kind == "transposed_conv":
        shape = (channels, upsampled, spec.up.kernel, spec.up.kernel)
        tensors = _weights(name, "up", shape, spec.up.bias, out_channels=upsampled)
    return Layer(name, spec.up.kind, "decoder", level, channels, upsampled, tensors)


def _weights(
    name: str, leaf: str, shape: tuple[int, ...], bias: bool, out_channels: int | None = None
) -> tuple[Tensor, ...]:
    weight = Tensor(f"{name}.weight", f"{leaf}.weight", shape)
    if not bias:
        return (weight,)
    return (weight, Tensor(f"{name}.bias", f"{leaf}.bias", (out_channels or shape[0],)))


def _norm(name: str, kind: str, channels: int) -> tuple[Tensor, ...]:
    leaves = {"weight": True, "bias": True}
    if kind == "batch_norm":
        leaves |= {"running_mean": False, "running_var": False}
    return tuple(Tensor(f"{name}.{leaf}", f"norm.{leaf}", (channels,), train) for leaf, train in leaves.items())


def feature_shapes(spec: UNetSpec, images: Shape) -> dict[str, Shape]:
    """The shape (N, C, H, W) of every layer's output for a batch of images (N, C, H, W), in order.

    Raises:
        ShapeError: where the channels are not the spec's, the image is too small, or a skip and a decoder map
            do not fit; the message names the level and both sizes.
    """
    if len(images) != 4 or min(images) < 1:
        raise ShapeError(f"{spec.name}: got images of shape {tuple(images)}, expected (N, C, H, W), all positive")
    if images[1] != spec.in_channels:
        raise ShapeError(
            f"{spec.name}: got images with {images[1]} channels, expected {spec.in_channels}; "
            f"images are (N, C, H, W) and these are {tuple(images)}"
        )
    shapes: dict[str, Shape] = {}
    skips: dict[int, tuple[int, int]] = {}
    height, width = images[2:]
    for layer in spec.layers:
        if layer.kind == "merge":
            height, width = _merged(spec, layer.level, skips[layer.level], (height, width))
        else:
            height, width = _size(spec, layer, height), _size(spec, layer, width)
        if min(height, width) < 1:
            raise ShapeError(
                f"{spec.name}: images of {images[2]}x{images[3]} are too small: nothing is left after {layer.name} "
                f"(level {layer.level}, {height}x{width}); {_smallest_hint(spec)}"
            )
        shapes[layer.name] = (images[0], layer.out_channels, height, width)
        if layer.stage == "encoder":
            skips[layer.level] = (height, width)
    return shapes


def output_shape(spec: UNetSpec, images: Shape) -> Shape:
    """The shape (N, classes, H, W) of the logits. Raises ShapeError as `feature_shapes` does."""
    return feature_shapes(spec, images)["head"]


def _size(spec: UNetSpec, layer: Layer, size: int) -> int:
    """One spatial size after a layer; the formulas are those of torch.nn.Conv2d, MaxPool2d, ConvTranspose2d."""
    if layer.name == "head":
        return size + 2 * spec.head.padding - spec.head.kernel + 1
    match layer.kind:
        case "conv":
            return size + 2 * spec.conv.padding - spec.conv.kernel + 1
        case "max_pool":
            return (size - spec.down.kernel) // spec.down.stride + 1
        case "transposed_conv":
            assert spec.up.kind == "transposed_conv"
            return (size - 1) * spec.up.stride - 2 * spec.up.padding + spec.up.kernel
        case "bilinear":
            assert spec.up.kind == "bilinear"
            return size * spec.up.scale
        case _:
            return size


def _merged(spec: UNetSpec, level: int, skip: tuple[int, int], upsampled: tuple[int, int]) -> tuple[int, int]:
    sizes = f"the skip is {skip[0]}x{skip[1]} and the upsampled map {upsampled[0]}x{upsampled[1]}"
    if spec.merge.size_mismatch == "error":
        if skip != upsampled:
            raise ShapeError(f"{spec.name}: sizes differ at level {level}: {sizes}; take {_divisible_hint(spec)}")
        return skip
    if upsampled[0] > skip[0] or upsampled[1] > skip[1]:
        verb = "cropped" if spec.merge.size_mismatch == "crop_skip" else "padded"
        raise ShapeError(
            f"{spec.name}: sizes do not fit at level {level}: {sizes}, so it cannot be {verb} to fit; "
            "take another image size"
        )
    return upsampled if spec.merge.size_mismatch == "crop_skip" else skip


def _fits(spec: UNetSpec, size: int) -> bool:
    """Whether a square input of this size leaves something at every layer (merges that need equal sizes aside)."""
    sizes: dict[int, int] = {}
    for layer in spec.layers:
        if layer.kind == "merge":
            size = sizes[layer.level] if spec.merge.size_mismatch == "pad_upsampled" else size
        else:
            size = _size(spec, layer, size)
        if size < 1:
            return False
        if layer.stage == "encoder":
            sizes[layer.level] = size
    return True


def _smallest(spec: UNetSpec) -> int:
    """The smallest size that `_fits`, found by bisection: a larger input never leaves less."""
    return 1 + bisect.bisect_left(range(1, LARGEST_INPUT), True, key=lambda size: _fits(spec, size))


def _smallest_hint(spec: UNetSpec) -> str:
    smallest = _smallest(spec)
    if smallest == LARGEST_INPUT:
        return f"no input below {LARGEST_INPUT}x{LARGEST_INPUT} is large enough"
    return f"the smallest square input is {smallest}"


def _divisible_hint(spec: UNetSpec) -> str:
    """What sizes to take where skip and upsampled map must agree: divisible ones, if only down and up change sizes."""
    same = 2 * spec.conv.padding == spec.conv.kernel - 1 and spec.down.kernel == spec.down.stride
    if same and all(_size(spec, layer, 1) == spec.down.stride for layer in spec.layers if layer.name.endswith(".up")):
        return f"images whose height and width are divisible by {spec.down.stride ** (spec.levels - 1)}"
    return "another image size"


def smallest_input(spec: UNetSpec) -> int:
    """The smallest square input size that the network can take.

    Raises:
        ShapeError: where none up to a generous bound is accepted.
    """
    start = _smallest(spec)
    stop = start + MOST_TRIES
    for size in range(start, stop):
        try:
            feature_shapes(spec, (1, spec.in_channels, size, size))
        except ShapeError:
            continue
        return size
    raise ShapeError(
        f"{spec.name}: no square input between {start} and {stop - 1} pixels fits at every level; "
        "take fewer levels or more padding"
    )
