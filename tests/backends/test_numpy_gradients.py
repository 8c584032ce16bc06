"""The reference's gradients against complex-step differentiation (Squire & Trapp 1998, SIAM Review 40:110).

f'(x) = Im f(x + ih) / h has no subtraction in it, so that h can be as small as it likes and the result is exact to
rounding. It needs no framework and shares no code with the backward pass.
"""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.contract import Execution, RoundingNoise
from parity.noise_floor import rms
from shared_specs.supervision import labels_of_heads
from tests.variants import VARIANTS, built

STEP = 1e-100


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_every_gradient_is_the_complex_step_derivative(changes):
    from backends.numpy_reference.rounding import Rounding
    from backends.numpy_reference.unet import weighted_loss
    from backends.numpy_reference.weights import native

    spec, images, labels = built(changes)
    model = backends.get("numpy_reference").build(spec, Execution(precision="float64"))
    weights = model.weights()
    result = model.loss_and_gradients(images, labels)
    targets = labels_of_heads(spec, images.shape, labels)
    random = np.random.default_rng(0)

    def derivative(images: np.ndarray) -> float:
        loss, _ = weighted_loss(model.module(images, training=True), targets, spec.loss_weights, Rounding())
        return float(loss.imag / STEP)

    largest = max(np.abs(gradient).max() for gradient in result.gradients.values())
    for name, gradient in result.gradients.items():
        model.load_weights(weights)
        layer, leaf = native(model.module, spec.tensor(name))
        direction = random.normal(size=gradient.shape)
        layer.tensors[leaf] = layer.tensors[leaf] + 1j * STEP * direction
        # Relative to all that is added up: a bias in front of a batch norm has a gradient of zero.
        scale = max(np.abs(gradient * direction).sum(), largest)
        assert derivative(images) == pytest.approx((gradient * direction).sum(), rel=0, abs=1e-12 * scale), name
    model.load_weights(weights)
    direction = random.normal(size=images.shape)
    along = result.image_gradient * direction
    measured = derivative(images + 1j * STEP * direction)
    assert measured == pytest.approx(along.sum(), rel=0, abs=1e-12 * np.abs(along).sum())


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_noise_moves_every_gradient_a_little(changes):
    """Decisions that are kept as they are without noise find their way to the layer that made them."""
    spec, images, labels = built(changes)
    reference = backends.get("numpy_reference")
    exact = reference.build(spec, Execution(precision="float64")).loss_and_gradients(images, labels)
    noisy = reference.build_noisy(spec, RoundingNoise(2.0**-24, seed=1)).loss_and_gradients(images, labels)
    largest = max(rms(gradient) for gradient in exact.gradients.values())
    moved = {name: rms(noisy.gradients[name] - gradient) / largest for name, gradient in exact.gradients.items()}
    assert 0 < min(moved.values()) <= max(moved.values()) < 1e-4


def test_deep_heads_run_in_training_and_for_activations_alone():
    spec, images, labels = built(VARIANTS["deep supervision"])
    model = backends.get("numpy_reference").build(spec, Execution(precision="float64"))
    (logits,) = model.module(images)
    activations = model.activations(images)
    assert list(activations) == [layer.name for layer in spec.layers]
    np.testing.assert_array_equal(activations[spec.logits], logits)
    heads = model.module(images, training=True)
    assert [head.shape for head in heads] == [
        activations[name].shape for name in ("head", "deep_head.0", "deep_head.1")
    ]
    assert model.loss_and_gradients(images, labels).logits.shape == logits.shape


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_no_map_is_kept(changes):
    """At full width those of one step are gigabytes."""
    spec, images, labels = built(changes)
    model = backends.get("numpy_reference").build(spec, Execution(precision="float64"))

    def kept() -> list[str]:
        layers = model.module.layers.items()
        return [
            f"{name}: {key}"
            for name, layer in layers
            for key in vars(layer)
            if isinstance(vars(layer)[key], np.ndarray)
        ]

    model.forward(images)
    assert kept() == []
    model.loss_and_gradients(images, labels)
    assert kept() == []


def test_the_variants_have_every_kind_of_layer():
    from backends.numpy_reference.unet import KINDS

    specs = [built(changes)[0] for changes in VARIANTS.values()]
    assert {layer.kind for spec in specs for layer in spec.layers} == set(KINDS)
