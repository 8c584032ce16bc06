"""Backends of the tests' own, without a framework: the NumPy reference under other names, with a fault or a lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

import backends
from backends.contract import Capabilities, Execution, Model
from backends.numpy_reference.model import NumPyModel, NumPyReference
from shared_specs import Recipe, UNetSpec

CAPABILITIES = Capabilities(precisions=("float64", "float32"), tunings=("default",))

Register = Callable[..., None]


class Twin(NumPyReference):
    """The reference under another name, with models of the test's own."""

    capabilities = CAPABILITIES

    def __init__(self, name: str, model: type[NumPyModel] = NumPyModel, **lacks: Any):
        self.name, self.model = name, model
        self.capabilities = replace(CAPABILITIES, **lacks)

    def build(
        self, spec: UNetSpec, execution: Execution = Execution(precision="float64"), recipe: Recipe = Recipe()
    ) -> NumPyModel:
        return self.model(spec, execution, recipe)


def registering(monkeypatch: pytest.MonkeyPatch) -> Register:
    """What registers twins by their names for the rest of a test."""
    get, twins = backends.get, dict[str, Twin]()

    def register(*added: Twin) -> None:
        twins.update({twin.name: twin for twin in added})
        monkeypatch.setattr(backends, "get", lambda name: twins.get(name) or get(name))
        monkeypatch.setattr(backends, "default", lambda: ["numpy_reference", *twins])

    return register


class ScaledBias(NumPyModel):
    """The bias of its head is two parts in a million too large, whatever was loaded."""

    def load_weights(self, weights: Any) -> None:
        super().load_weights({name: values * (1 + 2e-6 * (name == "head.bias")) for name, values in weights.items()})


class Untrained(NumPyModel):
    """A model for inference alone."""

    phases = ("forward",)


class Recording(NumPyModel):
    """Notes what it is given."""

    given: ClassVar[list[tuple[str, Any]]] = []

    def load_weights(self, weights: Any) -> None:
        self.given.append(("weights", {name: np.array(values) for name, values in weights.items()}))
        super().load_weights(weights)

    def check_step(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        self.given.append(("images", images))
        super().check_step(images, labels)


def twin_model(
    model: type[NumPyModel], spec: UNetSpec, recipe: Recipe = Recipe(), precision: str = "float64", **more: Any
) -> Model:
    """A model of one of these classes, on the CPU."""
    return model(spec, Execution(precision=precision), recipe, **more)
