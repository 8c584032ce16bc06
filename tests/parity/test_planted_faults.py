"""The suite can fail: faults planted from outside are caught by the probe, and at the layer, that is nearest."""

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


def flip_kernel(module):
    module.encoder[1].block[0].conv.weight.data = module.encoder[1].block[0].conv.weight.data.flip(2)


def epsilon(module):
    module.decoder[0].block[1].norm.eps = 1.0001e-5


def momentum(module):
    module.encoder[2].block[0].norm.momentum = 0.1001


def skip_before_activation(module):
    unit = module.encoder[0].block[1]
    unit.activation.inplace = False
    kept = []
    unit.norm.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    module.decoder[0].merge.register_forward_pre_hook(lambda _module, inputs: (kept.pop(), inputs[1]))


def half_the_gradient(module):
    module.encoder[1].block[0].conv.weight.register_hook(lambda gradient: gradient * 0.5)


def dropped_skip_gradient(module):
    module.decoder[1].merge.register_forward_pre_hook(lambda _module, inputs: (inputs[0].detach(), inputs[1]))


PYTORCH_FAULTS = {
    "kernel flipped": (flip_kernel, "structure", "encoder.1.block.0.conv.weight"),
    "epsilon 1.0001e-5": (epsilon, "activations", "decoder.0.block.1.norm"),
    "momentum 0.1001": (momentum, "statistics", "encoder.2.block.0.norm.running_mean"),
    "skip before the activation": (skip_before_activation, "activations", "decoder.0.merge"),
    "gradient halved": (half_the_gradient, "gradients", "gradient of encoder.1.block.0.conv.weight"),
    "skip detached": (dropped_skip_gradient, "gradients", "gradient of encoder.1.block.1.norm.bias"),
}


@pytest.mark.parametrize(("plant", "probe", "quantity"), PYTORCH_FAULTS.values(), ids=list(PYTORCH_FAULTS))
def test_fault_in_the_pytorch_module(variant, plant, probe, quantity):
    spec = variant()
    model = backends.get("pytorch").build(spec, FLOAT64)
    plant(model.module)
    if probe != "structure":
        model.load_weights(initial_weights(spec))
    found = first_difference(spec, model)
    assert (found.probe, found.quantity) == (probe, quantity)
    assert found.distance > 1e5


FLAX_FAULTS = {
    "pooling takes the mean": ("resampling.MaxPool", "mean", "encoder.1.down"),
    "activation leaks": ("layers.Activation", "leak", "encoder.0.block.0.activation"),
    "merge order swapped": ("resampling.Merge", "swap", "decoder.1.merge"),
    "transposed kernel not flipped": ("resampling.TransposedConv", "unflipped", "decoder.1.up"),
}


@pytest.mark.parametrize(("where", "how", "layer"), FLAX_FAULTS.values(), ids=list(FLAX_FAULTS))
def test_fault_in_the_flax_layers(variant, monkeypatch, where, how, layer):
    import importlib

    import jax.numpy as jnp

    module, _, name = where.partition(".")
    cls = getattr(importlib.import_module(f"backends.flax_nnx.{module}"), name)
    right = cls.__call__
    wrong = {
        "mean": lambda self, x: (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4,
        "leak": lambda self, x: jnp.where(x > 0, x, 1e-9 * x),
        "swap": lambda self, skip, upsampled: jnp.concatenate([upsampled, skip], axis=-1),
        "unflipped": lambda self, x: right(self, x[:, ::-1])[:, ::-1],
    }[how]
    spec = variant()
    monkeypatch.setattr(cls, "__call__", wrong)
    verdict = parity.check(spec, ["flax_nnx"], probes=["activations"])
    assert verdict.first_difference is not None
    assert verdict.first_difference.quantity == layer


def test_float32_inside_a_float64_run_is_caught(variant):
    spec = variant()
    model = backends.get("pytorch").build(spec, FLOAT64)
    model.module.head.register_forward_hook(lambda _module, _inputs, output: output.float().double())
    found = first_difference(spec, model)
    assert (found.probe, found.quantity) == ("activations", "head")


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


def test_a_model_that_moves_weights_in_backward_is_caught(variant):
    spec = variant()
    model = backends.get("pytorch").build(spec, FLOAT64)
    backward = model.loss_and_gradients

    def backward_and_step(images, labels):
        result = backward(images, labels)
        model.optimizer.step()
        return result

    model.loss_and_gradients = backward_and_step
    found = first_difference(spec, model)
    assert found.probe == "statistics"
    assert found.quantity == "encoder.0.block.0.conv.weight"


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
