"""Overrides: what holds at one level, and how a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import SpecError, UNetSpec

Changed = Callable[..., UNetSpec]

SMALL = {"widths": [4, 8, 8]}


def overridden(changed_spec: Changed, *overrides: dict[str, Any], **changes: Any) -> UNetSpec:
    return changed_spec(SMALL | changes | {"override": list(overrides)})


def kernels(spec: UNetSpec) -> dict[str, tuple[int, ...]]:
    """The kernel of each block's first convolution, by part and level."""
    ends = ".block.0.conv"
    return {layer.name.removesuffix(ends): layer.settings.kernel for layer in spec.layers if layer.name.endswith(ends)}


@pytest.mark.parametrize(
    ("where", "wide"),
    [
        ({"part": "encoder"}, {"encoder.0", "encoder.1", "encoder.2"}),
        ({"part": "decoder"}, {"decoder.0", "decoder.1"}),
        ({"part": "encoder", "levels": [0, 2]}, {"encoder.0", "encoder.2"}),
        ({"part": "decoder", "levels": [1]}, {"decoder.1"}),
    ],
    ids=["encoder", "decoder", "two-levels", "one-level"],
)
def test_holds_on_its_part_and_levels_alone(where: dict[str, Any], wide: set[str], changed_spec: Changed) -> None:
    spec = overridden(changed_spec, where | {"conv": {"kernel": 5, "padding": 2}})
    assert {name for name, kernel in kernels(spec).items() if kernel == (5, 5)} == wide
    assert set(kernels(spec).values()) == {(3, 3), (5, 5)}


def test_keys_of_the_same_kind_are_changed_and_the_others_stay(changed_spec: Changed) -> None:
    spec = overridden(changed_spec, {"part": "encoder", "levels": [1], "norm": {"epsilon": 0.5}})
    assert spec.at("encoder", 1).norm.model_dump() == spec.norm.model_dump() | {"epsilon": 0.5}
    assert spec.at("encoder", 0).norm == spec.at("decoder", 1).norm == spec.norm


def test_another_kind_replaces_the_table(changed_spec: Changed) -> None:
    group = {"kind": "group", "groups": 2, "epsilon": 0.5}
    spec = overridden(changed_spec, {"part": "decoder", "norm": group})
    assert spec.at("decoder", 0).norm.model_dump(exclude_none=True) == group
    kinds = {layer.name.partition(".")[0]: layer.kind for layer in spec.layers if layer.kind.endswith("_norm")}
    assert kinds == {"encoder": "batch_norm", "decoder": "group_norm"}


def test_a_later_override_is_laid_over_an_earlier_one(changed_spec: Changed) -> None:
    first = {"part": "encoder", "conv": {"kernel": 5, "padding": 2, "bias": False}}
    second = {"part": "encoder", "levels": [1], "conv": {"kernel": 1, "padding": 0}}
    conv = overridden(changed_spec, first, second).at("encoder", 1).conv
    assert (conv.kernel, conv.padding, conv.bias) == (1, 0, False)


def test_adds_what_the_network_does_not_have(changed_spec: Changed) -> None:
    dropout = {"dropout": {"rate": 0.5}, "block": {"order": ["conv", "norm", "activation", "dropout"]}}
    gate = {"attention": {"width": "half", "bias": False, "norm": {"kind": "none"}}}
    spec = overridden(
        changed_spec, {"part": "encoder", "levels": [2]} | dropout, {"part": "decoder", "levels": [0]} | gate
    )
    assert [layer.name for layer in spec.layers if layer.kind == "dropout"] == [
        "encoder.2.block.0.dropout",
        "encoder.2.block.1.dropout",
    ]
    assert [layer.name for layer in spec.layers if layer.kind == "multiply"] == ["decoder.0.attention.multiply"]


@pytest.mark.parametrize("convolutions", [0, 1, 3])
def test_number_of_convolutions(convolutions: int, changed_spec: Changed) -> None:
    override = {"part": "encoder", "levels": [2], "block": {"convolutions": convolutions}}
    names = [layer.name for layer in overridden(changed_spec, override).layers if layer.kind == "conv"]
    assert len([name for name in names if name.startswith("encoder.2.")]) == convolutions
    assert len([name for name in names if name.startswith("encoder.1.")]) == 2


