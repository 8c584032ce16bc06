"""The fingerprint tells two specs apart whenever they describe two functions, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest

from shared_specs import UNetSpec
from shared_specs.schema import Table

GROUP_NORM = {"kind": "group", "groups": 2, "epsilon": 1e-5}
LEAKY_RELU = {"kind": "leaky_relu", "slope": 0.1}
LINEAR = {"kind": "linear", "scale": 2, "align_corners": True}

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
    ({"merge.size_mismatch": "pad_upsampled"}, {}),
    ({"merge.odd_difference": "floor"}, {}),
    ({"head.kernel": 3}, {}),
    ({"head.padding": 1}, {}),
    ({"head.bias": False}, {}),
]


@pytest.mark.parametrize(
    ("change", "both"), CHANGES, ids=[f"{next(iter(change))}-{'-'.join(both)}" for change, both in CHANGES]
)
def test_changes_with_what_shapes_the_function(
    change: dict[str, Any], both: dict[str, Any], changed_spec: Callable[..., UNetSpec]
) -> None:
    before = changed_spec(both, base="unet_bn_crop")
    after = changed_spec(both | change, base="unet_bn_crop")
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("key", ["name", "title", "source"])
def test_stays_with_what_is_only_said_about_it(key: str, changed_spec: Callable[..., UNetSpec]) -> None:
    before, after = changed_spec({}), changed_spec({key: "another"})
    assert before != after
    assert before.fingerprint == after.fingerprint


def test_stays_with_how_a_number_is_written(changed_spec: Callable[..., UNetSpec]) -> None:
    assert changed_spec({"norm.momentum": 1}).fingerprint == changed_spec({"norm.momentum": 1.0}).fingerprint


def choices(table: type[Table], prefix: str = "") -> set[str]:
    """The dotted keys of the schema that can take more than one value, those of every kind of a table."""
    keys = set()
    for name, field in table.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Table)]
        for kind in tables:
            keys |= choices(kind, f"{prefix}{name}.")
        if len(tables) > 1:
            keys.add(f"{prefix}{name}")
        is_fixed = get_origin(field.annotation) is Literal and len(kinds) == 1
        if not tables and not is_fixed:
            keys.add(f"{prefix}{name}")
    return keys


def test_every_choice_of_the_schema_is_changed_above() -> None:
    changed = {key for change, _ in CHANGES for key in change}
    assert choices(UNetSpec) - {"name", "title", "source"} == changed
