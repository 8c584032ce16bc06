"""What a check of replicas runs and says: on the reference's replicas, written out in one process.

That separate processes train alike is in `test_data_parallel.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

import backends
import parity
from backends.conformance.networks import SMALLEST
from backends.contract import BackendError, Execution, StepResult
from backends.numpy_reference.model import NumPyModel
from backends.numpy_reference.replicas import NumPyReplicas
from backends.replicas import TIME_LIMIT_S, ReplicaFailure
from parity import noise_floor, random_batch
from parity.probes import EVERY_PROBE
from shared_specs import Recipe, ShapeError, TandemError, UNetSpec, initial_weights
from shared_specs.weights import Weights

from .twins import Register, Twin, twin_model

FLOAT64 = Execution(precision="float64")
SIZE = SMALLEST["size"]
NOISY = ["noise floor, noisy re-run"] * 4


class InOneProcess:
    """A group whose replicas are the reference's, written out one after the other, and whether it was left again."""

    groups: ClassVar[list[InOneProcess]] = []

    def __init__(self, backend: str, replicas: int, device: str, time_limit_s: float, environment: dict[str, str]):
        self.backend, self.replicas, self.device, self.time_limit_s = backend, replicas, device, time_limit_s
        self.environment = environment
        self.groups.append(self)
        self.is_running = False

    def __enter__(self) -> InOneProcess:
        self.is_running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_running = False

    def build(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> NumPyReplicas:
        assert self.is_running
        self.built = (spec, execution, recipe)
        faulty = FirstRankAlone if self.backend == "faulty" else NumPyReplicas
        return faulty(spec, execution, recipe, replicas=self.replicas)


class FirstRankAlone(NumPyReplicas):
    """The bias of the head has the gradient of half of the batch."""

    def _gradients(self) -> dict[str, np.ndarray]:
        found = super()._gradients()
        return found | {"head.bias": found["head.bias"] / 2}


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[InOneProcess]:
    monkeypatch.setattr("backends.contract.usable_core_count", lambda: 3)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    monkeypatch.setattr("parity.replicas.ReplicaGroup", InOneProcess)
    monkeypatch.setattr(InOneProcess, "groups", made := [])
    return made


REPLICAS = {"replicas": True}


def test_all_probes_are_run_and_the_replicas_first(spec: UNetSpec, twins: Register, groups: list[InOneProcess]) -> None:
    twins(Twin("one", **REPLICAS), Twin("single"))
    told: list[str] = []
    verdict = parity.check(spec, ["one", "single"], steps=1, replicas=2, on_progress=told.append)
    assert verdict.equal
    assert verdict.probes == list(EVERY_PROBE)
    assert (verdict.replicas, verdict.models) == (2, ("numpy_reference", "one", "single"))
    assert (verdict.batch_shape[0], verdict.batch_origin) == (4, "random images, seed 0")
    assert [(left.model, left.probe, left.reason) for left in verdict.not_compared] == [
        ("single", "data_parallel", "trains on one device only")
    ]
    assert {(m.reference, m.candidate) for m in verdict.measurements if m.probe == "data_parallel"} == {
        ("numpy_reference", "one")
    }
    runs = [text.removeprefix("data_parallel: ") for text in told if text.startswith("data_parallel")]
    assert runs == ["starting 2 replicas of one", "numpy_reference", *NOISY, "one"]
    assert told.index("data_parallel: starting 2 replicas of one") == 0  # before this process holds a model
    (group,) = groups
    assert (group.backend, group.replicas, group.device, group.is_running) == ("one", 2, "cpu", False)
    assert group.time_limit_s == TIME_LIMIT_S
    assert group.environment == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    assert group.built == (spec, FLOAT64, Recipe())


def test_alone_they_are_all_that_is_run(spec: UNetSpec, twins: Register, groups: list[InOneProcess]) -> None:
    twins(Twin("one", **REPLICAS), Twin("coarse", precisions=("float32",)))
    batch, recipe = random_batch(spec, 1, 4, SIZE), Recipe(batch_statistics="per_replica")
    weights = initial_weights(spec, 5)
    verdict = parity.check(
        spec, ["coarse", "one"], FLOAT64, "data_parallel", recipe, 4, batch, weights, steps=2, replicas=2
    )
    assert verdict.equal and verdict.probes == ["data_parallel"]
    assert (verdict.seed, verdict.steps, verdict.replicas, verdict.recipe) == (4, 2, 2, recipe)
    assert verdict.models == ("numpy_reference", "coarse", "one")
    assert [(left.model, left.probe) for left in verdict.not_compared] == [("coarse", "data_parallel")]
    names = [m.quantity for m in verdict.measurements]
    assert "step 2: rank 1: encoder.0.block.0.norm.running_var" in names
    (loss,) = [m for m in verdict.measurements if m.quantity == "step 1: loss"]
    replicas = twin_model(NumPyReplicas, spec, recipe, replicas=2)
    replicas.load_weights(weights)
    assert loss.reference_value == replicas.train_step(batch.images, batch.labels).loss
    reference, (noisy, _) = backends.get("numpy_reference"), noise_floor.reruns(FLOAT64.unit_roundoff, 4)
    reruns = [reference.build_replicas(spec, recipe, 2, noise) for noise in noisy]
    for rerun in reruns:
        rerun.load_weights(weights)
    losses = [np.asarray(rerun.train_step(batch.images, batch.labels).loss) for rerun in reruns]
    assert loss.floor == noise_floor.floor(np.asarray(loss.reference_value), losses, [], FLOAT64.unit_roundoff)
    assert len(groups) == 1


def test_a_fault_of_the_replicas_is_found_in_their_probe(
    spec: UNetSpec, twins: Register, groups: list[InOneProcess]
) -> None:
    twins(Twin("faulty", **REPLICAS))
    verdict = parity.check(spec, ["faulty"], probes=["forward", "data_parallel"], steps=1, replicas=2)
    assert verdict.probes == ["forward", "data_parallel"]
    first = verdict.first_difference
    assert first is not None
    assert (first.probe, first.quantity) == ("data_parallel", "step 1: gradient of head.bias")
    assert len(groups) == 1


def test_where_no_backend_trains_replicas_each_says_why(spec: UNetSpec, twins: Register) -> None:
    twins(Twin("one"), Twin("two", note="as it has one thread"), Twin("coarse", precisions=("float32",)))
    with pytest.raises(BackendError) as error:
        parity.check(spec, ["coarse", "one", "two"], steps=1, replicas=2)
    assert str(error.value) == (
        "coarse has no precision 'float64'; take one of float32; one trains on one device only; "
        "two trains on one device only (as it has one thread)"
    )


class Choosy(Twin):
    """Says for what it was asked for replicas."""

    def lacks_replicas(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> str:
        return f"has no replicas of {spec.name} in {execution.precision} by {recipe.optimizer.kind}"


def test_a_backend_is_asked_for_replicas_of_this_network_run_and_trained_so(spec: UNetSpec, twins: Register) -> None:
    twins(Choosy("choosy"))
    with pytest.raises(BackendError) as error:
        parity.check(spec, ["choosy"], FLOAT64, recipe=Recipe.named("adam"), replicas=2)
    assert str(error.value) == "choosy has no replicas of variant in float64 by adam"


def test_what_cannot_be_divided_is_refused_before_a_process_starts(
    spec: UNetSpec, twins: Register, groups: list[InOneProcess]
) -> None:
    twins(Twin("one", **REPLICAS))
    with pytest.raises(ShapeError, match="a batch of 3 images does not divide among 2 replicas"):
        parity.check(spec, ["one"], batch=random_batch(spec, 0, 3, SIZE), replicas=2)
    with pytest.raises(BackendError, match="got 10000 replicas, each of which takes one core, and"):
        parity.check(spec, ["one"], batch=random_batch(spec, 0, 2, SIZE), replicas=10_000)
    assert not groups


def test_replicas_may_be_left_out_of_a_check(spec: UNetSpec, twins: Register, groups: list[InOneProcess]) -> None:
    twins(Twin("one", **REPLICAS))
    assert parity.check(spec, ["one"], probes=["forward"], replicas=2).probes == ["forward"]
    assert not groups


def test_two_groups_are_compared_as_they_are(spec: UNetSpec) -> None:
    models = [twin_model(NumPyReplicas, spec, replicas=2) for _ in range(2)]
    verdict = parity.compare_models(models[0], models[1], batch=random_batch(spec, 0, 2, SIZE), steps=1)
    assert verdict.equal
    assert (verdict.probes, verdict.replicas) == (["data_parallel"], 2)


def test_two_groups_of_many_have_a_batch_that_divides_among_them(spec: UNetSpec) -> None:
    models = [twin_model(NumPyReplicas, spec, replicas=3) for _ in range(2)]
    assert parity.compare_models(models[0], models[1], steps=1).batch_shape[0] == 6


@pytest.mark.parametrize(
    ("kind", "probes", "message"),
    [
        (
            NumPyModel,
            ["forward", "data_parallel"],
            "data_parallel compares replicas, and these models are of one device; take some of structure, activations, "
            "forward, statistics, gradients, optimizer, trajectory",
        ),
        (
            NumPyReplicas,
            ["data_parallel", "forward"],
            "forward compares one device, and these models are replicas; take some of data_parallel",
        ),
    ],
    ids=["one device", "replicas"],
)
def test_a_probe_that_says_nothing_of_the_models_is_refused(
    spec: UNetSpec, kind: type[NumPyModel], probes: list[str], message: str
) -> None:
    """And not left out of a verdict that says equal."""
    models = [twin_model(kind, spec, **({"replicas": 2} if kind is NumPyReplicas else {})) for _ in range(2)]
    with pytest.raises(TandemError) as error:
        parity.compare_models(models[0], models[1], probes, batch=random_batch(spec, 0, 2, SIZE), steps=1)
    assert str(error.value) == message


class FailsForGood(NumPyReplicas):
    """After one step none of its ranks is there any more, as of a group whose rank has failed."""

    failed = False

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.failed = True
        raise ReplicaFailure("killed", 1, "rank 1 was killed by SIGKILL")

    def load_weights(self, weights: Weights) -> None:
        if self.failed:
            raise ReplicaFailure("failed", None, "2 replicas are not running")
        super().load_weights(weights)


def test_the_error_is_that_of_the_rank_that_failed_and_not_that_there_is_none(spec: UNetSpec) -> None:
    sound, failing = (twin_model(kind, spec, replicas=2) for kind in (NumPyReplicas, FailsForGood))
    before = sound.weights()
    with pytest.raises(ReplicaFailure, match="rank 1 was killed by SIGKILL"):
        parity.compare_models(failing, sound, batch=random_batch(spec, 0, 2, SIZE), steps=1)
    assert all(np.array_equal(values, before[name]) for name, values in sound.weights().items())
