"""Is it the same network as the reference? From the shapes to a few steps of training, then every kind of layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backends.contract import Model
from parity import Batch
from shared_specs import Recipe, initial_weights
from shared_specs.shapes import feature_shapes

from .networks import NETWORKS
from .steps import Failure, expect, needs
from .subject import Subject, different

RECIPES = {
    "sgd": Recipe.named("sgd", weight_decay=0.01),
    "sgd, no momentum": Recipe.named("sgd", momentum=0.0),
    "sgd, nesterov": Recipe.named("sgd", momentum=0.8, nesterov=True),
    "adam": Recipe.named("adam", beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.02),
    "adamw": Recipe.named("adamw", weight_decay=0.1),
}


def needs_training(subject: Subject) -> None:
    if not subject.trains():
        pytest.skip(f"{subject.name} {subject.capabilities.lacks(phase='train_step')}")


@needs("weights come back bit for bit")
def test_structure(subject: Subject) -> None:
    subject.check("structure")


@needs("structure")
def test_forward(subject: Subject) -> None:
    try:
        subject.check("forward")
    except Failure as failure:
        raise Failure(f"{failure}{_first_layer(subject)}") from failure


def _first_layer(subject: Subject) -> str:
    try:
        subject.check("activations")
    except Failure as failure:
        return f"; the first layer that differs: {failure}"
    except Exception as error:  # the logits are wrong, which is said in any case
        return f"; activations, which would name the layer, raises {type(error).__name__}"
    return "; every layer of activations is equal, so look at how forward runs them"


@needs("forward")
def test_activations(subject: Subject) -> None:
    """Every layer's output under its canonical name, in the order of execution, so that the first fault is named."""
    model, images = subject.model(), subject.batch().images
    found, shapes = model.activations(images), feature_shapes(model.spec, subject.batch().images.shape)
    for place, (name, expected) in enumerate(zip(found, shapes, strict=False)):
        expect(
            name == expected,
            f"activations has {name} at place {place}, expected {expected}; go through spec.layers in their order",
        )
    missing = list(shapes)[len(found) :] or list(found)[len(shapes) :]
    expect(not missing, f"activations has {len(found)} layers, expected {len(shapes)}; look for {missing[:1]}")
    subject.check("activations")


@needs("forward")
def test_evaluation_moves_nothing(subject: Subject) -> None:
    model, images = subject.model(), subject.batch().images
    before = _all_that_moves(subject, model)
    first, _, second = model.forward(images), model.activations(images), model.forward(images)
    expect(not different(first, second), "forward gives other logits the second time, expected the same bit for bit")
    after = _all_that_moves(subject, model)
    moved = [name for name in before if different(after[name], before[name])]
    expect(not moved, f"forward and activations move {', '.join(moved[:3])}, expected evaluation mode")


def _all_that_moves(subject: Subject, model: Model) -> dict[str, np.ndarray]:
    return model.weights() | (model.optimizer_state() if subject.trains() else {})


@needs("forward")
def test_shares_no_memory(subject: Subject) -> None:
    """Neither with the caller's arrays nor with another model."""
    batch, model = subject.batch(), subject.model()
    weights, images = initial_weights(model.spec), batch.images.copy()
    model.load_weights(weights)
    expected = model.forward(batch.images)
    other = subject.backend.build(model.spec, subject.base)
    other.load_weights(weights)
    program = model.program("forward", images)
    given = {"weights() or optimizer_state()": _all_that_moves(subject, model)}
    given |= {"activations()": model.activations(batch.images), "forward()": {"logits": model.forward(batch.images)}}
    given |= {"load_weights(weights)": weights, "program(phase, images)": {"images": images}}
    for owner, arrays in given.items():
        for values in arrays.values():
            if values.ndim:
                values[...] = 1e3
        seen = model.fetch(program())["logits"] if owner.startswith("program") else model.forward(batch.images)
        expect(
            not _further(seen, expected, owner),
            f"the logits follow when the caller changes the arrays of {owner}, expected copies in and out",
        )
    model.load_weights({name: np.ones_like(values) for name, values in weights.items()})
    expect(not different(other.forward(batch.images), expected), "loading weights into one model changes another")


def _further(seen: np.ndarray, expected: np.ndarray, owner: str) -> bool:
    """A program may be compiled, and so rounded, otherwise than `forward`; a caller's 1000 moves the logits far."""
    if owner.startswith("program"):
        return not np.allclose(seen, expected, rtol=1e-2, atol=1e-2)
    return different(seen, expected)


@needs("forward")
def test_gradients(subject: Subject) -> None:
    needs_training(subject)
    subject.check("gradients")


@needs("forward")
def test_statistics(subject: Subject) -> None:
    """The running statistics of batch norm move in training, and parameters do not."""
    needs_training(subject)
    subject.check("statistics")


@needs("gradients", "statistics")
@pytest.mark.parametrize("recipe", RECIPES)
def test_optimizer(subject: Subject, recipe: str) -> None:
    needs_training(subject)
    fresh = subject.model("smallest", recipe=RECIPES[recipe]).optimizer_state()
    expected = subject.reference("smallest", RECIPES[recipe]).optimizer_state()
    expect(list(fresh) == list(expected), f"optimizer_state() has {list(fresh)}, expected {list(expected)}")
    moved = [name for name, values in fresh.items() if np.any(values)]
    expect(not moved, f"{', '.join(moved[:3])} of a new optimizer is not zero, expected zeros")
    subject.check("optimizer", "smallest", recipe=RECIPES[recipe])


@needs("optimizer")
def test_trajectory(subject: Subject) -> None:
    needs_training(subject)
    for recipe in RECIPES.values():
        subject.check("trajectory", "smallest", recipe=recipe)
    subject.check("trajectory")


@needs("trajectory")
def test_training_is_deterministic_and_loading_forgets_the_optimizer(subject: Subject) -> None:
    needs_training(subject)
    model, batch = subject.model(), subject.batch()
    first, again, overwritten = (_two_steps(model, batch, overwrite) for overwrite in (False, False, True))
    for name, values in first.items():
        expect(
            not different(again[name], values),
            f"{name} after two steps is another one the second time, expected the same bit for bit; load_weights has "
            "to begin with a fresh optimizer",
        )
        expect(
            not different(overwritten[name], values),
            f"{name} follows when the caller changes the arrays of a StepResult, expected copies",
        )


def _two_steps(model: Model, batch: Batch, overwrite: bool) -> dict[str, np.ndarray]:
    model.load_weights(initial_weights(model.spec))
    losses: dict[str, np.ndarray] = {}
    for step in (1, 2):
        result = model.train_step(batch.images, batch.labels)
        losses[f"the loss of step {step}"] = np.asarray(result.loss)
        for values in (result.logits, result.image_gradient, *result.gradients.values()) if overwrite else ():
            values[...] = 1e3
    return losses | model.weights() | model.optimizer_state()


@needs("activations", "trajectory")
@pytest.mark.parametrize("network", NETWORKS)
def test_network(subject: Subject, network: str) -> None:
    """Every kind of layer, in 2-D and in 3-D: outputs, and where it trains statistics and gradients."""
    checks: list[Callable[[], None]] = [lambda: subject.check("structure", network)]
    checks += [lambda: subject.check("activations", network), lambda: subject.check("forward", network)]
    if subject.trains():
        checks += [lambda: subject.check("statistics", network), lambda: subject.check("gradients", network)]
    for check in checks:
        check()
