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
"""Of all that a re-run keeps: in float64 it then takes gigabytes, so that there is one at a time."""

COPIES = 13
"""Of every parameter, at most: value, gradient and two moments, and value and moments after each of three steps."""

Deviations = dict[tuple[str, str], list[float]]
"""By probe and quantity, the rms deviation of each re-run."""

Floors = dict[str, dict[str, float]]
"""By probe and quantity."""

Run = Callable[[RoundingNoise | None], dict[str, Quantities]]
"""One run of the reference, under noise or without."""


class Reference:
    """What the reference says of one stage after the other: the values, and their floors.

    Args:
        noises: the re-runs under noise, and those in which decisions are turned.
        unit_roundoff: of the precision under test.
        at_once: how many re-runs are made beside each other.
    """

    def __init__(self, noises: Sequence[Sequence[RoundingNoise]], unit_roundoff: float, at_once: int):
        self.noises, self.unit_roundoff, self.at_once = noises, unit_roundoff, at_once
        self._true: dict[str, Quantities] = {}
        self._floors: Floors = {}

    def judge(self, probes: Sequence[str], run: Run, decides: bool = True) -> tuple[dict[str, Quantities], Floors]:
        """True values and floors of these probes: of an earlier run if that had them too, else of this one.

        Args:
            probes: which.
            run: runs the reference; the first time without noise.
            decides: whether decisions are turned in some re-runs; those of an evaluation move nothing by themselves,
                since the output of a ReLU or a maximum is continuous.

        Raises:
            TandemError: as `run` does.
        """
        if not set(probes) <= self._true.keys():
            self._true = run(None)
            noises = self.noises if decides else (self.noises[0], ())
            noisy, turned = (deviations(self._true, run, group, self.at_once) for group in noises)
            self._floors = floors_of(self._true, noisy, turned, self.unit_roundoff)
        return {probe: self._true.pop(probe) for probe in probes}, {probe: self._floors[probe] for probe in probes}


def deviations(true: dict[str, Quantities], run: Run, noises: Sequence[RoundingNoise], at_once: int) -> Deviations:
    """Re-runs are dropped as soon as they are compared, to spare memory.

    One core each is nearly twice as fast on two cores as both cores for one after the other: most of a re-run is noise.
    """

    def deviations_of(noise: RoundingNoise) -> Deviations:
        found = run(noise)
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
    elements = sum(map(math.prod, feature_shapes(spec, batch.images.shape).values())) + COPIES * spec.parameter_count
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
