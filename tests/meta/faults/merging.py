"""Faults where maps are joined: skips, shortcuts, gates, deep heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared_specs.layout import Layer

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit
from .planting import Layers, Rewired, read, reordered, setting

MERGE, UP = "decoder.0.merge", "decoder.0.up"


def first_alone(kit: Kit, layer: Any, right: Any, x: Any, other: Any) -> Any:
    return x + 0 * right(x, other)  # computed all the same, so that a backward pass finds what it needs


def two_skips_swapped(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    def swapped(one: str, other: str, *rest: str) -> tuple[str, ...]:
        return (other, one, *rest)

    return tuple(replace(layer, inputs=swapped(*layer.inputs)) if layer.name == MERGE else layer for layer in layers)


FAULTS = [
    Fault("merge order swapped", setting(MERGE, order=("upsampled", "skip")), "activations", MERGE),
    Fault(
        "skip taken before the activation",
        setting(MERGE, inputs=("encoder.0.block.1.norm", UP)),
        "activations",
        MERGE,
    ),
    Fault(
        "skip taken after the first unit",
        setting(MERGE, inputs=("encoder.0.block.0.activation", UP)),
        "activations",
        MERGE,
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "skip taken one level off",
        setting("decoder.1.merge", inputs=("encoder.0.block.1.activation", "encoder.2.block.1.activation")),
        "activations",
        "decoder.1.merge",
        NUMPY + PYTORCH,
        network="one resolution, equal widths",
    ),
    Fault("skip left empty", read(MERGE, lambda kit, skip: 0 * skip), "activations", MERGE, backends=PYTORCH),
    Fault(
        "crop rounded down instead of half to even",
        setting(MERGE, odd_difference="floor"),
        "activations",
        MERGE,
        network="crop by three",
    ),
    Fault(
        "crop rounded up instead of half to even",
        setting(MERGE, margin=lambda difference: (difference + 1) // 2),
        "activations",
        MERGE,
        network="crop by one",
    ),
    Fault(
        "crop a row off",
        setting(MERGE, margin=lambda difference: difference // 2 - 1),
        "activations",
        MERGE,
        NUMPY + PYTORCH,
        network="crop",
    ),
    Fault(
        "pad before instead of after",
        setting(MERGE, odd_difference=None, margin=lambda difference: difference),
        "activations",
        MERGE,
        network="pad after",
    ),
    Fault(
        "zeros instead of a reflection",
        setting(MERGE, padding_mode="zeros"),
        "activations",
        MERGE,
        NUMPY + PYTORCH,
        network="pad after",
    ),
    Fault(
        "skip cropped where the decoder's map is padded",
        setting(MERGE, size_mismatch="crop_skip"),
        "structure",
        f"shape of {MERGE}",
        NUMPY + PYTORCH,
        network="pad",
        because="a map of another size is seen before its values are",
    ),
    Fault(
        "resized by nearest instead of linear",
        setting(MERGE, resize="nearest"),
        "activations",
        MERGE,
        NUMPY + PYTORCH,
        network="resize, linear",
    ),
    Fault(
        "resized with corners aligned",
        setting(MERGE, resize="linear_align_corners"),
        "activations",
        MERGE,
        FLAX,
        network="resize, linear",
    ),
    Fault(
        "mean instead of sum",
        Rewired(MERGE, lambda kit, layer, right, *maps: right(*maps) / 2),
        "activations",
        MERGE,
        NUMPY + PYTORCH,
        network="sum",
    ),
    Fault(
        "two skips of a nested decoder swapped",
        Layers(two_skips_swapped),
        "activations",
        MERGE,
        NUMPY + PYTORCH,
        network="nested",
    ),
    Fault(
        "shortcut forgotten",
        Rewired("encoder.0.block.1.sum", first_alone),
        "activations",
        "encoder.0.block.1.sum",
        PYTORCH + FLAX,
        network="residual, activation after the sum",
    ),
    Fault(
        "activation before the sum",
        reordered("encoder.0.block.1.sum", "encoder.0.block.1.activation"),
        "activations",
        "encoder.0.block.1.sum",
        NUMPY + PYTORCH,
        network="residual, activation after the sum",
        because="of the two layers the sum is the first in the order of the spec",
    ),
    Fault(
        "shortcut pooled by the maximum",
        setting("encoder.1.block.1.shortcut.pool", kind="max_pool"),
        "activations",
        "encoder.1.block.1.shortcut.pool",
        NUMPY + PYTORCH,
        network="residual, pooled shortcut",
    ),
    Fault(
        "gate of the attention forgotten",
        Rewired("decoder.0.attention.multiply", first_alone),
        "activations",
        "decoder.0.attention.multiply",
        network="attention",
    ),
    Fault(
        "gate by tanh",
        setting("decoder.0.attention.psi.activation", kind="tanh"),
        "activations",
        "decoder.0.attention.psi.activation",
        NUMPY,
        network="attention",
    ),
    Fault(
        "deep head on the map before the last activation",
        setting("deep_head.0", inputs=("decoder.1.block.1.norm",)),
        "activations",
        "deep_head.0",
        NUMPY + PYTORCH,
        network="deep supervision",
    ),
]
