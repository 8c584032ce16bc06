"""Which of a scheme's names a checkpoint has, lacks and has besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from . import keymap
from .checkpoints import listed

if TYPE_CHECKING:
    from .schema import UNetSpec

CANONICAL = keymap.CANONICAL

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What stands before a network's names: of DataParallel, torch.compile, and the attributes of training frameworks."""

LEAST_SHARE = 1 / 3
"""Of the names, that have a prefix which may be taken off: beside the network's there may be an average of its weights
under another name, and the weights of a loss."""

Tensors = Mapping[str, np.ndarray]
OwnWeights = Callable[["UNetSpec", Tensors], dict[str, np.ndarray]]
"""`to_canonical` of a format: canonical weights from a module of ours."""


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
        return f"not {self.scheme} ({self.listed()})"

    def listed(self, most: int = 3) -> str:
        """The first few names that are missing and unexpected."""
        found = {"missing": self.missing, "unexpected": self.unexpected}
        return "; ".join(f"{what} {listed(names, most)}" for what, names in found.items() if names)


def schemes(spec: UNetSpec) -> list[str]:
    """The ways of naming that are known for a spec."""
    return [CANONICAL] + ([spec.checkpoint.scheme] if spec.checkpoint is not None else [])


def prefixes(tensors: Tensors) -> list[str]:
    """What can be taken off the names: nothing, and each wrapper's prefix with those outside of it."""
    found, names = [""], list(tensors)
    while True:
        counts = {found[-1] + p: sum(name.startswith(found[-1] + p) for name in names) for p in PREFIXES}
        inner = max(counts, key=lambda prefix: counts[prefix])
        if not names or counts[inner] < LEAST_SHARE * len(names):
            return found
        found.append(inner)
        names = [name for name in names if name.startswith(inner)]


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


def compared(spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights) -> list[Differences]:
    """How the names differ from each scheme of a spec, with each prefix taken off."""
    found = []
    for prefix in prefixes(tensors):
        named = without(prefix, tensors)
        own = own_weights(spec, named)
        found += [differences(spec, own if name == CANONICAL else named, name, prefix) for name in schemes(spec)]
    return found


def without(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors that have the prefix, by their names without it."""
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def taken_off(prefix: str, names: Iterable[str]) -> list[str]:
    """The remark on a prefix that was taken off, and on the tensors that have it not and are left out."""
    outside = [name for name in names if not name.startswith(prefix)]
    if not outside:
        return [f"taken off every name: {prefix!r}"] if prefix else []
    return [f"taken off the names: {prefix!r}, leaving what has it not: {listed(outside)}"]


def arrays(
    spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights, like: Differences
) -> dict[str, tuple[str, np.ndarray]]:
    """Of each of the spec's tensors that is there: its name in the scheme, and its values."""
    named = without(like.prefix, tensors)
    if like.scheme == CANONICAL:
        own = own_weights(spec, named)
        return {tensor.name: (tensor.name, own[tensor.name]) for tensor in spec.tensors if tensor.name in own}
    found = {}
    for name, key in keymap.original_keys(spec).items():
        present = next((k for k in (key, *keymap.aliases_of(spec, key)) if k in named), None)
        if present is not None:
            found[name] = (present, named[present])
    return found
