"""A folder of checkpoints of one network, one in each format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import UNetSpec, initial_weights, load_spec

from .files import NAME, NARROW, original, saved


@pytest.fixture(scope="module")
def network() -> UNetSpec:
    return load_spec(NAME).narrow(NARROW)


@pytest.fixture(scope="module")
def weights(network: UNetSpec) -> dict[str, np.ndarray]:
    return initial_weights(network, dtype=np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def files(here: Path, network: UNetSpec, weights: dict[str, np.ndarray]) -> Path:
    saved(here / "original.pth", original(network, weights))
    checkpoints.get("canonical").write(here / "canonical.safetensors", network, weights)
    checkpoints.get("flax_nnx").write(here / "flax", network, weights)
    return here
