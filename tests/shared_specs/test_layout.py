"""Names, tensors and feature shapes, against arithmetic that is not layout's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.shapes import feature_shapes, output_shape, smallest_input

LINEAR = {"kind": "linear", "scale": 2, "align_corners": False}


def windows(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """How many windows fit, counted one by one."""
    return len(range(0, size + 2 * padding - kernel + 1, stride))


def stamps(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many pixels a transposed convolution writes: it stamps a kernel every `stride` pixels."""
    first, last = padding, (size - 1) * stride + kernel - padding  # a stride above the kernel leaves pixels at 0
    return len(range(first, last))


def walk(spec: UNetSpec, size: int) -> list[int]:
    """The size after every layer, by the structure of a U-Net and the counts above; empty where one is 0 or misfits."""
    sizes: list[int] = []
    skips: list[int] = []

    def block(size: int) -> int:
        for _ in range(spec.block.convolutions):
            for step in spec.block.order:
                size = windows(size, spec.conv.kernel, 1, spec.conv.padding) if step == "conv" else size
                sizes.append(size)
        return size

    for level in range(spec.levels):
        if level:
            size = windows(size, spec.down.kernel, spec.down.stride)
            sizes.append(size)
        size = block(size)
        skips.append(size)
    for skip in reversed(skips[:-1]):
        if spec.up.kind == "transposed_conv":
            size = stamps(size, spec.up.kernel, spec.up.stride, spec.up.padding)
        else:
            size = size * spec.up.scale
        sizes.append(size)
        if size > skip or (size < skip and spec.merge.size_mismatch == "error"):
            return []
        size = skip if spec.merge.size_mismatch == "pad_upsampled" else size
        sizes.append(size)
        size = block(size)
    sizes.append(windows(size, spec.head.kernel, 1, spec.head.padding))
    return sizes if min(sizes) > 0 else []


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, dict]:
    base = draw(st.sampled_from(["unet_bn_same", "unet_bn_crop", "unet_bn_pad", "unet_paper"]))
    transposed = {"kind": "transposed_conv", "output_padding": 0, "bias": True, "width": "half"} | {
        "kernel": draw(st.integers(1, 4)),
        "stride": draw(st.integers(1, 3)),
        "padding": 0,
    }
    transposed["padding"] = draw(st.integers(0, (transposed["kernel"] + transposed["stride"] - 1) // 2))
    return base, {
        "widths": draw(st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=4)),
        "block.convolutions": draw(st.integers(1, 3)),
        "conv.kernel": draw(st.integers(1, 4)),
        "conv.padding": draw(st.integers(0, 2)),
        "down.kernel": draw(st.integers(1, 3)),
        "down.stride": draw(st.integers(1, 3)),
        "up": draw(st.sampled_from([LINEAR, transposed])),
        "head.kernel": draw(st.integers(1, 3)),
        "head.padding": draw(st.integers(0, 1)),
    }


@given(change=changes(), height=st.integers(1, 70), width=st.integers(1, 70))
def test_feature_shapes(
    change: tuple[str, dict], height: int, width: int, changed_spec: Callable[..., UNetSpec]
) -> None:
    spec = changed_spec(change[1], base=change[0])
    images = (2, spec.in_channels, height, width)
    rows, columns = walk(spec, height), walk(spec, width)
    if rows and columns:
        shapes = feature_shapes(spec, images)
        assert [(h, w) for _, _, h, w in shapes.values()] == list(zip(rows, columns, strict=True))
        assert [n for n, _, _, _ in shapes.values()] == [2] * len(spec.layers)
    else:
        with pytest.raises(ShapeError, match=r"level \d"):
            feature_shapes(spec, images)


@given(change=changes())
def test_smallest_input_is_taken_and_no_smaller_one_is(
    change: tuple[str, dict], changed_spec: Callable[..., UNetSpec]
) -> None:
    spec = changed_spec(change[1], base=change[0])
    by_trial = next((size for size in range(1, 200) if walk(spec, size)), None)
    try:
        smallest = smallest_input(spec)
    except ShapeError:
        smallest = None
    assert smallest == by_trial or (by_trial is None and smallest is not None and smallest >= 200)


def test_names_shapes_and_order(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"widths": [4, 6], "block.convolutions": 1, "in_channels": 3, "out_channels": 5})
    assert [(tensor.name, tensor.shape) for tensor in spec.tensors if tensor.trainable] == [
        ("encoder.0.block.0.conv.weight", (4, 3, 3, 3)),
        ("encoder.0.block.0.conv.bias", (4,)),
        ("encoder.0.block.0.norm.weight", (4,)),
        ("encoder.0.block.0.norm.bias", (4,)),
        ("encoder.1.block.0.conv.weight", (6, 4, 3, 3)),
        ("encoder.1.block.0.conv.bias", (6,)),
        ("encoder.1.block.0.norm.weight", (6,)),
        ("encoder.1.block.0.norm.bias", (6,)),
        ("decoder.0.up.weight", (6, 3, 2, 2)),
        ("decoder.0.up.bias", (3,)),
        ("decoder.0.block.0.conv.weight", (4, 7, 3, 3)),
        ("decoder.0.block.0.conv.bias", (4,)),
        ("decoder.0.block.0.norm.weight", (4,)),
        ("decoder.0.block.0.norm.bias", (4,)),
        ("head.weight", (5, 4, 1, 1)),
        ("head.bias", (5,)),
    ]
    state = [tensor.name for tensor in spec.tensors if not tensor.trainable]
    assert state == [
        f"{stage}.block.0.norm.{leaf}"
        for stage in ("encoder.0", "encoder.1", "decoder.0")
        for leaf in ("running_mean", "running_var")
    ]
    assert [layer.name for layer in spec.layers if "block" not in layer.name] == [
        "encoder.1.down",
        "decoder.0.up",
        "decoder.0.merge",
        "head",
    ]


