"""Feature shapes of every kind of layer, against counting, and against PyTorch where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_specs import ShapeError, UNetSpec, shapes
from shared_specs.shapes import Shape, feature_shapes, output_shape, size_of, smallest_input, total_stride

from ..strategies import specs

Changed = Callable[..., UNetSpec]

ONE = {
    "widths": [2],
    "block.convolutions": 1,
    "in_channels": 1,
    "norm": {"kind": "none"},
    "block.order": ["conv", "activation"],
}
RESIDUAL = {
    "span": 1,
    "last_activation": "before_sum",
    "stride_by": "conv",
    "kernel": 1,
    "padding": 0,
    "bias": True,
    "norm": False,
}


def places(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many places a dilated kernel has, counted one by one."""
    taps = range(0, kernel * dilation, dilation)
    starts = range(-padding, size + padding, stride)
    return sum(1 for start in starts if start + taps[-1] < size + padding)


AXIS = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))


@given(axes=st.lists(AXIS, min_size=3, max_size=3), dimensions=st.sampled_from([2, 3]), size=st.integers(1, 20))
@settings(max_examples=150)
def test_strided_and_dilated_convolutions_by_axis(
    axes: list[tuple[int, int, int, int]], dimensions: int, size: int, changed_spec: Changed
) -> None:
    kernel, stride, padding, dilation = (list(values) for values in zip(*axes[:dimensions], strict=True))
    conv = {"conv.kernel": kernel, "conv.stride": stride, "conv.padding": padding, "conv.dilation": dilation}
    spec = changed_spec(ONE | conv | {"dimensions": dimensions})
    sides = [size + axis for axis in range(dimensions)]
    expected = [places(side, *axis) for side, axis in zip(sides, axes, strict=False)]
    if min(expected) < 1:
        with pytest.raises(ShapeError, match=r"are too small: nothing is left after encoder\.0\.block\.0\.conv"):
            output_shape(spec, (1, 1, *sides))
    else:
        assert output_shape(spec, (1, 1, *sides)) == (1, 10, *expected)


@pytest.mark.parametrize(
    ("mode", "needed"), [("zeros", 1), ("replicate", 1), ("circular", 3), ("reflect", 4)], ids=lambda v: str(v)
)
def test_how_large_a_map_its_padding_needs(mode: str, needed: int, changed_spec: Changed) -> None:
    spec = changed_spec(ONE | {"conv.kernel": 7, "conv.padding": 3, "conv.padding_mode": mode})
    assert smallest_input(spec) == needed
    assert output_shape(spec, (1, 1, needed, 9)) == (1, 10, needed, 9)
    if needed > 1:
        with pytest.raises(ShapeError, match=rf"the smallest square input is {needed}$"):
            output_shape(spec, (1, 1, needed - 1, 9))


UPS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # the size after up-sampling 4x5
    "transposed": (
        {"kind": "transposed_conv", "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1, "width": "same"},
        (8, 10),
    ),
    "transposed-by-axis": (
        {"kind": "transposed_conv", "kernel": [2, 5], "stride": [2, 3], "padding": [0, 1], "output_padding": [1, 2],
         "width": "same"},
        (9, 17),
    ),
    "nearest": ({"kind": "nearest", "scale": [2, 3]}, (8, 15)),
    "linear": ({"kind": "linear", "scale": 3, "align_corners": True}, (12, 15)),
    "linear-to-the-skip": ({"kind": "linear", "scale": "skip", "align_corners": True}, (13, 16)),
    "pixel-shuffle": ({"kind": "pixel_shuffle", "scale": 2}, (8, 10)),
    "none": ({"kind": "none"}, (4, 5)),
}  # fmt: skip


