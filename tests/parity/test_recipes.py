"""torch.optim and optax compute the same steps as the formulas written out, for every recipe."""

from __future__ import annotations

import pytest

import backends
import parity
from backends.conformance.networks import SMALLEST, built
from backends.contract import Execution
from shared_specs import Recipe

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")

RECIPES = {
    "plain SGD": Recipe.named("sgd", momentum=0.0),
    "SGD, Nesterov, decay": Recipe.named("sgd", momentum=0.8, nesterov=True, weight_decay=0.01),
    "Adam": Recipe.named("adam"),
    "Adam, decay in the gradient": Recipe.named("adam", weight_decay=0.1, beta1=0.7, beta2=0.9, epsilon=1e-3),
    "AdamW": Recipe.named("adamw", weight_decay=0.1),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_equal_over_three_steps(recipe):
    """Of a network of one convolution: an optimizer knows nothing of layers."""
    spec, images, labels = built(SMALLEST)
    batch = parity.Batch(images, labels, "of the test")
    verdict = parity.check(spec, probes=["optimizer", "trajectory"], recipe=recipe, batch=batch)
    assert verdict.equal, str(verdict.first_difference)
    slots = {m.quantity.partition("/")[0] for m in verdict.measurements if "/" in m.quantity and m.probe == "optimizer"}
    assert slots == set(recipe.state_slots)


@pytest.mark.parametrize(
    ("reference", "candidate", "quantity"),
    [
        (
            "SGD, Nesterov, decay",
            {"kind": "sgd", "momentum": 0.8, "weight_decay": 0.01},
            "encoder.0.block.0.conv.weight",
        ),
        ("Adam", {"kind": "adam", "learning_rate": 1.001e-3}, "encoder.0.block.0.conv.weight"),
        ("Adam", {"kind": "adam", "epsilon": 1.001e-8}, "encoder.0.block.0.conv.weight"),
        ("AdamW", {"kind": "adam", "weight_decay": 0.1}, "encoder.0.block.0.conv.weight"),
    ],
    ids=["nesterov dropped", "learning rate off by 0.1%", "epsilon off by 0.1%", "coupled decay"],
)
def test_another_recipe_is_seen_by_the_optimizer_probe(variant, reference, candidate, quantity):
    spec, float64 = variant(), Execution(precision="float64")
    right = backends.get("numpy_reference").build(spec, float64, RECIPES[reference])
    wrong = backends.get("pytorch").build(spec, float64, Recipe.named(**candidate))
    verdict = parity.compare_models(right, wrong)
    assert verdict.first_difference is not None
    assert (verdict.first_difference.probe, verdict.first_difference.quantity) == ("optimizer", quantity)
    assert verdict.first_difference.distance > 1e4
