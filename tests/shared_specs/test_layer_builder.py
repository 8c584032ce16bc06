"""Every number of every table reaches the layer that it is about, and each layer says where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import SpecError, UNetSpec
from shared_specs.layout import Convolution, Layer, Pool, Resize

Changed = Callable[..., UNetSpec]

ONES, ZEROS = (1, 1), (0, 0)
GROUP = {"kind": "group", "groups": 2, "epsilon": 0.5}
BATCH = {"kind": "batch", "epsilon": 0.1, "momentum": 0.2, "running_variance": "biased"}
LAYER = {"kind": "layer", "epsilon": 0.25}
INSTANCE = {"kind": "instance", "epsilon": 0.3, "affine": True}
LEAKY, PRELU = {"kind": "leaky_relu", "slope": 0.3}, {"kind": "prelu", "slopes": "one"}
UNIT = {
    "kernel": [3, 1],
    "padding": [1, 0],
    "padding_mode": "circular",
    "bias": False,
    "width": "same",
    "order": ["conv", "norm", "activation"],
    "norm": LAYER,
    "activation": PRELU,
}
RESIDUAL = {
    "span": 2,
    "last_activation": "after_sum",
    "stride_by": "conv",
    "kernel": [3, 1],
    "padding": [1, 0],
    "bias": True,
    "norm": True,
}
NETWORK: dict[str, Any] = {
    "widths": [4, 6],
    "in_channels": 1,
    "out_channels": 3,
    "conv": {
        "kernel": [3, 5],
        "stride": 1,
        "padding": [1, 4],
        "padding_mode": "reflect",
        "dilation": [1, 2],
        "bias": False,
    },
    "norm": GROUP,
    "activation": LEAKY,
    "down": {"kind": "conv", "kernel": [4, 2], "stride": [2, 3], "padding": [1, 0], "bias": True, "width": "next"},
    "up": {
        "kind": "transposed_conv",
        "kernel": [4, 3],
        "stride": [2, 3],
        "padding": [1, 0],
        "output_padding": [0, 2],
        "bias": False,
        "width": "skip",
        "before": UNIT,
        "after": UNIT | {"norm": BATCH},
    },
    "residual": RESIDUAL,
    "head": {
        "kernel": [1, 3],
        "padding": [0, 1],
        "bias": False,
        "norm": INSTANCE,
        "activation": {"kind": "sigmoid"},
    },
}

CONV = Convolution((3, 5), ONES, (1, 4), "reflect", (1, 2), ZEROS, False)
SHORTCUT = Convolution((3, 1), ONES, (1, 0), "zeros", ONES, ZEROS, True)
AROUND_UP = Convolution((3, 1), ONES, (1, 0), "circular", ONES, ZEROS, False)
SETTINGS: dict[str, Any] = {
    **{
        f"{block}.{unit}.conv": CONV
        for block in ("encoder.0.block", "encoder.1.block", "decoder.0.block")
        for unit in (0, 1)
    },
    **{f"{block}.block.{unit}.norm": GROUP for block in ("encoder.0", "encoder.1", "decoder.0") for unit in (0, 1)},
    **{
        f"{block}.block.{unit}.activation": LEAKY
        for block in ("encoder.0", "encoder.1", "decoder.0")
        for unit in (0, 1)
    },
    **{f"{block}.block.1.sum": None for block in ("encoder.0", "encoder.1", "decoder.0")},
    **{f"{block}.block.1.shortcut.conv": SHORTCUT for block in ("encoder.0", "decoder.0")},
    **{f"{block}.block.1.shortcut.norm": GROUP for block in ("encoder.0", "decoder.0")},
    "encoder.1.down": Convolution((4, 2), (2, 3), (1, 0), "zeros", ONES, ZEROS, True),
    **{f"decoder.0.{where}_up.conv": AROUND_UP for where in ("before", "after")},
    "decoder.0.before_up.norm": LAYER,
    "decoder.0.after_up.norm": BATCH,
    **{f"decoder.0.{where}_up.activation": PRELU for where in ("before", "after")},
    "decoder.0.up": Convolution((4, 3), (2, 3), (1, 0), "zeros", ONES, (0, 2), False),
    "head": Convolution((1, 3), ONES, (0, 1), "zeros", ONES, ZEROS, False),
    "head_norm": INSTANCE,
    "head_activation": {"kind": "sigmoid"},
}


def settings_of(layer: Layer) -> Any:
    """As the spec has them, where they are one of its tables."""
    return layer.settings.model_dump(exclude_none=True) if hasattr(layer.settings, "model_dump") else layer.settings


def test_every_layer_has_the_settings_of_its_table(changed_spec: Changed) -> None:
    spec = changed_spec(NETWORK)
    found = {layer.name: settings_of(layer) for layer in spec.layers}
    merge = found.pop("decoder.0.merge")
    assert merge == spec.merge.model_dump(exclude_none=True)
    assert found == SETTINGS


def test_every_layer_says_where_it_stands_and_what_it_reads(changed_spec: Changed) -> None:
    deep = {"deep_supervision": {"levels": [1], "weights": [1, 1]}, "widths": [4, 6, 6]}
    spec = changed_spec(NETWORK | deep)
    channels = {layer.name: layer.out_channels for layer in spec.layers} | {"images": 1}
    for layer in spec.layers:
        part, _, rest = layer.name.partition(".")
        stage, level = (part.partition("_")[0], 0) if part.startswith("head") else (part, int(rest.partition(".")[0]))
        level = 1 if part == "deep_head" else level
        assert (layer.stage, layer.level, layer.is_deep) == (stage, level, part == "deep_head"), layer.name
        read = layer.inputs[-1] if layer.kind == "merge" else layer.inputs[0]
        assert layer.in_channels == channels[read], layer.name
        for tensor in layer.tensors:
            assert tensor.name == f"{layer.name}.{tensor.leaf.partition('.')[2]}"
            assert tensor.trainable == (not tensor.leaf.startswith("norm.running"))
    assert [layer.name for layer in spec.layers if layer.is_deep] == ["deep_head.0"]
    assert settings_of(spec.layers[-1]) == SETTINGS["head"]


LEAVES = {
    "encoder.0.block.0.conv": {"conv.weight": (4, 1, 3, 5)},
    "encoder.0.block.1.shortcut.conv": {"conv.weight": (4, 1, 3, 1), "conv.bias": (4,)},
    "encoder.1.down": {"conv.weight": (6, 4, 4, 2), "conv.bias": (6,)},
    "decoder.0.before_up.activation": {"activation.weight": (1,)},
    "decoder.0.up": {"up.weight": (6, 4, 4, 3)},
    "decoder.0.after_up.norm": {
        "norm.weight": (4,),
        "norm.bias": (4,),
        "norm.running_mean": (4,),
        "norm.running_var": (4,),
    },
    "decoder.0.merge": {},
    "head": {"head.weight": (3, 4, 1, 3)},
    "head_norm": {"norm.weight": (3,), "norm.bias": (3,)},
    "head_activation": {},
}


@pytest.mark.parametrize(("name", "leaves"), LEAVES.items(), ids=LEAVES)
def test_what_a_layer_learns(name: str, leaves: dict[str, tuple[int, ...]], changed_spec: Changed) -> None:
    (layer,) = [layer for layer in changed_spec(NETWORK).layers if layer.name == name]
    assert {tensor.leaf: tensor.shape for tensor in layer.tensors} == leaves
    assert layer.parameter_count == sum(t.size for t in layer.tensors if not t.leaf.startswith("norm.running"))


@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
def test_the_window_of_a_pool(kind: str, changed_spec: Changed) -> None:
    padding = 0 if kind == "average_pool" else [1, 0]
    down = {"kind": kind, "kernel": [3, 2], "stride": [2, 3], "padding": padding, "rounding": "floor"}
    (pool,) = [layer for layer in changed_spec({"widths": [4, 8], "down": down}).layers if layer.name.endswith("down")]
    assert (pool.kind, pool.in_channels, pool.out_channels) == (kind, 4, 4)
    assert pool.settings == Pool((3, 2), (2, 3), ZEROS if padding == 0 else (1, 0))


@pytest.mark.parametrize(
    ("up", "settings", "inputs"),
    [
        ({"kind": "nearest", "scale": [2, 3]}, Resize((2, 3), False), 1),
        ({"kind": "linear", "scale": 2, "align_corners": True}, Resize((2, 2), True), 1),
        ({"kind": "linear", "scale": 2, "align_corners": False}, Resize((2, 2), False), 1),
        ({"kind": "linear", "scale": "skip", "align_corners": True}, Resize(None, True), 2),
        ({"kind": "nearest", "scale": "skip"}, Resize(None, False), 2),
    ],
    ids=["by axis", "corners", "no corners", "to the skip", "nearest to the skip"],
)
def test_how_a_map_is_resized(up: dict[str, Any], settings: Resize, inputs: int, changed_spec: Changed) -> None:
    (layer,) = [layer for layer in changed_spec({"widths": [4, 8], "up": up}).layers if layer.name == "decoder.0.up"]
    assert (layer.settings, layer.in_channels, layer.out_channels) == (settings, 8, 8)
    both = ("encoder.1.block.1.activation", "encoder.0.block.1.activation")
    assert layer.inputs == both[:inputs]


def test_pixels_of_a_shuffle_and_the_rate_of_a_dropout(changed_spec: Changed) -> None:
    order = {"block.order": ["conv", "dropout", "norm", "activation"], "dropout": {"rate": 0.25}}
    layers = changed_spec({"widths": [4, 8], "up": {"kind": "pixel_shuffle", "scale": 2}} | order).layers
    found = {layer.name: layer for layer in layers}
    assert (found["decoder.0.up"].out_channels, found["decoder.0.up"].settings.scale) == (2, 2)
    dropout = found["encoder.1.block.1.dropout"]
    assert (dropout.settings.rate, dropout.inputs, dropout.out_channels) == (0.25, ("encoder.1.block.1.conv",), 8)


def test_the_convolutions_of_a_gate(changed_spec: Changed) -> None:
    attention = {"width": "half", "bias": False, "norm": INSTANCE}
    layers = changed_spec({"widths": [4, 8], "attention": attention}).layers
    convolutions = [layer for layer in layers if ".attention." in layer.name and layer.kind == "conv"]
    assert [layer.name.split(".")[3] for layer in convolutions] == ["gate", "skip", "psi"]
    assert {layer.settings for layer in convolutions} == {Convolution(ONES, ONES, ZEROS, "zeros", ONES, ZEROS, False)}
    norms = [layer for layer in layers if ".attention." in layer.name and layer.kind.endswith("norm")]
    assert [settings_of(layer) for layer in norms] == [INSTANCE] * 3
    biased = changed_spec({"widths": [4, 8], "attention": attention | {"bias": True}}).layers
    assert all(layer.settings.bias for layer in biased if ".attention." in layer.name and layer.kind == "conv")


@pytest.mark.parametrize("stride_by", ["conv", "average_pool"])
def test_a_stride_is_that_of_the_first_convolution_and_of_what_goes_around_it(
    stride_by: str, changed_spec: Changed
) -> None:
    stride = [{"part": "encoder", "levels": [1], "conv": {"stride": [2, 3]}, "down": {"kind": "none"}}]
    residual = RESIDUAL | {"stride_by": stride_by, "span": 1}
    up = {"kind": "nearest", "scale": [2, 3]}
    spec = changed_spec({"widths": [4, 8], "residual": residual, "override": stride, "up": up})
    strided = {layer.name: layer.settings for layer in spec.layers if getattr(layer.settings, "stride", ONES) != ONES}
    name = "encoder.1.block.0.shortcut"
    assert strided.pop("encoder.1.block.0.conv").stride == (2, 3)
    if stride_by == "conv":
        assert strided == {f"{name}.conv": Convolution((3, 1), (2, 3), (1, 0), "zeros", ONES, ZEROS, True)}
    else:
        assert strided == {f"{name}.pool": Pool((2, 3), (2, 3), ZEROS)}
        (conv,) = [layer for layer in spec.layers if layer.name == f"{name}.conv"]
        assert (conv.settings, conv.inputs) == (SHORTCUT, (f"{name}.pool",))


def test_group_norm_of_fewer_channels_than_groups_has_one_group_where_the_spec_says_so(changed_spec: Changed) -> None:
    norm = {"kind": "group", "groups": 4, "epsilon": 1e-5, "fewer_channels": "one_group"}
    first = {"block": {"convolutions": 2, "order": ["norm", "conv", "activation"]}, "widths": [4, 8]}
    spec = changed_spec(first | {"norm": norm, "in_channels": 3})
    groups = {layer.in_channels: layer.settings.groups for layer in spec.layers if layer.kind == "group_norm"}
    assert groups == {3: 1, 4: 4, 8: 4}
    hint = "norm.groups: got 4, expected a divisor of the 3 channels of encoder.0.block.0.norm, or norm.fewer_channels"
    with pytest.raises(SpecError, match=hint):
        changed_spec(first | {"norm": GROUP | {"groups": 4}, "in_channels": 3})
    with pytest.raises(SpecError, match=r"expected a divisor of the 6 channels of encoder\.0\.block\.0\.norm$"):
        changed_spec(first | {"norm": norm, "in_channels": 6})
