"""What is raised and returned where maps don't fit, directly; `test_shapes.py` and `test_layout.py` count sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import UNetSpec
from shared_specs.sizes import Misfit, TooSmall, sizes_of

Changed = Callable[..., UNetSpec]

# One level down and up by 3: of 11x9 images, the skip is 11x9 and the upsampled map 10x10.
THIRDS = {"conv.kernel": 1, "down.kernel": 3, "down.stride": 3, "up.kernel": 4, "up.stride": 3, "widths": [4, 4]}
BOTH = "at level 0: the skip is 11x9 and the upsampled map 10x10"
ORDER = {"kind": "concatenate", "order": ["skip", "upsampled"]}
MERGES: dict[str, dict[str, Any]] = {
    "error": {"size_mismatch": "error"},
    "crop_skip": {"size_mismatch": "crop_skip", "odd_difference": "floor"},
    "pad_upsampled": {"size_mismatch": "pad_upsampled", "odd_difference": "floor", "padding_mode": "zeros"},
    "resize_upsampled": {"size_mismatch": "resize_upsampled", "resize": "nearest"},
}


def thirds(changed_spec: Changed, mismatch: str) -> UNetSpec:
    return changed_spec(THIRDS | {"merge": ORDER | MERGES[mismatch]}, base="unet_bn_crop")


@pytest.mark.parametrize(
    ("mismatch", "size"),
    [("error", (10, 10)), ("crop_skip", (10, 10)), ("pad_upsampled", (11, 9)), ("resize_upsampled", (11, 9))],
)
def test_what_does_not_fit_has_some_size_while_a_smallest_input_is_looked_for(
    mismatch: str, size: tuple[int, ...], changed_spec: Changed
) -> None:
    assert sizes_of(thirds(changed_spec, mismatch), (11, 9), strict=False)["decoder.0.merge"] == size


@pytest.mark.parametrize(
    ("mismatch", "message"),
    [
        ("error", f"sizes differ {BOTH}"),
        ("crop_skip", f"sizes do not fit {BOTH}, so it cannot be cropped to fit"),
        ("pad_upsampled", f"sizes do not fit {BOTH}, so it cannot be padded to fit"),
    ],
)
def test_what_does_not_fit_says_why(mismatch: str, message: str, changed_spec: Changed) -> None:
    with pytest.raises(Misfit) as error:
        sizes_of(thirds(changed_spec, mismatch), (11, 9), strict=True)
    assert (str(error.value), error.value.layer.name) == (message, "decoder.0.merge")


def test_a_sum_that_does_not_fit_is_refused_and_has_some_size_else(changed_spec: Changed) -> None:
    residual = {"span": 1, "last_activation": "before_sum", "stride_by": "conv", "kernel": 1, "padding": 0}
    change = {"widths": [2], "block.convolutions": 1, "conv.padding": 0, "residual": residual | {"bias": True}}
    spec = changed_spec(change | {"residual.norm": False})
    name = "encoder.0.block.0.sum"
    with pytest.raises(Misfit) as error:
        sizes_of(spec, (8, 9), strict=True)
    both = "6x7 and 8x9, after the convolutions and after the shortcut"
    assert str(error.value) == f"sizes differ at {name} (level 0): {both}"
    assert error.value.layer.name == name
    assert sizes_of(spec, (8, 9), strict=False)[name] == (6, 7)


def test_a_gate_has_no_shortcut_to_speak_of(changed_spec: Changed) -> None:
    attention = {"width": "half", "bias": True, "norm": {"kind": "none"}}
    with pytest.raises(Misfit) as error:
        sizes_of(changed_spec({"widths": [2, 4], "attention": attention}), (9, 8), strict=True)
    assert str(error.value) == "sizes differ at decoder.0.attention.sum (level 0): 8x8 and 9x8"
    assert error.value.layer.name == "decoder.0.attention.sum"


def test_nested_skips_that_differ_are_all_named(changed_spec: Changed) -> None:
    change = {"widths": [2, 4, 8], "block.convolutions": 1, "nested": True, "conv.padding": 0}
    with pytest.raises(Misfit) as error:
        sizes_of(changed_spec(change, base="unet_bn_crop"), (60, 60), strict=True)
    assert str(error.value) == "sizes differ at level 0: 58x58 and 52x52 and 40x40"
    assert error.value.layer.name == "decoder.0.merge"


def test_too_little_to_reflect(changed_spec: Changed) -> None:
    merge = {"size_mismatch": "pad_upsampled", "padding_mode": "reflect", "odd_difference": "all_after"}
    change = {"widths": [2, 2], "block.convolutions": 1, "down.kernel": 1, "down.stride": 4, "merge": ORDER | merge}
    with pytest.raises(Misfit) as error:
        sizes_of(changed_spec(change), (4, 9), strict=True)
    both = "at level 0: the skip is 4x9 and the upsampled map 2x6"
    assert str(error.value) == f"sizes do not fit {both}, so there is too little to reflect"
    assert error.value.layer.name == "decoder.0.merge"


@pytest.mark.parametrize(
    ("change", "size", "left", "reason", "layer"),
    [
        ({}, (8, 1), (4, 0), "nothing is left after", "encoder.1.down"),
        (
            {"conv.kernel": 7, "conv.padding": 3, "conv.padding_mode": "circular"},
            (2, 8),
            (2, 8),
            "there is less than the padding repeats at",
            "encoder.0.block.0.conv",
        ),
    ],
    ids=["nothing", "a circle"],
)
def test_what_is_too_small_says_where(
    change: dict[str, Any], size: tuple[int, ...], left: tuple[int, ...], reason: str, layer: str, changed_spec: Changed
) -> None:
    with pytest.raises(TooSmall) as error:
        sizes_of(changed_spec({"widths": [2, 4], "block.convolutions": 1} | change), size, strict=True)
    assert (error.value.layer.name, error.value.left, error.value.reason) == (layer, left, reason)


def nested_with_a_larger_node(changed_spec: Changed, mismatch: str) -> UNetSpec:
    """Of three levels, whose inner decoder node is two pixels larger a side, and four more after up-sampling."""
    larger = {"part": "decoder", "levels": [1], "conv": {"padding": 2}}
    change = {"widths": [2, 2, 2], "block.convolutions": 1, "nested": True, "override": [larger]}
    return changed_spec(change | {"merge": ORDER | MERGES[mismatch]})


def test_of_many_maps_the_last_one_was_upsampled(changed_spec: Changed) -> None:
    with pytest.raises(Misfit) as error:
        sizes_of(nested_with_a_larger_node(changed_spec, "pad_upsampled"), (16, 20), strict=True)
    both = "at level 0: the skip is 16x20 and the upsampled map 20x24"
    assert str(error.value) == f"sizes do not fit {both}, so it cannot be padded to fit"
    cropped = nested_with_a_larger_node(changed_spec, "crop_skip")
    assert sizes_of(cropped, (16, 20), strict=False)["decoder.0.merge"] == (20, 24)


def test_what_is_reflected_on_either_side_is_what_counts(changed_spec: Changed) -> None:
    """Four rows in all are two on each side, and of four there are enough."""
    merge = ORDER | MERGES["pad_upsampled"] | {"padding_mode": "reflect"}
    spec = changed_spec({"widths": [2, 2], "block.convolutions": 1, "down.kernel": 1, "down.stride": 4, "merge": merge})
    assert sizes_of(spec, (8, 8), strict=True)["decoder.0.merge"] == (8, 8)
