"""Which networks of the zoo come nearest to a module with residual blocks, gates or a nested decoder."""

from __future__ import annotations

from backends.trace import Trace
from shared_specs import UNetSpec, load_spec, spec_names

from .matching import match

MOST_NEAREST = 2
"""How many are named."""


def nearest_specs(trace: Trace) -> tuple[str, ...]:
    """The names of those of which the largest share of layers is found in the module, the nearest first."""
    shares: dict[str, float] = {}
    for spec in map(load_spec, spec_names()):
        if spec.dimensions == len(trace.shapes[0]) - 2 and has_branches(spec):
            shares[spec.name] = len(match(spec, trace).events) / len(spec.layers)
    return tuple(sorted(shares, key=lambda name: -shares[name])[:MOST_NEAREST])


def has_branches(spec: UNetSpec) -> bool:
    """Whether more than the skips of a plain encoder-decoder joins maps."""
    levels = [spec.at("encoder", level) for level in range(spec.levels)]
    levels += [spec.at("decoder", level) for level in range(spec.levels - 1)]
    return spec.nested or any(at.residual is not None or at.attention is not None for at in levels)
