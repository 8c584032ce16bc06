"""Loss curves and their envelope: the arithmetic of the record, sound runs within it, planted faults outside."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import backends
import parity
from backends.contract import UNIT_ROUNDOFF, Backend, BackendError, Execution, RoundingNoise
from backends.numpy_reference.model import NoisyModel, NumPyModel, NumPyReference
from parity import COARSE_LIMIT, LIMIT, Curves, random_batch, train_curves
from parity.batches import Batch, brightness_classes
from parity.curves import RERUNS, long_reruns, train
from parity.envelope import MARGIN, Curve, How, Input, Rerun
from shared_specs import Recipe, TandemError, UNetSpec, initial_weights, load_spec

from .twins import Recording, Register, Twin, twin_model

FLOAT64 = Execution(precision="float64")
STEPS = 5


def record(reference, curve, *reruns, precision="float32"):
    return Curves(
        spec={"name": "net"},
        spec_fingerprint="",
        execution=How(device="cpu", precision=precision, tuning="default"),
        recipe=Recipe(),
        seed=0,
        batch=Input(shape=(1, 1, 4, 4), origin="made up"),
        judge="numpy_reference",
        reference=reference,
        reruns=tuple(Rerun(seed=0, times=times, losses=losses) for times, losses in reruns),
        curves=(Curve(backend="pytorch", losses=curve),),
    )


def test_the_envelope_is_the_farthest_so_far_of_the_noise_of_the_precision() -> None:
    made = record(
        (2.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1, (2.125, 1.0, 1.0)), (1, (2.0, 0.5, 1.25)), (64, (2.0, 9.0, 1.0))
    )
    assert made.envelope == (0.125, 0.5, 0.5)
    assert made.allowed == (MARGIN * 0.125, MARGIN * 8.0, MARGIN * 8.0)


@pytest.mark.parametrize(("precision", "limit"), [("float64", LIMIT), ("float32", LIMIT), ("bfloat16", COARSE_LIMIT)])
def test_where_no_rerun_moves_roundoff_of_the_loss_is_allowed(precision: str, limit: float) -> None:
    made = record((2.0, 4.0, 1.0), (2.0, 4.0, 1.0), (1, (2.0, 4.0, 1.0)), precision=precision)
    unit = MARGIN * limit * UNIT_ROUNDOFF[precision]
    assert made.allowed == (2 * unit, 4 * unit, 4 * unit)


def test_a_curve_is_outside_at_the_steps_at_which_it_is_farther_than_allowed() -> None:
    most = MARGIN * 0.25
    made = record((1.0,) * 4, (1.0 + most, 1.0 - most, 1.0 + 1.5 * most, 1.0 - 1.25 * most), (1, (1.25, 1.0, 1.0, 1.0)))
    (judged,) = made.judged
    assert (judged.outside, judged.left_at, judged.farthest, judged.farthest_at) == ((3, 4), 3, 1.5, 3)
    assert not judged.within and not made.within


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_outside(broken: float) -> None:
    made = record((1.0, 1.0, 1.0), (1.0, broken, 1.0), (1, (1.5, 1.0, 1.0)))
    (judged,) = made.judged
    assert (judged.outside, judged.farthest, judged.farthest_at) == ((2,), math.inf, 2)
    assert Curves.model_validate(made.to_dict()).judged == made.judged  # through JSON, which has no such numbers


def test_where_reruns_have_parted_by_a_tenth_a_curve_may_be_as_far_as_the_loss_was_high() -> None:
    reference, curve = (2.0, 1.0, 0.5, 0.5, 0.5), (2.0, 1.0, 2.5, 0.5, 2.75)
    made = record(reference, curve, (1, (2.0, 1.0625, 0.5, 0.5, 0.5)), (64, (2.0, 1.0, 0.625, 0.5, 0.5)))
    assert made.parted_at == 3
    assert made.allowed[1:] == (MARGIN * 0.0625, 2.0, 2.0, 2.0)
    assert made.judged[0].outside == (5,)


def test_where_reruns_go_further_than_the_loss_began_that_much_is_allowed() -> None:
    made = record((2.0, 0.5), (2.0, 0.5), (1, (2.0, 1.5)))
    assert (made.parted_at, made.allowed[1]) == (2, MARGIN)


def test_where_nothing_is_lost_nothing_is_allowed() -> None:
    none = (0.0, 0.0)
    (judged,) = record(none, none, (1, none)).judged
    assert (judged.within, judged.farthest, judged.farthest_at) == (True, 0.0, 1)
    (judged,) = record(none, (0.0, 1e-300), (1, none)).judged
    assert (judged.outside, judged.farthest, judged.farthest_at) == ((2,), math.inf, 2)


def test_without_a_curve_nothing_is_within() -> None:
    made = record((1.0,), (1.0,), (1, (1.0,)))
    assert made.within
    assert not made.model_copy(update={"curves": ()}).within


def test_what_a_file_says_of_the_losses_is_not_believed() -> None:
    values = record((1.0, 1.0), (1.0, 3.0), (1, (1.0, 1.0))).to_dict()
    assert values["within"] is False and values["judged"][0]["outside"] == [2]
    values |= {"within": True, "judged": []}
    assert not Curves.model_validate(values).within


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reference": [1.0]}, "got 2 steps, expected 1"),
        ({"reference": [1.0, math.nan]}, "not finite"),
        ({"reruns": [{"seed": 0, "times": 64, "losses": [1.0, 1.0]}]}, "none under noise of the precision itself"),
        ({"reruns": [{"seed": 0, "times": 1, "losses": [1.0, math.inf]}]}, "not finite"),
        ({"schema_version": 2}, "schema_version"),
        ({"execution": {"device": "cpu", "precision": "float8", "tuning": "default"}}, "precision"),
    ],
    ids=["steps", "nan_reference", "no_rerun", "infinite_rerun", "version", "precision"],
)
def test_records_that_make_no_sense_are_refused(changes: dict, told: str) -> None:
    values = record((1.0, 1.0), (1.0, 1.0), (1, (1.0, 1.0))).to_dict()
    with pytest.raises(ValidationError, match=told):
        Curves.model_validate(values | changes)


class Recorded(Twin):
    """Notes what it is asked to build, and says that it has a GPU."""

    def __init__(self, name: str, model: type[NumPyModel] = NumPyModel):
        super().__init__(name, model)
        self.built: list[tuple[Any, ...]] = []

    def devices(self) -> list[str]:
        return ["cpu", "cuda:0"]

    def build(self, *how: Any) -> NumPyModel:
        self.built.append(how)
        return super().build(*how)

    def build_noisy(self, *how: Any) -> NoisyModel:
        self.built.append(how)
        return super().build_noisy(*how)


class OtherMomentum(NumPyModel):
    def __init__(self, spec, execution, recipe):
        super().__init__(spec, execution, Recipe.named("sgd", momentum=0.89))


class OtherEpsilon(NumPyModel):
    def load_weights(self, weights) -> None:
        super().load_weights(weights)
        norm = self.module.layers["encoder.1.block.0.norm"]
        norm.settings = norm.settings.model_copy(update={"epsilon": 1.0001e-5})


class NoLongerFinite(NumPyModel):
    taken = 0

    def train_step(self, images, labels):
        self.taken += 1
        return super().train_step(images * (math.nan if self.taken == 4 else 1.0), labels)

    def check_images(self, images) -> None:
        """Lets NaN through."""


@pytest.mark.parametrize(
    ("fault", "left_at"),
    [(OtherMomentum, 3), (OtherEpsilon, 1), (NoLongerFinite, 4)],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_a_planted_fault_leaves_the_envelope(variant, twins: Register, fault: type[NumPyModel], left_at: int) -> None:
    twins(Twin("twin", fault))
    found = train_curves(variant(), ["twin"], FLOAT64, steps=STEPS)
    (judged,) = found.judged
    assert judged.left_at == left_at
    assert judged.farthest > 100
    assert not found.within


def test_the_same_backend_without_the_fault_stays_within(variant, twins: Register) -> None:
    twins(Twin("twin"))
    found = train_curves(variant(), ["twin"], FLOAT64, steps=STEPS)
    assert found.within
    assert found.curves[0].losses == found.reference
    assert found.reference[-1] < found.reference[0]
    assert {curve.backend for curve in found.curves} == {"twin"}
    assert (found.steps, found.judge, found.execution.precision) == (STEPS, "numpy_reference", "float64")


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("pytorch", "float64"), ("pytorch", "bfloat16"), ("flax_nnx", "float64"), ("flax_nnx", "float32")],
)
@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_sound_builds_stay_within(variant, backend: str, precision: str) -> None:
    found = train_curves(variant(), [backend], Execution(precision=precision), steps=STEPS)
    (judged,) = found.judged
    assert judged.within, judged
    assert found.versions.keys() == {"numpy_reference", backend}
    assert [rerun.times for rerun in found.reruns] == [1] * RERUNS + [8 if precision == "bfloat16" else 64] * RERUNS


@pytest.mark.needs_backends("pytorch")
def test_another_precision_than_was_asked_for_leaves_the_envelope(variant, monkeypatch: pytest.MonkeyPatch) -> None:
    get, coarse = backends.get, Execution(precision="bfloat16")
    pytorch = get("pytorch")
    build = pytorch.build
    monkeypatch.setattr(pytorch, "build", lambda spec, execution, recipe: build(spec, coarse, recipe))
    (judged,) = train_curves(variant(), ["pytorch"], Execution(precision="float32"), steps=3).judged
    assert judged.left_at == 1


def test_reruns_are_of_two_sizes_and_every_one_has_its_own_seed() -> None:
    found = long_reruns(UNIT_ROUNDOFF["float32"], 0) + long_reruns(UNIT_ROUNDOFF["float32"], 1)
    assert len({seed for _, seed in found}) == len(found) == 4 * RERUNS
    assert {times for times, _ in found} == {1.0, LIMIT}
    assert {times for times, _ in long_reruns(UNIT_ROUNDOFF["bfloat16"], 0)} == {1.0, COARSE_LIMIT}


@pytest.mark.parametrize(
    "backend", ["numpy_reference", pytest.param("pytorch", marks=pytest.mark.needs_backends("pytorch"))]
)
def test_noise_out_of_a_pool_moves_the_loss_as_far_as_noise_drawn_anew(variant, backend: str) -> None:
    """In float64, where nothing is decided apart either way."""
    spec, batch = variant(), random_batch(variant())
    reference = backends.get(backend)
    true = np.array(train(reference.build(spec, FLOAT64), batch, 2, 0, lambda done: None))

    def spread(long_run: bool) -> float:
        noises = [RoundingNoise(1e-9, seed, long_run=long_run) for seed in range(8)]
        runs = [train(reference.build_noisy(spec, noise), batch, 2, 0, lambda done: None) for noise in noises]
        assert len({run[0] for run in runs}) == len(runs)
        return float(np.sqrt(np.mean(np.square(np.array(runs) - true))))

    assert 0.4 < spread(True) / spread(False) < 2.5


def test_a_long_run_decides_on_its_own_values() -> None:
    assert RoundingNoise(UNIT_ROUNDOFF["float32"], 0).decides_apart
    assert not RoundingNoise(UNIT_ROUNDOFF["float32"], 0, long_run=True).decides_apart


@pytest.mark.needs_backends("pytorch")
def test_another_backend_may_judge_once_it_has_shown_what_it_computes(variant, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    spec = variant()
    found = train_curves(spec, ["pytorch"], steps=3, judge="pytorch", on_progress=told.append)
    assert found.judge == "pytorch" and found.within
    assert any(text.startswith("proof of pytorch") for text in told)
    pytorch = backends.get("pytorch")
    build = pytorch.build
    wrong = Recipe.named("sgd", momentum=0.89)
    monkeypatch.setattr(pytorch, "build", lambda spec, execution, recipe: build(spec, execution, wrong))
    with pytest.raises(
        TandemError, match=r"pytorch cannot judge: in float64 it is not numpy_reference; trajectory: step 2"
    ):
        train_curves(spec, ["pytorch"], steps=3, judge="pytorch")


@pytest.mark.needs_backends("flax_nnx")
def test_a_backend_without_noisy_reruns_cannot_judge(variant) -> None:
    with pytest.raises(
        TandemError, match="flax_nnx cannot re-run itself under rounding noise; let one of numpy_reference"
    ):
        train_curves(variant(), ["flax_nnx"], steps=1, judge="flax_nnx")


def test_a_reference_that_diverges_judges_nobody(spec: UNetSpec, twins: Register) -> None:
    twins(Twin("twin"))
    huge = Recipe.named("sgd", learning_rate=1e300)
    with np.errstate(all="ignore"), pytest.raises(TandemError) as error:
        train_curves(spec, ["twin"], FLOAT64, huge, steps=4)
    assert str(error.value) == (
        "variant: the float64 reference's loss is not finite at step 2, so no curve can be judged; take fewer steps, "
        "images of usual size, or a smaller learning rate"
    )


@pytest.mark.parametrize(("arguments", "told"), [({"steps": 0}, "got 0 steps"), ({"backends": []}, "nothing to train")])
def test_nothing_to_train_is_refused(variant, arguments: dict, told: str) -> None:
    with pytest.raises(TandemError, match=told):
        train_curves(variant(), **{"backends": ["numpy_reference"], **arguments})


def test_progress_names_each_run(variant, twins: Register) -> None:
    twins(Twin("twin"))
    told: list[str] = []
    train_curves(variant(), ["twin"], FLOAT64, steps=1, on_progress=told.append)
    assert told == [
        "numpy_reference, float64: step 0 of 1",
        "twin: step 0 of 1",
        *(f"noisy re-run {number} of 6: step 0 of 1" for number in range(1, 7)),
    ]


def test_a_long_run_says_now_and_then_how_far_it_has_come(spec: UNetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.curves.TOLD_EVERY", 2)
    told: list[int] = []
    assert len(train(twin_model(NumPyModel, spec), random_batch(spec), 5, 0, told.append)) == 5
    assert told == [0, 2, 4]


def test_a_network_may_be_given_by_its_name_and_those_installed_are_trained(
    spec: UNetSpec, twins: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.curves.load_spec", lambda name: {"its name": spec}[name])
    twins(Twin("one"), Twin("two"))
    found = train_curves("its name", execution=FLOAT64, steps=1)
    assert (found.spec, found.seed) == (spec.model_dump(mode="json"), 0)
    assert [curve.backend for curve in found.curves] == ["one", "two"]
    assert found.left_out == {}
    assert found.versions == {name: {"numpy": np.__version__} for name in ("numpy_reference", "one", "two")}


def test_what_cannot_be_trained_so_is_left_out_and_named(spec: UNetSpec, twins: Register) -> None:
    unable = ["coarse", "exported"]
    twins(
        Twin("one"),
        Twin("coarse", precisions=("float32",)),
        Twin("exported", phases=("forward",), note="inference only; no gradients"),
    )
    found = train_curves(spec, [*unable, "one"], FLOAT64, steps=1)
    assert [curve.backend for curve in found.curves] == ["one"]
    assert found.left_out == {
        "coarse": "has no precision 'float64'",
        "exported": "has no phase 'train_step' (inference only; no gradients)",
    }
    assert found.versions.keys() == {"numpy_reference", "one"}
    with pytest.raises(BackendError) as error:
        train_curves(spec, unable, FLOAT64, steps=1)
    assert str(error.value) == (
        "coarse has no precision 'float64'; take one of float32; "
        "exported has no phase 'train_step' (inference only; no gradients); take one of forward"
    )


GPU = Execution("cuda", "float32")
ADAM = Recipe.named("adam", learning_rate=0.01)


def test_where_numpy_judges_the_others_alone_are_on_the_device(spec: UNetSpec, twins: Register) -> None:
    twins(twin := Recorded("twin"))
    found = train_curves(spec, ["twin"], GPU, ADAM, seed=2, steps=1)
    assert twin.built == [(spec, GPU, ADAM)]
    assert (found.judge, found.recipe, found.execution) == ("numpy_reference", ADAM, How(**vars(GPU)))
    assert found.batch.origin.startswith("random images, seed 2; labels: 2 classes by the brightness")


def test_a_judge_is_built_on_the_device_in_float64_and_under_noise_of_the_precision(
    spec: UNetSpec, twins: Register
) -> None:
    twins(twin := Recorded("twin"))
    found = train_curves(spec, ["twin"], GPU, ADAM, seed=2, steps=1, judge="twin")
    reruns = long_reruns(GPU.unit_roundoff, 2)
    noises = [RoundingNoise(times * GPU.unit_roundoff, seed, long_run=True) for times, seed in reruns]
    exact = (spec, Execution("cuda", "float64"), ADAM)
    assert twin.built == [exact, exact, (spec, GPU, ADAM), *((spec, noise, ADAM, "cuda") for noise in noises)]
    assert [(rerun.times, rerun.seed) for rerun in found.reruns] == reruns
    assert found.versions == {"twin": {"numpy": np.__version__}}


def test_a_judge_shows_first_that_it_computes_what_numpy_does(
    spec: UNetSpec, twins: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on the same images from the same weights as the curves."""
    monkeypatch.setattr(Recording, "given", given := [])
    twins(Twin("twin", Recording))
    told: list[str] = []
    batch = random_batch(spec, 1)
    found = train_curves(spec, ["twin"], FLOAT64, seed=3, batch=batch, steps=1, judge="twin", on_progress=told.append)
    noisy = ["noise floor, noisy re-run"] * 4
    assert told == [
        *(f"proof of twin: trajectory: {run}" for run in ("noise floor", *noisy, "reference", "candidate")),
        "twin, float64: step 0 of 1",
        "twin: step 0 of 1",
        *(f"noisy re-run {number} of 6: step 0 of 1" for number in range(1, 7)),
    ]
    starts = [value for (what, value), (then, _) in itertools.pairwise(given) if (what, then) == ("weights", "images")]
    seen = [value for what, value in given if what == "images"]
    assert len(starts) > 2  # of the proof, the reference and the curve
    weights = initial_weights(spec, 3)
    assert all(np.array_equal(start[name], values) for start in starts for name, values in weights.items())
    assert all(np.array_equal(value, batch.images) for value in seen)
    assert found.batch.origin == batch.origin


