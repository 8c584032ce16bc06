"""Attention gates on the skips of a traced U-Net."""

from __future__ import annotations

from dataclasses import dataclass

from backends.trace import Event, Trace

from .differences import NORMS


@dataclass(frozen=True)
class Gate:
    """A skip times a map of one channel that a sigmoid made.

    Attributes:
        skip: the map that is gated.
        conv, norm: the last ones of the gate; whether the rest is a gate of a spec too, a match with it shows.
    """

    skip: int
    conv: Event
    norm: Event | None


def gate_of(trace: Trace, number: int) -> Gate | None:
    """The gate that a map comes out of, or None where it is no gated one."""
    product = trace.producers.get(number)
    if product is None or product.kind != "multiply" or len(set(product.inputs)) != 2:
        return None
    for skip, psi in (product.inputs, product.inputs[::-1]):
        sigmoid = trace.producers.get(psi)
        if sigmoid is None or sigmoid.kind != "sigmoid" or trace.shapes[psi][1] != 1:
            continue
        norm = _before(trace, sigmoid)
        conv = _before(trace, norm) if norm is not None and norm.kind in NORMS else norm
        if conv is not None and norm is not None and conv.kind == "conv":
            return Gate(skip, conv, None if conv is norm else norm)
    return None


def ungated(trace: Trace, number: int) -> int:
    """The map that a gate reads as its skip, or the map itself."""
    gate = gate_of(trace, number)
    return number if gate is None else gate.skip


def _before(trace: Trace, event: Event) -> Event | None:
    return trace.producers.get(event.inputs[0])
