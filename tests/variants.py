"""Small networks, one for each choice of the schema: what every backend must build alike."""

from __future__ import annotations

from typing import Any

from backends.conformance.networks import ATTENTION, BATCH_NORM, MAX_POOL, RESIDUAL, TRANSPOSED, UP_UNIT, VOLUME, built

STRIDED = [{"part": "encoder", "levels": [1], "conv": {"stride": 2}, "down": {"kind": "none"}}]
NO_NORM = {"norm": {"kind": "none"}, "block__order": ["conv", "activation"]}

__all__ = ["VARIANTS", "built", "to_size"]


def to_size(mismatch: str, **more: Any) -> dict[str, Any]:
    """Sizes that are odd at each level, made equal at the merge."""
    merge = {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": mismatch}
    return {"merge": merge | more, "size": (9, 7)}


VARIANTS: dict[str, dict[str, Any]] = {
    "as in the zoo": {"widths": [4, 8, 16], "size": (8, 12)},
    "four levels, widths of their own": {
        "widths": [4, 6, 6, 8],
        "middle_widths": [3, 5, 7, 9],
        "decoder_widths": [4, 2, 6],
        "decoder_middle_widths": [5, 3, 4],
        "size": (16, 24),
    },
    "3-D": VOLUME,
    # convolutions
    "crop": to_size("crop_skip", odd_difference="half_to_even")
    | {"conv__padding": 0, "widths": [4, 4, 4], "size": (44, 46)},
    "strides in the block": {"override": STRIDED},
    "stride by axis": {
        "override": [{"part": "encoder", "levels": [1], "conv": {"stride": (1, 2)}, "down": {"kind": "none"}}],
        "up__kernel": (2, 2),
        "merge": {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "resize_upsampled"}
        | {"resize": "linear"},
    },
    "dilation": {"conv__dilation": (2, 3), "conv__padding": (2, 3)},
    "reflect": {"conv__padding_mode": "reflect", "widths": [4, 8]},
    "replicate": {"conv__padding_mode": "replicate", "conv__kernel": 5, "conv__padding": 2},
    "circular": {"conv__padding_mode": "circular", "conv__kernel": (3, 5), "conv__padding": (1, 2)},
    "3-D, reflect": VOLUME | {"conv__padding_mode": "reflect", "size": (4, 4, 6)},
    "no biases": {"conv__bias": False, "up__bias": False, "head__bias": False},
    "wide kernels": {"conv__kernel": 5, "conv__padding": 2, "head__kernel": 3, "head__padding": 1},
    "kernel by axis": {"conv__kernel": (1, 5), "conv__padding": (0, 2)},
    "3-D, kernel, dilation and padding by axis": VOLUME
    | {"conv__kernel": (1, 3, 5), "conv__padding": (0, 1, 3), "conv__dilation": (1, 1, 2)}
    | {"merge": {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "crop_skip"}}
    | {"merge__odd_difference": "all_after", "size": (4, 6, 24)},
    # norms
    "no norm": NO_NORM,
    "norm last": {"block": {"convolutions": 1, "order": ["conv", "activation", "norm"]}},
    "norm first": {"block__order": ["norm", "activation", "conv"], "in_channels": 3},
    "group norm": {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-3}},
    "group norm, one group of few channels": {
        "norm": {"kind": "group", "groups": 4, "epsilon": 1e-3, "fewer_channels": "one_group"},
        "block__order": ["norm", "conv", "activation"],
    },
    "instance norm": {"norm": {"kind": "instance", "epsilon": 1e-3, "affine": False}},
    "affine instance norm": {"norm": {"kind": "instance", "epsilon": 1e-3, "affine": True}},
    "layer norm": {"norm": {"kind": "layer", "epsilon": 1e-3}},
    "3-D, group norm": VOLUME | {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-3}},
    "3-D, instance norm in front": VOLUME
    | {
        "norm": {"kind": "instance", "epsilon": 1e-3, "affine": True},
        "block__order": ["norm", "conv", "activation"],
    },
    "3-D, layer norm": VOLUME | {"norm": {"kind": "layer", "epsilon": 1e-3}},
    # activations and dropout
    "leaky relu": {"activation": {"kind": "leaky_relu", "slope": 0.2}},
    "prelu": {"activation": {"kind": "prelu", "slopes": "one"}},
    "prelu per channel": {"activation": {"kind": "prelu", "slopes": "per_channel"}},
    "3-D, prelu per channel": VOLUME | {"activation": {"kind": "prelu", "slopes": "per_channel"}},
    "elu": {"activation": {"kind": "elu", "alpha": 0.7}},
    "smooth elu": {"activation": {"kind": "elu", "alpha": 1.0}},
    "gelu": {"activation": {"kind": "gelu", "approximation": "none"}},
    "gelu by tanh": {"activation": {"kind": "gelu", "approximation": "tanh"}},
    "silu": {"activation": {"kind": "silu"}},
    "tanh": {"activation": {"kind": "tanh"}},
    "sigmoid": {"activation": {"kind": "sigmoid"}},
    "identity": {"activation": {"kind": "identity"}},
    "dropout": {"dropout": {"rate": 0.5}, "block__order": ["conv", "dropout", "norm", "activation"]},
    # down
    "overlapping pool": {"down__kernel": 3} | to_size("crop_skip", odd_difference="floor") | {"size": (11, 14)},
    "padded pool": {"down__kernel": 3, "down__padding": 1},
    "pool by axis": {
        "down": MAX_POOL | {"kernel": (2, 1), "stride": (2, 1)},
        "up__kernel": (2, 1),
        "up__stride": (2, 1),
    },
    "3-D, padded pool": VOLUME | {"down__kernel": 3, "down__padding": 1},
    "average pool": {"down": MAX_POOL | {"kind": "average_pool"}},
    "overlapping average pool": {"down": MAX_POOL | {"kind": "average_pool", "kernel": 3}}
    | to_size("pad_upsampled", odd_difference="floor", padding_mode="zeros"),
    "3-D, average pool": VOLUME | {"down": MAX_POOL | {"kind": "average_pool"}},
    "strided convolution": {
        "down": {"kind": "conv", "kernel": 3, "stride": 2, "padding": 1, "bias": True, "width": "same"}
    },
    "strided convolution to the next width": {
        "down": {"kind": "conv", "kernel": 2, "stride": 2, "padding": 0, "bias": False, "width": "next"}
    },
    # up
    "overlapping up": {"up__kernel": 4, "up__padding": 1},
    "output padding": {"up__kernel": 3, "up__padding": 1, "up__output_padding": 1},
    "output padding beyond the kernel": {"up__output_padding": 1, "up__kernel": 1, "up__padding": 0},
    "stride beyond the kernel": {"up__kernel": (1, 3), "up__padding": (0, 1), "up__output_padding": (1, 1)},
    "3-D, output padding": VOLUME | {"up__kernel": 3, "up__padding": 1, "up__output_padding": 1},
    "transposed to the decoder's width": {"up__width": "decoder", "decoder_widths": [3]},
    "nearest": {"up": {"kind": "nearest", "scale": 2}},
    "linear": {"up": {"kind": "linear", "scale": 2, "align_corners": False}},
    "linear, corners aligned": {"up": {"kind": "linear", "scale": 2, "align_corners": True}},
    "3-D, nearest": VOLUME | {"up": {"kind": "nearest", "scale": 2}},
    "3-D, linear": VOLUME | {"up": {"kind": "linear", "scale": 2, "align_corners": False}},
    "3-D, linear, corners aligned": VOLUME | {"up": {"kind": "linear", "scale": 2, "align_corners": True}},
    "nearest to the skip": {"up": {"kind": "nearest", "scale": "skip"}, "size": (9, 7)},
    "linear to the skip": {"up": {"kind": "linear", "scale": "skip", "align_corners": False}, "size": (9, 7)},
    "linear to the skip, corners aligned": {
        "up": {"kind": "linear", "scale": "skip", "align_corners": True},
        "size": (9, 7),
    },
    "unit before up": {"up": {"kind": "nearest", "scale": 2, "before": UP_UNIT}},
    "unit after up": {
        "up": {"kind": "linear", "scale": 2, "align_corners": False, "after": UP_UNIT | {"width": "skip"}}
    },
    "units around a transposed convolution": {"up": TRANSPOSED | {"before": UP_UNIT, "after": UP_UNIT}},
    "pixel shuffle": {"up": {"kind": "pixel_shuffle", "scale": 2, "before": UP_UNIT | {"width": "same"}}},
    "3-D, pixel shuffle": VOLUME | {"up": {"kind": "pixel_shuffle", "scale": 2}},
    "one resolution": {"down": {"kind": "none"}, "up": {"kind": "none", "after": UP_UNIT}, "size": (5, 6)},
    # merge
    "upsampled first": {"merge__order": ["upsampled", "skip"]},
    "sum": {"merge": {"kind": "sum", "size_mismatch": "error"}},
    "no skips": {"merge": {"kind": "none"}},
    "merge before up": to_size("crop_skip", odd_difference="floor", before_up=True) | {"size": (6, 8)},
    "pad": to_size("pad_upsampled", odd_difference="half_to_even", padding_mode="zeros"),
    "pad valid convolutions": to_size("pad_upsampled", odd_difference="floor", padding_mode="replicate")
    | {"conv__padding": 0, "size": (20, 22)},
    "pad after": to_size("pad_upsampled", odd_difference="all_after", padding_mode="reflect"),
    "resize, nearest": to_size("resize_upsampled", resize="nearest"),
    "resize, linear": to_size("resize_upsampled", resize="linear"),
    "resize, corners aligned": to_size("resize_upsampled", resize="linear_align_corners"),
    "3-D, pad": VOLUME | to_size("pad_upsampled", odd_difference="floor", padding_mode="reflect") | {"size": (5, 6, 7)},
    "3-D, resize": VOLUME | to_size("resize_upsampled", resize="linear") | {"size": (5, 6, 7)},
    # structures
    "residual, activation after the sum": {"residual": RESIDUAL},
    "residual, activation before the sum": {
        "residual": RESIDUAL | {"span": 1, "last_activation": "before_sum", "norm": False, "bias": False}
    },
    "residual, strided shortcut": {"residual": RESIDUAL | {"kernel": 3, "padding": 1}, "override": STRIDED},
    "residual, pooled shortcut": {"residual": RESIDUAL | {"stride_by": "average_pool"}, "override": STRIDED},
    "attention": {"attention": ATTENTION},
    "attention without norm": {"attention": ATTENTION | {"norm": {"kind": "none"}, "bias": False}},
    "3-D, attention": VOLUME | {"attention": ATTENTION},
    "deep supervision": {
        "widths": [4, 4, 8, 8],
        "deep_supervision": {"levels": [1, 2], "weights": [0.7, 0.5, 0.3]},
        "size": (8, 16),
    },
    "nested": {"nested": True, "widths": [4, 4, 8, 8], "size": (8, 16)},
    "nested, upsampled first": {
        "nested": True,
        "widths": [4, 4, 8],
        "size": (4, 12),
        "merge__order": ["upsampled", "skip"],
    },
    "nested sum, deep supervision": {
        "nested": True,
        "widths": [4, 4, 4],
        "size": (4, 12),
        "up__width": "same",
        "merge": {"kind": "sum", "size_mismatch": "crop_skip", "odd_difference": "floor"},
        "deep_supervision": {"levels": [1], "weights": [1.0, 0.5]},
    },
    "head with norm and activation": {
        "head": {"kernel": 1, "padding": 0, "bias": True, "norm": BATCH_NORM, "activation": {"kind": "tanh"}}
    },
    "no head": {"head": None, "out_channels": 4},
    "one logit for two classes": {"out_channels": 1},
}
