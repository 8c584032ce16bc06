"""How far rounding alone drives loss curves apart, and whether a curve stays within that.

With r(t) the float64 reference's loss at step t, r_k(t) its re-runs under rounding noise, and u the unit roundoff:

    envelope(t) = the largest |r_k(s) - r(s)|, and u |r(s)|, over all k and all steps s up to t
    allowed(t)  = max(ALLOWED envelope(t), LIMIT envelope(1))

A curve is within the envelope where |loss(t) - r(t)| <= allowed(t). The second term holds in the first steps, before
runs part: there a sound build may lie as far away as in `noise_floor`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from backends.contract import UNIT_ROUNDOFF
from shared_specs import Recipe
from shared_specs.files import write_atomically

from .noise_floor import LIMIT

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning. New fields have defaults, so that older records still load."""

ALLOWED = 8.0
"""How many times as far as the re-runs a sound build may be.

`docs/curves.md` holds the evidence: how far re-runs lie from the envelope of four others.
"""

Losses = tuple[float, ...]


class Part(BaseModel):
    # JSON has no infinity, and a fault may well end in NaN.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class How(Part):
    """What ran: as `Execution` has it."""

    device: str
    precision: Literal["float64", "float32", "tf32", "bfloat16"]
    tuning: str


class Input(Part):
    shape: tuple[int, ...]
    origin: str


class Rerun(Part):
    """The reference under rounding noise.

    Attributes:
        turned: +1 or -1 where every decision of the first step that rounding could turn was turned, to that side; so it
            parts from the reference as early as a build can.
    """

    seed: int
    turned: Literal[-1, 0, 1]
    losses: Losses


class Curve(Part):
    """The loss of a backend at each step, before the step is taken."""

    backend: str
    losses: Losses


class Judged(Part):
    """What is said of a curve.

    Attributes:
        outside: the steps, counted from 1, at which it is not within the envelope.
        farthest: its largest distance from the reference, in envelopes of that step; infinite for NaN and Inf.
        farthest_at: the step of that distance.
    """

    backend: str
    outside: tuple[int, ...]
    farthest: float
    farthest_at: int

    @property
    def within(self) -> bool:
        return not self.outside

    @property
    def left_at(self) -> int | None:
        """The first step outside."""
        return self.outside[0] if self.outside else None


class Curves(Part):
    """Every backend's loss over a few hundred steps on one batch from the same weights, and the envelope.

    Attributes:
        spec: as `UNetSpec` has it. narrow: by what its widths were divided.
        batch: what all were trained on, at every step.
        judge: the backend whose float64 run is the reference.
        versions: of the libraries, by backend.
    """

    kind: Literal["tandem curves"] = "tandem curves"
    schema_version: Literal[1] = SCHEMA_VERSION
    spec: dict[str, Any]
    spec_fingerprint: str
    narrow: int | None = None
    execution: How
    recipe: Recipe
    seed: int
    batch: Input
    judge: str
    reference: Annotated[Losses, Field(min_length=1)]
    reruns: Annotated[tuple[Rerun, ...], Field(min_length=1)]
    curves: tuple[Curve, ...]
    versions: dict[str, dict[str, str]] = {}

    @property
    def name(self) -> str:
        return str(self.spec.get("name", ""))

    @property
    def steps(self) -> int:
        return len(self.reference)

    @property
    def envelope(self) -> Losses:
        """At each step."""
        roundoff = UNIT_ROUNDOFF[self.execution.precision]
        runs = [rerun.losses for rerun in self.reruns]
        here = [
            max(roundoff * abs(true), *(abs(run[step] - true) for run in runs))
            for step, true in enumerate(self.reference)
        ]
        return tuple(accumulate(here, max))

    @property
    def allowed(self) -> Losses:
        """How far a curve may be from the reference, at each step."""
        envelope = self.envelope
        return tuple(max(ALLOWED * wide, LIMIT * envelope[0]) for wide in envelope)

    @computed_field
    @property
    def judged(self) -> tuple[Judged, ...]:
        return tuple(judge(curve, self.reference, self.envelope, self.allowed) for curve in self.curves)

    @computed_field
    @property
    def within(self) -> bool:
        """Whether there are curves and all of them stay within the envelope."""
        return bool(self.judged) and all(judged.within for judged in self.judged)

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, values: Any) -> Any:
        """What follows from the losses stands in the file for readers; it is computed again."""
        return {k: v for k, v in values.items() if k not in COMPUTED} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Curves:
        for run in (*self.reruns, *self.curves):
            if len(run.losses) != self.steps:
                raise ValueError(f"losses: got {len(run.losses)} steps, expected {self.steps} as the reference has")
        if not all(math.isfinite(loss) for run in (self.reference, *(r.losses for r in self.reruns)) for loss in run):
            raise ValueError("reference, reruns: got a loss that is not finite, expected numbers")
        return self

    def save(self, path: str | Path) -> None:
        """Write the record, whole or not at all. Raises TandemError."""
        write_atomically(path, (self.model_dump_json(indent=1) + "\n").encode())


COMPUTED = ("judged", "within")


def judge(curve: Curve, reference: Sequence[float], envelope: Sequence[float], allowed: Sequence[float]) -> Judged:
    """What is to be said of one curve."""
    errors = [abs(loss - true) for loss, true in zip(curve.losses, reference, strict=True)]
    errors = [error if math.isfinite(error) else math.inf for error in errors]
    ratios = [_ratio(error, wide) for error, wide in zip(errors, envelope, strict=True)]
    farthest = max(range(len(ratios)), key=ratios.__getitem__)
    outside = tuple(step for step, (error, most) in enumerate(zip(errors, allowed, strict=True), 1) if error > most)
    return Judged(backend=curve.backend, outside=outside, farthest=ratios[farthest], farthest_at=farthest + 1)


def _ratio(error: float, wide: float) -> float:
    return error / wide if wide else (math.inf if error else 0.0)
