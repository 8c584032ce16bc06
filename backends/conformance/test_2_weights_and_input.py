"""Weights go in and come out unchanged, and what is none is refused, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.contract import Model
from shared_specs import ShapeError, WeightsError, initial_weights

from .steps import Failure, expect, needs, sentence
from .subject import Subject, different

Arrays = dict[str, np.ndarray]


def held_in(model: Model) -> type[np.floating]:
    """What parameters are held in: those of mixed precision in float32."""
    return np.float64 if model.execution.precision == "float64" else np.float32


@needs("builds")
def test_weights_come_back_bit_for_bit(subject: Subject) -> None:
    model = subject.model()
    weights = initial_weights(model.spec, seed=7, dtype=held_in(model))
    model.load_weights(weights)
    read, names = model.weights(), [tensor.name for tensor in model.spec.tensors]
    expect(list(read) == names, f"weights() has {list(read)}, expected {names}")
    for name, values in weights.items():
        expect(
            not different(read[name], values),
            f"{name} comes back changed after load_weights: {_first(read[name])} for {_first(values)}, expected every "
            "bit; see to its layout and precision",
        )


def _first(values: np.ndarray) -> str:
    return f"{np.ravel(values)[0]!r} of shape {np.shape(values)}"


@needs("builds")
def test_begins_with_the_initial_weights(subject: Subject) -> None:
    model = subject.backend.build(subject.spec("plain"), subject.base)
    for name, values in initial_weights(model.spec, dtype=held_in(model)).items():
        expect(
            not different(model.read_tensor(name), values),
            f"{name} of a new model is not that of shared_specs.initial_weights(spec), with which every model begins",
        )


def _without(weights: Arrays) -> Arrays:
    return {name: values for name, values in weights.items() if name != "head.weight"}


SPOILED: dict[str, Callable[[Arrays], Arrays]] = {
    "missing": _without,
    "unexpected": lambda weights: weights | {"extra.weight": np.zeros(3)},
    "misshapen": lambda weights: weights | {"head.weight": weights["head.weight"][..., 0]},
    "flattened": lambda weights: weights | {"head.weight": weights["head.weight"].reshape(-1)},
    "NaN": lambda weights: weights | {"head.bias": np.full_like(weights["head.bias"], np.nan)},
    "infinite": lambda weights: weights | {"head.bias": np.full_like(weights["head.bias"], np.inf)},
}


@needs("weights come back bit for bit")
@pytest.mark.parametrize("case", SPOILED)
def test_refuses_weights_that_are_not_the_specs(subject: Subject, case: str) -> None:
    model = subject.model()
    before = model.weights()
    spoiled = SPOILED[case]({name: values + 1 for name, values in before.items()})
    try:
        model.load_weights(spoiled)
    except WeightsError:
        after = model.weights()
        taken = [name for name in before if different(after[name], before[name])]
        expect(not taken, f"took {', '.join(taken[:3])} of weights that it refused, expected all of them or none")
        return
    raise Failure("load_weights took them, expected WeightsError; call shared_specs.weights.check_weights first")


@needs("weights come back bit for bit")
def test_counts_its_parameters(subject: Subject) -> None:
    model = subject.model()
    expect(
        model.parameter_count() == model.spec.parameter_count,
        f"parameter_count() is {model.parameter_count()}, expected {model.spec.parameter_count}; norm statistics are "
        "no parameters",
    )


IMAGES: dict[str, Callable[[Any], Any]] = {
    "too small": lambda x: x[:, :, :1, :1],
    "odd size": lambda x: x[:, :, :, :-1],
    "channels": lambda x: x[:, :1],
    "NaN": lambda x: np.where(x == x[0, 0, 0, 0], np.nan, x),
}

LABELS: dict[str, Callable[[Any], Any]] = {
    "too high": lambda y: y + 3,
    "negative": lambda y: y - 1,
    "another size": lambda y: y[:, :-1],
    "floats": lambda y: y.astype(float),
    "none": lambda y: None,
}


def refused_alike(subject: Subject, method: str, arguments: tuple[Any, ...], hint: str) -> None:
    """Raises Failure unless a model's method refuses its arguments in the reference's words."""
    with pytest.raises(ShapeError) as expected:
        getattr(subject.reference(), method)(*arguments)
    try:
        getattr(subject.model(), method)(*arguments)
    except ShapeError as error:
        same = str(error) == str(expected.value)
        expect(same, f"{method} says {str(error)!r}, expected {str(expected.value)!r}, as everywhere; {hint}")
    except Exception as error:
        raise Failure(f"{method} raises {sentence(error)}, expected ShapeError: {expected.value}; {hint}") from error
    else:
        raise Failure(f"{method} took them, expected ShapeError: {expected.value}; {hint}")


@needs("builds")
@pytest.mark.parametrize("case", IMAGES)
def test_refuses_images(subject: Subject, case: str) -> None:
    images, hint = IMAGES[case](subject.batch().images), "begin it with self.check_images(images)"
    refused_alike(subject, "forward", (images,), hint)
    refused_alike(subject, "activations", (images,), hint)
    refused_alike(subject, "program", ("forward", images), hint)


@needs("builds")
@pytest.mark.parametrize("case", LABELS)
def test_refuses_labels(subject: Subject, case: str) -> None:
    if not subject.trains():
        pytest.skip(f"{subject.name} {subject.capabilities.lacks(phase='train_step')}")
    batch, hint = subject.batch(), "begin it with self.check_step(images, labels)"
    labels = LABELS[case](batch.labels)
    refused_alike(subject, "loss_and_gradients", (batch.images, labels), hint)
    refused_alike(subject, "train_step", (batch.images, labels), hint)
    refused_alike(subject, "program", ("train_step", batch.images, labels), hint)
