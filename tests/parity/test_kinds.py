"""Replicas with batch statistics of their own and a model with global ones are never set side by side."""

from __future__ import annotations

from typing import Any

import pytest

import backends
from backends.contract import Execution, Model
from parity.kinds import check_one_kind
from shared_specs import Recipe, TandemError, UNetSpec

GLOBAL, PER_REPLICA = Recipe(), Recipe(batch_statistics="per_replica")


def models(spec: UNetSpec, *recipes: tuple[Recipe, int]) -> dict[str, Model]:
    reference = backends.get("numpy_reference")
    return {
        f"m{number}": reference.build_replicas(spec, recipe, count)
        if count
        else reference.build(spec, Execution(precision="float64"), recipe)
        for number, (recipe, count) in enumerate(recipes)
    }


@pytest.mark.parametrize(
    ("recipes", "count"),
    [
        ([(PER_REPLICA, 0), (GLOBAL, 0)], 0),
        ([(PER_REPLICA, 3), (PER_REPLICA, 3)], 3),
        ([(GLOBAL, 2), (GLOBAL, 2)], 2),
        ([(GLOBAL, 2), (GLOBAL, 0)], 0),
        ([(PER_REPLICA, 2)], 2),
    ],
    ids=["single", "per replica", "global", "mixed", "alone"],
)
def test_one_kind_passes(spec: UNetSpec, recipes: list[Any], count: int) -> None:
    assert check_one_kind(models(spec, *recipes)) == count


def test_two_kinds_are_two_models(spec: UNetSpec) -> None:
    with pytest.raises(TandemError) as error:
        check_one_kind(models(spec, (GLOBAL, 2), (GLOBAL, 2), (PER_REPLICA, 2)))
    assert str(error.value) == (
        "variant: m0 has global batch statistics, and m2 the batch statistics of each of 2 replicas: with batch "
        "norm these are two different models; build both with one batch_statistics in the recipe"
    )


def test_groups_are_of_one_size(spec: UNetSpec) -> None:
    with pytest.raises(TandemError) as error:
        check_one_kind(models(spec, (GLOBAL, 2), (GLOBAL, 4)))
    assert str(error.value) == "got groups of 2 and 4 replicas, expected as many in each"