ENCODER = {"part": "encoder"}
WRONG: list[tuple[dict[str, Any], str]] = [
    (ENCODER | {"conv": {"kernel": 0}}, "override.1.conv.kernel: got 0, expected greater than 0"),
    (ENCODER | {"conv": {"tiles": 1}}, "unknown key override.1.conv.tiles; remove it"),
    (ENCODER | {"norm": {"kind": "group"}}, "key override.1.norm.groups is missing; add it, a whole "
     "number greater than 0; key override.1.norm.epsilon is missing; add it, a number greater than 0"),
    (ENCODER | {"conv": {"kernal": 1}}, "unknown key override.1.conv.kernal; did you mean kernel?"),
    (ENCODER | {"norm": {"kind": "weight"}}, "override.1.norm.kind: got 'weight', expected 'none', 'batch', "
     "'instance', 'group', 'layer'"),
    (ENCODER | {"dropout": {}}, "key override.1.dropout.rate is missing; add it, a number of at least 0 and less "
     "than 1"),
    (ENCODER | {"conv": 3}, "override.1.conv: got 3, expected a table"),
    (ENCODER | {"widths": [3]}, "unknown key override.1.widths; remove it"),
    (ENCODER | {"levels": []}, "override.1.levels: got [], expected one or more encoder levels below 3"),
    (ENCODER | {"levels": [0, 3]}, "override.1.levels: got [0, 3], expected one or more encoder levels below 3"),
    ({"part": "decoder", "levels": [2]}, "override.1.levels: got [2], expected one or more decoder levels below 2"),
    (ENCODER | {"levels": [-1]}, "override.1.levels.0: got -1, expected greater than or equal to 0"),
    ({"part": "middle"}, "override.1.part: got 'middle', expected 'encoder' or 'decoder'"),
    ({}, "key override.1.part is missing; add it, 'encoder' or 'decoder'"),
    (ENCODER | {"merge": {"before_up": True}}, "override.1.merge: got a table, expected none as the encoder has "
     "no merge"),
    ({"part": "decoder", "down": {"kind": "none"}}, "override.1.down: got a table, expected none as the decoder has no "
     "down"),
    ({"part": "decoder", "merge": {"size_mismatch": "crop_skip"}}, "override.1.merge.odd_difference: got none, "
     "expected 'half_to_even', 'floor' or 'all_after' as size_mismatch is 'crop_skip'"),
    # What only the whole tells is told of the level.
    (ENCODER | {"levels": [1], "conv": {"kernel": [3, 3, 3]}}, "conv.kernel: got [3, 3, 3], expected one number or 2 "
     "as dimensions is 2 at encoder level 1"),
    ({"part": "decoder", "levels": [1], "conv": {"stride": 2}}, "conv.stride: got 2, expected 1 at decoder level 1; "
     "take an override for the encoder"),
    (ENCODER | {"block": {"order": ["norm"]}}, "block.order: got ['norm'], expected each step at most once, and a "
     "conv"),
    (ENCODER | {"block": {"order": ["conv", "dropout"]}}, "block.order: got ['conv', 'dropout'], expected no dropout "
     "as none is given"),
    (ENCODER | {"norm": {"kind": "none"}}, "block.order: got ['conv', 'norm', 'activation'], expected no norm as "
     "norm.kind is 'none'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "message"), WRONG, ids=[f"{next(iter(o), '')}-{n}" for n, (o, _) in enumerate(WRONG)]
)
def test_a_wrong_one_is_named(override: dict[str, Any], message: str, changed_spec: Changed) -> None:
    with pytest.raises(SpecError) as error:
        overridden(changed_spec, {"part": "encoder", "conv": {"bias": False}}, override)
    assert str(error.value).partition(".toml: ")[2] == message


def test_a_network_of_one_level_has_no_decoder_to_override(changed_spec: Changed) -> None:
    with pytest.raises(SpecError, match=r"override.0.part: got 'decoder', expected 'encoder' as there is one level"):
        changed_spec({"widths": [4], "override": [{"part": "decoder", "conv": {"bias": False}}]})


def test_specs_with_overrides_are_values(changed_spec: Changed) -> None:
    override = {"part": "encoder", "conv": {"kernel": [3, 5], "padding": [1, 2]}}
    spec, again = (overridden(changed_spec, override) for _ in range(2))
    assert spec == again and hash(spec) == hash(again) and spec.fingerprint == again.fingerprint
    another = overridden(changed_spec, override | {"levels": [0]})
    assert spec.fingerprint != another.fingerprint
    assert len({hash(each) for each in (*spec.override, *again.override, *another.override)}) == 2
    assert UNetSpec.model_validate_json(spec.model_dump_json()) == spec
