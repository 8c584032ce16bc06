"""Which networks of the zoo come nearest to a module with residual blocks, gates or a nested decoder."""

from __future__ import annotations

from backends.trace import Trace
from shared_specs import UNetSpec, load_spec, spec_names

from .matching import match

MOST_NEAREST = 2
"""How many are named."""


def nearest_specs(trace: Trace, branches: str) -> tuple[str, ...]:
    """The names of those with the same branches of which most is found in the module, the nearest first.

    Those of other dimensions come last, as nothing of them is found; the branches of a spec are written alike in both.

    Args:
        trace: of the module.
        branches: as of `path.NotInferred`.
    """
    shares: dict[str, float] = {}
    for spec in map(load_spec, spec_names()):
        if branches in branches_of(spec):
            is_alike = spec.dimensions == len(trace.shapes[0]) - 2
            shares[spec.name] = len(match(spec, trace).events) / len(spec.layers) if is_alike else -1
    return tuple(sorted(shares, key=lambda name: -shares[name])[:MOST_NEAREST])


def branches_of(spec: UNetSpec) -> set[str]:
    """What joins maps beside the skips of a plain encoder-decoder, in the words of `path.NotInferred`."""
    levels = [spec.at("encoder", level) for level in range(spec.levels)]
    levels += [spec.at("decoder", level) for level in range(spec.levels - 1)]
    found = {"nested"} if spec.nested else set()
    found |= {"residual"} if any(at.residual is not None for at in levels) else set()
    return found | ({"gated"} if any(at.attention is not None for at in levels) else set())
