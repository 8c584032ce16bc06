"""Faults of data parallel training, planted in the definition of replicas or in the processes of an engine.

They are judged as others are, but have a catalogue of their own: their probe is one, their reference is several
replicas, and what is planted in an engine is planted in running processes (`tests/parity/faulty_ranks.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

import parity
from backends import Execution, Model, StepResult, get
from backends.numpy_reference.model import NumPyModel
from backends.numpy_reference.replicas import NumPyReplicas
from backends.replicas import ReplicaGroup
from docs.tables import row, table
from parity.probes import DATA_PARALLEL
from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.recipe import BatchStatistics
from tests.conftest import small_variant

FLOAT64 = Execution(precision="float64")
GLOBAL, OWN = Recipe(), Recipe(batch_statistics="per_replica")
FIRST_NORM = "encoder.0.block.0.norm"
STEPS = 2

GroupOf = Callable[[str], ReplicaGroup]
"""Two running processes of a backend."""


# ---------------------------------------------------------------------------------------------------- in the definition


class Summed(NumPyReplicas):
    def _mean(self, values: list[np.ndarray]) -> np.ndarray:
        return np.sum(values, axis=0) if values[0].ndim else super()._mean(values)


class LossOfRank0(NumPyReplicas):
    def _mean(self, values: list[np.ndarray]) -> np.ndarray:
        return super()._mean(values) if values[0].ndim else values[0]


class PartDropped(NumPyReplicas):
    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        half = len(images) // 2
        return super()._differentiate(np.tile(images[:half], (2, 1, 1, 1)), np.tile(labels[:half], (2, 1, 1)))


class WholeWhereParts(NumPyReplicas):
    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        return NumPyModel._differentiate(self, images, labels)


class PartsWhereWhole(NumPyReplicas):
    """As of DistributedDataParallel without SyncBatchNorm."""

    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.recipe = OWN
        result = super()._differentiate(images, labels)
        self.recipe = GLOBAL
        return result


class StatisticsOfRank0(NumPyReplicas):
    def statistics(self) -> list[dict[str, np.ndarray]]:
        return [super().statistics()[0]] * self.replicas


class StatisticsAveraged(NumPyReplicas):
    def statistics(self) -> list[dict[str, np.ndarray]]:
        first, second = super().statistics()
        return [{name: (first[name] + second[name]) / 2 for name in first}] * self.replicas


class ImagesNotScaled(NumPyReplicas):
    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = super()._differentiate(images, labels)
        return StepResult(result.loss, result.logits, result.gradients, 2 * result.image_gradient)


# -------------------------------------------------------------------------------------------------------- the catalogue


@dataclass(frozen=True)
class ReplicaFault:
    """One fault.

    Attributes:
        name: what is wrong.
        plant: a class in place of the reference's, or the name of a method of `tests.parity.faulty_ranks.Faulty`.
        backend: in which it is planted.
        batch_statistics: those that were asked for.
        quantity: what must be named first.
    """

    name: str
    plant: type[NumPyReplicas] | str
    backend: str
    batch_statistics: BatchStatistics
    quantity: str

    @property
    def recipe(self) -> Recipe:
        return Recipe(batch_statistics=self.batch_statistics)

    @property
    def id(self) -> str:
        return f"{self.backend}: {self.name}"


def _in_definition(
    name: str, plant: type[NumPyReplicas], quantity: str, kind: BatchStatistics = "per_replica"
) -> ReplicaFault:
    return ReplicaFault(name, plant, "numpy_reference", kind, quantity)


FAULTS: list[ReplicaFault] = [
    _in_definition("gradients summed", Summed, "step 1: gradient of head.bias"),
    _in_definition("loss of rank 0 for all", LossOfRank0, "step 1: loss"),
    _in_definition("a part of the batch dropped", PartDropped, "step 1: loss"),
    _in_definition("statistics of the whole batch", WholeWhereParts, "step 1: loss"),
    _in_definition("each replica's own statistics", PartsWhereWhole, "step 1: loss", "global"),
    _in_definition(
        "running statistics of rank 0 on every rank", StatisticsOfRank0, f"step 1: rank 1: {FIRST_NORM}.running_mean"
    ),
    _in_definition(
        "running statistics averaged over ranks", StatisticsAveraged, f"step 1: rank 0: {FIRST_NORM}.running_mean"
    ),
    _in_definition("the images' gradient not divided", ImagesNotScaled, "step 1: gradient of the images"),
    ReplicaFault(
        "gradients not synchronised",
        "no_synchronisation",
        "pytorch",
        "per_replica",
        "step 1: gradients unlike rank 0's",
    ),
    ReplicaFault("gradients summed", "sum_in_ddp", "pytorch", "per_replica", "step 1: gradient of head.bias"),
    ReplicaFault("loss of rank 0 for all", "own_loss", "pytorch", "per_replica", "step 1: loss"),
    ReplicaFault(
        "buffers of rank 0 sent to every rank",
        "buffers_of_rank_0",
        "pytorch",
        "per_replica",
        f"step 2: rank 1: {FIRST_NORM}.running_mean",
    ),
    ReplicaFault(
        "another learning rate on rank 1",
        "other_optimizer",
        "pytorch",
        "per_replica",
        "step 1: weights unlike rank 0's",
    ),
    ReplicaFault("gradients summed", "sum_in_shard_map", "flax_nnx", "per_replica", "step 1: gradient of head.bias"),
    ReplicaFault(
        "global statistics that drift on rank 1",
        "own_statistics",
        "flax_nnx",
        "global",
        "step 1: statistics unlike rank 0's",
    ),
]

SOUND: list[tuple[str, BatchStatistics]] = [
    ("pytorch", "per_replica"),
    ("flax_nnx", "per_replica"),
    ("flax_nnx", "global"),
]
"""Groups without a fault, in the engines and with the statistics that the faults are planted in."""

# ------------------------------------------------------------------------------------------------------------- judging


def network() -> UNetSpec:
    return small_variant(widths=[2, 4])


def reference(spec: UNetSpec, recipe: Recipe, replicas: int = 2) -> NumPyReplicas:
    return get("numpy_reference").build_replicas(spec, recipe, replicas)  # pyright: ignore[reportAttributeAccessIssue]


def compared(one: Model, other: Model, spec: UNetSpec, count: int = 4, steps: int = STEPS) -> parity.Verdict:
    """The verdict on two models with the same weights."""
    weights = initial_weights(spec, 1)
    for model in (one, other):
        model.load_weights(weights)
    return parity.compare_models(one, other, batch=parity.random_batch(spec, count=count), steps=steps)


@contextmanager
def groups() -> Iterator[GroupOf]:
    """Groups whose ranks can be made faulty, each started where it is first asked for."""
    with ExitStack() as running:
        found: dict[str, ReplicaGroup] = {}

        def of(name: str) -> ReplicaGroup:
            if name not in found:
                started = ReplicaGroup(name, 2, time_limit_s=300, server="tests.parity.faulty_ranks:Faulty")
                found[name] = running.enter_context(started)
            return found[name]

        yield of


def first_difference(fault: ReplicaFault, group: GroupOf) -> parity.Measurement | None:
    """What Tandem says of a planted fault."""
    spec = network()
    if isinstance(fault.plant, str):
        model = group(fault.backend).build(spec, FLOAT64, fault.recipe)
        group(fault.backend).ask("plant", fault=fault.plant)
    else:
        model = fault.plant(spec, FLOAT64, fault.recipe, replicas=2)
    return compared(reference(spec, fault.recipe), model, spec).first_difference


@dataclass(frozen=True)
class Judged:
    """All faults with what was named first, and what was named of groups that have none."""

    faults: Sequence[tuple[ReplicaFault, parity.Measurement | None]]
    sound: Sequence[tuple[str, parity.Measurement | None]]

    @property
    def failures(self) -> list[str]:
        """What makes the run fail, one line each."""
        lines = []
        for fault, found in self.faults:
            named = "nothing" if found is None else f"{found.quantity} ({found.probe})"
            if named != f"{fault.quantity} ({DATA_PARALLEL})":
                lines.append(f"replicas: {fault.id}: found {named}, expected {fault.quantity}")
        return lines + [f"replicas: false alarm: {name}: {found.quantity}" for name, found in self.sound if found]

    @property
    def table(self) -> str:
        """One row a fault, and how many there were in all."""
        rows = [
            row(
                fault.name,
                f"`{fault.backend}`",
                fault.batch_statistics,
                found.quantity if found else "nothing",
                _floors(found.distance) if found else "",
            )
            for fault, found in self.faults
        ]
        caught = sum(found is not None for _, found in self.faults)
        alarms = sum(found is not None for _, found in self.sound)
        summary = f"{len(rows)} faults: {caught} caught. {len(self.sound)} sound groups: {alarms} false alarms."
        head = ["fault", "planted in", "statistics asked for", "named first", "noise floors"]
        return f"{table(head, rows, right=1)}\n\n{summary}"


def _floors(distance: float) -> str:
    return "infinitely many" if math.isinf(distance) else f"{distance:.1e}"


def judged() -> Judged:
    """Plant every fault, and judge sound groups too."""
    spec = network()
    with groups() as group:
        faults = [(fault, first_difference(fault, group)) for fault in FAULTS]
        sound = []
        for name, kind in SOUND:
            recipe = Recipe(batch_statistics=kind)
            model = group(name).build(spec, FLOAT64, recipe)
            sound.append((f"{name}, {kind}", compared(reference(spec, recipe), model, spec).first_difference))
    return Judged(faults, sound)
