"""A contestant that does nothing: what the worker's own loop costs, timed like any other cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backends.contract import Backend, BackendError, Capabilities, Execution, Model
from shared_specs import Recipe, UNetSpec
from shared_specs.weights import Weights


class NoOp(Backend):
    name = "no_op"
    capabilities = Capabilities(precisions=("float64", "float32"), tunings=("default",))

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> NoOpModel:
        return NoOpModel(spec, execution, recipe)

    def devices(self) -> list[str]:
        return ["cpu"]

    def versions(self) -> dict[str, str]:
        return {}


class NoOpModel(Model):
    has_canonical_weights = False

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.spec, self.execution, self.recipe = spec, execution, recipe

    def describe(self) -> str:
        return "nothing: what is timed is the worker's loop"

    def load_weights(self, weights: Weights) -> None:
        """It has none."""

    def parameter_count(self) -> int:
        return 0

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        return dict

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        return outputs

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def effective_precision(self) -> str:
        return self.execution.precision

    def _nothing(self, *arguments: Any, **named: Any) -> Any:
        raise BackendError("no_op computes nothing; it is there to time the worker")

    read_tensor = optimizer_state = forward = activations = loss_and_gradients = train_step = _nothing
