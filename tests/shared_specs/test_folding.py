"""Folding a batch norm into the convolution before it leaves the function as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
from backends import Execution
from shared_specs import UNetSpec, initial_weights
from shared_specs.folding import can_fold, fold_norm

FLOAT64 = Execution(precision="float64")

Variant = Callable[..., UNetSpec]


def logits(spec: UNetSpec, weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    model = backends.get("numpy_reference").build(spec, FLOAT64)
    model.load_weights(weights)
    return model.forward(images)


VALID = {"conv__padding": 0, "merge__size_mismatch": "crop_skip", "merge__odd_difference": "floor"}


@pytest.mark.parametrize("changes", [{}, {"conv__bias": False}, VALID], ids=["plain", "no-bias", "valid"])
def test_the_function_stays_and_the_norm_goes(variant: Variant, changes: dict[str, Any]) -> None:
    spec = variant(**changes)
    assert can_fold(spec)
    weights = {name: values.astype(np.float64) for name, values in initial_weights(spec, 3).items()}
    folded, chosen = fold_norm(spec, weights)
    assert folded.norm.kind == "none" and not any(".norm" in layer.name for layer in folded.layers)
    assert set(chosen) == {tensor.name for tensor in folded.tensors}
    side = 32 if spec.conv.padding else 60
    images = np.random.default_rng(0).standard_normal((1, spec.in_channels, side, side))
    expected = logits(spec, weights, images)
    np.testing.assert_allclose(logits(folded, chosen, images), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(
    "changes",
    [
        {"block__order": ["norm", "conv", "activation"]},
        {"block__order": ["conv", "activation", "norm"]},
        {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-5}},
        {"norm": {"kind": "none"}, "block__order": ["conv", "activation"]},
    ],
    ids=["norm-first", "activation-between", "group", "none"],
)
def test_what_cannot_be_folded_is_left_alone(variant: Variant, changes: dict[str, Any]) -> None:
    spec = variant(**changes)
    weights = initial_weights(spec, 3)
    folded, chosen = fold_norm(spec, weights)
    assert not can_fold(spec) and folded is spec and chosen == weights
