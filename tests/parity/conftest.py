"""What the tests of checks on NumPy twins share."""

from __future__ import annotations

import pytest

from backends.conformance.networks import SMALLEST, small_variant
from shared_specs import UNetSpec

from .twins import Register, registering


@pytest.fixture(scope="module")
def spec() -> UNetSpec:
    """The smallest network, unless a file has one of its own."""
    return small_variant(**{key: value for key, value in SMALLEST.items() if key != "size"})


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Register:
    return registering(monkeypatch)
