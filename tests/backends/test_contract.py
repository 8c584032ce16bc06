"""What every backend must do alike, beside what the conformance suite asks of each: see `backends/conformance`."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.contract import Execution, Model, WeightsOf, copy_weights
from parity import random_batch
from shared_specs import Recipe, ShapeError, initial_weights
from tests.conftest import training_backends

FLOAT64 = Execution(precision="float64")


@pytest.fixture(scope="module")
def model(backend_name, variant) -> Model:
    return backends.get(backend_name).build(variant(), FLOAT64, Recipe.named("adam"))


@pytest.fixture(scope="module")
def batch(variant):
    return random_batch(variant())


@pytest.fixture(autouse=True)
def _fresh(model):
    model.load_weights(initial_weights(model.spec))


@pytest.mark.parametrize("target_name", training_backends())
def test_weights_are_copied_between_backends_bit_for_bit(model, target_name, request):
    if reason := backends.missing(target_name):
        pytest.skip(reason)
    target = backends.get(target_name).build(model.spec, FLOAT64)
    model.load_weights(initial_weights(model.spec, seed=3))
    copy_weights(model, target)
    for name, values in WeightsOf(model).items():
        np.testing.assert_array_equal(target.read_tensor(name), values, err_msg=name)


def test_programs_can_be_interleaved(model, batch):
    forward = model.program("forward", batch.images)
    step = model.program("train_step", batch.images, batch.labels)
    expected = model.fetch(forward())["logits"]
    step()
    weights = model.weights()
    moved = model.fetch(forward())["logits"]
    assert not np.array_equal(moved, expected)
    model.load_weights(weights)
    np.testing.assert_allclose(model.forward(batch.images), moved, rtol=1e-12, atol=1e-12)


BAD_BATCHES = {
    "too small": (lambda x, y: (x[:, :, :2, :2], y), r"variant: .*too small"),
    "sizes differ": (lambda x, y: (x[:, :, :, :-1], y), r"sizes differ at level 1: the skip is \d+x\d+ and the ups"),
    "channels": (lambda x, y: (x[:, :1], y), r"images with 1 channels, expected 3"),
    "NaN": (lambda x, y: (np.where(x == x[0, 0, 0, 0], np.nan, x), y), r"images hold nan at \(0, 0, 0, 0\)"),
    "label too high": (lambda x, y: (x, y + 10), r"labels run from 10 to 19, expected 0 to 9"),
    "label negative": (lambda x, y: (x, y - 1), r"labels run from -1 to 8"),
    "label shape": (lambda x, y: (x, y[:, :-1]), r"labels of shape .*, expected \(N, H, W\)"),
    "label dtype": (lambda x, y: (x, y.astype(float)), r"labels of dtype float64, expected integers"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batches_are_refused_in_the_same_words(model, batch, case):
    spoil, message = BAD_BATCHES[case]
    images, labels = spoil(batch.images, batch.labels)
    before = model.weights()
    for run in (model.loss_and_gradients, model.train_step, lambda x, y: model.program("train_step", x, y)):
        with pytest.raises(ShapeError, match=message) as caught:
            run(images, labels)
        assert "\n" not in str(caught.value)
    assert all(np.array_equal(values, before[name]) for name, values in model.weights().items())


def test_one_value_a_channel_is_refused_in_training(backend_name, variant):
    model = backends.get(backend_name).build(variant(), FLOAT64)
    images, labels = np.ones((1, 3, 4, 4)), np.zeros((1, 4, 4), int)
    with pytest.raises(ShapeError, match=r"encoder\.2\.block\.0\.norm sees one value a channel"):
        model.loss_and_gradients(images, labels)


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        (Execution(precision="float8"), "has no precision 'float8'; take one of"),
        (Execution(precision="float64", tuning="fastest"), "has no tuning 'fastest'; take one of .*default"),
        (Execution(precision="tf32"), "has no (precision 'tf32'|tf32 on a CPU); take"),
        (
            Execution(device="cuda:99", precision="float64"),
            "(finds|has) no cuda device",
        ),
    ],
    ids=["precision", "tuning", "tf32", "device"],
)
def test_what_a_backend_cannot_run_is_refused(backend_name, variant, execution, message):
    with pytest.raises(backends.BackendError, match=message):
        backends.get(backend_name).build(variant(), execution)


def test_odd_input_runs_where_it_can_and_is_refused_alike_where_not(backend_name, spec):
    model = backends.get(backend_name).build(spec, FLOAT64)
    images = np.random.default_rng(0).normal(size=(1, spec.in_channels, 199, 207))
    if spec.merge.size_mismatch == "error":
        with pytest.raises(
            ShapeError, match=r"sizes differ at level 3: the skip is 24x25 and the upsampled map 24x24;"
        ):
            model.forward(images)
    else:
        expected = {"unet_bn_crop": (4, 20), "unet_bn_pad": (191, 199), "unet_paper": (4, 20)}[spec.name]
        assert model.forward(images).shape == (1, spec.out_channels, *expected)
