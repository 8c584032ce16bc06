"""One call of a PyTorch function, read in the words of the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Size = int | Sequence[int]


@dataclass(frozen=True)
class Call:
    """One call, read.

    Attributes:
        kind: as of `backends.trace.Event`.
        inputs: the maps that it reads, or what may be one.
        settings: hyper-parameters.
        tensors: parameters and buffers by leaf; None where there is none.
    """

    kind: str
    inputs: Sequence[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Any] = field(default_factory=dict)


def unsaid(what: str, *inputs: Any) -> Call:
    """A call that a spec has no word for, though it has one for others of the function, with what it is in words."""
    return Call("other", inputs, {"what": what})


def by_axis(value: Size, axes: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in value) if isinstance(value, Sequence) else (int(value),)
    return values * axes if len(values) == 1 else values
