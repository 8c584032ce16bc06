"""What a checkpoint that does not fit a spec is more likely to be: another width of it, or another network."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from .catalog import load_spec, spec_names
from .checkpoints import listed
from .errors import SpecError
from .naming import Differences, OwnWeights, Tensors, arrays, compared

if TYPE_CHECKING:
    from .schema import UNetSpec

FEW = 8
"""Names that may differ before a checkpoint is told to be of another network; all of them are named."""

MOST_SHAPES = 3
"""Misshapen tensors that are listed one by one as they are. Of more the first few are named."""


def names_problem(spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights, tried: list[Differences]) -> str:
    """How names that fit no scheme differ from the nearest, or from all, and what network they are nearer to.

    Args:
        spec: the network.
        tensors: by the names that they have in the checkpoint.
        own_weights: what a module of ours has under its own names, as canonical weights.
        tried: how the names differ from the spec's schemes.
    """
    nearest = min(tried, key=lambda found: found.count)
    others = nearer(spec, tensors, own_weights, nearest)
    if nearest.count <= FEW and 2 * len(nearest.missing) < len(spec.tensors):
        start = f"nearly weights of {spec.name} ({nearest.scheme} names): {nearest.listed(FEW)}"
        return f"{start}; {others or 'rename, add or leave out these, or take the spec of this network'}"
    known = dict.fromkeys(found.scheme for found in tried)
    each = [min((f for f in tried if f.scheme == name), key=lambda f: f.count) for name in known]
    start = f"the names are none of {spec.name}'s: {'; '.join(map(str, each))}"
    return f"{start}; {others or 'take the spec of this network'}, or name the scheme with --from for the whole list"


def lacks_statistics_alone(spec: UNetSpec, nearest: Differences) -> bool:
    """Whether all that names differ by is that every running statistic of the network is missing."""
    statistics = [tensor for tensor in spec.tensors if not tensor.trainable]
    return (
        bool(statistics)
        and not nearest.unexpected
        and len(nearest.missing) == len(statistics)
        and all(".running_" in name for name in nearest.missing)
    )


def nearer(spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights, nearest: Differences) -> str:
    """Which networks of the zoo have names that differ less, in words; "" where none has."""
    found: dict[str, tuple[int, int]] = {}
    for other in map(load_spec, spec_names()):
        best = min(compared(other, tensors, own_weights), key=lambda differences: differences.count)
        near = 2 * len(best.missing) < len(other.tensors)  # else it is of none, and one is as far as the other
        if near and best.count < nearest.count and other.fingerprint != spec.fingerprint:
            found[other.name] = (best.count, len(misshapen(other, tensors, own_weights, best)))
    names = [name for name, rank in found.items() if rank == min(found.values())]
    if not names:
        return ""
    count = found[names[0]][0]
    apart = {0: "all names fit", 1: "only 1 name differs from"}.get(count, f"only {count} names differ from")
    return f"{apart} {' and '.join(names[:FEW])}: take that spec"


def misshapen(spec: UNetSpec, tensors: Tensors, own_weights: OwnWeights, fit: Differences) -> list[str]:
    """Each tensor whose shape is not the spec's, in words."""
    return [
        f"{key} is {np.shape(values)}, expected {spec.tensor(name).shape}"
        for name, (key, values) in arrays(spec, tensors, own_weights, fit).items()
        if np.shape(values) != spec.tensor(name).shape
    ]


def shapes_problem(
    spec: UNetSpec, full: UNetSpec, tensors: Tensors, own_weights: OwnWeights, fit: Differences, whole: bool
) -> str | None:
    """Why the shapes cannot be the spec's, in short; None where they can be, or are to be listed one by one.

    Args:
        spec: the network.
        full: the same at full width.
        tensors: by the names that they have in the checkpoint.
        own_weights: what a module of ours has under its own names, as canonical weights.
        fit: the scheme that the names fit.
        whole: whether the whole list is wanted where no other width explains it.
    """
    wrong = misshapen(spec, tensors, own_weights, fit)
    divisor = fitting_divisor(full, tensors, own_weights, fit) if wrong else None
    if divisor is None and (whole or len(wrong) <= MOST_SHAPES):
        return None
    count = f"{len(wrong)} of {len(spec.tensors)} tensors have another shape than in {spec.name}"
    start = f"{count} of widths {list(spec.widths)}: {listed(wrong)}"
    if divisor is None:
        return f"{start}; take the spec of this network, or name the scheme with --from for the whole list"
    asked = "leave --narrow out" if divisor == 1 else f"give --narrow {divisor}"
    return f"{start}; all of them fit widths {list(full.narrow(divisor).widths)}: {asked}"


def fitting_divisor(full: UNetSpec, tensors: Tensors, own_weights: OwnWeights, fit: Differences) -> int | None:
    """By what the widths have to be divided for all shapes to fit, if there is such a number."""
    ratios = {
        ours // theirs
        for name, (_, values) in arrays(full, tensors, own_weights, fit).items()
        for ours, theirs in zip(full.tensor(name).shape, np.shape(values), strict=False)
        if theirs and not ours % theirs
    }
    for ratio in sorted(ratios):
        with suppress(SpecError):  # these widths cannot be divided by it
            if not misshapen(full.narrow(ratio), tensors, own_weights, fit):
                return ratio
    return None
