"""The small networks that a backend is held against: one for most steps, and a few that have every kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_specs import UNetSpec, load_spec
from shared_specs.shapes import output_shape

BATCH_NORM = {"kind": "batch", "epsilon": 1e-3, "momentum": 0.2, "running_variance": "biased"}
GROUP_NORM = {"kind": "group", "groups": 2, "epsilon": 1e-3}
INSTANCE_NORM = {"kind": "instance", "epsilon": 1e-3, "affine": True}
LAYER_NORM = {"kind": "layer", "epsilon": 1e-3}
MAX_POOL = {"kind": "max_pool", "kernel": 2, "stride": 2, "padding": 0, "rounding": "floor"}
UP_UNIT = {
    "kernel": 3,
    "padding": 1,
    "padding_mode": "zeros",
    "bias": True,
    "width": "half",
    "order": ["conv", "norm", "activation"],
    "norm": INSTANCE_NORM,
    "activation": {"kind": "silu"},
}
TRANSPOSED = {
    "kind": "transposed_conv",
    "kernel": 2,
    "stride": 2,
    "padding": 0,
    "output_padding": 0,
    "bias": True,
    "width": "half",
}
RESIDUAL = {
    "span": 2,
    "last_activation": "after_sum",
    "stride_by": "conv",
    "kernel": 1,
    "padding": 0,
    "bias": True,
    "norm": True,
}
ATTENTION = {"width": "half", "bias": True, "norm": BATCH_NORM}
VOLUME = {"dimensions": 3, "in_channels": 2, "out_channels": 3, "size": (2, 4, 6)}

PLAIN: dict[str, Any] = {"out_channels": 3}
"""Two levels with batch norm, and nothing that is rare."""

SMALLEST: dict[str, Any] = {"widths": [2], "block__convolutions": 1, "out_channels": 2, "size": (3, 4)}
"""One convolution with its norm, and the head: for what knows nothing of layers."""

NETWORKS: dict[str, dict[str, Any]] = {
    "norms and activations": {
        "widths": [4, 4, 4],
        "out_channels": 1,
        "block__convolutions": 1,
        "size": (8, 12),
        "norm": GROUP_NORM,
        "activation": {"kind": "leaky_relu", "slope": 0.2},
        "up": {
            "kind": "nearest",
            "scale": 2,
            "before": UP_UNIT | {"width": "same", "activation": {"kind": "gelu", "approximation": "none"}},
            "after": UP_UNIT | {"norm": LAYER_NORM},
        },
        "merge": {"kind": "concatenate", "order": ["upsampled", "skip"], "size_mismatch": "error"},
        "head": {"kernel": 3, "padding": 1, "bias": True, "norm": BATCH_NORM, "activation": {"kind": "identity"}},
        "override": [
            {"part": "encoder", "levels": [1], "norm": LAYER_NORM},
            {"part": "encoder", "levels": [1], "activation": {"kind": "prelu", "slopes": "per_channel"}},
            {"part": "encoder", "levels": [2], "norm": INSTANCE_NORM | {"affine": False}},
            {"part": "encoder", "levels": [2], "activation": {"kind": "gelu", "approximation": "tanh"}},
            {"part": "decoder", "levels": [0], "norm": BATCH_NORM, "activation": {"kind": "elu", "alpha": 0.7}},
            {"part": "decoder", "levels": [1], "activation": {"kind": "prelu", "slopes": "one"}},
        ],
    },
    "shortcuts, gates and deep heads": {
        "widths": [2, 4, 4],
        "size": (8, 12),
        "block__convolutions": 1,
        "residual": RESIDUAL | {"span": 1, "stride_by": "average_pool"},
        "block__order": ["conv", "dropout", "norm", "activation"],
        "dropout": {"rate": 0.5},
        "activation": {"kind": "tanh"},
        "attention": ATTENTION,
        "deep_supervision": {"levels": [1], "weights": [0.7, 0.3]},
        "up": {"kind": "linear", "scale": 2, "align_corners": False},
        "override": [
            {"part": "encoder", "levels": [1], "conv": {"stride": (2, 2)}, "down": {"kind": "none"}},
            {"part": "encoder", "levels": [2], "conv": {"padding_mode": "reflect"}},
            {"part": "decoder", "levels": [0], "up": {"kind": "pixel_shuffle", "scale": 2}},
        ],
    },
    "sizes that do not fit": {
        "widths": [2, 4, 4],
        "block__convolutions": 1,
        "size": (11, 9),
        "conv__bias": False,
        "conv__padding_mode": "circular",
        "activation": {"kind": "sigmoid"},
        "down": MAX_POOL | {"kind": "average_pool", "kernel": 3},
        "up": TRANSPOSED | {"kernel": 3, "padding": 1, "output_padding": 1, "width": "decoder"},
        "merge": {
            "kind": "concatenate",
            "order": ["skip", "upsampled"],
            "size_mismatch": "pad_upsampled",
            "odd_difference": "half_to_even",
            "padding_mode": "reflect",
        },
        "override": [
            {"part": "decoder", "levels": [1], "up": {"kind": "linear", "scale": "skip", "align_corners": True}},
        ],
    },
    "3-D, shuffled and resized": VOLUME
    | {
        "widths": [8, 8],
        "size": (5, 6, 7),
        "block__convolutions": 1,
        "conv__dilation": (1, 1, 2),
        "conv__padding": (1, 1, 2),
        "activation": {"kind": "prelu", "slopes": "per_channel"},
        "down__kernel": 3,
        "down__padding": 1,
        "up": {"kind": "pixel_shuffle", "scale": 2},
        "merge": {
            "kind": "concatenate",
            "order": ["skip", "upsampled"],
            "size_mismatch": "resize_upsampled",
            "resize": "linear",
        },
        "override": [{"part": "decoder", "norm": INSTANCE_NORM}],
    },
    "3-D, cropped": VOLUME
    | {
        "widths": [4, 4, 4],
        "size": (6, 5, 7),
        "block__convolutions": 1,
        "conv__kernel": (1, 3, 3),
        "conv__padding": (0, 1, 1),
        "conv__padding_mode": "replicate",
        "norm": LAYER_NORM,
        "activation": {"kind": "silu"},
        "down": MAX_POOL | {"kind": "average_pool"},
        "up": TRANSPOSED | {"width": "same"},
        "merge": {"kind": "sum", "size_mismatch": "crop_skip", "odd_difference": "floor"},
        "override": [
            {"part": "decoder", "levels": [1], "up": {"kind": "nearest", "scale": 2}, "norm": GROUP_NORM},
        ],
    },
}
"""By name, the changes to `unet_bn_same`: together they have every kind of layer, and its choices that differ most."""


def small_variant(**changes: Any) -> UNetSpec:
    """A network of three narrow levels like `unet_bn_same`, with some keys changed: `conv__kernel=5`."""
    values = load_spec("unet_bn_same").model_dump() | {"name": "variant", "widths": [4, 8, 16]}
    for key, value in changes.items():
        table, _, field = key.partition("__")
        values[table] = values[table] | {field: value} if field else value
    return UNetSpec.model_validate(values)


def built(changes: dict[str, Any]) -> tuple[UNetSpec, np.ndarray, np.ndarray]:
    """A variant's spec, of two levels unless it says otherwise, with random images and labels."""
    changes = {"widths": [4, 8], "size": (6, 8)} | changes
    spec = small_variant(**{key: value for key, value in changes.items() if key != "size"})
    random = np.random.default_rng(0)
    images = random.normal(size=(2, spec.in_channels, *changes["size"]))
    count, _, *size = output_shape(spec, images.shape)
    return spec, images, random.integers(0, spec.classes, (count, *size))