@pytest.mark.parametrize(("up", "size"), UPS.values(), ids=UPS)
def test_upsampled_sizes(up: dict[str, Any], size: tuple[int, ...], changed_spec: Changed) -> None:
    up = up | {"bias": True} if up["kind"] == "transposed_conv" else up
    merge = {"merge": {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "resize_upsampled",
                       "resize": "nearest"}}  # fmt: skip
    spec = changed_spec(ONE | merge | {"widths": [4, 4], "up": up, "down.kernel": 3, "down.stride": 3})
    shapes = feature_shapes(spec, (1, 1, 13, 16))
    assert shapes["encoder.1.down"][2:] == (4, 5)
    assert shapes.get("decoder.0.up", shapes["encoder.1.down"])[2:] == size
    assert shapes["decoder.0.merge"][2:] == (13, 16)


def test_a_shortcut_of_another_size_names_the_layer(changed_spec: Changed) -> None:
    spec = changed_spec(ONE | {"residual": RESIDUAL, "conv.padding": 0})
    with pytest.raises(ShapeError, match=r"sizes differ at encoder\.0\.block\.0\.sum \(level 0\): 6x7 and 8x9"):
        feature_shapes(spec, (1, 1, 8, 9))


NEVER = {
    "given": lambda spec: feature_shapes(spec, (1, 1, 8, 9)),
    "looked_for": smallest_input,
}


@pytest.mark.parametrize("ask", NEVER.values(), ids=NEVER)
@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"conv.kernel": 3}, "take conv.padding = 1, which keeps the size, or"),
        ({"conv.kernel": [3, 5]}, r"take conv.padding = \[1, 2\], which keeps the size, or"),
        ({"conv.kernel": 4}, "take an odd conv.kernel, or a residual.kernel and residual.padding that"),
    ],
    ids=["square", "oblong", "even"],
)
def test_a_shortcut_that_never_fits_says_what_to_change(
    changes: dict[str, Any], advice: str, ask: Callable[[UNetSpec], object], changed_spec: Changed
) -> None:
    spec = changed_spec(ONE | {"residual": RESIDUAL, "conv.padding": 0} | changes)
    words = r"encoder\.0\.block\.0\.sum \(level 0\): \d+x\d+ and \d+x\d+, after the convolutions and after the shortcut"
    with pytest.raises(ShapeError, match=rf"{words}; no image size mends that: at encoder level 0 {advice}"):
        ask(spec)


def test_a_shortcut_that_never_fits_in_the_decoder(changed_spec: Changed) -> None:
    valid = {"part": "decoder", "conv": {"padding": 0}}
    up = {"kind": "nearest", "scale": "skip"}
    spec = changed_spec(ONE | {"widths": [2, 4], "residual": RESIDUAL, "override": [valid], "up": up})
    with pytest.raises(ShapeError) as error:
        smallest_input(spec)
    assert str(error.value) == (
        "unet_bn_same: with images of 3x3 sizes differ at decoder.0.block.0.sum (level 0): 1x1 and 3x3, after the "
        "convolutions and after the shortcut; no image size mends that: at decoder level 0 take conv.padding = 1, "
        "which keeps the size, or a residual.kernel and residual.padding that change the size as the convolutions do"
    )


def test_padding_alone_is_no_image(changed_spec: Changed) -> None:
    """A wide enough padding leaves something of an image without pixels, which is none."""
    assert smallest_input(changed_spec(ONE | {"conv.padding": 3})) == 1


TRANSPOSED = {"kind": "transposed_conv", "kernel": 2, "stride": 2, "padding": 0, "output_padding": 0, "bias": True,
              "width": "same"}  # fmt: skip


def test_the_smallest_input_is_not_the_smallest_that_leaves_something(changed_spec: Changed) -> None:
    """Of 3 pixels one is left below, and 4 come up again."""
    spec = changed_spec(ONE | {"widths": [2, 4], "down.kernel": 3, "up": TRANSPOSED | {"kernel": 4}})
    assert smallest_input(spec) == 4


