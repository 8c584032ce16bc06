"""Recipes by name, and one line for each that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared_specs import SGD, Adam, AdamW, Recipe, SpecError


@pytest.mark.parametrize(
    ("recipe", "optimizer", "slots"),
    [
        (Recipe(), SGD(learning_rate=0.01, momentum=0.9), ("momentum",)),
        (Recipe.named("sgd", momentum=0.0), SGD(momentum=0.0), ()),
        (
            Recipe.named("sgd", nesterov=True, weight_decay=1e-4),
            SGD(nesterov=True, weight_decay=1e-4),
            ("momentum",),
        ),
        (
            Recipe.named("adam"),
            Adam(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0),
            ("first_moment", "second_moment"),
        ),
        (
            Recipe.named("adamw", learning_rate=2),
            AdamW(learning_rate=2.0, weight_decay=1e-2),
            ("first_moment", "second_moment"),
        ),
    ],
    ids=["default", "plain_sgd", "nesterov", "adam", "adamw"],
)
def test_named(recipe: Recipe, optimizer: SGD | Adam | AdamW, slots: tuple[str, ...]) -> None:
    assert recipe.optimizer == optimizer
    assert recipe.state_slots == slots
    assert recipe.loss == "cross_entropy"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sdg", {}, "no optimizer is named 'sdg'; take one of sgd, adam, adamw"),
        ("sgd", {"beta1": 0.9}, "recipe: sgd: unknown key beta1; remove it"),
        ("sgd", {"learning_rate": -1.0}, "recipe: sgd: learning_rate: got -1.0, expected greater than or equal to 0"),
        ("sgd", {"learning_rate": float("nan")}, "recipe: sgd: learning_rate: got nan, expected a finite number"),
        ("sgd", {"learning_rate": "0.1"}, "recipe: sgd: learning_rate: got '0.1', expected a number of at least 0"),
        ("sgd", {"momentum": 1.0}, "recipe: sgd: momentum: got 1.0, expected less than 1"),
        (
            "sgd",
            {"momentum": 0.0, "nesterov": True},
            "recipe: sgd: momentum: got 0, expected more than 0 as nesterov is on",
        ),
        ("adam", {"epsilon": 0.0}, "recipe: adam: epsilon: got 0.0, expected greater than 0"),
        ("adam", {"beta2": 1.0}, "recipe: adam: beta2: got 1.0, expected less than 1"),
        (
            "adamw",
            {"weight_decay": -1e-2},
            "recipe: adamw: weight_decay: got -0.01, expected greater than or equal to 0",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value[:8],
)
def test_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        Recipe.named(kind, **values)
    assert str(error.value) == message


def test_recipes_are_values() -> None:
    assert Recipe.named("adam", beta1=0.8) == Recipe.named("adam", beta1=0.8) != Recipe.named("adam")
    assert Recipe.model_validate_json(Recipe.named("adamw").model_dump_json()) == Recipe.named("adamw")


def test_batch_statistics_are_global_unless_the_recipe_says_so() -> None:
    assert Recipe().batch_statistics == Recipe.named("adam").batch_statistics == "global"
    assert Recipe.model_validate({"batch_statistics": "per_replica"}) != Recipe()
    with pytest.raises(ValidationError, match="Input should be 'global' or 'per_replica'"):
        Recipe.model_validate({"batch_statistics": "local"})
