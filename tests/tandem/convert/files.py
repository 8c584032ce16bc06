"""The network and the files that conversions are tried with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shared_specs import UNetSpec
from shared_specs.keymap import from_canonical
from tandem.commands.convert import identical

NAME, NARROW = "pytorch_unet_transposed", 32
ARGUMENTS = ("--spec", NAME, "--narrow", NARROW)


def original(spec: UNetSpec, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """A state dict as the original implementation's module has it."""
    import torch

    state = {name: torch.from_numpy(values.copy()) for name, values in from_canonical(spec, weights).items()}
    counters = {name.replace("running_var", "num_batches_tracked") for name in state if name.endswith("running_var")}
    return state | {name: torch.tensor(7) for name in sorted(counters)}


def saved(path: Path, content: Any) -> Path:
    import torch

    torch.save(content, path)
    return path


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not identical(found[name], expected[name])] == []
