"""The precisions that backends compute in, and rounding noise of their size."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("float64", "float32", "tf32", "bfloat16")
"""By name. Not every backend and device has all of them."""

UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-9}
"""Half the distance from 1 to the next number of the precision (Higham 2002, section 2.1); tf32 keeps 10 bits."""

TIE_WIDTH = 4.0
"""Decisions within this many standard deviations of the local error from a tie are the ones that are turned."""


@dataclass(frozen=True)
class RoundingNoise:
    """Relative noise of a precision on every operation's output, for the noise floor.

    A decision is the sign of a ReLU's input or the maximum of a window. In float32 a network of a million units has
    about one that rounding turns; it moves a gradient by thousands of times the noise around it. So there decisions
    are treated apart from the noise. In float64 rounding turns none, and in coarser precisions so many that the noise
    samples them: there decisions are made on the noisy values.

    Attributes:
        unit_roundoff: the standard deviation of the noise, relative to each element.
        seed: of the noise; every re-run has its own.
        turned: in float32, 0 leaves decisions as they are without noise; +1 or -1 turns every one that rounding
            could turn, to one side or to the other.
        long_run: for hundreds of steps. Over so many the noise samples decisions in float32 too.
    """

    unit_roundoff: float
    seed: int
    turned: int = 0
    long_run: bool = False

    @property
    def decides_apart(self) -> bool:
        return not self.long_run and UNIT_ROUNDOFF["tf32"] > self.unit_roundoff > UNIT_ROUNDOFF["float64"]
