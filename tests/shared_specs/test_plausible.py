"""Specs thrown together from values that are each legal somewhere: refused in words, or a network that can be built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared_specs import ShapeError, SpecError, UNetSpec, initial_weights
from shared_specs.cost import total_cost
from shared_specs.folding import without_norm
from shared_specs.shapes import feature_shapes, smallest_input

from .. import unit_strategies as units

SIZES = st.sampled_from([1, 2, 3, [1, 2], [3, 1], [2, 2, 2], [1, 3, 3]])
MARGINS = st.sampled_from([0, 1, 2, [0, 1], [1, 2, 1]])
WIDTHS = st.lists(st.sampled_from([2, 3, 4, 8]), min_size=1, max_size=3)
NORMS = units.norms(even=True)
ORDERS = st.lists(st.sampled_from(["conv", "norm", "activation", "dropout"]), max_size=4)
UP_UNITS = st.fixed_dictionaries(
    {
        "kernel": SIZES,
        "padding": MARGINS,
        "padding_mode": st.sampled_from(["zeros", "reflect", "circular"]),
        "bias": st.booleans(),
        "width": units.up_widths(),
        "order": ORDERS,
        "norm": NORMS,
        "activation": units.activations(),
    }
)
UPS = st.one_of(
    st.just({"kind": "none"}),
    st.fixed_dictionaries({"kind": st.just("nearest"), "scale": SIZES | st.just("skip")}),
    st.fixed_dictionaries({"kind": st.just("pixel_shuffle"), "scale": st.integers(1, 3)}),
    st.fixed_dictionaries(
        {"kind": st.just("linear"), "scale": SIZES | st.just("skip"), "align_corners": st.booleans()},
        optional={"before": UP_UNITS, "after": UP_UNITS},
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("transposed_conv"),
            "kernel": SIZES,
            "stride": SIZES,
            "padding": MARGINS,
            "output_padding": MARGINS,
            "bias": st.booleans(),
            "width": units.up_widths(),
        },
        optional={"before": UP_UNITS, "after": UP_UNITS},
    ),
)
POOL = {"stride": SIZES, "rounding": st.just("floor")}
DOWNS = st.one_of(
    st.just({"kind": "none"}),
    st.fixed_dictionaries({"kind": st.just("max_pool"), "kernel": SIZES, "padding": MARGINS, **POOL}),
    st.fixed_dictionaries({"kind": st.just("average_pool"), "kernel": SIZES, "padding": st.just(0), **POOL}),
    st.fixed_dictionaries(
        {
            "kind": st.just("conv"),
            "kernel": SIZES,
            "stride": SIZES,
            "padding": MARGINS,
            "bias": st.booleans(),
            "width": st.sampled_from(["same", "next"]),
        }
    ),
)
MERGES = st.fixed_dictionaries(
    {"kind": st.sampled_from(["concatenate", "sum", "none"])},
    optional={
        "order": st.just(["upsampled", "skip"]),
        "size_mismatch": st.sampled_from(["error", "crop_skip", "pad_upsampled", "resize_upsampled"]),
        "odd_difference": st.sampled_from(["half_to_even", "floor", "all_after"]),
        "padding_mode": st.sampled_from(["zeros", "reflect", "replicate"]),
        "resize": st.sampled_from(["nearest", "linear", "linear_align_corners"]),
        "before_up": st.booleans(),
    },
)
TABLES: dict[str, st.SearchStrategy[Any]] = {
    "norm": NORMS,
    "activation": units.activations(),
    "down": DOWNS,
    "up": UPS,
    "merge": MERGES,
    "dropout": st.just({"rate": 0.5}),
    "residual": st.fixed_dictionaries(
        {
            "span": st.integers(1, 2),
            "stem": st.integers(0, 2),
            "last_activation": st.sampled_from(["before_sum", "after_sum"]),
            "stride_by": st.sampled_from(["average_pool", "conv"]),
            "kernel": SIZES,
            "padding": MARGINS,
            "bias": st.booleans(),
            "norm": st.booleans(),
        }
    ),
    "attention": st.fixed_dictionaries({"width": st.just("half"), "bias": st.booleans(), "norm": NORMS}),
}
CONV = {
    "kernel": SIZES,
    "stride": SIZES,
    "padding": MARGINS,
    "padding_mode": st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    "dilation": SIZES,
    "bias": st.booleans(),
}
BLOCK = {"convolutions": st.integers(0, 3), "order": ORDERS}
OVERRIDES = st.lists(
    st.fixed_dictionaries(
        {"part": st.sampled_from(["encoder", "decoder"])},
        optional={
            "levels": st.lists(st.integers(0, 2), max_size=2),
            "conv": st.fixed_dictionaries({}, optional=CONV),
            "block": st.fixed_dictionaries({}, optional=BLOCK),
            **TABLES,
        },
    ),
    max_size=2,
)
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "dimensions": st.sampled_from([2, 3]),
    "in_channels": st.integers(1, 4),
    "out_channels": st.integers(1, 4),
    "widths": WIDTHS,
    "middle_widths": WIDTHS,
    "decoder_widths": WIDTHS,
    "decoder_middle_widths": WIDTHS,
    "nested": st.booleans(),
    "head": st.none(),
    "deep_supervision": st.just({"levels": [1], "weights": [1.0, 0.5]}),
    "override": OVERRIDES,
    **{f"conv.{key}": values for key, values in CONV.items()},
    **{f"block.{key}": values for key, values in BLOCK.items()},
    **TABLES,
}
KINDS = {
    *("conv", "transposed_conv", "batch_norm", "instance_norm", "group_norm", "layer_norm", "relu", "leaky_relu"),
    *("prelu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity", "dropout", "max_pool", "average_pool", "nearest"),
    *("linear", "pixel_shuffle", "merge", "sum", "multiply"),
}
SOME_KEYS = st.lists(st.sampled_from(sorted(KEYS)), max_size=5, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: KEYS[key] for key in keys})
)


@given(changes=SOME_KEYS, sides=st.lists(st.integers(1, 12), min_size=3, max_size=3))
@settings(max_examples=400)
def test_refused_in_words_or_a_network(
    changes: dict[str, Any], sides: list[int], changed_spec: Callable[..., UNetSpec]
) -> None:
    try:
        spec = changed_spec({"widths": [2, 4, 4]} | changes)
    except SpecError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - many, not all, of these are broken
        return
    assert {layer.kind for layer in spec.layers} <= KINDS
    before = {"images"}
    for layer in spec.layers:
        assert before.issuperset(layer.inputs)
        before.add(layer.name)
    assert len(before) == len(spec.layers) + 1
    assert spec.logits in before and spec.layers[-1].out_channels == spec.out_channels
    assert initial_weights(spec).keys() == {tensor.name for tensor in spec.tensors}
    assert without_norm(spec).out_channels == spec.out_channels
    images = (1, spec.in_channels, *sides[: spec.dimensions])
    try:
        shapes = feature_shapes(spec, images)
        smallest_input(spec)
        assert total_cost(spec, images).forward_flops >= 0
    except ShapeError as error:
        assert str(error).startswith(f"{spec.name}: ")  # noqa: PT017
    else:
        assert min(min(shape) for shape in shapes.values()) > 0
    with contextlib.suppress(SpecError):
        assert spec.narrow(2).out_channels == spec.out_channels
