"""The same network with every width divided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared_specs import SpecError, UNetSpec
from shared_specs.schema import WIDTHS

Changed = Callable[..., UNetSpec]

NO_UNITS = {"block": {"convolutions": 0}}
CASES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "every key": (
        {
            "widths": [8, 16, 32],
            "middle_widths": [4, 8, 16],
            "decoder_widths": [24, 40],
            "decoder_middle_widths": [12, 20],
        },
        {"widths": (2, 4, 8), "middle_widths": (1, 2, 4), "decoder_widths": (6, 10), "decoder_middle_widths": (3, 5)},
    ),
    "no head": ({"widths": [8, 16], "head": None, "out_channels": 8, "decoder_widths": [8]}, {"widths": (2, 4)}),
    "no head, one key": ({"widths": [10, 16], "head": None}, {"widths": (10, 4)}),
    "no head, one level": ({"widths": [10], "head": None}, {"widths": (10,)}),
    "images are the skip": (
        {
            "widths": [3, 16, 32],
            "decoder_widths": [8, 16],
            "override": [{"part": "encoder", "levels": [0], **NO_UNITS}],
        },
        {"widths": (3, 4, 8), "decoder_widths": (2, 4)},
    ),
    "a level that keeps its input's width": (
        {"widths": [8, 16, 16], "override": [{"part": "encoder", "levels": [2], **NO_UNITS}]},
        {"widths": (2, 4, 4)},
    ),
    "a level that keeps the width of one between": (
        {
            "widths": [3, 16, 16],
            "decoder_widths": [8, 16],
            "override": [{"part": "encoder", "levels": [0, 2], **NO_UNITS}],
        },
        {"widths": (3, 4, 4), "decoder_widths": (2, 4)},
    ),
    "a level whose width is that of its down": (
        {
            "widths": [3, 16],
            "decoder_widths": [8],
            "down": {"kind": "conv", "kernel": 2, "stride": 2, "padding": 0, "bias": True, "width": "next"},
            "override": [{"part": "encoder", **NO_UNITS}],
        },
        {"widths": (3, 4), "decoder_widths": (2,)},
    ),
    "a middle that nothing has": (
        {"widths": [8, 16], "middle_widths": [7, 9], "block.convolutions": 1},
        {"widths": (2, 4), "middle_widths": (7, 9)},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES)
def test_narrow_by_four(changes: dict[str, Any], expected: dict[str, Any], changed_spec: Changed) -> None:
    spec = changed_spec(changes)
    narrow = spec.narrow(4)
    assert {key: getattr(narrow, key) for key in expected} == expected
    assert narrow.model_copy(update={key: getattr(spec, key) for key in WIDTHS}) == spec
    assert [layer.name for layer in narrow.layers] == [layer.name for layer in spec.layers]
    assert narrow.layers[-1].out_channels == spec.out_channels


GROUPS_OF_FOUR = {"norm": {"kind": "group", "groups": 4, "epsilon": 1e-5}}
MISFITS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a width of another key": (
        {"widths": [8, 16], "decoder_widths": [6]},
        4,
        "widths [8, 16] and decoder_widths [6] cannot all be divided by 4; take one of 1, 2",
    ),
    "not all numbers up to the largest": ({"widths": [12, 24]}, 5, "widths [12, 24] cannot all be divided by 5; "
     "take one of 1, 2, 3, 4, 6, 12"),
    "a smaller network would not suit its norm": (
        {"widths": [16, 32]} | GROUPS_OF_FOUR,
        3,
        "widths [16, 32] cannot all be divided by 3; take one of 1, 2, 4",
    ),
    "nothing is divided": ({"widths": [10], "head": None}, 0, "widths [10] cannot all be divided by 0; take one of 1"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "divisor", "message"), MISFITS.values(), ids=MISFITS)
def test_a_divisor_that_does_not_fit_is_told_those_that_do(
    changes: dict[str, Any], divisor: int, message: str, changed_spec: Changed
) -> None:
    with pytest.raises(SpecError) as error:
        changed_spec(changes).narrow(divisor)
    assert str(error.value) == f"unet_bn_same: {message}"


def test_a_divisor_of_every_key_of_widths_fits(changed_spec: Changed) -> None:
    assert changed_spec({"widths": [8, 16], "decoder_widths": [6]}).narrow(2).decoder_widths == (3,)