def test_order_of_a_block_is_the_specs(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"block.order": ["norm", "activation", "conv"], "widths": [4]})
    assert [layer.name.removeprefix("encoder.0.block.") for layer in spec.layers[:6]] == [
        "0.norm",
        "0.activation",
        "0.conv",
        "1.norm",
        "1.activation",
        "1.conv",
    ]
    # In front of the first convolution the norm has the channels of the images.
    assert spec.tensors[0].shape == (3,)


def test_without_biases_there_are_none(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"conv.bias": False, "up.bias": False, "head.bias": False}, base="unet_same")
    assert {tensor.leaf for tensor in spec.tensors} == {"conv.weight", "up.weight", "head.weight"}


def test_bilinear_up_keeps_the_width_and_has_no_tensors(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"up": LINEAR, "widths": [5, 7]}, base="unet_same")
    assert not [tensor for tensor in spec.tensors if "up" in tensor.name]
    assert feature_shapes(spec, (1, 3, 8, 8))["decoder.0.merge"] == (1, 12, 8, 8)


def test_channels_of_every_feature_agree_with_the_tensors(spec: UNetSpec) -> None:
    size = smallest_input(spec)
    shapes = feature_shapes(spec, (1, spec.in_channels, size, size))
    for layer in spec.layers:
        assert shapes[layer.name][1] == layer.out_channels
        for tensor in layer.tensors:
            axis = 1 if tensor.leaf == "up.weight" else 0
            assert tensor.shape[axis] == layer.out_channels


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((1, 3, 32), "expected (N, C, H, W), all positive"),
        ((0, 3, 32, 32), "expected (N, C, H, W), all positive"),
        ((1, 3, 32, -1), "expected (N, C, H, W), all positive"),
        ((1, 4, 32, 32), "got images with 4 channels, expected 3"),
        ((1, 32, 32, 3), "got images with 32 channels, expected 3; images are (N, C, H, W)"),
        ((1, 3, 8, 400), "images of 8x400 are too small: nothing is left after encoder.4.down (level 4, 0x25); "
                         "the smallest square input is 16"),
    ],
    ids=["three_axes", "no_image", "negative", "channels", "channels_last", "small"],
)  # fmt: skip
def test_images_that_the_network_cannot_take(images: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError) as error:
        output_shape(load_spec("unet_bn_same"), images)
    assert str(error.value).startswith("unet_bn_same: ")
    assert message in str(error.value)


def test_upsampled_map_larger_than_the_skip(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"up": LINEAR | {"scale": 3}, "widths": [4, 4]}, base="unet_bn_crop")
    with pytest.raises(ShapeError, match=r"at level 0: the skip is 28x28 and the upsampled map 30x30.* be cropped"):
        output_shape(spec, (1, 3, 32, 32))


@pytest.mark.parametrize(("height", "width"), [(11, 9), (9, 11)])
def test_upsampled_map_larger_than_the_skip_along_one_axis(
    height: int, width: int, changed_spec: Callable[..., UNetSpec]
) -> None:
    thirds = {"conv.kernel": 1, "down.kernel": 3, "down.stride": 3, "up.kernel": 4, "up.stride": 3, "widths": [4, 4]}
    spec = changed_spec(thirds, base="unet_bn_crop")
    assert output_shape(spec, (1, 3, 11, 11)) == (1, 10, 10, 10)
    with pytest.raises(
        ShapeError, match=f"{height}x{width} and the upsampled map 10x10, so .* take another image size$"
    ):
        output_shape(spec, (1, 3, height, width))


def test_hint_is_not_given_where_it_would_be_wrong(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"conv.padding": 0})
    with pytest.raises(ShapeError, match=r"at level 3: the skip is .*; take another image size$"):
        output_shape(spec, (1, 3, 256, 256))


@pytest.mark.parametrize(
    "change",
    [{"down.stride": 65_536, "widths": [2] * 16}, {"conv.padding": 0, "widths": [2] * 16}],
    ids=["stride", "unpadded"],
)
def test_search_for_the_smallest_input_ends(change: dict, changed_spec: Callable[..., UNetSpec]) -> None:
    with pytest.raises(ShapeError, match="no square input between"):
        smallest_input(changed_spec(change))


def test_no_false_hint_where_no_input_is_large_enough(changed_spec: Callable[..., UNetSpec]) -> None:
    with pytest.raises(ShapeError, match="no input below 1048576x1048576 is large enough"):
        output_shape(changed_spec({"down.stride": 65_536, "widths": [2] * 16}), (1, 3, 64, 64))


@pytest.mark.parametrize("difference", range(12))
def test_margin_of_a_crop_is_torchvisions(difference: int) -> None:
    # torchvision.transforms.functional.center_crop: int(round((image_height - crop_height) / 2.0))
    margin = load_spec("unet_bn_crop").merge.margin(difference)
    assert margin == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6][difference]


@pytest.mark.parametrize("difference", range(12))
def test_margin_of_a_padding_is_half_rounded_down(difference: int) -> None:
    before = load_spec("unet_bn_pad").merge.margin(difference)
    assert before == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5][difference]


def test_sizes_are_plain_integers_of_any_size() -> None:
    batch, *_, width = output_shape(load_spec("unet_same"), (2, 3, 2**40, 2**40))
    assert (batch, width) == (2, 2**40)
