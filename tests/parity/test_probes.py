"""What each probe reads off a model, under which names and in which order: of the NumPy reference alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
from backends.conformance.networks import SMALLEST
from backends.contract import PHASES, Execution, Model
from parity import random_batch
from parity.batches import Batch
from parity.probes import (
    OUTPUT_STAGES,
    STAGES,
    differentiate,
    differentiate_and_evaluate,
    differentiate_and_train,
    evaluate,
    joined_with,
    record,
    train,
    train_and_evaluate,
    train_replicas_together,
    trains,
)
from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.shapes import feature_shapes

ADAM = Recipe.named("adam")
PER_REPLICA = Recipe(batch_statistics="per_replica")
PARAMETERS = [
    "encoder.0.block.0.conv.weight",
    "encoder.0.block.0.conv.bias",
    "encoder.0.block.0.norm.weight",
    "encoder.0.block.0.norm.bias",
    "head.weight",
    "head.bias",
]
STATISTICS = ["encoder.0.block.0.norm.running_mean", "encoder.0.block.0.norm.running_var"]
TENSORS = [*PARAMETERS[:4], *STATISTICS, *PARAMETERS[4:]]


@pytest.fixture
def model(spec: UNetSpec) -> Model:
    return backends.get("numpy_reference").build(spec, Execution(precision="float64"), ADAM)


@pytest.fixture
def batch(spec: UNetSpec) -> Batch:
    return random_batch(spec, 0, 2, SMALLEST["size"])


@pytest.fixture
def weights(spec: UNetSpec) -> dict[str, np.ndarray]:
    return initial_weights(spec, 5)


def gradients_of(names: list[str]) -> list[str]:
    return [f"gradient of {name}" for name in reversed(names)]


def test_structure_is_counts_shapes_and_tensors(spec: UNetSpec, model: Model, batch: Batch, weights: Any) -> None:
    found = record(model, weights, batch, 1)
    assert list(found) == ["structure", "activations"]
    structure, activations = found["structure"], found["activations"]
    names = [layer.name for layer in spec.layers]
    assert list(structure) == ["parameter count", *(f"shape of {name}" for name in names), *TENSORS]
    assert structure["parameter count"] == spec.parameter_count
    shapes = feature_shapes(spec, batch.images.shape)
    assert [tuple(structure[f"shape of {name}"]) for name in names] == [shapes[name] for name in names]
    assert all(np.array_equal(structure[name], weights[name]) for name in TENSORS)
    assert list(activations) == names
    assert np.array_equal(activations["head"], evaluate(model, weights, batch, 1)["forward"]["logits"])


def test_a_pass_has_its_statistics_and_its_gradients_last_layer_first(model: Model, batch: Batch, weights: Any) -> None:
    found = differentiate(model, weights, batch, 1)
    assert list(found) == ["statistics", "gradients"]
    assert list(found["statistics"]) == TENSORS
    moved = [name for name in TENSORS if not np.array_equal(found["statistics"][name], weights[name])]
    assert moved == STATISTICS
    assert list(found["gradients"]) == ["logits", "loss", *gradients_of(PARAMETERS), "gradient of the images"]
    model.load_weights(weights)
    result = model.loss_and_gradients(batch.images, batch.labels)
    assert found["gradients"]["loss"] == result.loss
    assert np.array_equal(found["gradients"]["logits"], result.logits)
    assert np.array_equal(found["gradients"]["gradient of head.bias"], result.gradients["head.bias"])
    assert np.array_equal(found["gradients"]["gradient of the images"], result.image_gradient)


def test_training_has_every_tensor_at_every_step_and_the_first_is_the_optimizers(
    model: Model, batch: Batch, weights: Any
) -> None:
    found = train(model, weights, batch, 2)
    state = [f"{slot}/{name}" for slot in ("first_moment", "second_moment") for name in PARAMETERS]
    assert list(found) == ["optimizer", "trajectory"]
    assert sorted(found["optimizer"]) == sorted([*TENSORS, *state, "step"])
    assert [name for name in found["trajectory"] if name.startswith("step 1: ")] == [
        f"step 1: {name}" for name in ["loss", *found["optimizer"]]
    ]
    assert len(found["trajectory"]) == 2 * (1 + len(found["optimizer"]))
    model.load_weights(weights)
    losses = [model.train_step(batch.images, batch.labels).loss for _ in range(2)]
    assert [found["trajectory"][f"step {step}: loss"] for step in (1, 2)] == losses
    assert losses[0] != losses[1]
    for name, values in found["optimizer"].items():
        assert np.array_equal(values, found["trajectory"][f"step 1: {name}"])
    assert all(
        np.array_equal(found["trajectory"][f"step 2: {name}"], values) for name, values in model.weights().items()
    )


def test_where_tensors_are_not_known_the_logits_show_what_they_do(model: Model, batch: Batch, weights: Any) -> None:
    found = differentiate_and_evaluate(model, weights, batch, 1) | train_and_evaluate(model, weights, batch, 2)
    assert list(found["statistics"]) == [*TENSORS, "logits after a pass in training mode"]
    assert list(found["trajectory"])[-1] == "logits after step 2"
    assert np.array_equal(found["trajectory"]["logits after step 2"], model.forward(batch.images))
    differentiate(model, weights, batch, 1)
    after = found["statistics"]["logits after a pass in training mode"]
    assert np.array_equal(after, model.forward(batch.images))


def test_every_stage_starts_afresh(model: Model, batch: Batch, weights: Any) -> None:
    """Whatever ran before: the optimizer's state is gone, and the weights are those given."""
    stages = {*STAGES, *OUTPUT_STAGES, differentiate_and_train}
    once = {stage: stage(model, weights, batch, 1) for stage in stages}
    for stage, found in once.items():
        again = stage(model, weights, batch, 1)
        for probe, quantities in found.items():
            for name, values in quantities.items():
                np.testing.assert_array_equal(again[probe][name], values, err_msg=f"{stage.__name__}: {name}")


