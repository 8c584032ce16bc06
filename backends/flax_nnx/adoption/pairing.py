"""Which tensor of a user's own module is which of the spec: told by their values, as names of others say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.weights import Weights

from ...layouts import inverse, laid_out

Path = tuple[Any, ...]
"""Of a variable in the module's state."""

LAYOUTS = {
    "conv.weight": (("o i ... -> ... i o", False),),
    "head.weight": (("o i ... -> ... i o", False),),
    # nnx.ConvTranspose's is turned, or with `transpose_kernel` has its channels swapped; the last is this backend's.
    "up.weight": (("i o ... -> ... i o", True), ("i o ... -> ... o i", False), ("i o ... -> i ... o", False)),
}
"""By leaf: canonical axes -> those that a module in Flax may have, and whether a kernel is turned about its centre."""

AS_IT_IS = (("c -> c", False),)


@dataclass(frozen=True)
class Place:
    """Where a canonical tensor lies in a module, and how."""

    path: Path
    axes: str
    turned: bool

    def to_native(self, values: np.ndarray) -> np.ndarray:
        return laid_out(_turned(values) if self.turned else values, self.axes)

    def to_canonical(self, values: np.ndarray) -> np.ndarray:
        canonical = laid_out(values, inverse(self.axes))
        return _turned(canonical) if self.turned else canonical


def pair(spec: UNetSpec, weights: Weights, variables: Mapping[Path, nnx.Variable]) -> dict[str, Place]:
    """The place of each canonical tensor that has exactly one, in the order of the spec.

    A constant tensor, such as the ones of a fresh norm, says nothing of its place. What two places hold has none.

    Args:
        spec: the network.
        weights: canonical ones, which the module is to hold.
        variables: of the module, but for the state of random numbers.
    """
    held: dict[Any, list[Path]] = defaultdict(list)
    for path, variable in variables.items():
        values = np.asarray(variable.get_value())
        held[isinstance(variable, nnx.Param), values.shape, values.tobytes()].append(path)
    dtypes = {np.asarray(variable.get_value()).dtype for variable in variables.values()}
    found: dict[str, Place] = {}
    taken: dict[Path, list[str]] = defaultdict(list)
    for tensor in spec.tensors:
        values = np.asarray(weights[tensor.name])
        if np.ptp(values) == 0:
            continue
        for axes, turned in LAYOUTS.get(tensor.leaf, AS_IT_IS):
            place = Place((), axes, turned)
            native = place.to_native(values)
            paths = {p for d in dtypes for p in held.get((tensor.trainable, native.shape, _bytes(native, d)), ())}
            if len(paths) == 1:
                (path,) = paths
                found[tensor.name] = Place(path, axes, turned)
                taken[path].append(tensor.name)
                break
    return {name: place for name, place in found.items() if len(taken[place.path]) == 1}


def _bytes(values: np.ndarray, dtype: np.dtype) -> bytes:
    return np.ascontiguousarray(values, dtype).tobytes()


def _turned(values: np.ndarray) -> np.ndarray:
    """A kernel (in, out, kH, kW) or (in, out, kD, kH, kW), turned about its centre."""
    return np.flip(values, tuple(range(2, values.ndim)))
