"""A tolerance that is measured, not picked: how far rounding alone moves a quantity.

With r the float64 reference's value, r_k re-runs of it under rounding noise, and u the unit roundoff:

    floor^2  = mean over k of rms(r_k - r)^2 + (u rms(r))^2
    distance = rms(candidate - r) / floor
"""

from __future__ import annotations

import numpy as np

LIMIT = 64.0
"""Equal means a distance of at most this, for every quantity.

Correct builds of the first five networks lie at 3 floors at most in the median and below 30 at the most
(`docs/parity.md` holds the table and the command that makes it); in float64 an epsilon of 1.0001e-5 in place of 1e-5
in one layer lies above a million. It is no knob to turn until tests pass.
"""

RERUNS = 4
"""Re-runs of the reference per check; even, so that near ties fall on both sides equally often."""


def rms(x: np.ndarray) -> float:
    """The root of the mean square, computed without overflow of large values or loss of tiny ones."""
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64) / largest))))


def floor(reference: np.ndarray, reruns: list[np.ndarray], unit_roundoff: float) -> float:
    """The noise floor of one quantity, in the quantity's unit."""
    return combine([rms(np.asarray(rerun, np.float64) - reference) ** 2 for rerun in reruns], reference, unit_roundoff)


def combine(mean_squares: list[float], reference: np.ndarray, unit_roundoff: float) -> float:
    """The noise floor from the mean square deviation of each re-run."""
    return float(np.sqrt(np.mean(mean_squares) + (unit_roundoff * rms(reference)) ** 2))


def distance(candidate: np.ndarray, reference: np.ndarray, noise: float) -> float:
    """How many floors apart two values are: infinite for NaN, Inf or another shape.

    Integers (counts, shapes) carry no rounding: they are the same or infinitely far.
    """
    candidate, reference = np.asarray(candidate), np.asarray(reference)
    if candidate.shape != reference.shape:
        return np.inf
    if candidate.dtype.kind in "iu" and reference.dtype.kind in "iu":
        return 0.0 if np.array_equal(candidate, reference) else np.inf
    if not (np.isfinite(candidate).all() and np.isfinite(reference).all()):
        return np.inf
    error = rms(candidate.astype(np.float64) - reference)
    if error == 0.0:
        return 0.0
    return error / noise if noise > 0.0 else np.inf