def test_a_judge_that_computes_something_else_is_refused(spec: UNetSpec, twins: Register) -> None:
    twins(Twin("twin", OtherMomentum))
    told = r"^twin cannot judge: in float64 it is not numpy_reference; trajectory: step 2: "
    with pytest.raises(TandemError, match=told):
        train_curves(spec, ["twin"], FLOAT64, Recipe.named("sgd", momentum=0.9), steps=1, judge="twin")


def test_those_that_can_judge_are_named_where_one_cannot(
    spec: UNetSpec, twins: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(Backend):
        """The reference, without its noise."""

        name, capabilities = "plain", Twin.capabilities
        build, devices, versions = NumPyReference.build, NumPyReference.devices, NumPyReference.versions

    twins(Twin("twin"), Plain())
    monkeypatch.setattr(backends, "available", lambda: ["numpy_reference", "plain", "twin"])
    with pytest.raises(TandemError) as error:
        train_curves(spec, ["plain"], FLOAT64, steps=1, judge="plain")
    assert str(error.value) == (
        "plain cannot re-run itself under rounding noise; let one of numpy_reference, twin judge"
    )


@pytest.mark.parametrize(("device", "collected"), [("cpu", 0), ("cuda", 1)])
def test_what_a_run_has_left_on_a_gpu_is_freed(
    spec: UNetSpec, device: str, collected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr("parity.curves.gc.collect", lambda: calls.append(None))
    train(NumPyModel(spec, Execution(device, "float64"), Recipe()), random_batch(spec), 1, 0, lambda done: None)
    assert len(calls) == collected


@pytest.mark.parametrize("name", ["unet_bn_same", "unet_paper", "unet3d_cicek"])
def test_classes_of_brightness_are_as_frequent_as_each_other(name: str) -> None:
    spec = load_spec(name).narrow(16)
    batch = random_batch(spec, count=1)
    labelled = brightness_classes(spec, batch)
    assert labelled.labels.shape == batch.labels.shape
    counts = np.bincount(labelled.labels.ravel(), minlength=spec.out_channels)
    assert counts.max() - counts.min() <= 1
    assert labelled.images is batch.images
    assert (
        labelled.origin
        == f"random images, seed 0; labels: {spec.out_channels} classes by the brightness of each pixel's surroundings"
    )


def test_where_logits_are_smaller_the_classes_are_those_of_the_middle() -> None:
    spec = load_spec("unet_paper").narrow(16)
    batch = random_batch(spec, count=1, size=(204, 220))
    images = batch.images + np.flip(batch.images, 2)
    images = images + np.flip(images, 3)
    labels = brightness_classes(spec, Batch(images, batch.labels, batch.origin)).labels
    assert labels.shape == (1, 20, 36)
    for axis in (1, 2):
        assert np.mean(np.flip(labels, axis) == labels) > 0.99  # all, but for ties at the edge of a class


def test_classes_follow_the_brightness_of_the_surroundings_and_the_images_turned_over(variant) -> None:
    spec = variant()
    ramp = np.broadcast_to(np.arange(32.0)[:, None], (1, 3, 32, 48))
    labels = brightness_classes(spec, Batch(ramp, np.zeros((1, 32, 48), np.int64), "a ramp")).labels
    assert (np.diff(labels, axis=1) >= 0).all() and labels[0, 0, 0] == 0 and labels[0, -1, 0] == spec.out_channels - 1
    batch = random_batch(spec)
    turned = Batch(batch.images[..., ::-1], batch.labels, batch.origin)
    np.testing.assert_array_equal(
        brightness_classes(spec, turned).labels, brightness_classes(spec, batch).labels[..., ::-1]
    )


def test_the_record_is_json(variant, twins: Register) -> None:
    twins(Twin("twin"))
    found = parity.train_curves(variant(), ["twin"], FLOAT64, steps=1, narrow=4)
    read = Curves.model_validate(json.loads(json.dumps(found.to_dict())))
    assert read == found
    assert (read.narrow, read.name, read.spec_fingerprint) == (4, "variant", variant().fingerprint)
