"""Random sound cases for the distances of docs/parity.md: what is drawn, and what is kept of a check.

A case has a number. Networks, image sizes, batches and seeds come from Hypothesis in blocks, each from the block's own
seed, so that a collection can be cut off and go on at any case, and one case can be checked again.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from backends.contract import Execution
from parity import Verdict, check, random_batch
from shared_specs import TandemError, UNetSpec
from shared_specs.shapes import Shape
from tests.strategies import specs

BLOCK = 96
"""Cases that are drawn together."""

PRECISIONS = ("float64", "float32", "bfloat16")
STEPS = 2
BINS = 10
"""Bins of the histograms in a factor of ten."""

NOTHING, INFINITE = -20 * BINS, 400 * BINS
"""The bins of no distance at all, and of an infinite one."""

Values = dict[str, Any]
"""What is kept of a case, as JSON has it."""


@dataclass(frozen=True)
class Case:
    """One check of sound builds: everything that it depends on.

    Attributes:
        number: of the case.
        spec: the network.
        images: the shape (N, C, H, W) or (N, C, D, H, W).
        seed: of weights, images, labels and noise.
        candidates: the backends that are compared with the NumPy reference, and with each other.
        precision: in which the candidates compute.
    """

    number: int
    spec: UNetSpec
    images: Shape
    seed: int
    candidates: tuple[str, ...]
    precision: str

    def check(self) -> Verdict:
        count, _, *size = self.images
        batch = random_batch(self.spec, self.seed, count, size)
        execution = Execution(precision=self.precision)
        return check(self.spec, self.candidates, execution, seed=self.seed, batch=batch, steps=STEPS)

    def record(self) -> Values:
        """What is kept of the check: by probe the largest distance, and all of them as a histogram."""
        values: Values = {
            "case": self.number,
            "spec": self.spec.fingerprint[:16],
            "images": list(self.images),
            "seed": self.seed,
            "backends": list(self.candidates),
            "precision": self.precision,
        }
        try:
            verdict = self.check()
        except TandemError as error:  # where the reference overflows, say, nothing can be compared
            return values | {"error": str(error)}
        farthest = max(verdict.measurements, key=lambda m: m.distance)
        return values | {
            "farthest": [farthest.reference, farthest.candidate, farthest.probe, farthest.quantity],
            "probes": {probe: _of_probe(verdict, probe) for probe in verdict.probes},
        }


def _of_probe(verdict: Verdict, probe: str) -> Values:
    distances = [m.distance for m in verdict.measurements if m.probe == probe]
    bins, worst = Counter(map(bin_of, distances)), max(distances)
    return {
        "worst": float(f"{worst:.4g}") if math.isfinite(worst) else None,  # JSON knows no infinity
        "bins": {str(key): bins[key] for key in sorted(bins)},
    }


def bin_of(distance: float) -> int:
    """The n for which a distance lies from 10^(n / BINS) to 10^((n + 1) / BINS)."""
    if not math.isfinite(distance):
        return INFINITE
    return max(NOTHING, math.floor(BINS * math.log10(distance))) if distance > 0 else NOTHING


def case(number: int) -> Case:
    """The case of this number. Precisions take turns, and every twelfth case of each goes to Flax as well."""
    spec, images, seed_of_case = _drawn(number // BLOCK)[number % BLOCK]
    candidates = ("pytorch", "flax_nnx") if number // len(PRECISIONS) % 12 == 0 else ("pytorch",)
    return Case(number, spec, images, seed_of_case, candidates, PRECISIONS[number % len(PRECISIONS)])


@lru_cache(maxsize=2)
def _drawn(block: int) -> list[tuple[UNetSpec, Shape, int]]:
    """Networks, shapes of images and seeds of a block, no network twice."""
    found: dict[str, tuple[UNetSpec, Shape, int]] = {}

    # More than are kept: some networks come again, and the first is the simplest there is, in every block.
    @seed(block)
    @settings(
        max_examples=BLOCK + BLOCK // 2,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(specs(), st.integers(1, 3), st.integers(0, 2**31 - 1))
    def draw(network: tuple[UNetSpec, Shape], count: int, seed_of_case: int) -> None:
        spec, (_, *rest) = network
        found.setdefault(spec.fingerprint, (spec, (count, *rest), seed_of_case))

    draw()
    _, *others = found.values()
    assert len(others) >= BLOCK, f"block {block}: only {len(others)} networks were drawn"
    return others[:BLOCK]
