"""Which tensor of a user's own module is which of the spec: told by their values, as names of others say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from shared_specs import UNetSpec
from shared_specs.weights import Weights

from ...layouts import inverse, is_telling, laid_out

Path = tuple[Any, ...]
"""Of a tensor in what a module holds."""

LAYOUTS = {
    "conv.weight": (("o i ... -> ... i o", False),),
    "head.weight": (("o i ... -> ... i o", False),),
    # ConvTranspose's is turned, or with `transpose_kernel` has its channels swapped; the last is this backend's.
    "up.weight": (("i o ... -> ... i o", True), ("i o ... -> ... o i", False), ("i o ... -> i ... o", False)),
}
"""By leaf: canonical axes -> those that a module in Flax may have, and whether a kernel is turned about its centre."""

AS_IT_IS = (("c -> c", False),)


@dataclass(frozen=True)
class Held:
    """A tensor of a module, as the module lays it out, and whether it is trained."""

    values: jax.Array | np.ndarray
    is_trained: bool


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


def pair(spec: UNetSpec, weights: Weights, held: Mapping[Path, Held]) -> dict[str, Place]:
    """The place of each canonical tensor that has exactly one, in the order of the spec.

    A constant tensor, such as the ones of a fresh norm, says nothing of its place. What two places hold has none.

    Args:
        spec: the network.
        weights: canonical ones, which the module is to hold.
        held: the tensors of the module by path, without the state of its random numbers.
    """
    by_values: dict[Any, list[Path]] = defaultdict(list)
    for path, tensor in held.items():
        values = np.asarray(tensor.values)
        by_values[tensor.is_trained, values.shape, values.tobytes()].append(path)
    dtypes = {np.asarray(tensor.values).dtype for tensor in held.values()}
    found: dict[str, Place] = {}
    taken: dict[Path, list[str]] = defaultdict(list)
    for tensor in spec.tensors:
        values = np.asarray(weights[tensor.name])
        if not is_telling(values):
            continue
        for axes, turned in LAYOUTS.get(tensor.leaf, AS_IT_IS):
            place = Place((), axes, turned)
            native = place.to_native(values)
            paths = {p for d in dtypes for p in by_values.get((tensor.trainable, native.shape, _bytes(native, d)), ())}
            if len(paths) == 1:
                (path,) = paths
                found[tensor.name] = Place(path, axes, turned)
                taken[path].append(tensor.name)
                break
    return {name: place for name, place in found.items() if len(taken[place.path]) == 1}


def in_another_order(
    spec: UNetSpec, weights: Weights, held: Mapping[Path, Held], places: Mapping[str, Place]
) -> dict[str, Path]:
    """Where a module holds the values of a canonical tensor in an order that is none of LAYOUTS, by the tensor's name.

    Args:
        spec, weights, held: as for `pair`.
        places: what it found.
    """
    taken = {place.path for place in places.values()}
    left = [tensor for tensor in spec.tensors if tensor.name not in places and is_telling(weights[tensor.name])]
    found: dict[str, Path] = {}
    for path, other in held.items():
        values = np.asarray(other.values)
        if path in taken or not left or not is_telling(values):
            continue
        ordered = np.sort(values, axis=None)
        same = [
            tensor.name
            for tensor in left
            if tensor.trainable == other.is_trained
            and tensor.size == values.size
            and np.array_equal(np.sort(np.asarray(weights[tensor.name], values.dtype), axis=None), ordered)
        ]
        if len(same) == 1:
            found[same[0]] = path
    return found


def _bytes(values: np.ndarray, dtype: np.dtype) -> bytes:
    return np.ascontiguousarray(values, dtype).tobytes()


def _turned(values: np.ndarray) -> np.ndarray:
    """A kernel (in, out, kH, kW) or (in, out, kD, kH, kW), turned about its centre."""
    return np.flip(values, tuple(range(2, values.ndim)))
