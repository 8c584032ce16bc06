"""Each network of the zoo against the package that it comes from: the same weights, and everything equal in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
from backends.contract import Execution
from shared_specs import UNetSpec, initial_weights, load_spec
from shared_specs.keymap import from_canonical, is_ignored, to_canonical
from shared_specs.shapes import output_shape

from .originals import ORIGINALS, activations, arrays, load, step

pytestmark = [
    pytest.mark.needs_backends("pytorch"),
    pytest.mark.filterwarnings("ignore"),  # the packages' own, not ours to mend
]

NAMES = sorted(ORIGINALS)
TOLERANCE = 1e-9
"""Relative to the largest element. Float64 rounds at 1e-16; a wrong epsilon or padding shows at 1e-5 and above."""


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[str, UNetSpec, Any, Any]:
    """A network's name, its spec, the original, and ours with the original's weights."""
    original = ORIGINALS[request.param]
    spec = load_spec(request.param).narrow(original.divisor)
    module = original.network(spec)
    weights = initial_weights(spec, seed=3)
    load(module, spec, from_canonical(spec, weights))
    read = to_canonical(spec, arrays(module.state_dict()))
    for name, values in weights.items():
        np.testing.assert_array_equal(read[name], values, err_msg=name)
    model = backends.get("pytorch").build(spec, Execution(precision="float64"))
    model.load_weights(read)
    return request.param, spec, module, model


def batch(name: str, spec: UNetSpec) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    images = random.normal(size=ORIGINALS[name].images)
    count, classes, *size = output_shape(spec, images.shape)
    return images, random.integers(0, classes, (count, *size))


def assert_equal(ours: np.ndarray, theirs: np.ndarray, what: str, least: float = 0.0) -> None:
    scale = max(float(np.abs(theirs).max()), least)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale, err_msg=what)


def test_parameter_count(pair: tuple[str, UNetSpec, Any, Any]) -> None:
    _, spec, module, _ = pair
    theirs = {key: parameter.numel() for key, parameter in module.named_parameters() if not is_ignored(spec, key)}
    assert spec.parameter_count == sum(theirs.values())


def test_every_layer_and_the_logits(pair: tuple[str, UNetSpec, Any, Any]) -> None:
    name, spec, module, model = pair
    images, _ = batch(name, spec)
    theirs, ours = activations(module, spec, images), model.activations(images)
    assert theirs.keys() >= {layer.name for layer in spec.layers if layer.tensors}
    for layer in (layer.name for layer in spec.layers if layer.name in theirs):
        assert_equal(ours[layer], theirs[layer], layer)
    assert_equal(model.forward(images), theirs[spec.logits], "logits")


def test_loss_and_gradients(pair: tuple[str, UNetSpec, Any, Any]) -> None:
    name, spec, module, model = pair
    images, labels = batch(name, spec)
    loss, logits, moved, image_gradient = step(module, spec, images, labels)
    ours = model.loss_and_gradients(images, labels)
    assert ours.loss == pytest.approx(loss, rel=TOLERANCE)
    assert_equal(ours.logits, logits, "logits")
    assert_equal(ours.image_gradient, image_gradient, "gradient of the images")

    theirs = to_canonical(spec, moved, origin="gradients")
    state = model.weights()
    # A bias in front of a norm has a true gradient of zero: what is there is rounding, to be seen beside the others.
    largest = max(np.abs(values).max() for values in ours.gradients.values())
    assert ours.gradients.keys() == {tensor.name for tensor in spec.tensors if tensor.trainable}
    for tensor in spec.tensors:
        if tensor.trainable:
            assert_equal(ours.gradients[tensor.name], theirs[tensor.name], tensor.name, least=1e-3 * largest)
        else:
            assert_equal(state[tensor.name], theirs[tensor.name], tensor.name)
