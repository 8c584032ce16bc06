"""Choices of the schema that the first five networks do not make."""

from __future__ import annotations

import pytest

import parity

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")

CROP = {"conv__padding": 0, "merge__size_mismatch": "crop_skip", "merge__odd_difference": "floor"}
NO_NORM = {"norm": {"kind": "none"}, "block": {"convolutions": 1, "order": ["conv", "activation"]}}

VARIANTS = {
    "upsampled first, wide kernels": {
        "merge__order": ["upsampled", "skip"],
        "conv__kernel": 5,
        "conv__padding": 2,
        "head__kernel": 3,
        "head__padding": 1,
    },
    "biased running variance, no biases": {
        "norm__running_variance": "biased",
        "conv__bias": False,
        "up__bias": False,
        "head__bias": False,
    },
    "norm first": {"block": {"convolutions": 2, "order": ["norm", "activation", "conv"]}},
    "activation first": {"block": {"convolutions": 2, "order": ["activation", "conv", "norm"]}},
    "group norm, leaky relu": {
        "norm": {"kind": "group", "groups": 2, "epsilon": 1e-5},
        "activation": {"kind": "leaky_relu", "slope": 0.2},
    },
    "three convolutions, no activation": {
        "block": {"convolutions": 3, "order": ["conv", "norm", "activation"]},
        "activation": {"kind": "identity"},
    },
    "bilinear, overlapping pool": {
        "up": {"kind": "bilinear", "scale": 2, "align_corners": True},
        "down__kernel": 3,
        "merge__size_mismatch": "crop_skip",
        "merge__odd_difference": "floor",
    },
    "overlapping up, cropped": CROP | {"up__kernel": 4, "up__padding": 1},
    "one level": {"widths": [4]} | NO_NORM,
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_equal_in_all_probes(variant, changes):
    verdict = parity.check(variant(**changes), steps=2)
    assert verdict.equal, str(verdict.first_difference)
    assert len(verdict.pairs) == 3
    assert verdict.probes == list(parity.PROBES)