NONE: dict[str, tuple[dict[str, Any], str]] = {  # what is told after 8 sizes
    "valid, and no crop": (
        {"widths": [2, 4], "conv.padding": 0},
        "no square input between 10 and 17 pixels fits at every level: at 17 pixels, sizes differ at level 0: the skip "
        "is 15x15 and the upsampled map 10x10",
    ),
    "3-D": (
        {"dimensions": 3, "widths": [2, 4], "conv.padding": 0},
        "no cubic input between 10 and 17 pixels fits at every level: at 17 pixels, sizes differ at level 0: the skip "
        "is 15x15x15 and the upsampled map 10x10x10",
    ),
    "a stride of millions": (
        {"widths": [2] * 8, "down.kernel": 8, "down.stride": 8, "up.kernel": 8, "up.stride": 8, "up.width": "same"},
        "no square input between 1048576 and 1048583 pixels fits at every level",
    ),
}


@pytest.mark.parametrize(("changes", "words"), NONE.values(), ids=NONE)
def test_where_no_input_fits_the_last_one_tried_is_told(
    changes: dict[str, Any], words: str, changed_spec: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MOST_TRIES", 8)
    with pytest.raises(ShapeError) as error:
        smallest_input(changed_spec(ONE | changes))
    assert str(error.value) == f"unet_bn_same: {words}; take fewer levels or more padding"


@pytest.mark.parametrize(("steps", "last"), [(1, 10), (39, 12)], ids=["one at least", "as many as there are steps for"])
def test_of_a_large_network_fewer_sizes_are_tried(
    steps: int, last: int, changed_spec: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = changed_spec(ONE | {"widths": [2, 4], "conv.padding": 0})
    assert len(spec.layers) == 10
    monkeypatch.setattr(shapes, "MOST_STEPS", steps)
    with pytest.raises(ShapeError, match=f"between 10 and {last} pixels fits at every level: at {last} pixels, "):
        smallest_input(spec)


ADVICE: dict[str, tuple[dict[str, Any], Shape, str]] = {
    "by axis": (
        {"down.kernel": [2, 3], "down.stride": [2, 3], "up.kernel": [2, 3], "up.stride": [2, 3]},
        (1, 1, 8, 10),
        "images whose sides are divisible by 2x3",
    ),
    "a crop that cannot be": (
        {"down.kernel": 3, "down.padding": 1, "merge.size_mismatch": "crop_skip", "merge.odd_difference": "floor"},
        (1, 1, 8, 9),
        "images whose height and width are divisible by 2",
    ),
    "one size alone fits": (
        {"up": TRANSPOSED | {"stride": 3, "padding": 1}},
        (1, 1, 8, 8),
        "another image size",
    ),
}


@pytest.mark.parametrize(("changes", "images", "advice"), ADVICE.values(), ids=ADVICE)
def test_which_sizes_to_take_instead(
    changes: dict[str, Any], images: Shape, advice: str, changed_spec: Changed
) -> None:
    with pytest.raises(ShapeError) as error:
        feature_shapes(changed_spec(ONE | {"widths": [2, 4]} | changes), images)
    assert str(error.value).partition("; take ")[2] == advice


@pytest.mark.parametrize(
    ("dimensions", "given", "problem"),
    [
        (2, (1, 2, 3), "got the size 1x2x3, expected one number or 2, as in 199x207"),
        (3, (8, 9), "got the size 8x9, expected one number or 3, as in 32x96x96"),
    ],
)
def test_a_size_of_too_many_or_too_few_axes(
    dimensions: int, given: tuple[int, ...], problem: str, changed_spec: Changed
) -> None:
    spec = changed_spec(ONE | {"dimensions": dimensions})
    assert size_of(spec, (8,)) == (8,) * dimensions
    assert size_of(spec, range(dimensions)) == tuple(range(dimensions))
    with pytest.raises(ShapeError) as error:
        size_of(spec, given)
    assert str(error.value) == f"unet_bn_same: {problem}"


@pytest.mark.parametrize("by", ["conv", "average_pool"])
def test_a_strided_shortcut(by: str, changed_spec: Changed) -> None:
    spec = changed_spec(ONE | {"residual": RESIDUAL | {"stride_by": by}, "conv.stride": 2})
    assert output_shape(spec, (1, 1, 8, 6)) == (1, 10, 4, 3)
    if by == "conv":
        assert output_shape(spec, (1, 1, 9, 7)) == (1, 10, 5, 4)
    else:  # which leaves a window out that does not fit
        with pytest.raises(ShapeError, match=r"encoder\.0\.block\.0\.sum \(level 0\): 5x4 and 4x3.*divisible by 2$"):
            output_shape(spec, (1, 1, 9, 7))


def test_a_gate_of_another_size_names_the_layer(changed_spec: Changed) -> None:
    attention = {"width": "half", "bias": True, "norm": {"kind": "none"}}
    spec = changed_spec(ONE | {"widths": [2, 4], "attention": attention})
    with pytest.raises(
        ShapeError, match=r"sizes differ at decoder\.0\.attention\.sum \(level 0\): 8x8 and 9x8; take .*by 2$"
    ):
        feature_shapes(spec, (1, 1, 9, 8))


def test_nested_skips_of_unequal_sizes(changed_spec: Changed) -> None:
    spec = changed_spec(ONE | {"widths": [2, 4, 8], "nested": True, "conv.padding": 0}, base="unet_bn_crop")
    with pytest.raises(ShapeError, match=r"sizes differ at level 0: 58x58 and 5\dx5\d"):
        feature_shapes(spec, (1, 1, 60, 60))


def test_too_little_to_reflect(changed_spec: Changed) -> None:
    merge = {
        "merge.size_mismatch": "pad_upsampled",
        "merge.padding_mode": "reflect",
        "merge.odd_difference": "all_after",
    }
    spec = changed_spec(ONE | {"widths": [2, 2], "down.kernel": 1, "down.stride": 4} | merge)
    assert output_shape(spec, (1, 1, 9, 9))[2:] == (9, 9)  # 3 and up to 6, of which 3 are reflected
    with pytest.raises(
        ShapeError, match=r"the skip is 4x9 and the upsampled map 2x6, so there is too little to reflect"
    ):
        output_shape(spec, (1, 1, 4, 9))


def test_three_dimensions_in_words(changed_spec: Changed) -> None:
    spec = changed_spec({"dimensions": 3, "widths": [2, 4]})
    with pytest.raises(ShapeError, match=r"expected \(N, C, D, H, W\)"):
        feature_shapes(spec, (1, 3, 8, 8))
    with pytest.raises(ShapeError, match="whose depth, height and width are divisible by 2"):
        feature_shapes(spec, (1, 3, 8, 8, 7))
    with pytest.raises(ShapeError, match="the smallest cubic input is 2"):
        feature_shapes(spec, (1, 3, 8, 8, 1))


def test_stride_of_the_deepest_level_by_axis(changed_spec: Changed) -> None:
    strided = {"part": "encoder", "levels": [2], "down": {"kind": "none"}, "conv": {"stride": [3, 1]}}
    up = {"kind": "nearest", "scale": "skip"}
    spec = changed_spec(ONE | {"widths": [2, 2, 2], "override": [strided], "residual": RESIDUAL, "up": up})
    assert total_stride(spec) == (6, 2)
    assert output_shape(spec, (1, 1, 12, 4))[2:] == (12, 4)


@pytest.mark.needs_backends("pytorch")
@given(case=specs())
@settings(max_examples=60)
def test_shapes_are_pytorchs(case: tuple[UNetSpec, Shape]) -> None:
    import torch

    import backends.pytorch

    spec, images = case
    module = backends.pytorch.UNet(spec)
    found: dict[str, Shape] = {}
    for layer in spec.layers:
        hook = lambda _, __, output, name=layer.name: found.update({name: tuple(output.shape)})  # noqa: E731
        module.get_submodule(layer.name).register_forward_hook(hook)
    module.heads(torch.randn(images))
    assert found == feature_shapes(spec, images)
