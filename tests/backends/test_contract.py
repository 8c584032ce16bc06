"""What every backend must do alike."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.contract import PHASES, Execution, Model, WeightsOf, copy_weights
from parity import random_batch
from shared_specs import Recipe, ShapeError, WeightsError, initial_weights
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


def test_weights_come_back_bit_for_bit(model):
    weights = initial_weights(model.spec, seed=7)
    model.load_weights(weights)
    read = model.weights()
    assert list(read) == [tensor.name for tensor in model.spec.tensors]
    for name, values in weights.items():
        np.testing.assert_array_equal(read[name], values, err_msg=name)


def test_weights_are_copied_in_and_out(model, batch):
    weights = initial_weights(model.spec)
    model.load_weights(weights)
    before = model.forward(batch.images)
    read = model.weights()
    for values in [*weights.values(), *read.values()]:
        values[...] = 1e6
    np.testing.assert_array_equal(model.forward(batch.images), before)


@pytest.mark.parametrize("target_name", training_backends())
def test_weights_are_copied_between_backends_bit_for_bit(model, target_name, request):
    if reason := backends.missing(target_name):
        pytest.skip(reason)
    target = backends.get(target_name).build(model.spec, FLOAT64)
    model.load_weights(initial_weights(model.spec, seed=3))
    copy_weights(model, target)
    for name, values in WeightsOf(model).items():
        np.testing.assert_array_equal(target.read_tensor(name), values, err_msg=name)


def test_refused_weights_change_nothing(model):
    before = model.weights()
    broken = {name: values + 1 for name, values in before.items()}
    broken["head.bias"] = np.full_like(broken["head.bias"], np.nan)
    broken["extra"] = broken.pop("head.weight")
    with pytest.raises(WeightsError, match=r"head\.bias has nan.*missing head\.weight.*unexpected extra"):
        model.load_weights(broken)
    for name, values in model.weights().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_evaluation_moves_nothing(model, batch):
    before = model.weights()
    model.forward(batch.images)
    model.activations(batch.images)
    for name, values in model.weights().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_loss_and_gradients_move_statistics_and_no_parameter(model, batch):
    before = model.weights()
    model.loss_and_gradients(batch.images, batch.labels)
    moved = {name for name, values in model.weights().items() if not np.array_equal(values, before[name])}
    assert moved == {tensor.name for tensor in model.spec.tensors if not tensor.trainable}


def test_train_step_moves_everything(model, batch):
    before = model.weights() | model.optimizer_state()
    assert all(not before[name].any() for name in model.optimizer_state())
    model.train_step(batch.images, batch.labels)
    after = model.weights() | model.optimizer_state()
    assert {name for name in after if not np.array_equal(after[name], before[name])} == set(before)


def test_loading_weights_forgets_the_optimizer(model, batch):
    weights = model.weights()
    first = model.train_step(batch.images, batch.labels)
    after_first = model.weights()
    model.load_weights(weights)
    again = model.train_step(batch.images, batch.labels)
    assert again.loss == first.loss
    for name, values in model.weights().items():
        np.testing.assert_array_equal(values, after_first[name], err_msg=name)


@pytest.mark.parametrize("phase", PHASES)
def test_a_program_computes_what_the_methods_compute(model, batch, phase):
    weights = model.weights()
    program = model.program(phase, batch.images, batch.labels)
    outputs = model.fetch(program())
    model.synchronize()
    after = model.weights()
    model.load_weights(weights)
    if phase == "forward":
        np.testing.assert_allclose(outputs["logits"], model.forward(batch.images), rtol=1e-12, atol=1e-12)
        return
    run = model.train_step if phase == "train_step" else model.loss_and_gradients
    result = run(batch.images, batch.labels)
    np.testing.assert_allclose(outputs["loss"], result.loss, rtol=1e-12)
    if phase == "forward_backward":
        assert {name.removeprefix("gradient/") for name in outputs} == {"loss", *result.gradients}
        for name, gradient in result.gradients.items():
            np.testing.assert_allclose(outputs[f"gradient/{name}"], gradient, rtol=1e-9, atol=1e-13, err_msg=name)
    for name, values in model.weights().items():
        np.testing.assert_allclose(after[name], values, rtol=1e-7, atol=1e-11, err_msg=name)


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


def test_layers_are_named_and_shaped_as_the_layout_says(model, batch):
    activations = model.activations(batch.images)
    from shared_specs.shapes import feature_shapes

    shapes = feature_shapes(model.spec, batch.images.shape)
    assert list(activations) == list(shapes)
    assert {name: output.shape for name, output in activations.items()} == shapes
    np.testing.assert_allclose(activations["head"], model.forward(batch.images), rtol=1e-12, atol=1e-12)


def test_the_framework_counts_the_parameters_of_the_spec(model):
    assert model.parameter_count() == model.spec.parameter_count


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
