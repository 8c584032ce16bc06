"""What a check runs, of whom, in which order, and what it says of those that lack something: on NumPy twins alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import backends
import parity
from backends.conformance.networks import SMALLEST
from backends.contract import BackendError, Execution, RoundingNoise
from backends.numpy_reference.model import NumPyModel
from parity import PROBES, noise_floor, random_batch
from parity.compare import compare_all
from parity.probes import EVERY_PROBE
from shared_specs import Recipe, TandemError, UNetSpec, WeightsError, initial_weights

from .twins import Recording, Register, ScaledBias, Twin, Untrained, twin_model

FLOAT64, FLOAT32 = Execution(precision="float64"), Execution(precision="float32")
SIZE = SMALLEST["size"]


@pytest.fixture
def batch(spec: UNetSpec) -> parity.Batch:
    return random_batch(spec, 0, 2, SIZE)


def test_every_pair_is_compared_in_the_order_of_the_probes(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one"), Twin("two"))
    verdict = parity.check(spec, ["one", "two"], batch=batch, seed=5, steps=2)
    assert verdict.equal and verdict.first_difference is None
    assert verdict.pairs == [("numpy_reference", "one"), ("numpy_reference", "two"), ("one", "two")]
    assert verdict.probes == list(PROBES)
    assert verdict.models == ("numpy_reference", "one", "two")
    assert (verdict.seed, verdict.steps, verdict.replicas) == (5, 2, 1)
    assert (verdict.batch_shape, verdict.batch_origin) == ((2, 3, *SIZE), "random images, seed 0")
    assert (verdict.execution, verdict.recipe, verdict.spec) == (FLOAT64, Recipe(), spec)
    assert {m.distance for m in verdict.measurements} == {0.0}
    assert {m.limit for m in verdict.measurements} == {parity.LIMIT}
    assert not verdict.not_compared


def test_the_backends_are_those_installed_but_the_reference_takes_part_once(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one"))
    assert parity.check(spec, batch=batch, probes=["forward"]).models == ("numpy_reference", "one")
    named = parity.check(spec, ["numpy_reference", "one", "one"], batch=batch, probes="forward")
    assert (named.models, named.probes) == (("numpy_reference", "one"), ["forward"])


def test_a_fault_is_found_where_it_is_and_the_recipe_is_that_of_the_check(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one", ScaledBias))
    recipe = Recipe.named("adam", learning_rate=0.01)
    verdict = parity.check(spec, ["one"], batch=batch, recipe=recipe, steps=1)
    first = verdict.first_difference
    assert first is not None and not verdict.equal
    assert (first.probe, first.quantity, first.candidate) == ("structure", "head.bias", "one")
    assert verdict.recipe == recipe
    names = {m.quantity for m in verdict.measurements if m.probe == "optimizer"}
    assert {"step", "first_moment/head.bias", "second_moment/head.weight"} <= names


class Built(NumPyModel):
    """Notes how it was built."""

    how: ClassVar[list[tuple[Execution, Recipe]]] = []

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.how.append((execution, recipe))
        super().__init__(spec, execution, recipe)


def test_every_model_is_built_for_the_execution_and_trained_by_the_recipe(
    spec: UNetSpec, batch: parity.Batch, twins: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Built, "how", how := [])
    twins(Twin("one", Built))
    recipe = Recipe.named("adam", learning_rate=0.01)
    verdict = parity.check(spec, ["one"], FLOAT32, batch=batch, recipe=recipe, probes=["optimizer"], steps=1)
    assert verdict.equal
    assert how == [(FLOAT32, recipe)]
    assert "first_moment/head.bias" in {m.quantity for m in verdict.measurements}


@pytest.mark.parametrize("seed", [0, 3])
def test_weights_and_images_follow_the_seed(
    spec: UNetSpec, twins: Register, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recording, "given", given := [])
    twins(Twin("one", Recording))
    parity.check(spec, ["one"], seed=seed, probes=["forward"])
    assert np.array_equal(given[-1][1]["head.weight"], initial_weights(spec, seed)["head.weight"])
    (images,) = [value for what, value in given if what == "images"]
    assert np.array_equal(images, random_batch(spec, seed, 2).images)


def test_given_weights_are_those_that_are_compared(spec: UNetSpec, batch: parity.Batch, twins: Register) -> None:
    twins(Twin("one"))
    weights = initial_weights(spec, 9)
    verdict = parity.check(spec, ["one"], batch=batch, probes=["structure"], weights=weights)
    (bias,) = [m for m in verdict.measurements if m.quantity == "head.bias"]
    assert bias.reference_value in weights["head.bias"]
    with pytest.raises(WeightsError, match=r"missing encoder\.0\.block\.0\.conv\.weight"):
        parity.check(spec, ["one"], batch=batch, weights={})


def test_a_backend_that_cannot_run_it_is_told_at_every_probe_and_the_others_are_compared(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one"), Twin("coarse", precisions=("float32",)))
    verdict = parity.check(spec, ["coarse", "one"], batch=batch, probes=["gradients", "forward"])
    assert verdict.models == ("numpy_reference", "coarse", "one")
    assert verdict.pairs == [("numpy_reference", "one")]
    lacks = "has no precision 'float64'; take one of float32"
    assert [(left.model, left.probe, left.reason) for left in verdict.not_compared] == [
        ("coarse", "forward", lacks),
        ("coarse", "gradients", lacks),
    ]


def test_where_none_can_run_it_each_says_why(spec: UNetSpec, twins: Register) -> None:
    twins(Twin("one", precisions=("float32",)), Twin("two", tunings=("tuned",)))
    with pytest.raises(BackendError) as error:
        parity.check(spec, ["one", "two"])
    assert str(error.value) == (
        "one has no precision 'float64'; take one of float32; two has no tuning 'default'; take one of tuned"
    )


def test_a_model_without_training_is_compared_as_far_as_it_goes(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one"), Twin("exported", Untrained))
    verdict = parity.check(spec, ["one", "exported"], batch=batch, steps=1)
    trained = {(m.reference, m.candidate) for m in verdict.measurements if m.probe in PROBES[3:]}
    assert trained == {("numpy_reference", "one")}
    assert len(verdict.pairs) == 3
    assert [(left.model, left.probe, left.reason) for left in verdict.not_compared] == [
        ("exported", probe, "has inference only") for probe in PROBES[3:]
    ]
    alone = parity.check(spec, ["exported"], batch=batch, steps=1)
    assert alone.probes == list(PROBES[:3])


NOISY = ["noise floor, noisy re-run"] * 4


def test_progress_names_each_run_of_each_stage(spec: UNetSpec, batch: parity.Batch, twins: Register) -> None:
    twins(Twin("one"))
    told: list[str] = []
    parity.check(spec, ["one"], batch=batch, probes=["activations", "forward"], on_progress=told.append)
    runs = ["numpy_reference", *NOISY, "one"]
    assert told == [*(f"activations: {run}" for run in runs), *(f"forward: {run}" for run in runs)]


def test_one_run_of_the_reference_serves_gradients_and_training(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    """And in float32 its decisions are turned in four more re-runs, of what is trained alone."""
    twins(Twin("one"))
    told: list[str] = []
    probes = ["forward", "statistics", "trajectory"]
    verdict = parity.check(spec, ["one"], FLOAT32, probes, batch=batch, on_progress=told.append)
    turned = ["noise floor, turned re-run"] * 4
    joined = "statistics, trajectory"
    assert told == [
        *(f"forward: {run}" for run in ("numpy_reference", *NOISY, "one")),
        *(f"{joined}: {run}" for run in ("numpy_reference", *NOISY, *turned)),
        "statistics: one",
        "trajectory: one",
    ]
    assert verdict.probes == probes
    assert verdict.equal


def test_with_one_probe_of_training_the_others_quantities_are_dropped(
    spec: UNetSpec, batch: parity.Batch, twins: Register
) -> None:
    twins(Twin("one"))
    verdict = parity.check(spec, ["one"], batch=batch, probes=["gradients"])
    assert {m.probe for m in verdict.measurements} == {"gradients"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backends": []}, "nothing to compare with numpy_reference; name a backend, or install torch or jax and flax"),
        (
            {"probes": ["forward", "zeal", "backward"]},
            f"no probe is named 'backward'; take some of {', '.join(PROBES)}",
        ),
        ({"probes": []}, "expected at least one probe and one step"),
        ({"steps": 0}, "expected at least one probe and one step"),
        ({"probes": ["data_parallel"]}, "data_parallel compares replicas, and 1 was asked for; take 2 or more"),
    ],
    ids=["backends", "probe", "no probe", "no step", "replicas"],
)
def test_what_cannot_be_asked_for(
    spec: UNetSpec, batch: parity.Batch, twins: Register, arguments: dict[str, Any], message: str
) -> None:
    twins(Twin("one"))
    with pytest.raises(TandemError) as error:
        parity.check(spec, **({"backends": ["one"], "batch": batch} | arguments))
    assert str(error.value) == message


@pytest.mark.parametrize("execution", [FLOAT64, FLOAT32], ids=["float64", "float32"])
def test_the_floor_is_that_of_the_reruns_under_noise(
    spec: UNetSpec, batch: parity.Batch, twins: Register, execution: Execution
) -> None:
    twins(Twin("one"))
    verdict = parity.check(spec, ["one"], execution, "forward", seed=2, batch=batch)
    reference, unit, weights = backends.get("numpy_reference"), execution.unit_roundoff, initial_weights(spec, 2)

    def logits(noise: RoundingNoise | None) -> np.ndarray:
        model = reference.build(spec, FLOAT64) if noise is None else reference.build_noisy(spec, noise)
        model.load_weights(weights)
        return model.forward(batch.images)

    noisy, _ = noise_floor.reruns(unit, 2)
    (measured,) = verdict.measurements
    assert measured.floor == noise_floor.floor(logits(None), [logits(noise) for noise in noisy], [], unit)


def test_a_reference_that_overflows_says_at_what(spec: UNetSpec, batch: parity.Batch, twins: Register) -> None:
    twins(Twin("one"))
    huge = parity.Batch(batch.images * 1e200, batch.labels, "huge")
    with np.errstate(all="ignore"), pytest.raises(TandemError) as error:
        parity.check(spec, ["one"], batch=huge, probes=["statistics"])
    assert str(error.value) == (
        "variant: the float64 reference is not finite at encoder.0.block.0.norm.running_var (statistics), so nothing "
        "can be compared; take images or weights of usual size, or a smaller learning rate"
    )


class Lacking(NumPyModel):
    """Without one tensor, and with one that no other model has."""

    def weights(self) -> dict[str, np.ndarray]:
        own = super().weights()
        return {name: values for name, values in own.items() if name != "head.bias"} | {"more": np.zeros(1)}


def test_what_one_of_two_models_lacks_is_infinitely_far(spec: UNetSpec, batch: parity.Batch, twins: Register) -> None:
    twins(Twin("one", Lacking))
    verdict = parity.check(spec, ["one"], batch=batch, probes=["structure"])
    assert [(m.quantity, m.distance, m.floor > 0) for m in verdict.differences] == [
        ("head.bias", np.inf, True),
        ("more", np.inf, False),
    ]
    assert [m.index for m in verdict.differences] == [None, None]  # not even one of one element is beside nothing


class Foreign(Lacking):
    """A module of which not every tensor is known by its canonical name."""

    has_canonical_weights = False


def test_of_a_module_with_unknown_tensors_those_known_are_compared_and_the_outputs(
    spec: UNetSpec, batch: parity.Batch
) -> None:
    models = {"numpy_reference": twin_model(NumPyModel, spec), "yours": twin_model(Foreign, spec)}
    weights = initial_weights(spec, 0)
    verdict = compare_all(
        models,
        dict.fromkeys(models, weights),
        batch,
        execution=FLOAT64,
        probes=PROBES,
        seed=0,
        steps=2,
        on_progress=None,
    )
    assert verdict.equal
    by_probe = {probe: [m.quantity for m in verdict.measurements if m.probe == probe] for probe in PROBES}
    assert "head.bias" not in by_probe["structure"] + by_probe["statistics"]
    assert "head.weight" in by_probe["structure"]
    assert "logits after a pass in training mode" in by_probe["statistics"]
    assert by_probe["trajectory"][-1] == "logits after step 2"


class LargerMaps(NumPyModel):
    """Its maps are one pixel longer than they should be."""

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.pad(x, ((0, 0),) * 3 + ((0, 1),)) for name, x in super().activations(images).items()}


class LargerLogits(NumPyModel):
    def forward(self, images: np.ndarray) -> np.ndarray:
        return np.pad(super().forward(images), ((0, 0),) * 3 + ((0, 1),))


@pytest.mark.parametrize(
    ("fault", "probes"),
    [(LargerMaps, ["structure", "activations"]), (LargerLogits, ["structure", "forward", "activations"])],
)
def test_after_maps_of_another_size_nothing_more_is_run(
    spec: UNetSpec, batch: parity.Batch, twins: Register, fault: type[NumPyModel], probes: list[str]
) -> None:
    twins(Twin("one", fault))
    verdict = parity.check(spec, ["one"], batch=batch)
    assert not verdict.equal
    assert verdict.probes == probes


def test_a_shape_that_is_equal_stops_nothing(spec: UNetSpec, batch: parity.Batch, twins: Register) -> None:
    twins(Twin("one", ScaledBias))
    assert parity.check(spec, ["one"], batch=batch, steps=1).probes == list(PROBES)


class TestModelsAsTheyAre:
    def test_each_has_its_own_weights_and_has_them_back(self, spec: UNetSpec, batch: parity.Batch) -> None:
        models = [twin_model(NumPyModel, spec) for _ in range(2)]
        own = [initial_weights(spec, seed) for seed in (1, 2)]
        for model, weights in zip(models, own, strict=True):
            model.load_weights(weights)
        told: list[str] = []
        verdict = parity.compare_models(
            models[0], models[1], seed=4, batch=batch, steps=2, probes=["structure"], on_progress=told.append
        )
        assert verdict.models == ("reference", "candidate")
        assert (verdict.seed, verdict.steps, verdict.batch_origin) == (4, 2, batch.origin)
        assert told == [f"structure: {run}" for run in ("noise floor", *NOISY, "reference", "candidate")]
        assert len(verdict.differences) == len(spec.tensors)
        parity.compare_models(models[0], models[1], batch=batch, steps=1)
        for model, weights in zip(models, own, strict=True):
            assert all(np.array_equal(values, weights[name]) for name, values in model.weights().items())

    def test_they_have_them_back_where_the_check_is_refused(self, spec: UNetSpec, batch: parity.Batch) -> None:
        models = [twin_model(NumPyModel, spec) for _ in range(2)]
        models[1].train_step(batch.images, batch.labels)
        before = models[1].weights()
        with pytest.raises(TandemError):
            parity.compare_models(models[0], models[1], probes=["zeal"])
        assert all(np.array_equal(values, before[name]) for name, values in models[1].weights().items())

    def test_floors_are_those_of_the_models_recipe(self, spec: UNetSpec, batch: parity.Batch) -> None:
        adam = Recipe.named("adam")
        models = [twin_model(NumPyModel, spec, adam) for _ in range(2)]
        verdict = parity.compare_models(models[0], models[1], "optimizer", batch=batch, steps=1)
        assert verdict.equal and verdict.probes == ["optimizer"]
        floors = {m.quantity: m.floor for m in verdict.measurements}
        assert floors["first_moment/head.bias"] > 0 and floors["second_moment/head.weight"] > 0

    @pytest.mark.parametrize("order", [("float64", "float32"), ("float32", "float64")])
    def test_the_coarser_precision_of_the_two_judges(
        self, spec: UNetSpec, batch: parity.Batch, order: tuple[str, str]
    ) -> None:
        one, other = (twin_model(NumPyModel, spec, precision=precision) for precision in order)
        verdict = parity.compare_models(one, other, probes=["forward"], batch=batch)
        assert verdict.execution.precision == "float32"
        assert verdict.measurements[0].floor > 1e-9

    @pytest.mark.parametrize("seed", [0, 3])
    def test_images_are_random_ones_of_the_seed(self, spec: UNetSpec, seed: int) -> None:
        models = [twin_model(NumPyModel, spec) for _ in range(2)]
        how = {"seed": seed} if seed else {}
        verdict = parity.compare_models(models[0], models[1], probes=["forward"], **how)
        assert (verdict.seed, verdict.batch_origin) == (seed, f"random images, seed {seed}")
        assert verdict.batch_shape == random_batch(spec, seed).images.shape

    def test_every_probe_runs_and_the_trajectory_is_three_steps_long(self, spec: UNetSpec, batch: parity.Batch) -> None:
        models = [twin_model(NumPyModel, spec) for _ in range(2)]
        verdict = parity.compare_models(models[0], models[1], batch=batch)
        assert verdict.probes == list(PROBES) == list(EVERY_PROBE[:-1])
        assert verdict.measurements[-1].quantity.startswith("step 3: ")


def test_a_network_may_be_given_by_its_name_and_three_steps_are_taken(
    spec: UNetSpec, twins: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.compare.load_spec", lambda name: {"its name": spec}[name])
    twins(Twin("one"))
    verdict = parity.check("its name")
    assert (verdict.spec, verdict.seed, verdict.steps) == (spec, 0, 3)
    assert verdict.batch_shape == random_batch(spec, 0, 2).images.shape
    assert verdict.measurements[-1].quantity.startswith("step 3: ")
