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


DEEP = {"deep_supervision": {"levels": [1], "weights": [1.0, 0.5]}, "nested": True, "conv__padding_mode": "reflect"}
DROPOUT = {"dropout": {"rate": 0.5}, "block__order": ["dropout", "conv", "norm", "activation"]}
VALID = {"conv__padding": 0, "merge__size_mismatch": "crop_skip", "merge__odd_difference": "floor"}


@pytest.mark.parametrize(
    "changes", [{}, {"conv__bias": False}, VALID, DEEP, DROPOUT], ids=["plain", "no-bias", "valid", "deep", "dropout"]
)
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


@pytest.mark.parametrize("changes", [{}, {"conv__bias": False}], ids=["plain", "no-bias"])
def test_float32_is_rounded_once(variant: Variant, changes: dict[str, Any]) -> None:
    """The arithmetic is float64's; the weights come back in the type that they had."""
    spec = variant(**changes)
    single = initial_weights(spec, 3, np.float32)
    _, folded = fold_norm(spec, single)
    _, exact = fold_norm(spec, {name: values.astype(np.float64) for name, values in single.items()})
    for name, values in folded.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, exact[name].astype(np.float32), err_msg=name)


BATCH = {"kind": "batch", "epsilon": 1e-3, "momentum": 0.1, "running_variance": "biased"}
UNIT = {
    "kernel": 1,
    "padding": 0,
    "padding_mode": "zeros",
    "bias": True,
    "width": "same",
    "order": ["conv", "norm"],
    "norm": BATCH,
    "activation": {"kind": "relu"},
}
RESIDUAL = {
    "span": 1,
    "last_activation": "before_sum",
    "stride_by": "conv",
    "kernel": 1,
    "padding": 0,
    "bias": True,
    "norm": True,
}
REFUSED: dict[str, dict[str, Any]] = {
    "norm-first": {"block__order": ["norm", "conv", "activation"]},
    "activation-between": {"block__order": ["conv", "activation", "norm"]},
    "dropout-between": {"block__order": ["conv", "dropout", "norm", "activation"], "dropout": {"rate": 0.5}},
    "group": {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-5}},
    "instance": {"norm": {"kind": "instance", "epsilon": 1e-5, "affine": True}},
    "layer": {"norm": {"kind": "layer", "epsilon": 1e-5}},
    "none": {"norm": {"kind": "none"}, "block__order": ["conv", "activation"]},
    "override": {"override": [{"part": "decoder", "norm": {"epsilon": 1e-2}}]},
    "shortcut-norm": {"residual": RESIDUAL},
    "attention-norm": {"attention": {"width": "half", "bias": True, "norm": BATCH}},
    "norm-before-up": {"up__before": UNIT},
    "norm-after-up": {"up__after": UNIT},
    "head-norm": {"head__norm": BATCH},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_folded_is_left_alone(variant: Variant, changes: dict[str, Any]) -> None:
    spec = variant(**changes)
    weights = initial_weights(spec, 3)
    folded, chosen = fold_norm(spec, weights)
    assert not can_fold(spec) and folded is spec and chosen == weights
