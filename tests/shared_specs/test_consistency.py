"""Every rule on keys that must agree refuses what breaks it, in words that name the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import SpecError, UNetSpec

SMALL = {"widths": [4, 8, 8]}
RESIDUAL = {
    "span": 2,
    "last_activation": "after_sum",
    "stride_by": "conv",
    "kernel": 1,
    "padding": 0,
    "bias": False,
    "norm": True,
}
ATTENTION = {"width": "half", "bias": True, "norm": {"kind": "none"}}
UNIT = {
    "kernel": 1,
    "padding": 0,
    "padding_mode": "zeros",
    "bias": True,
    "width": "same",
    "order": ["conv", "activation"],
    "norm": {"kind": "none"},
    "activation": {"kind": "relu"},
}
NO_LAYER = {
    "widths": [3],
    "out_channels": 3,
    "block.convolutions": 0,
    "head": None,
}

RULES: list[tuple[dict[str, Any], str]] = [
    ({"dropout": {"rate": 0.5}}, "block.order: got ['conv', 'norm', 'activation'], expected each of activation, conv, "
     "dropout, norm once as norm.kind is 'batch' and there is a dropout"),
    ({"block.order": ["conv", "norm", "activation", "dropout"]}, "block.order: got ['conv', 'norm', 'activation', "
     "'dropout'], expected each of activation, conv, norm once as norm.kind is 'batch'"),
    ({"middle_widths": [4]}, "middle_widths: got 1 widths, expected 3, one for each level of the encoder"),
    ({"decoder_widths": [4, 8, 8]}, "decoder_widths: got 3 widths, expected 2, one for each level of the decoder"),
    ({"decoder_middle_widths": []}, "decoder_middle_widths: got 0 widths, expected 2, one for each level of the "
     "decoder"),
    ({"conv.stride": [1, 2]}, "conv.stride: got [1, 2], expected 1 at decoder level 0; take an override for the "
     "encoder"),
    ({"down.padding": 2}, "down.padding: got 2, expected at most half of the kernel 2, or a window lies in the padding "
     "alone"),
    ({"up.padding": [0, 2]}, "up.padding: got [0, 2], expected less than half of kernel + stride = 4, or nothing is "
     "left of two pixels"),
    ({"up.output_padding": 2}, "up.output_padding: got 2, expected less than the stride 2"),
    ({"up.before": UNIT | {"order": ["conv", "conv"]}}, "up.before.order: got ['conv', 'conv'], expected each step at "
     "most once"),
    ({"up.after": UNIT | {"order": ["norm"]}}, "up.after.order: got ['norm'], expected no norm as norm.kind is 'none'"),
    ({"up.after": UNIT | {"order": ["dropout"]}}, "up.after.order: got ['dropout'], expected no dropout here"),
    ({"up.after": UNIT | {"kernel": [1, 1, 1]}}, "up.after.kernel: got [1, 1, 1], expected one number or 2 as "
     "dimensions is 2"),
    ({"up": {"kind": "nearest", "scale": "skip"}, "merge.before_up": True}, "up.scale: got 'skip', expected a number "
     "as merge.before_up joins the skip first"),
    ({"up": {"kind": "pixel_shuffle", "scale": 3}}, "up.scale: got 3, expected 9 to divide the 8 channels before "
     "decoder.1.up"),
    ({"attention": ATTENTION, "merge.before_up": True}, "attention: got a table, expected none as merge.size_mismatch "
     "is not 'error' or merge.before_up is true at decoder level 0"),
    ({"attention": ATTENTION, "merge": {"kind": "none"}}, "attention: got a table, expected none as "
     "merge.size_mismatch is not 'error' or merge.before_up is true at decoder level 0"),
    ({"attention": ATTENTION, "up.width": "same", "widths": [4, 7, 8]}, "attention.width: got 'half', expected no "
     "attention as encoder.1.block.1.activation has 7 channels"),
    ({"attention": ATTENTION | {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-5}}}, "norm.groups: got 2, "
     "expected a divisor of the 1 channels of decoder.1.attention.psi.norm, or norm.fewer_channels = 'one_group'"),
    ({"nested": True, "merge.before_up": True}, "nested: got true, expected false as there is no merge after "
     "up-sampling at decoder level 0"),
    ({"nested": True, "merge": {"kind": "none"}}, "nested: got true, expected false as there is no merge after "
     "up-sampling at decoder level 0"),
    ({"merge": {"kind": "sum", "size_mismatch": "error"}, "up.width": "same"}, "merge.kind: got 'sum' at level 0, "
     "where the maps have 4 and 8 channels; expected equal ones"),
    ({"merge": {"kind": "sum", "size_mismatch": "error", "order": ["skip", "upsampled"]}}, "merge.order: got ('skip', "
     "'upsampled'), expected none as kind is 'sum'"),
    ({"merge": {"kind": "none", "size_mismatch": "error"}}, "merge.size_mismatch: got 'error', expected none as kind "
     "is 'none'"),
    ({"residual": RESIDUAL | {"span": 3}}, "residual.span: got 3, expected a divisor of the 2 convolutions at encoder "
     "level 0"),
    ({"residual": RESIDUAL | {"stem": 1}}, "residual.span: got 2, expected a divisor of the 1 convolutions at encoder "
     "level 0 after the 1 of the stem"),
    ({"residual": RESIDUAL | {"stem": 2}}, "residual.stem: got 2, expected fewer than the 2 convolutions at encoder "
     "level 0"),
    ({"residual": RESIDUAL, "block.order": ["activation", "norm", "conv"]}, "residual.last_activation: got "
     "'after_sum', expected 'before_sum' as block.order does not end with the activation at encoder level 0"),
    ({"residual": RESIDUAL, "norm": {"kind": "none"}, "block.order": ["conv", "activation"]}, "residual.norm: got "
     "True, expected false as norm.kind is 'none' at encoder level 0"),
    ({"block.convolutions": 0}, "widths.0: got 4, expected 3 as encoder.0.block has no convolution to change them"),
    ({"deep_supervision": {"levels": [2], "weights": [1, 1]}}, "deep_supervision.levels: got [2], expected decoder "
     "levels from 1 to 1, ascending"),
    ({"deep_supervision": {"levels": [0], "weights": [1, 1]}}, "deep_supervision.levels.0: got 0, expected greater "
     "than 0"),
    ({"deep_supervision": {"levels": [1, 1], "weights": [1, 1, 1]}}, "deep_supervision.levels: got [1, 1], expected "
     "decoder levels from 1 to 1, ascending"),
    ({"deep_supervision": {"levels": [1], "weights": [1, 1, 1]}}, "deep_supervision.weights: got 3, expected 2, the "
     "final head's first"),
    ({"deep_supervision": {"levels": [1], "weights": [1, 1]}, "widths": [4, 8]}, "deep_supervision: got a table, "
     "expected none as there are 2 levels, not 3 or more"),
    ({"deep_supervision": {"levels": [1], "weights": [1, 1]}, "head": None, "out_channels": 4}, "deep_supervision: got "
     "a table, expected none as there is no head, whose form deeper heads have"),
    ({"override": [{"part": "encoder", "levels": []}]}, "override.0.levels: got [], expected one or more encoder "
     "levels below 3"),
    ({"override": [{"part": "decoder", "levels": [0, 2]}]}, "override.0.levels: got [0, 2], expected one or more "
     "decoder levels below 2"),
    ({"head": None}, "out_channels: got 10, expected the 4 of decoder.0.block.1.activation as there is no head"),
    (NO_LAYER, "block.convolutions: got a network without parameters, expected some convolution or a head"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), RULES, ids=[f"{next(iter(c))}-{n}" for n, (c, _) in enumerate(RULES)])
def test_keys_that_do_not_agree(change: dict[str, Any], message: str, changed_spec: Callable[..., UNetSpec]) -> None:
    with pytest.raises(SpecError) as error:
        changed_spec(SMALL | change)
    assert str(error.value).partition(".toml: ")[2] == message


LEGAL: dict[str, dict[str, Any]] = {
    "everything reflected": {"conv.padding_mode": "reflect"},
    "sizes by axis": {"conv.kernel": [3, 1], "conv.stride": [1, 1], "conv.padding": [1, 0], "up.stride": [2, 2]},
    "padded pool": {"down.kernel": 3, "down.padding": 1},
    "a pool padded by half of its kernel": {"down.padding": 1},
    "a way up padded by less than half of kernel and stride": {"up.kernel": 3, "up.padding": 2},
    "a span after the stem": {"residual": RESIDUAL | {"stem": 1, "span": 3}, "block.convolutions": 4},
    "no units": {"up.before": UNIT, "up.after": UNIT | {"order": []}},
    "shortcut without norm": {
        "residual": RESIDUAL | {"norm": False},
        "norm": {"kind": "none"},
        "block.order": ["conv", "activation"],
    },
    "a stem where there is no convolution": {
        "residual": RESIDUAL | {"stem": 1, "span": 1},
        "widths": [4, 8, 8],
        "override": [{"part": "encoder", "levels": [2], "block": {"convolutions": 0}}],
    },
    "gates": {"attention": ATTENTION},
    "head norm of no kind": {"head.norm": {"kind": "none"}},
    "no head": {"head": None, "out_channels": 4},
    "heads of no weight": {"deep_supervision": {"levels": [1], "weights": [1, 0.0]}},
}


@pytest.mark.parametrize("change", LEGAL.values(), ids=LEGAL)
def test_what_agrees_is_taken(change: dict[str, Any], changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec(SMALL | change)
    assert not [layer for layer in spec.layers if layer.kind == "none_norm"]
    assert hash(spec) == hash(changed_spec(SMALL | change))
