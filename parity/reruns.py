"""The reference run again under rounding noise, several runs at once, and the floors that come of it."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

from backends.contract import RoundingNoise
from shared_specs import UNetSpec
from shared_specs.shapes import feature_shapes

from . import noise_floor
from .batches import Batch
from .probes import Quantities

LARGE_ELEMENTS = 2**26
"""Of all outputs together: a re-run in float64 then takes gigabytes, so that there is one at a time."""

Deviations = dict[tuple[str, str], list[float]]
"""By probe and quantity, the rms deviation of each re-run."""


def deviations(
    true: dict[str, Quantities],
    rerun: Callable[[RoundingNoise], dict[str, Quantities]],
    noises: Sequence[RoundingNoise],
    at_once: int,
) -> Deviations:
    """Re-runs are dropped as soon as they are compared, to spare memory.

    One core each is nearly twice as fast on two cores as both cores for one after the other: most of a re-run is noise.
    """

    def deviations_of(noise: RoundingNoise) -> Deviations:
        found = rerun(noise)
        return {
            (probe, name): [noise_floor.rms(found[probe][name] - value)]
            for probe, quantities in true.items()
            for name, value in quantities.items()
        }

    together: Deviations = defaultdict(list)
    blas_threads = 1 if at_once > 1 else None  # None leaves them as they are
    with threadpool_limits(blas_threads, user_api="blas"), ThreadPoolExecutor(at_once) as pool:
        for deviations in pool.map(deviations_of, noises):
            for quantity, values in deviations.items():
                together[quantity] += values
    return together


def runs_at_once(spec: UNetSpec, batch: Batch) -> int:
    """How many re-runs fit beside each other: as many as there are cores, but for large networks one."""
    elements = sum(map(math.prod, feature_shapes(spec, batch.images.shape).values()))
    if elements > LARGE_ELEMENTS:
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a number, or one a level: "4,2"
    limit = int(asked) if asked.isdecimal() else 0  # as NumPy's own threads are limited
    return limit or os.cpu_count() or 1


def floors_of(
    true: dict[str, Quantities], noisy: Deviations, turned: Deviations, unit_roundoff: float
) -> dict[str, dict[str, float]]:
    """The floor of every quantity of every probe."""
    return {
        probe: {
            name: noise_floor.combine(noisy[probe, name], turned[probe, name], value, unit_roundoff)
            for name, value in quantities.items()
        }
        for probe, quantities in true.items()
    }
