"""A small network, whose files can be damaged at every place, and its weights."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends import checkpoints
from shared_specs import UNetSpec, initial_weights
from tests.conftest import small_variant

from .damage import Weights


@pytest.fixture(scope="module")
def network() -> UNetSpec:
    """Two levels of two channels: small files, every place of which can be damaged in turn."""
    return small_variant(widths=[2, 2], up__width="same")


@pytest.fixture
def weights(network: UNetSpec) -> Weights:
    return initial_weights(network, dtype=np.float32)


@pytest.fixture(scope="module")
def torch_loaded() -> None:
    """Before a test limits what memory a file may take: to load PyTorch takes more."""
    if backends.missing("pytorch") is None:
        checkpoints.get("pytorch")
