"""Which names a checkpoint's tensors have: canonical ones, or those of the original implementation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from . import keymap
from .errors import WeightsError
from .weights import check_weights

if TYPE_CHECKING:
    from .schema import UNetSpec

CANONICAL = "canonical"

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What wrappers put before every name: DataParallel, torch.compile, and the modules of training frameworks."""

Tensors = Mapping[str, np.ndarray]
OwnNames = Callable[["UNetSpec", Tensors], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Recognised:
    """A way of naming that all keys fit, after a prefix was taken off."""

    scheme: str
    prefix: str
    tensors: dict[str, np.ndarray]


def known_schemes(spec: UNetSpec) -> list[str]:
    """The ways of naming that can be read for a spec."""
    return [CANONICAL] + ([spec.checkpoint.scheme] if spec.checkpoint is not None else [])
