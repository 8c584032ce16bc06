"""Faults of which more is asked than the layer or tensor that is named first; `tests/meta/faults` has the others."""

from __future__ import annotations

import numpy as np
import pytest

import backends
import parity
from backends.contract import Execution
from shared_specs import Recipe, initial_weights, load_spec

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")
FLOAT64 = Execution(precision="float64")


def first_difference(spec, candidate):
    reference = backends.get("numpy_reference").build(spec, FLOAT64)
    verdict = parity.compare_models(reference, candidate)
    assert not verdict.equal
    return verdict.first_difference


@pytest.mark.parametrize("backend", ["pytorch", "flax_nnx"])
def test_one_element_off_by_a_millionth_is_caught(variant, backend):
    spec = variant()
    weights = initial_weights(spec)
    weights["decoder.0.up.weight"] = weights["decoder.0.up.weight"].copy()
    weights["decoder.0.up.weight"][3, 1, 0, 1] *= 1 + 1e-6
    model = backends.get(backend).build(spec, FLOAT64)
    model.load_weights(weights)
    found = first_difference(spec, model)
    assert (found.probe, found.quantity, found.index) == ("structure", "decoder.0.up.weight", (3, 1, 0, 1))


@pytest.mark.parametrize("spec_name", ["unet_bn_same", "unet_same"])
def test_float32_floors_hide_no_missing_gradient(spec_name):
    """A floor as high as the gradient itself would let zeros pass."""
    spec = load_spec(spec_name).narrow(16)
    model = backends.get("pytorch").build(spec, Execution(precision="float32"))
    for parameter in model.module.parameters():
        parameter.register_hook(lambda gradient: gradient * 0)
    reference = backends.get("numpy_reference").build(spec, FLOAT64)
    verdict = parity.compare_models(reference, model, probes=["gradients"])
    caught = {m.quantity for m in verdict.differences}
    assert caught >= {f"gradient of {tensor.name}" for tensor in spec.tensors if tensor.leaf.endswith("weight")}


def test_a_wrong_momentum_is_seen_in_float32():
    """By the second step, when it first enters."""
    spec = load_spec("unet_bn_same").narrow(16)
    model = backends.get("pytorch").build(spec, Execution(precision="float32"), Recipe.named("sgd", momentum=0.5))
    reference = backends.get("numpy_reference").build(spec, FLOAT64, Recipe.named("sgd", momentum=0.9))
    found = parity.compare_models(reference, model, probes=["trajectory"]).first_difference
    assert found is not None
    assert found.quantity == "step 2: encoder.0.block.0.conv.weight"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_nan_and_infinity_never_pass(variant, broken):
    spec = variant()
    model = backends.get("pytorch").build(spec, FLOAT64)

    def spoil(_module, _inputs, output):
        output = output.clone()
        output[0, 1, 2, 3] = broken
        return output

    model.module.head.register_forward_hook(spoil)
    reference = backends.get("numpy_reference").build(spec, FLOAT64)
    found = parity.compare_models(reference, model, probes=["forward"]).first_difference
    assert found is not None
    assert found.distance == np.inf
    assert found.index == (0, 1, 2, 3)


def test_models_have_their_weights_back_afterwards(variant):
    spec = variant()
    reference = backends.get("numpy_reference").build(spec, FLOAT64)
    candidate = backends.get("pytorch").build(spec, FLOAT64)
    candidate.load_weights(initial_weights(spec, seed=5))
    assert not parity.compare_models(reference, candidate, probes=["trajectory"]).equal
    for name, values in initial_weights(spec, seed=5).items():
        np.testing.assert_array_equal(candidate.read_tensor(name), values)
    for name, values in initial_weights(spec).items():
        np.testing.assert_array_equal(reference.read_tensor(name), values)
