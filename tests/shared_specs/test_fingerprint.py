"""The fingerprint tells two specs apart whenever they describe two functions, and only then."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from shared_specs import UNetSpec
from shared_specs.schema import Level, Override
from shared_specs.tables import Table

GROUP_NORM = {"kind": "group", "groups": 2, "epsilon": 1e-5}
LEAKY_RELU = {"kind": "leaky_relu", "slope": 0.1}
LINEAR = {"kind": "linear", "scale": 2, "align_corners": True}
UNIT = {
    "kernel": 1,
    "padding": 0,
    "padding_mode": "zeros",
    "bias": True,
    "width": "same",
    "order": ["conv"],
    "norm": {"kind": "none"},
    "activation": {"kind": "relu"},
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
AVERAGE = {"kind": "average_pool", "kernel": 2, "stride": 2, "padding": 0, "rounding": "floor"}
DOWN_CONV = {"kind": "conv", "kernel": 2, "stride": 2, "padding": 0, "bias": True, "width": "same"}
INSTANCE = {"kind": "instance", "epsilon": 1e-5, "affine": True}
LAYER = {"kind": "layer", "epsilon": 1e-5}
NEAREST = {"kind": "nearest", "scale": 2}
SHUFFLE = {"kind": "pixel_shuffle", "scale": 2}
PADDED = {"merge.size_mismatch": "pad_upsampled", "merge.padding_mode": "zeros"}
RESIZED = {
    "merge": {
        "kind": "concatenate",
        "order": ["skip", "upsampled"],
        "size_mismatch": "resize_upsampled",
        "resize": "linear",
    }
}
RESIDUAL = {
    "span": 2,
    "last_activation": "before_sum",
    "stride_by": "conv",
    "kernel": 1,
    "padding": 0,
    "bias": True,
    "norm": False,
}
ATTENTION = {"width": "half", "bias": True, "norm": {"kind": "none"}}
GATED = {
    "merge": {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "error"},
    "attention": ATTENTION,
}
DEEP = {"levels": [1], "weights": [1.0, 0.5]}
DROPOUT = {"dropout": {"rate": 0.5}, "block.order": ["conv", "norm", "dropout", "activation"]}


def override(**tables: Any) -> dict[str, Any]:
    return {"override": [{"part": "encoder", "levels": [1]} | tables]}


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [  # what differs, on top of what both have
    ({"in_channels": 4}, {}),
    ({"out_channels": 11}, {}),
    ({"widths": [64, 128, 256, 512]}, {}),
    ({"block.convolutions": 3}, {}),
    ({"block.order": ["conv", "activation", "norm"]}, {}),
    ({"conv.kernel": 5}, {}),
    ({"conv.padding": 1}, {}),
    ({"conv.bias": False}, {}),
    ({"norm": GROUP_NORM}, {}),
    ({"norm.epsilon": 1.0001e-5}, {}),
    ({"norm.momentum": 0.1001}, {}),
    ({"norm.running_variance": "biased"}, {}),
    ({"norm.groups": 4}, {"norm": GROUP_NORM}),
    ({"norm.fewer_channels": "one_group"}, {"norm": GROUP_NORM}),
    ({"norm.epsilon": 1e-6}, {"norm": GROUP_NORM}),
    ({"activation": {"kind": "identity"}}, {}),
    ({"activation.slope": 0.01}, {"activation": LEAKY_RELU}),
    ({"down.kernel": 3}, {}),
    ({"down.stride": 3}, {}),
    ({"up": LINEAR}, {}),
    ({"up.kernel": 3}, {}),
    ({"up.stride": 3}, {}),
    ({"up.padding": 1}, {}),
    ({"up.bias": False}, {}),
    ({"up.scale": 3}, {"up": LINEAR}),
    ({"up.align_corners": False}, {"up": LINEAR}),
    ({"merge.order": ["upsampled", "skip"]}, {}),
    (PADDED, {}),
    ({"merge.odd_difference": "floor"}, {}),
    ({"head.kernel": 3}, {}),
    ({"head.padding": 1}, {}),
    ({"head.bias": False}, {}),
    ({"dimensions": 3}, {}),
    ({"middle_widths": [8, 8, 8, 8, 8]}, {}),
    ({"decoder_widths": [8, 8, 8, 8]}, {}),
    ({"decoder_middle_widths": [8, 8, 8, 8]}, {}),
    ({"nested": True}, {}),
    ({"conv.stride": 2}, {"widths": [64]}),
    ({"conv.padding_mode": "reflect"}, {}),
    ({"conv.dilation": 2}, {}),
    ({"norm": INSTANCE}, {}),
    ({"norm": LAYER}, {}),
    ({"norm.affine": False}, {"norm": INSTANCE}),
    ({"norm.epsilon": 1e-6}, {"norm": INSTANCE}),
    ({"norm.epsilon": 1e-6}, {"norm": LAYER}),
    ({"activation.slopes": "one"}, {"activation": {"kind": "prelu", "slopes": "per_channel"}}),
    ({"activation.alpha": 0.5}, {"activation": {"kind": "elu", "alpha": 1.0}}),
    ({"activation.approximation": "tanh"}, {"activation": {"kind": "gelu", "approximation": "none"}}),
    ({"down": AVERAGE}, {}),
    ({"down.kernel": 3}, {"down": AVERAGE}),
    ({"down.padding": 1}, {}),
    ({"down.bias": False}, {"down": DOWN_CONV}),
    ({"down.width": "next"}, {"down": DOWN_CONV}),
    ({"up": NEAREST}, {}),
    ({"up": SHUFFLE}, {}),
    ({"up.scale": "skip"}, {"up": NEAREST}),
    ({"up.scale": 4}, {"up": SHUFFLE}),
    ({"up.output_padding": 1}, {}),
    ({"up.width": "same"}, {}),
    ({"up.before": UNIT}, {}),
    ({"up.after": UNIT}, {}),
    *(({f"up.{place}.{key}": value}, {f"up.{place}": UNIT}) for place in ("before", "after") for key, value in {
        "kernel": 3, "padding": 1, "padding_mode": "circular", "bias": False, "width": "half",
        "order": ["conv", "activation"], "norm": INSTANCE, "activation": {"kind": "silu"}}.items()),
    ({"merge": {"kind": "none"}}, {"up": TRANSPOSED}),
    ({"merge.before_up": True}, {}),
    ({"merge.padding_mode": "reflect"}, PADDED),
    ({"merge.resize": "nearest"}, RESIZED),
    ({"head.norm": INSTANCE}, {}),
    ({"head.activation": {"kind": "tanh"}}, {}),
    ({"head": None}, {"out_channels": 64}),
    ({"dropout": DROPOUT["dropout"], "block.order": DROPOUT["block.order"]}, {}),
    ({"dropout.rate": 0.25}, DROPOUT),
    ({"residual": RESIDUAL}, {}),
    ({"residual.stem": 1}, {"residual": RESIDUAL | {"span": 1}}),
    *(({f"residual.{key}": value}, {"residual": RESIDUAL}) for key, value in {
        "span": 1, "last_activation": "after_sum", "stride_by": "average_pool", "kernel": 3, "padding": 1,
        "bias": False, "norm": True}.items()),
    ({"attention": ATTENTION}, {"merge": GATED["merge"]}),
    ({"attention.bias": False}, GATED),
    ({"attention.norm": INSTANCE}, GATED),
    ({"deep_supervision": DEEP}, {}),
    ({"deep_supervision.levels": [2]}, {"deep_supervision": DEEP}),
    ({"deep_supervision.weights": [1.0, 0.25]}, {"deep_supervision": DEEP}),
    (override(conv={"bias": False}), {}),
    (override(conv={"bias": False}), override(conv={"kernel": 1})),
    (override(conv={"bias": False}, levels=[2]), override(conv={"bias": False})),
    ({"override": []}, override(conv={"bias": False})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "both"), CHANGES, ids=[f"{next(iter(change))}-{'-'.join(both)}" for change, both in CHANGES]
)
def test_changes_with_what_shapes_the_function(
    change: dict[str, Any], both: dict[str, Any], changed_spec: Callable[..., UNetSpec]
) -> None:
    before = changed_spec(both, base="unet_bn_crop")
    after = changed_spec(both | change, base="unet_bn_crop")
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("key", ["name", "title", "source", "citation", "licence"])
def test_stays_with_what_is_only_said_about_it(key: str, changed_spec: Callable[..., UNetSpec]) -> None:
    before, after = changed_spec({}), changed_spec({key: "another"})
    assert before != after
    assert before.fingerprint == after.fingerprint


def test_stays_with_how_a_number_is_written(changed_spec: Callable[..., UNetSpec]) -> None:
    assert changed_spec({"norm.momentum": 1}).fingerprint == changed_spec({"norm.momentum": 1.0}).fingerprint


ABOUT = {"name", "title", "source", "citation", "licence", "checkpoint"}
FIXED = {"down.rounding", "attention.width"}  # one value, which has to be written down


def members(annotation: Any) -> list[Any]:
    """The types in a union, whatever is said of them beside."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [] if annotation is NoneType else [annotation]


def choices(table: type[Table], prefix: str = "") -> set[str]:
    """The dotted keys of the schema, those of every kind of a table; of a union of tables its own key, not `kind`."""
    keys = set()
    for name, field in table.model_fields.items():
        found = members(field.annotation)
        tables = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Table)]
        for kind in tables:
            # A norm or an activation elsewhere than in a block is one choice here: its keys are the same.
            keys |= choices(kind, f"{prefix}{name}.") if not (prefix and "kind" in kind.model_fields) else set()
        is_tag = name == "kind" and len(get_args(field.annotation)) == 1
        if not is_tag and (len(tables) != 1 or not field.is_required()):
            keys.add(f"{prefix}{name}")
    return keys


def test_every_choice_of_the_schema_is_changed_above() -> None:
    changed = {"merge.kind" if key == "merge" else key for change, _ in CHANGES for key in change}
    expected = {key for key in choices(UNetSpec) if key.partition(".")[0] not in ABOUT} - FIXED - {"override"}
    assert expected == changed - {"override"}


def test_every_table_of_a_level_can_be_overridden() -> None:
    assert set(Override.model_fields) - {"part", "levels"} == set(Level.model_fields)
