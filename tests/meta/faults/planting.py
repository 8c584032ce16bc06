"""The ways in which faults are planted: each builds a model that is wrong in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from operator import is_not
from typing import Any

import numpy as np

import backends
from backends.contract import Execution, Model, StepResult
from shared_specs import Recipe, UNetSpec
from shared_specs.layout import Layer

from .kits import Kit, Wrong, kit_of


def sound(backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
    return backends.get(backend).build(spec, execution, recipe)


@dataclass(frozen=True)
class Layers:
    """The backend is told other layers than the spec's: `change` maps all of them."""

    change: Callable[[tuple[Layer, ...]], tuple[Layer, ...]]

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        altered = UNetSpec.model_validate(spec.model_dump())
        layers = self.change(spec.layers)
        assert any(map(is_not, layers, spec.layers)), "nothing was changed"
        vars(altered)["layers"] = layers  # where a cached property keeps its value
        model = sound(backend, altered, execution, recipe)
        model.spec = spec
        return model


def setting(layer: str, *, kind: str = "", inputs: tuple[str, ...] = (), **changes: Any) -> Layers:
    """One layer is built with other settings, as another kind, or reads other maps."""

    def changed(found: Layer) -> Layer:
        if found.name != layer:
            return found
        settings = found.settings
        if changes:
            settings = (
                replace(settings, **changes) if is_dataclass(settings) else settings.model_copy(update=changes)  # pyright: ignore
            )
        return replace(found, settings=settings, kind=kind or found.kind, inputs=inputs or found.inputs)

    return Layers(lambda layers: tuple(map(changed, layers)))


def reordered(first: str, second: str) -> Layers:
    """Two layers that follow each other run in the other order: each keeps its name and its settings."""

    def change(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        names = [layer.name for layer in layers]
        at, to = names.index(first), names.index(second)
        x, *others = layers[at].inputs
        found = [
            replace(layer, inputs=tuple(first if name == second else name for name in layer.inputs)) for layer in layers
        ]
        found[at], found[to] = replace(layers[to], inputs=(x,)), replace(layers[at], inputs=(second, *others))
        return tuple(found)

    return Layers(change)


@dataclass(frozen=True)
class Rewired:
    """A layer computes something else: `wrong(kit, layer, right, *inputs)` in place of `right(*inputs)`."""

    layer: str
    wrong: Wrong

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        kit_of(backend).rewire(model, self.layer, self.wrong)
        return model


def output(layer: str, change: Callable[[Kit, Any], Any]) -> Rewired:
    """The output of a layer is changed by a function of it."""
    return Rewired(layer, lambda kit, built, right, *inputs: change(kit, right(*inputs)))


def read(layer: str, change: Callable[[Kit, Any], Any]) -> Rewired:
    """A layer reads its first input changed."""
    return Rewired(layer, lambda kit, built, right, x, *others: right(change(kit, x), *others))


def used(tensor: str, change: Callable[[Any], Any]) -> Rewired:
    """A layer computes with a changed tensor, while the one that it holds is as it was given."""
    layer, _, end = tensor.rpartition(".")
    kind = layer.rpartition(".")[2]
    leaf = f"{kind}.{end}"

    def wrong(kit: Kit, built: Any, right: Any, *inputs: Any) -> Any:
        with kit.using(built, leaf, change):
            return right(*inputs)

    return Rewired(layer, wrong)


@dataclass(frozen=True)
class Loaded:
    """Weights are changed on their way into the model."""

    change: Callable[[dict[str, np.ndarray]], None]

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        weights = model.weights()
        self.change(weights)
        model.load_weights(weights)
        return model


@dataclass(frozen=True)
class Trained:
    """The optimizer has other hyper-parameters, or is another one, than the recipe says."""

    recipe: Recipe

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        assert self.recipe != recipe, "nothing was changed"
        return sound(backend, spec, execution, self.recipe)


@dataclass(frozen=True)
class TensorGradient:
    """The gradient of one tensor comes out times a factor."""

    tensor: str
    factor: float

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        kit_of(backend).scale_tensor_gradient(model, self.tensor, self.factor)
        return model


@dataclass(frozen=True)
class InputGradient:
    """What flows back from a layer to one of its inputs comes out times a factor."""

    layer: str
    number: int
    factor: float

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        kit_of(backend).scale_input_gradient(model, self.layer, self.number, self.factor)
        return model


@dataclass(frozen=True)
class Labels:
    """The loss is told other labels."""

    change: Callable[[np.ndarray], np.ndarray]

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        right = model.loss_and_gradients

        def wrong(images: np.ndarray, labels: np.ndarray) -> StepResult:
            return right(images, self.change(labels))

        model.loss_and_gradients = wrong
        return model


@dataclass(frozen=True)
class Altered:
    """The model is changed after it was built, in a way of its own for each backend, by the backend's name."""

    by_backend: dict[str, Callable[[Any], None]] = field(hash=False)

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model = sound(backend, spec, execution, recipe)
        self.by_backend[backend](model)
        return model


def per_model(**changes: Callable[[Any], None]) -> Altered:
    """The changes by the backends' names."""
    return Altered(changes)
