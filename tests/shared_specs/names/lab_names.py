"""A network of ten tensors, whose original has names of its own, and what is said of checkpoints that are to be its."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared_specs import UNetSpec, WeightsError
from shared_specs.checkpoints import to_canonical
from shared_specs.schemes import Recognised, recognise

Weights = dict[str, np.ndarray]
Changed = Callable[..., UNetSpec]

LAB = {
    "scheme": "lab",
    "ignore": ["*.counter", "step[0]"],
    "keys": {
        "enc{i}.c{j}.*": "encoder.{i}.block.{j}.conv.*",
        "dec{i}.c{j}.*": "decoder.{i}.block.{j}.conv.*",
        "up{i}.*": "decoder.{i}.up.*",
        "out.*": "head.*",
    },
    "aliases": {"final.*": "out.*"},
}
SMALL = {
    "norm": {"kind": "none"},
    "block.order": ["conv", "activation"],
    "block.convolutions": 1,
    "in_channels": 1,
    "out_channels": 2,
    "widths": [4, 8],
}


def found(spec: UNetSpec, tensors: Weights, **how: Any) -> Recognised:
    return recognise(spec, tensors, to_canonical, "file.pt", **how)


def refusal(spec: UNetSpec, tensors: Weights, **how: Any) -> str:
    with pytest.raises(WeightsError) as error:
        found(spec, tensors, **how)
    return str(error.value).removeprefix("file.pt: ")


def extras(count: int) -> Weights:
    """Tensors of no network."""
    return {f"a{number}": np.zeros(1) for number in range(count)}
