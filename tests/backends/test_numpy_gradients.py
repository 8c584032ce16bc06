"""The reference's gradients against complex-step differentiation (Squire & Trapp 1998, SIAM Review 40:110).

f'(x) = Im f(x + ih) / h has no subtraction in it, so that h can be as small as it likes and the result is exact to
rounding. It needs no framework and shares no code with the backward pass.
"""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.contract import Execution
from parity import random_batch

STEP = 1e-100

VARIANTS = {
    "as in the zoo": {},
    "crop": {"conv__padding": 0, "merge__size_mismatch": "crop_skip", "merge__odd_difference": "half_to_even"},
    "pad": {"conv__padding": 0, "merge__size_mismatch": "pad_upsampled", "merge__odd_difference": "floor"},
    "upsampled first": {"merge__order": ["upsampled", "skip"]},
    "no norm": {"norm": {"kind": "none"}, "block": {"convolutions": 2, "order": ["conv", "activation"]}},
    "norm last": {"block": {"convolutions": 1, "order": ["conv", "activation", "norm"]}},
    "group norm": {"norm": {"kind": "group", "groups": 2, "epsilon": 1e-3}},
    "leaky relu": {"activation": {"kind": "leaky_relu", "slope": 0.2}},
    "no biases": {"conv__bias": False, "up__bias": False, "head__bias": False},
    "wide kernels": {"conv__kernel": 5, "conv__padding": 2, "head__kernel": 3, "head__padding": 1},
    "overlapping up": {"up__kernel": 4, "up__padding": 1},
    "bilinear": {"up": {"kind": "bilinear", "scale": 2, "align_corners": False}},
    "bilinear, corners aligned": {"up": {"kind": "bilinear", "scale": 2, "align_corners": True}},
    "overlapping pool": {
        "down__kernel": 3,
        "merge__size_mismatch": "crop_skip",
        "merge__odd_difference": "floor",
    },
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_every_gradient_is_the_complex_step_derivative(variant, changes):
    from backends.numpy_reference.rounding import Rounding
    from backends.numpy_reference.unet import cross_entropy
    from backends.numpy_reference.weights import native

    spec = variant(**changes)
    batch = random_batch(spec)
    model = backends.get("numpy_reference").build(spec, Execution(precision="float64"))
    weights = model.weights()
    result = model.loss_and_gradients(batch.images, batch.labels)
    random = np.random.default_rng(0)

    def derivative(images: np.ndarray) -> float:
        loss, _ = cross_entropy(model.module(images, training=True), batch.labels, Rounding())
        return float(loss.imag / STEP)

    for name, gradient in result.gradients.items():
        model.load_weights(weights)
        layer, leaf = native(model.module, spec.tensor(name))
        direction = random.normal(size=gradient.shape)
        layer.tensors[leaf] = layer.tensors[leaf] + 1j * STEP * direction
        # Relative to all that is added up: a bias in front of a batch norm has a gradient of zero.
        scale = max(np.abs(gradient * direction).sum(), np.abs(result.gradients["head.weight"]).max())
        assert derivative(batch.images) == pytest.approx((gradient * direction).sum(), rel=0, abs=1e-12 * scale), name
    model.load_weights(weights)
    direction = random.normal(size=batch.images.shape)
    along = result.image_gradient * direction
    measured = derivative(batch.images + 1j * STEP * direction)
    assert measured == pytest.approx(along.sum(), rel=0, abs=1e-12 * np.abs(along).sum())
