"""What each probe reads off a model, under which names and in which order: of the NumPy reference alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import backends
from backends.conformance.networks import SMALLEST, small_variant
from backends.contract import PHASES, Execution, Model, RoundingNoise
from parity import noise_floor, random_batch
from parity.batches import Batch
from parity.kinds import check_one_kind
from parity.probes import (
    OUTPUT_STAGES,
    STAGES,
    Quantities,
    differentiate,
    differentiate_and_evaluate,
    differentiate_and_train,
    evaluate,
    joined_with,
    record,
    train,
    train_and_evaluate,
    train_replicas,
    trains,
)
from parity.reruns import COPIES, LARGE_ELEMENTS, Reference, deviations, floors_of, runs_at_once
from shared_specs import Recipe, TandemError, UNetSpec, initial_weights
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


@pytest.fixture(scope="module")
def spec() -> UNetSpec:
    return small_variant(**{key: value for key, value in SMALLEST.items() if key != "size"})


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
    found = train_replicas(replicas, weights, batch, 2)
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


class TestOneKind:
    def models(self, spec: UNetSpec, *recipes: tuple[Recipe, int]) -> dict[str, Model]:
        reference = backends.get("numpy_reference")
        return {
            f"m{number}": reference.build_replicas(spec, recipe, count)
            if count
            else reference.build(spec, Execution(precision="float64"), recipe)
            for number, (recipe, count) in enumerate(recipes)
        }

    @pytest.mark.parametrize(
        ("recipes", "count"),
        [
            ([(PER_REPLICA, 0), (ADAM, 0)], 0),
            ([(PER_REPLICA, 3), (PER_REPLICA, 3)], 3),
            ([(ADAM, 2), (ADAM, 2)], 2),
            ([(ADAM, 2), (ADAM, 0)], 0),
        ],
        ids=["single", "per replica", "global", "mixed"],
    )
    def test_one_kind_passes(self, spec: UNetSpec, recipes: list[Any], count: int) -> None:
        assert check_one_kind(self.models(spec, *recipes)) == count

    def test_two_kinds_are_two_models(self, spec: UNetSpec) -> None:
        with pytest.raises(TandemError) as error:
            check_one_kind(self.models(spec, (ADAM, 2), (ADAM, 2), (PER_REPLICA, 2)))
        assert str(error.value) == (
            "variant: m0 has global batch statistics, and m2 the batch statistics of each of 2 replicas: with batch "
            "norm these are two different models; build both with one batch_statistics in the recipe"
        )

    def test_groups_are_of_one_size(self, spec: UNetSpec) -> None:
        with pytest.raises(TandemError) as error:
            check_one_kind(self.models(spec, (ADAM, 2), (ADAM, 4)))
        assert str(error.value) == "got groups of 2 and 4 replicas, expected as many in each"


class TestReruns:
    def runs(self, asked: list[Any]) -> Any:
        """A reference whose re-runs move `q` by their seed, and what is turned by ten times that."""

        def run(noise: RoundingNoise | None) -> dict[str, Quantities]:
            asked.append(noise)
            moved = 0 if noise is None else noise.seed * (10 if noise.turned else 1)
            return {"first": {"q": np.full(4, 1.0 + moved), "still": np.ones(1)}, "second": {"q": np.full(2, 2.0)}}

        return run

    noises = ([RoundingNoise(2.0**-24, 3), RoundingNoise(2.0**-24, 4)], [RoundingNoise(2.0**-24, 5, turned=1)])

    def test_floors_are_of_the_reruns_and_one_run_serves_several_probes(self) -> None:
        asked: list[Any] = []
        reference = Reference(self.noises, 2.0**-24, 1)
        true, floors = reference.judge(["first"], self.runs(asked))
        assert asked == [None, *self.noises[0], *self.noises[1]]
        assert list(true) == list(floors) == ["first"]
        assert np.array_equal(true["first"]["q"], np.ones(4))
        assert floors["first"] == {
            "q": noise_floor.combine([3.0, 4.0], [50.0], np.ones(4), 2.0**-24),
            "still": noise_floor.combine([0.0, 0.0], [0.0], np.ones(1), 2.0**-24),
        }
        true, floors = reference.judge(["second"], self.runs(asked))
        assert len(asked) == 4
        assert floors["second"] == {"q": noise_floor.combine([0.0, 0.0], [0.0], np.full(2, 2.0), 2.0**-24)}
        reference.judge(["first"], self.runs(asked))  # what was told is dropped, to spare memory
        assert len(asked) == 8

    def test_nothing_is_turned_where_nothing_is_decided(self) -> None:
        asked: list[Any] = []
        _, floors = Reference(self.noises, 2.0**-24, 1).judge(["first"], self.runs(asked), decides=False)
        assert asked == [None, *self.noises[0]]
        assert floors["first"]["q"] == noise_floor.combine([3.0, 4.0], [], np.ones(4), 2.0**-24)

    @pytest.mark.parametrize("at_once", [1, 2])
    def test_deviations_come_in_the_order_of_the_reruns(self, at_once: int) -> None:
        run = self.runs([])
        found = deviations(run(None), run, self.noises[0], at_once)
        assert found == {("first", "q"): [3.0, 4.0], ("first", "still"): [0.0, 0.0], ("second", "q"): [0.0, 0.0]}

    def test_the_floor_of_a_quantity_is_of_its_own_deviations(self) -> None:
        true = {"a": {"q": np.array([3.0])}, "b": {"q": np.array([4.0])}}
        noisy = {("a", "q"): [1.0, 2.0], ("b", "q"): [0.5]}
        turned = {("a", "q"): [4.0], ("b", "q"): []}
        assert floors_of(true, noisy, turned, 0.125) == {
            "a": {"q": noise_floor.combine([1.0, 2.0], [4.0], np.array([3.0]), 0.125)},
            "b": {"q": noise_floor.combine([0.5], [], np.array([4.0]), 0.125)},
        }

    def test_at_the_largest_size_reruns_are_still_beside_each_other(
        self, spec: UNetSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        elements = sum(math.prod((1, *layer_shape[1:])) for layer_shape in feature_shapes(spec, (1, 3, 1, 1)).values())
        rows = (LARGE_ELEMENTS - COPIES * spec.parameter_count) // elements
        fits = Batch(np.empty((1, 3, rows, 1), np.bool_), np.empty(0), "")
        over = Batch(np.empty((1, 3, rows + 1, 1), np.bool_), np.empty(0), "")
        assert (runs_at_once(spec, fits), runs_at_once(spec, over)) == (5, 1)

    def test_without_a_number_every_core_takes_one(self, spec: UNetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = random_batch(spec, 0, 2, SMALLEST["size"])
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: 7)
        assert runs_at_once(spec, batch) == 7
        monkeypatch.setattr("os.cpu_count", lambda: None)
        assert runs_at_once(spec, batch) == 1
