"""The network of `lab_names`, its weights, and the same weights under the names of its original."""

from __future__ import annotations

import pytest

from shared_specs import UNetSpec, initial_weights
from shared_specs.keymap import from_canonical

from .lab_names import LAB, SMALL, Changed, Weights


@pytest.fixture
def spec(changed_spec: Changed) -> UNetSpec:
    return changed_spec(SMALL | {"checkpoint": LAB})


@pytest.fixture
def weights(spec: UNetSpec) -> Weights:
    return initial_weights(spec)


@pytest.fixture
def theirs(spec: UNetSpec, weights: Weights) -> Weights:
    return from_canonical(spec, weights)
