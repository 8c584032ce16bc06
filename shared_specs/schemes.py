"""Which names a checkpoint's tensors have: canonical ones, or those of the original implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from . import keymap
from .checkpoints import listed
from .errors import SpecError, WeightsError
from .weights import check_weights

if TYPE_CHECKING:
    from .schema import UNetSpec

CANONICAL = "canonical"

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What stands before every name: of DataParallel, torch.compile, and the attributes of training frameworks."""

Tensors = Mapping[str, np.ndarray]
OwnWeights = Callable[["UNetSpec", Tensors], dict[str, np.ndarray]]
"""`to_canonical` of a format: canonical weights from a module of ours."""


@dataclass(frozen=True)
class Recognised:
    """Canonical weights, and how they were found.

    Attributes:
        scheme: the way of naming.
        prefix: what was taken off every name.
    """

    weights: dict[str, np.ndarray]
    scheme: str
    prefix: str


@dataclass(frozen=True)
class Differences:
    """How names differ from those of a scheme, in order."""

    scheme: str
    prefix: str
    missing: list[str]
    unexpected: list[str]

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected)

    def __str__(self) -> str:
        parts = [f"{what} {listed(names)}" for what, names in vars(self).items() if what in WORDS and names]
        return f"not {self.scheme} ({'; '.join(parts)})"


WORDS = ("missing", "unexpected")


def schemes(spec: UNetSpec) -> list[str]:
    """The ways of naming that are known for a spec."""
    return [CANONICAL] + ([spec.checkpoint.scheme] if spec.checkpoint is not None else [])


def check_scheme(spec: UNetSpec, scheme: str) -> None:
    """Refuse a scheme that the spec has not. Raises SpecError."""
    if scheme not in schemes(spec):
        raise SpecError(f"{spec.name} knows no scheme {scheme!r}; take one of {', '.join(schemes(spec))}")


def recognise(
    spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights, origin: str, scheme: str | None = None
) -> Recognised:
    """Canonical weights from a checkpoint's tensors.

    Args:
        spec: the network.
        tensors: by the names that they have in the checkpoint.
        own_weights: what a module of ours has under its own names, as canonical weights.
        origin: of the tensors, for messages.
        scheme: of the names; None where they are to tell it, which they do where all of them fit.

    Raises:
        SpecError: where the spec has no such scheme.
        WeightsError: listing all that is missing, unexpected, misshapen, not finite or unlike its alias; or, where
            the names fit no scheme, how they differ from each.
    """
    if scheme is not None:
        check_scheme(spec, scheme)
    tried = []
    for prefix in prefixes(tensors):
        named = {name.removeprefix(prefix): values for name, values in tensors.items()}
        own = own_weights(spec, named)
        tried += [differences(spec, own if name == CANONICAL else named, name, prefix) for name in schemes(spec)]
    wanted = [found for found in tried if scheme in (None, found.scheme)]
    fitting = {found.scheme: found for found in reversed(wanted) if not found.count}
    if len(fitting) > 1:
        raise WeightsError(f"{origin}: the names fit {' and '.join(sorted(fitting))}; say which they are, with --from")
    nearest = min(wanted, key=lambda found: found.count)
    if not fitting and scheme is None:
        nearest_of = [min((f for f in tried if f.scheme == name), key=lambda f: f.count) for name in schemes(spec)]
        raise WeightsError(
            f"{origin}: the names are none of {spec.name}'s: {'; '.join(map(str, nearest_of))}; "
            "take the spec of this network, or name the scheme with --from for the whole list"
        )
    named = {name.removeprefix(nearest.prefix): values for name, values in tensors.items()}
    if nearest.scheme == CANONICAL:
        weights = own_weights(spec, named)
        check_weights(spec, weights, origin)
    else:
        weights = keymap.to_canonical(spec, named, origin)
    return Recognised(weights, nearest.scheme, nearest.prefix)


def prefixes(tensors: Tensors) -> list[str]:
    """What can be taken off every name: nothing, and each wrapper's prefix with those outside of it."""
    found = [""]
    while True:
        inner = next((p for p in PREFIXES if tensors and all(name.startswith(found[-1] + p) for name in tensors)), None)
        if inner is None:
            return found
        found.append(found[-1] + inner)


def differences(spec: UNetSpec, names: Tensors, scheme: str, prefix: str) -> Differences:
    """What a scheme misses and does not expect among the names."""
    if scheme == CANONICAL:
        expected = {tensor.name: [tensor.name] for tensor in spec.tensors}
        ignored: list[str] = []
    else:
        assert spec.checkpoint is not None
        keys = keymap.original_keys(spec)
        expected = {key: [key, *keymap.aliases_of(spec, key)] for key in keys.values()}
        ignored = [keymap.literal_but_stars(text) for text in spec.checkpoint.ignore]
    known = {name for names_of_one in expected.values() for name in names_of_one}
    missing = [key for key, names_of_one in expected.items() if not any(name in names for name in names_of_one)]
    unexpected = [name for name in names if name not in known and not any(fnmatchcase(name, i) for i in ignored)]
    return Differences(scheme, prefix, missing, unexpected)
