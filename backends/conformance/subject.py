"""The backend that is examined: its models, and what parity says of them, each made once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import backends
from backends.contract import PRECISIONS, Backend, Capabilities, Execution, Model
from parity import Batch, Verdict
from parity.compare import REFERENCE, compare_all
from parity.noise_floor import distance
from shared_specs import Recipe, UNetSpec, initial_weights

from .networks import NETWORKS, PLAIN, SMALLEST, built
from .steps import Failure

SPECS = {"plain": PLAIN, "smallest": SMALLEST} | NETWORKS

ADAM = Recipe.named("adam")
"""What models are built with unless a step is about optimizers: it has more state than the others."""

STAGES = (
    ("structure", "activations"),
    ("forward",),
    ("statistics", "gradients"),
    ("optimizer", "trajectory"),
)
"""The probes that one run of a model serves."""

STEPS = 3
"""Of a trajectory."""


@dataclass
class Subject:
    """One backend under examination."""

    name: str
    _models: dict[Any, Model] = field(default_factory=dict)
    _verdicts: dict[Any, Verdict] = field(default_factory=dict)

    @cached_property
    def backend(self) -> Backend:
        return backends.get(self.name)

    @property
    def capabilities(self) -> Capabilities:
        return self.backend.capabilities

    @property
    def label(self) -> str:
        """Its name in verdicts, where the reference has its own."""
        return "candidate" if self.name == REFERENCE else self.name

    @property
    def base(self) -> Execution:
        """What semantics are judged in: float64 where the backend has it, or the finest that it has."""
        precision = next(name for name in PRECISIONS if name in self.capabilities.precisions)
        return Execution(device=self.capabilities.devices[0], precision=precision)

    def trains(self) -> bool:
        return {"forward_backward", "train_step"} <= set(self.capabilities.phases)

    def spec(self, network: str) -> UNetSpec:
        return built(SPECS[network])[0]

    def batch(self, network: str = "plain") -> Batch:
        _, images, labels = built(SPECS[network])
        return Batch(images, labels, "random images of the conformance suite")

    def model(self, network: str = "plain", execution: Execution | None = None, recipe: Recipe = ADAM) -> Model:
        """A model with its initial weights and a fresh optimizer; built once, as building may mean compiling."""
        key = network, execution or self.base, recipe
        if key not in self._models:
            self._models[key] = self.backend.build(self.spec(network), execution or self.base, recipe)
        self._models[key].load_weights(initial_weights(self.spec(network)))
        return self._models[key]

    def reference(self, network: str = "plain", recipe: Recipe = ADAM) -> Model:
        return backends.get(REFERENCE).build(self.spec(network), Execution(precision="float64"), recipe)

    def verdict(
        self, probe: str, network: str = "plain", execution: Execution | None = None, recipe: Recipe = ADAM
    ) -> Verdict:
        """What parity says of a probe, and of the others that the same run serves."""
        probes = next(stage for stage in STAGES if probe in stage)
        key = probes, network, execution or self.base, recipe
        if key not in self._verdicts:
            models = {
                REFERENCE: self.reference(network, recipe),
                self.label: self.model(network, execution, recipe),
            }
            self._verdicts[key] = compare_all(
                models,
                dict.fromkeys(models, initial_weights(self.spec(network))),
                self.batch(network),
                execution=execution or self.base,
                probes=probes,
                seed=0,
                steps=STEPS,
                on_progress=None,
            )
        return self._verdicts[key]

    def check(
        self, probe: str, network: str = "plain", execution: Execution | None = None, recipe: Recipe = ADAM
    ) -> None:
        """Raises Failure with the first quantity of a probe that differs from the reference's."""
        verdict = self.verdict(probe, network, execution, recipe)
        of_probe = [measurement for measurement in verdict.measurements if measurement.probe == probe]
        if not of_probe:
            raise Failure(f"{probe}: nothing could be compared, expected the quantities of the contract")
        differences = [measurement for measurement in of_probe if not measurement.equal]
        if differences:
            raise Failure(str(differences[0]))

    def floors(self, probe: str, network: str = "plain", execution: Execution | None = None) -> dict[str, float]:
        """By quantity, how far two values may lie apart: the noise floor times its limit."""
        verdict = self.verdict(probe, network, execution)
        return {m.quantity: m.floor * m.limit for m in verdict.measurements if m.probe == probe}


def apart(found: np.ndarray, expected: np.ndarray, allowed: float) -> bool:
    """Whether two values lie further apart than noise allows, NaN and another shape being infinitely far."""
    return math.isnan(far := distance(found, expected, allowed)) or far > 1.0


def different(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two arrays differ in a single bit of a value, or in shape."""
    return not np.array_equal(np.asarray(found), np.asarray(expected), equal_nan=False)
