"""A tolerance that is measured, not picked: how far rounding alone moves a quantity.

With r the float64 reference's value, r_k re-runs of it under rounding noise, u the unit roundoff, and t_j re-runs in
which every decision that rounding could turn is turned, at every step or at the first one (float32 only, see
`RoundingNoise`):

    floor^2  = mean over k of rms(r_k - r)^2 + (u rms(r))^2 + (max over j of rms(t_j - r) TURNED / LIMIT)^2
    distance = rms(candidate - r) / floor

So a candidate may lie LIMIT times the noise away, or TURNED times as far as turning all those decisions goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backends.contract import UNIT_ROUNDOFF, RoundingNoise

LIMIT = 64.0
"""Equal means a distance of at most this, for every quantity.

`docs/parity.md` holds the evidence and the commands that make it: how far sound builds of the zoo, and of random
networks, lie at the most, and how far planted faults. It is no knob to turn until tests pass.
"""

COARSE_LIMIT = 8.0
"""The same for TF32 and bfloat16, where the noise is percents: 64 times that would pass anything.

There a decision that rounding turns is part of the noise (see `RoundingNoise`), so that no room need be left for it.
"""


def limit_of(unit_roundoff: float) -> float:
    """The limit for a precision, by its unit roundoff."""
    return COARSE_LIMIT if is_coarse(unit_roundoff) else LIMIT


def is_coarse(unit_roundoff: float) -> bool:
    """Whether the precision is TF32, or coarser."""
    return unit_roundoff >= UNIT_ROUNDOFF["tf32"]


RERUNS, COARSE_RERUNS = 4, 16
"""Re-runs of the reference under noise per check, and those in TF32 and bfloat16.

The floor of a single number, such as the slope of a PReLU, is estimated from them alone, so that a sound build's
distance follows Student's t with as many degrees of freedom: beyond 64 with 4 of them it lies by a chance of 4e-7,
beyond 8 with 16 by one of 6e-7. With 4 it would lie beyond 8 by one of 1e-3, which is once in a few networks.
"""


TURNED = 2.0
"""A sound build turns some of the decisions that rounding could turn, so that all of them at once bound it.

Over several steps what one decision moves may be undone by others, so that a tensor of few elements lies near again:
what the first step's do by themselves is looked at, too.
"""


def reruns(unit_roundoff: float, seed: int) -> tuple[list[RoundingNoise], list[RoundingNoise]]:
    """The re-runs of one check: those under noise, and those in which decisions are turned as well."""
    count = COARSE_RERUNS if is_coarse(unit_roundoff) else RERUNS
    noises = [RoundingNoise(unit_roundoff, count * seed + number) for number in range(count)]
    if not noises[0].decides_apart:
        return noises, []
    return noises, [RoundingNoise(unit_roundoff, seed, turned, once) for once in (False, True) for turned in (1, -1)]


def rms(x: np.ndarray) -> float:
    """The root of the mean square, computed without overflow of large values or loss of tiny ones."""
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64) / largest))))


def floor(
    reference: np.ndarray, noisy: Sequence[np.ndarray], turned: Sequence[np.ndarray], unit_roundoff: float
) -> float:
    """The noise floor of one quantity, in the quantity's unit."""
    deviations = [[rms(np.asarray(rerun, np.float64) - reference) for rerun in runs] for runs in (noisy, turned)]
    return combine(deviations[0], deviations[1], reference, unit_roundoff)


def combine(noisy: Sequence[float], turned: Sequence[float], reference: np.ndarray, unit_roundoff: float) -> float:
    """The noise floor from the rms deviation of each re-run."""
    noise = math.hypot(*noisy) / math.sqrt(len(noisy))
    return math.hypot(noise, unit_roundoff * rms(reference), max(turned, default=0.0) * TURNED / LIMIT)


def distance(candidate: np.ndarray, reference: np.ndarray, noise: float) -> float:
    """How many floors apart two values are: infinite for NaN, Inf or another shape.

    Integers (counts, shapes) carry no rounding: they are the same or infinitely far.
    """
    candidate, reference = np.asarray(candidate), np.asarray(reference)
    if candidate.shape != reference.shape:
        return np.inf
    if candidate.dtype.kind in "iu" and reference.dtype.kind in "iu":
        return 0.0 if np.array_equal(candidate, reference) else np.inf
    if not (np.isfinite(candidate).all() and np.isfinite(reference).all() and np.isfinite(noise)):
        return np.inf
    error = rms(candidate.astype(np.float64) - reference)
    if error == 0.0:
        return 0.0
    return error / noise if noise > 0.0 else np.inf
