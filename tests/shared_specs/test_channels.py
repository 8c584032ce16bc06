"""The order of another implementation's channels, where its merges have the skip and the upsampled map swapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import SpecError, UNetSpec
from shared_specs.channels import channel_orders

Changed = Callable[..., UNetSpec]

UPSAMPLED_FIRST, SKIP_FIRST = ("upsampled", "skip"), ("skip", "upsampled")
PLAIN = {"norm": {"kind": "none"}, "block.order": ["conv", "activation"], "block.convolutions": 1}
"""Two levels of 2 and 3 channels: the merge has the skip's 2, and 3 from below."""
TWO = PLAIN | {"widths": [2, 3], "up": {"kind": "nearest", "scale": 2}}
NO_BLOCK = {"part": "decoder", "block": {"convolutions": 0}}

MERGED = [3, 4, 0, 1, 2]
"""Of the skip's two channels and the three from below, where those from below come first on the other side."""

CASES: dict[str, tuple[dict[str, Any], tuple[str, ...] | None, dict[str, tuple[int, list[int]]]]] = {
    "as in the spec": (TWO, SKIP_FIRST, {}),
    "not given": (TWO, None, {}),
    "the convolution after the merge": (
        TWO,
        UPSAMPLED_FIRST,
        {"decoder.0.block.0.conv.weight": (1, MERGED)},
    ),
    "the spec has the upsampled map first": (
        TWO | {"merge.order": ["upsampled", "skip"]},
        SKIP_FIRST,
        {"decoder.0.block.0.conv.weight": (1, [2, 3, 4, 0, 1])},
    ),
    "slopes and norm on the way to the convolution, and no further": (
        TWO
        | {
            "block.order": ["norm", "activation", "conv"],
            "norm": {"kind": "instance", "epsilon": 1e-5, "affine": True},
            "activation": {"kind": "prelu", "slopes": "per_channel"},
        },
        UPSAMPLED_FIRST,
        {
            "decoder.0.block.0.norm.weight": (0, MERGED),
            "decoder.0.block.0.norm.bias": (0, MERGED),
            "decoder.0.block.0.activation.weight": (0, MERGED),
            "decoder.0.block.0.conv.weight": (1, MERGED),
        },
    ),
    "one slope for all channels": (
        TWO | {"block.order": ["activation", "conv"], "activation": {"kind": "prelu", "slopes": "one"}},
        UPSAMPLED_FIRST,
        {"decoder.0.block.0.conv.weight": (1, MERGED)},
    ),
    "the images are the skip": (
        TWO | {"widths": [3, 2], "override": [{"part": "encoder", "levels": [0], "block": {"convolutions": 0}}]},
        UPSAMPLED_FIRST,
        {"decoder.0.block.0.conv.weight": (1, [2, 3, 4, 0, 1])},
    ),
    "a head": (
        TWO | {"decoder_widths": [5], "override": [NO_BLOCK]},
        UPSAMPLED_FIRST,
        {"head.weight": (1, MERGED)},
    ),
    "a transposed convolution": (
        TWO
        | {
            "widths": [1, 2, 3],
            "decoder_widths": [1, 5],
            "override": [
                NO_BLOCK | {"levels": [1]},
                {
                    "part": "decoder",
                    "levels": [0],
                    "up": {"kind": "transposed_conv", "kernel": 2, "stride": 2, "padding": 0, "output_padding": 0,
                           "bias": True, "width": "decoder"},
                },
            ],
        },
        UPSAMPLED_FIRST,
        {"decoder.0.up.weight": (0, MERGED), "decoder.0.block.0.conv.weight": (1, [1, 0])},
    ),
    "a merge of what is merged": (
        TWO | {"widths": [1, 2, 3], "decoder_widths": [1, 5], "override": [NO_BLOCK | {"levels": [1]}]},
        UPSAMPLED_FIRST,
        {"decoder.0.block.0.conv.weight": (1, [5, *MERGED])},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "merge_order", "expected"), CASES.values(), ids=CASES)
def test_which_tensors_have_their_channels_in_another_order(
    changes: dict[str, Any],
    merge_order: tuple[str, ...] | None,
    expected: dict[str, tuple[int, list[int]]],
    changed_spec: Changed,
) -> None:
    found = channel_orders(changed_spec(changes), merge_order)
    assert {name: (axis, order.tolist()) for name, (axis, order) in found.items()} == expected


REFUSED = {
    "a norm over groups of channels": (
        TWO
        | {
            "widths": [2, 4],
            "block.order": ["norm", "conv", "activation"],
            "norm": {"kind": "group", "groups": 2, "epsilon": 1e-5},
            "in_channels": 2,
        },
        "decoder.0.block.0.norm is a group_norm of merged channels, which no order of weights makes up for",
    ),
    "classes": (
        TWO | {"decoder_widths": [5], "out_channels": 5, "head": None, "override": [NO_BLOCK]},
        "the logits, decoder.0.merge, are merged channels, and the classes would stand in another order",
    ),
}


@pytest.mark.parametrize(("changes", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_no_order_of_weights_makes_up_for_is_refused(
    changes: dict[str, Any], problem: str, changed_spec: Changed
) -> None:
    spec = changed_spec(changes)
    assert channel_orders(spec, SKIP_FIRST) == {}
    with pytest.raises(SpecError) as error:
        channel_orders(spec, UPSAMPLED_FIRST)
    assert str(error.value) == f"unet_bn_same: checkpoint.merge_order: {problem}; give the merge the original's order"
