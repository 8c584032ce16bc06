"""Loss curves and their envelope: the arithmetic of the record, sound runs within it, planted faults outside."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

import backends
import parity
from backends.contract import UNIT_ROUNDOFF, Capabilities, Execution, RoundingNoise
from backends.numpy_reference.model import NumPyModel, NumPyReference
from parity import COARSE_LIMIT, LIMIT, Curves, random_batch, train_curves
from parity.batches import Batch, brightness_classes
from parity.curves import RERUNS, long_reruns, train
from parity.envelope import MARGIN, Curve, How, Input, Rerun
from shared_specs import Recipe, TandemError, load_spec

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


class Twin(NumPyReference):
    """The reference under another name, with models of the test's own."""

    name = "twin"
    capabilities = Capabilities(precisions=("float64", "float32"), tunings=("default",))

    def __init__(self, model: type[NumPyModel]):
        self.model = model

    def build(self, spec, execution=FLOAT64, recipe=Recipe()):
        return self.model(spec, execution, recipe)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch):
    get = backends.get

    def register(model: type[NumPyModel] = NumPyModel) -> None:
        monkeypatch.setattr(backends, "get", lambda name: Twin(model) if name == "twin" else get(name))

    return register


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
def test_a_planted_fault_leaves_the_envelope(variant, twin, fault: type[NumPyModel], left_at: int) -> None:
    twin(fault)
    found = train_curves(variant(), ["twin"], FLOAT64, steps=STEPS)
    (judged,) = found.judged
    assert judged.left_at == left_at
    assert judged.farthest > 100
    assert not found.within


def test_the_same_backend_without_the_fault_stays_within(variant, twin) -> None:
    twin()
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


def test_a_reference_that_diverges_judges_nobody(variant, twin) -> None:
    twin()
    huge = Recipe.named("sgd", learning_rate=1e300)
    not_finite = "variant: the float64 reference's loss is not finite at step"
    with np.errstate(all="ignore"), pytest.raises(TandemError, match=not_finite):
        train_curves(variant(), ["twin"], FLOAT64, huge, steps=4)


@pytest.mark.parametrize(("arguments", "told"), [({"steps": 0}, "got 0 steps"), ({"backends": []}, "nothing to train")])
def test_nothing_to_train_is_refused(variant, arguments: dict, told: str) -> None:
    with pytest.raises(TandemError, match=told):
        train_curves(variant(), **{"backends": ["numpy_reference"], **arguments})


def test_progress_names_each_run(variant, twin) -> None:
    twin()
    told: list[str] = []
    train_curves(variant(), ["twin"], FLOAT64, steps=1, on_progress=told.append)
    assert told == [
        "numpy_reference, float64: step 0 of 1",
        "twin: step 0 of 1",
        *(f"noisy re-run {number} of 6: step 0 of 1" for number in range(1, 7)),
    ]


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


def test_the_record_is_json(variant, twin) -> None:
    twin()
    found = parity.train_curves(variant(), ["twin"], FLOAT64, steps=1, narrow=4)
    read = Curves.model_validate(json.loads(json.dumps(found.to_dict())))
    assert read == found
    assert (read.narrow, read.name, read.spec_fingerprint) == (4, "variant", variant().fingerprint)
