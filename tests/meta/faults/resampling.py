"""Faults in pooling and upsampling."""

from __future__ import annotations

from typing import Any

from einops import rearrange

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit
from .planting import Altered, Rewired, read, setting

DOWN, UP = "encoder.1.down", "decoder.0.up"


def shuffled(pattern: str, channels_last: str) -> Rewired:
    def wrong(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
        return rearrange(x, pattern if kit.channels == 1 else channels_last, i=2, j=2)

    return Rewired(UP, wrong)


def round_up(model: Any) -> None:
    model.module.get_submodule(DOWN).ceil_mode = True


def pad_with_zeros(model: Any) -> None:
    import torch.nn.functional as F

    model.module.get_submodule(DOWN).forward = lambda x: F.max_pool2d(F.pad(x, [1, 1, 1, 1]), 3, 2)


def nearest_centre(model: Any) -> None:
    import torch.nn.functional as F

    model.module.get_submodule(UP).forward = lambda x, like: F.interpolate(x, like.shape[2:], mode="nearest-exact")


def nearest_centre_flax(kit: Kit, layer: Any, right: Any, x: Any, like: Any) -> Any:
    import jax

    return jax.image.resize(x, (*like.shape[:3], x.shape[3]), "nearest")


FAULTS = [
    Fault("mean of each window instead of its maximum", setting(DOWN, kind="average_pool"), "activations", DOWN),
    Fault(
        "maximum of each window instead of its mean",
        setting(DOWN, kind="max_pool"),
        "activations",
        DOWN,
        network="average pool",
    ),
    Fault("windows a row off", read(DOWN, lambda kit, x: kit.shifted(x)), "activations", DOWN),
    Fault(
        "window of 2 without padding instead of 3 with it",
        setting(DOWN, kernel=(2, 2), padding=(0, 0)),
        "activations",
        DOWN,
        network="padded pool",
    ),
    Fault(
        "zeros around a maximum pooling",
        Altered({"pytorch": pad_with_zeros}),
        "activations",
        DOWN,
        PYTORCH,
        network="padded pool of negative values",
    ),
    Fault(
        "number of windows rounded up",
        Altered({"pytorch": round_up}),
        "structure",
        f"shape of {DOWN}",
        PYTORCH,
        network="overlapping pool",
        because="a map of another size is seen before its values are",
    ),
    Fault("linear for nearest", setting(UP, kind="linear"), "activations", UP, network="nearest"),
    Fault("corners aligned", setting(UP, align_corners=True), "activations", UP, network="linear"),
    Fault(
        "corners not aligned",
        setting(UP, align_corners=False),
        "activations",
        UP,
        network="linear, corners aligned",
    ),
    Fault(
        "corners aligned in 3-D",
        setting(UP, align_corners=True),
        "activations",
        UP,
        NUMPY + PYTORCH,
        network="3-D, linear",
    ),
    Fault(
        "nearest by half-pixel centres",
        Altered({"pytorch": nearest_centre}),
        "activations",
        UP,
        PYTORCH,
        network="nearest to the skip",
    ),
    Fault(
        "nearest by half-pixel centres, as jax.image.resize",
        Rewired(UP, nearest_centre_flax),
        "activations",
        UP,
        FLAX,
        network="nearest to the skip",
    ),
    Fault(
        "channels of a pixel shuffle in TensorFlow's order",
        shuffled("n (i j c) h w -> n c (h i) (w j)", "n h w (i j c) -> n (h i) (w j) c"),
        "activations",
        UP,
        network="pixel shuffle",
    ),
    Fault(
        "rows and columns of a pixel shuffle swapped",
        shuffled("n (c j i) h w -> n c (h i) (w j)", "n h w (c j i) -> n (h i) (w j) c"),
        "activations",
        UP,
        NUMPY,
        network="pixel shuffle",
    ),
]