@pytest.mark.parametrize("recipe", [ADAM, PER_REPLICA], ids=["global", "per replica"])
def test_replicas_show_what_their_ranks_disagree_on_and_what_they_have_in_common(
    spec: UNetSpec, weights: Any, recipe: Recipe
) -> None:
    batch = random_batch(spec, 0, 4, SMALLEST["size"])
    replicas = backends.get("numpy_reference").build_replicas(spec, recipe, 2)
    found = train_replicas_together(replicas, weights, batch, 2)
    assert list(found) == ["data_parallel"]
    is_global = recipe.batch_statistics == "global"
    unlike = ["gradients", "weights", "optimizer state", *["statistics"] * is_global]
    statistics = STATISTICS if is_global else [f"rank {rank}: {name}" for rank in (0, 1) for name in STATISTICS]
    state = list(replicas.optimizer_state())
    step = [
        *(f"{what} unlike rank 0's" for what in unlike),
        "loss",
        "logits",
        *gradients_of(PARAMETERS),
        "gradient of the images",
        *statistics,
        *PARAMETERS,
        *state,
    ]
    assert sorted(found["data_parallel"]) == sorted(f"step {number}: {name}" for number in (1, 2) for name in step)
    assert not any(values.any() for name, values in found["data_parallel"].items() if "unlike" in name)
    replicas.load_weights(weights)
    results = [replicas.train_step(batch.images, batch.labels) for _ in range(2)]
    for number, result in enumerate(results, 1):
        assert found["data_parallel"][f"step {number}: loss"] == result.loss
        assert np.array_equal(found["data_parallel"][f"step {number}: logits"], result.logits)
        assert np.array_equal(found["data_parallel"][f"step {number}: gradient of the images"], result.image_gradient)
        assert np.array_equal(
            found["data_parallel"][f"step {number}: gradient of head.bias"], result.gradients["head.bias"]
        )
    assert np.array_equal(found["data_parallel"]["step 2: head.bias"], replicas.weights()["head.bias"])


def test_a_model_trains_that_has_every_phase(model: Model) -> None:
    assert trains(model)
    model.phases = PHASES[:1]
    assert not trains(model)
    model.phases = (*PHASES, "more")
    assert trains(model)


@pytest.mark.parametrize(
    ("probes", "also"),
    [
        (["statistics", "optimizer"], ["optimizer"]),
        (["trajectory", "gradients", "optimizer"], ["optimizer", "trajectory"]),
        (["gradients"], []),
    ],
)
def test_the_reference_goes_on_to_train_where_that_is_asked_for(probes: list[str], also: list[str]) -> None:
    assert joined_with(differentiate, STAGES, probes) == (differentiate_and_train if also else differentiate, also)
    assert joined_with(train, STAGES, probes) == (train, [])
    assert joined_with(differentiate_and_evaluate, OUTPUT_STAGES, probes) == (differentiate_and_evaluate, [])
