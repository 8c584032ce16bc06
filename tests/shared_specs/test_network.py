"""Residual, gated, nested and deeply supervised networks layer by layer, and when a map may be dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from shared_specs import SpecError, UNetSpec
from shared_specs.layout import IMAGES, Convolution, Layer, Pool, schedule
from shared_specs.shapes import Shape

from ..strategies import specs

Changed = Callable[..., UNetSpec]

PLAIN = {"norm": {"kind": "none"}, "block.order": ["conv", "activation"], "block.convolutions": 1}
SMALL = PLAIN | {"in_channels": 1, "out_channels": 2, "widths": [2, 4]}


def listed(spec: UNetSpec) -> list[str]:
    """Every layer as `name = kind(inputs) channels`, the common start of names left out."""
    return [f"{layer.name} = {layer.kind}({', '.join(layer.inputs)}) {layer.out_channels}" for layer in spec.layers]


def test_a_dropout_is_a_layer_in_its_place(changed_spec: Changed) -> None:
    spec = changed_spec(
        SMALL | {"widths": [2], "block.order": ["conv", "dropout", "activation"], "dropout": {"rate": 0.5}}
    )
    assert listed(spec) == [
        "encoder.0.block.0.conv = conv(images) 2",
        "encoder.0.block.0.dropout = dropout(encoder.0.block.0.conv) 2",
        "encoder.0.block.0.activation = relu(encoder.0.block.0.dropout) 2",
        "head = conv(encoder.0.block.0.activation) 2",
    ]


def test_residual_units(changed_spec: Changed) -> None:
    residual = {
        "span": 2,
        "last_activation": "after_sum",
        "stride_by": "average_pool",
        "kernel": 1,
        "padding": 0,
        "bias": False,
        "norm": True,
    }
    norm = {"kind": "instance", "epsilon": 1e-5, "affine": True}
    stride = {"part": "encoder", "levels": [0], "conv": {"stride": 2}}
    change = {"widths": [2], "in_channels": 1, "block.convolutions": 4, "norm": norm, "residual": residual}
    spec = changed_spec(change | {"override": [stride], "out_channels": 2})
    assert listed(spec) == [
        "encoder.0.block.0.conv = conv(images) 2",
        "encoder.0.block.0.norm = instance_norm(encoder.0.block.0.conv) 2",
        "encoder.0.block.0.activation = relu(encoder.0.block.0.norm) 2",
        "encoder.0.block.1.conv = conv(encoder.0.block.0.activation) 2",
        "encoder.0.block.1.norm = instance_norm(encoder.0.block.1.conv) 2",
        "encoder.0.block.1.shortcut.pool = average_pool(images) 1",
        "encoder.0.block.1.shortcut.conv = conv(encoder.0.block.1.shortcut.pool) 2",
        "encoder.0.block.1.shortcut.norm = instance_norm(encoder.0.block.1.shortcut.conv) 2",
        "encoder.0.block.1.sum = sum(encoder.0.block.1.norm, encoder.0.block.1.shortcut.norm) 2",
        "encoder.0.block.1.activation = relu(encoder.0.block.1.sum) 2",
        "encoder.0.block.2.conv = conv(encoder.0.block.1.activation) 2",
        "encoder.0.block.2.norm = instance_norm(encoder.0.block.2.conv) 2",
        "encoder.0.block.2.activation = relu(encoder.0.block.2.norm) 2",
        "encoder.0.block.3.conv = conv(encoder.0.block.2.activation) 2",
        "encoder.0.block.3.norm = instance_norm(encoder.0.block.3.conv) 2",
        "encoder.0.block.3.sum = sum(encoder.0.block.3.norm, encoder.0.block.1.activation) 2",
        "encoder.0.block.3.activation = relu(encoder.0.block.3.sum) 2",
        "head = conv(encoder.0.block.3.activation) 2",
    ]
    around = {layer.name.rpartition(".")[2]: layer.settings for layer in spec.layers if ".shortcut." in layer.name}
    assert around["pool"] == Pool((2, 2), (2, 2), (0, 0))
    assert around["conv"] == Convolution((1, 1), (1, 1), (0, 0), "zeros", (1, 1), (0, 0), False)
    assert around["norm"] == spec.norm
    strides = {layer.name: layer.settings.stride for layer in spec.layers if layer.kind in ("conv", "average_pool")}
    assert {name for name, stride in strides.items() if stride == (2, 2)} == {
        "encoder.0.block.0.conv",
        "encoder.0.block.1.shortcut.pool",
    }


@pytest.mark.parametrize(("stride", "in_channels", "layers"), [(2, 2, ["conv"]), (1, 1, ["conv"]), (1, 2, [])])
def test_a_shortcut_has_a_convolution_where_there_is_something_to_do(
    stride: int, in_channels: int, layers: list[str], changed_spec: Changed
) -> None:
    residual = {
        "span": 1,
        "last_activation": "before_sum",
        "stride_by": "conv",
        "kernel": 3,
        "padding": 1,
        "bias": True,
        "norm": False,
    }
    override = [{"part": "encoder", "conv": {"stride": stride}}]
    spec = changed_spec(SMALL | {"widths": [2], "in_channels": in_channels, "residual": residual, "override": override})
    start = "encoder.0.block.0.shortcut."
    shortcuts = [layer for layer in spec.layers if layer.name.startswith(start)]
    assert [layer.name.removeprefix(start) for layer in shortcuts] == layers
    assert [layer.settings.stride for layer in shortcuts] == [(stride, stride)] * len(layers)
    (total,) = [layer for layer in spec.layers if layer.kind == "sum"]
    assert total.inputs == ("encoder.0.block.0.activation", shortcuts[-1].name if shortcuts else IMAGES)


def test_the_stem_of_a_block_comes_before_the_first_shortcut(changed_spec: Changed) -> None:
    residual = {
        "span": 1,
        "stem": 1,
        "last_activation": "after_sum",
        "stride_by": "conv",
        "kernel": 1,
        "padding": 0,
        "bias": True,
        "norm": False,
    }
    stride = {"part": "encoder", "levels": [0], "conv": {"stride": 2}}
    change = {"widths": [2], "block.convolutions": 3, "residual": residual, "override": [stride]}
    sums = {layer.name: layer.inputs for layer in changed_spec(SMALL | change).layers if layer.kind == "sum"}
    assert sums == {  # the stem alone has the stride and changes the width: both shortcuts are identities
        "encoder.0.block.1.sum": ("encoder.0.block.1.conv", "encoder.0.block.0.activation"),
        "encoder.0.block.2.sum": ("encoder.0.block.2.conv", "encoder.0.block.1.activation"),
    }


def test_attention_gates_the_skip(changed_spec: Changed) -> None:
    attention = {"width": "half", "bias": True, "norm": {"kind": "instance", "epsilon": 1e-5, "affine": False}}
    names = [line for line in listed(changed_spec(SMALL | {"attention": attention})) if line.startswith("decoder.0")]
    assert [line.replace("decoder.0.attention.", "~") for line in names] == [
        "decoder.0.up = transposed_conv(encoder.1.block.0.activation) 2",
        "~gate.conv = conv(decoder.0.up) 1",
        "~gate.norm = instance_norm(~gate.conv) 1",
        "~skip.conv = conv(encoder.0.block.0.activation) 1",
        "~skip.norm = instance_norm(~skip.conv) 1",
        "~sum = sum(~gate.norm, ~skip.norm) 1",
        "~activation = relu(~sum) 1",
        "~psi.conv = conv(~activation) 1",
        "~psi.norm = instance_norm(~psi.conv) 1",
        "~psi.activation = sigmoid(~psi.norm) 1",
        "~multiply = multiply(encoder.0.block.0.activation, ~psi.activation) 2",
        "decoder.0.merge = merge(~multiply, decoder.0.up) 4",
        "decoder.0.block.0.conv = conv(decoder.0.merge) 2",
        "decoder.0.block.0.activation = relu(decoder.0.block.0.conv) 2",
    ]


def test_nested_and_deeply_supervised(changed_spec: Changed) -> None:
    up = {"kind": "nearest", "scale": 2}
    deep = {"levels": [1], "weights": [1.0, 0.5]}
    change = {"widths": [2, 4, 6], "decoder_widths": [3, 5], "nested": True, "up": up, "deep_supervision": deep}
    spec = changed_spec(SMALL | change)
    assert [
        line.replace(".block.0.", ".").replace(".activation", "") for line in listed(spec) if "relu" not in line
    ] == [
        "encoder.0.conv = conv(images) 2",
        "encoder.1.down = max_pool(encoder.0) 2",
        "encoder.1.conv = conv(encoder.1.down) 4",
        "encoder.2.down = max_pool(encoder.1) 4",
        "encoder.2.conv = conv(encoder.2.down) 6",
        "nested.0.0.up = nearest(encoder.1) 4",
        "nested.0.0.merge = merge(encoder.0, nested.0.0.up) 6",
        "nested.0.0.conv = conv(nested.0.0.merge) 2",
        "decoder.1.up = nearest(encoder.2) 6",
        "decoder.1.merge = merge(encoder.1, decoder.1.up) 10",
        "decoder.1.conv = conv(decoder.1.merge) 5",
        "decoder.0.up = nearest(decoder.1) 5",
        "decoder.0.merge = merge(encoder.0, nested.0.0, decoder.0.up) 9",
        "decoder.0.conv = conv(decoder.0.merge) 3",
        "head = conv(decoder.0) 2",
        "deep_head.0 = conv(decoder.1) 2",
    ]
    assert (spec.logits, spec.deep_logits, spec.loss_weights) == ("head", ("deep_head.0",), (1.0, 0.5))
    assert {(layer.name.partition(".block")[0], layer.stage, layer.level) for layer in spec.layers} == {
        ("encoder.0", "encoder", 0),
        ("encoder.1.down", "encoder", 1),
        ("encoder.1", "encoder", 1),
        ("encoder.2.down", "encoder", 2),
        ("encoder.2", "encoder", 2),
        ("nested.0.0.up", "decoder", 0),
        ("nested.0.0.merge", "decoder", 0),
        ("nested.0.0", "decoder", 0),
        ("decoder.1.up", "decoder", 1),
        ("decoder.1.merge", "decoder", 1),
        ("decoder.1", "decoder", 1),
        ("decoder.0.up", "decoder", 0),
        ("decoder.0.merge", "decoder", 0),
        ("decoder.0", "decoder", 0),
        ("head", "head", 0),
        ("deep_head.0", "deep_head", 1),
    }
    merges = {layer.name: layer.in_channels for layer in spec.layers if layer.kind == "merge"}
    assert merges == {"nested.0.0.merge": 4, "decoder.1.merge": 6, "decoder.0.merge": 5}  # those that are upsampled
    assert spec.layers[-1].is_deep and [tensor.leaf for tensor in spec.layers[-1].tensors] == [
        "head.weight",
        "head.bias",
    ]


def test_deep_heads_of_a_nested_network_read_the_last_node_of_their_level(changed_spec: Changed) -> None:
    deep = {"levels": [1, 2], "weights": [1.0, 0.5, 0.25]}
    spec = changed_spec(SMALL | {"widths": [2, 4, 6, 8], "nested": True, "deep_supervision": deep})
    assert [layer.inputs for layer in spec.layers if layer.is_deep] == [
        ("decoder.1.block.0.activation",),
        ("decoder.2.block.0.activation",),
    ]


def test_attention_in_a_nested_network_gates_the_last_of_the_skips(changed_spec: Changed) -> None:
    attention = {"width": "half", "bias": True, "norm": {"kind": "none"}}
    spec = changed_spec(SMALL | {"widths": [2, 4, 6], "nested": True, "attention": attention})
    inputs = {layer.name: layer.inputs for layer in spec.layers}
    assert inputs["decoder.0.attention.multiply"][0] == "nested.0.0.block.0.activation"
    assert inputs["decoder.0.merge"] == (
        "encoder.0.block.0.activation",
        "decoder.0.attention.multiply",
        "decoder.0.up",
    )


MERGES: dict[str, tuple[dict[str, Any], dict[str, tuple[tuple[str, ...], int]]]] = {
    "concatenate": (
        {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "error"},
        {"decoder.0.merge": (("encoder.0.block.0.activation", "decoder.0.up"), 4)},
    ),
    "sum": (
        {"kind": "sum", "size_mismatch": "error"},
        {"decoder.0.merge": (("encoder.0.block.0.activation", "decoder.0.up"), 2)},
    ),
    "none": ({"kind": "none"}, {}),
}


@pytest.mark.parametrize(("merge", "expected"), MERGES.values(), ids=MERGES)
def test_what_is_merged(
    merge: dict[str, Any], expected: dict[str, tuple[tuple[str, ...], int]], changed_spec: Changed
) -> None:
    spec = changed_spec(SMALL | {"merge": merge})
    found = {layer.name: (layer.inputs, layer.out_channels) for layer in spec.layers if layer.kind == "merge"}
    assert found == expected
    assert {layer.settings for layer in spec.layers if layer.kind == "merge"} <= {spec.merge}


@pytest.mark.parametrize(("width", "channels"), [("same", 2), ("next", 4)])
def test_width_of_a_convolution_that_goes_down(width: str, channels: int, changed_spec: Changed) -> None:
    down = {"kind": "conv", "kernel": 2, "stride": 2, "padding": 0, "bias": False, "width": width}
    spec = changed_spec(SMALL | {"down": down})
    assert spec.tensor("encoder.1.down.weight").shape == (channels, 2, 2, 2)
    assert spec.tensor("encoder.1.block.0.conv.weight").shape == (4, channels, 3, 3)


@pytest.mark.parametrize(
    "up", [{"kind": "nearest"}, {"kind": "linear", "align_corners": True}], ids=lambda up: up["kind"]
)
def test_a_map_brought_to_the_size_of_the_skip_reads_both(up: dict[str, Any], changed_spec: Changed) -> None:
    lines = listed(changed_spec(SMALL | {"up": up | {"scale": "skip"}}))
    name = "decoder.0.up"
    both = "encoder.1.block.0.activation, encoder.0.block.0.activation"
    assert [line for line in lines if line.startswith(name)] == [f"{name} = {up['kind']}({both}) 4"]


NO_UNITS = {"block": {"convolutions": 0}}
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "encoder": (
        {"decoder_widths": [3], "override": [{"part": "encoder", **NO_UNITS}]},
        "widths.0: got 2, expected 1 as encoder.0.block has no convolution to change them",
    ),
    "decoder": (
        {"override": [{"part": "decoder", **NO_UNITS}]},
        "widths.0: got 2, expected 4 as decoder.0.block has no convolution to change them",
    ),
    "decoder with widths of its own": (
        {"decoder_widths": [3], "override": [{"part": "decoder", **NO_UNITS}]},
        "decoder_widths.0: got 3, expected 4 as decoder.0.block has no convolution to change them",
    ),
    "an inner node, which is as wide as the encoder": (
        {"nested": True, "widths": [2, 4, 4], "decoder_widths": [3, 3], "override": [{"part": "decoder", **NO_UNITS}]},
        "widths.0: got 2, expected 4 as nested.0.0.block has no convolution to change them",
    ),
    "a sum of maps of two widths": (
        {"merge": {"kind": "sum", "size_mismatch": "error"}, "up.width": "same"},
        "merge.kind: got 'sum' at level 0, where the maps have 2 and 4 channels; expected equal ones",
    ),
    "a shuffle of more pixels than there are channels for": (
        {"up": {"kind": "pixel_shuffle", "scale": 3}},
        "up.scale: got 3, expected 9 to divide the 4 channels before decoder.0.up",
    ),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_widths_that_do_not_go_together_are_named_by_their_key(
    change: dict[str, Any], message: str, changed_spec: Changed
) -> None:
    with pytest.raises(SpecError) as error:
        changed_spec(SMALL | change)
    assert str(error.value).partition(".toml: ")[2] == message


def test_joined_before_upsampling_with_units_around_it(changed_spec: Changed) -> None:
    unit = {
        "kernel": 1,
        "padding": 0,
        "padding_mode": "zeros",
        "bias": False,
        "width": "half",
        "order": ["conv", "norm", "activation"],
        "norm": {"kind": "layer", "epsilon": 1e-5},
        "activation": {"kind": "prelu", "slopes": "per_channel"},
    }
    up = {"kind": "pixel_shuffle", "scale": 2, "before": unit | {"width": "same"}, "after": unit | {"width": "decoder"}}
    widths = {"widths": [4, 4], "decoder_widths": [5]}
    spec = changed_spec(SMALL | widths | {"up": up, "merge.before_up": True, "down": {"kind": "none"}})
    assert [
        line for line in listed(spec) if line.startswith("decoder.0") and ".block" not in line.partition(" ")[0]
    ] == [
        "decoder.0.merge = merge(encoder.0.block.0.activation, encoder.1.block.0.activation) 8",
        "decoder.0.before_up.conv = conv(decoder.0.merge) 8",
        "decoder.0.before_up.norm = layer_norm(decoder.0.before_up.conv) 8",
        "decoder.0.before_up.activation = prelu(decoder.0.before_up.norm) 8",
        "decoder.0.up = pixel_shuffle(decoder.0.before_up.activation) 2",
        "decoder.0.after_up.conv = conv(decoder.0.up) 5",
        "decoder.0.after_up.norm = layer_norm(decoder.0.after_up.conv) 5",
        "decoder.0.after_up.activation = prelu(decoder.0.after_up.norm) 5",
    ]
    assert spec.tensor("decoder.0.after_up.activation.weight").shape == (5,)
    around = [layer.settings for layer in spec.layers if layer.name.endswith("_up.conv")]
    assert around == [Convolution((1, 1), (1, 1), (0, 0), "zeros", (1, 1), (0, 0), False)] * 2


@pytest.mark.parametrize(("width", "channels"), [("half", 4), ("same", 8), ("skip", 2), ("decoder", 3)])
def test_width_of_the_upsampled_map(width: str, channels: int, changed_spec: Changed) -> None:
    spec = changed_spec(SMALL | {"widths": [2, 8], "decoder_widths": [3], "up.width": width})
    assert spec.tensor("decoder.0.up.weight").shape == (8, channels, 2, 2)
    assert spec.tensor("decoder.0.block.0.conv.weight").shape == (3, 2 + channels, 3, 3)


def test_middle_widths(changed_spec: Changed) -> None:
    change = {"block.convolutions": 3, "middle_widths": [3, 5], "decoder_widths": [6], "decoder_middle_widths": [7]}
    spec = changed_spec(SMALL | change)
    widths = [layer.out_channels for layer in spec.layers if layer.kind == "conv"]
    assert widths == [3, 3, 2, 5, 5, 4, 7, 7, 6, 2]


def test_middle_widths_are_those_of_the_encoder_only(changed_spec: Changed) -> None:
    spec = changed_spec(SMALL | {"block.convolutions": 2, "middle_widths": [3, 5], "decoder_widths": [6]})
    assert [layer.out_channels for layer in spec.layers if layer.kind == "conv"] == [3, 2, 5, 4, 6, 6, 2]


def test_kernels_by_axis_in_three_dimensions(changed_spec: Changed) -> None:
    flat = {"dimensions": 3, "conv.kernel": [1, 3, 3], "conv.padding": [0, 1, 1], "up.kernel": [1, 2, 2]}
    spec = changed_spec(SMALL | flat | {"up.stride": [1, 2, 2]})
    assert spec.tensor("encoder.1.block.0.conv.weight").shape == (4, 2, 1, 3, 3)
    assert spec.tensor("decoder.0.up.weight").shape == (4, 2, 1, 2, 2)
    assert spec.tensor("head.weight").shape == (2, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("norm", "leaves"),
    [
        ({"kind": "instance", "epsilon": 1e-5, "affine": False}, []),
        ({"kind": "instance", "epsilon": 1e-5, "affine": True}, ["weight", "bias"]),
        ({"kind": "layer", "epsilon": 1e-5}, ["weight", "bias"]),
        ({"kind": "group", "groups": 2, "epsilon": 1e-5}, ["weight", "bias"]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_tensors_of_a_norm(norm: dict[str, Any], leaves: list[str], changed_spec: Changed) -> None:
    spec = changed_spec({"widths": [4], "norm": norm})
    start = "encoder.0.block.0.norm."
    assert [t.name.removeprefix(start) for t in spec.tensors if t.name.startswith(start)] == leaves


def replay(layers: list[Layer], outputs: list[str]) -> dict[str, int]:
    """Run a schedule on names alone; the maps that are left, and how often each one was dropped."""
    maps, dropped = {IMAGES}, dict.fromkeys([IMAGES, *(layer.name for layer in layers)], 0)
    for layer, done_with in schedule(layers, outputs):
        assert maps.issuperset(layer.inputs), f"{layer.name} reads what was dropped"
        maps.add(layer.name)
        for name in done_with:
            maps.remove(name)
            dropped[name] += 1
    assert maps == set(outputs)
    return dropped


@given(case=specs())
@settings(max_examples=40)
def test_each_map_is_dropped_once_after_its_last_use_and_outputs_never(case: tuple[UNetSpec, Shape]) -> None:
    spec, _ = case
    outputs = [spec.logits, *spec.deep_logits]
    dropped = replay(list(spec.layers), outputs)
    assert all(count == (name not in outputs) for name, count in dropped.items())
    inference = [layer for layer in spec.layers if not layer.is_deep]
    assert all(count == (name != spec.logits) for name, count in replay(inference, [spec.logits]).items())


def test_a_map_is_dropped_as_soon_as_it_can_be(changed_spec: Changed) -> None:
    spec = changed_spec(SMALL)
    steps = {layer.name: done_with for layer, done_with in schedule(spec.layers, [spec.logits])}
    assert steps["encoder.0.block.0.conv"] == (IMAGES,)
    assert steps["decoder.0.merge"] == ("encoder.0.block.0.activation", "decoder.0.up")
    assert steps["encoder.1.down"] == ()  # the skip is needed yet


def test_an_output_that_is_not_run_is_waited_for_by_nothing(changed_spec: Changed) -> None:
    deep = {"widths": [2, 4, 6], "deep_supervision": {"levels": [1], "weights": [1.0, 0.5]}}
    spec = changed_spec(SMALL | deep)
    inference = [layer for layer in spec.layers if not layer.is_deep]  # backends ask for both heads all the same
    assert schedule(inference, [spec.logits, *spec.deep_logits]) == schedule(inference, [spec.logits])
