"""How far rounding alone drives loss curves apart, and whether a curve stays within that.

With r(t) the float64 reference's loss at step t, u the unit roundoff, r_k(t) re-runs under rounding noise of size u,
and R_k(t) re-runs under LIMIT times that noise (COARSE_LIMIT times in TF32 and bfloat16):

    envelope(t) = the largest |r_k(s) - r(s)| over all k and all steps s up to t
    reach(t)    = the largest of |r_k(s) - r(s)|, |R_k(s) - r(s)| and LIMIT u |r(s)| over the same
    allowed(t)  = MARGIN reach(t), and where reach(t) > PARTED r(t), at least the largest r(s)

A curve is within where |loss(t) - r(t)| <= allowed(t). As long as noise grows in proportion, which it does in the first
steps and in float64, that is some hundreds of floors. Later it does not: a single decision that rounding
turns (a ReLU on or off) drives a run apart thousands of times as far as the noise around it, by chance sooner or later.
Under LIMIT times the noise that comes LIMIT times as often, so that those re-runs part before a sound build does.
Where they have parted by a tenth of the loss they are different runs, each with spikes of its own: from there on a
curve may lie as far from the reference as the loss was high at the most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from backends.contract import UNIT_ROUNDOFF
from shared_specs import Recipe
from shared_specs.json_model import JsonModel

from .noise_floor import limit_of

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning. New fields have defaults, so that older records still load."""

MARGIN = 8.0
"""How many times as far as the farthest of a few re-runs a sound build may be, as chance may take it farther.

`docs/curves.md` holds the evidence: how far re-runs lie from others.
"""

PARTED = 0.1
"""Of the loss: re-runs that differ by more are different runs, whose losses cannot be compared step by step."""

Losses = tuple[float, ...]


class How(JsonModel):
    """What ran: as `Execution` has it."""

    device: str
    precision: Literal["float64", "float32", "tf32", "bfloat16"]
    tuning: str


class Input(JsonModel):
    shape: tuple[int, ...]
    origin: str


class Rerun(JsonModel):
    """The reference under rounding noise of `times` the unit roundoff."""

    seed: int
    times: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    losses: Losses


class Curve(JsonModel):
    """The loss of a backend at each step, before the step is taken."""

    backend: str
    losses: Losses


class Judged(JsonModel):
    """What is said of a curve.

    Attributes:
        outside: the steps, counted from 1, at which it is not within.
        farthest: its largest distance from the reference as a share of what is allowed at that step; infinite for NaN.
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


class Curves(JsonModel):
    """Every backend's loss over a few hundred steps on one batch from the same weights, and the envelope.

    Attributes:
        spec: as `UNetSpec` has it. narrow: by what its widths were divided.
        batch: what all were trained on, at every step.
        judge: the backend whose float64 run is the reference.
        versions: of the libraries, by backend.
        left_out: what those backends lack that were asked for and cannot train so.
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
    versions: dict[str, dict[str, str]] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.spec.get("name", ""))

    @property
    def steps(self) -> int:
        return len(self.reference)

    @property
    def envelope(self) -> Losses:
        """At each step, how far re-runs under noise of the precision have been from the reference."""
        return self._farthest([rerun for rerun in self.reruns if rerun.times == 1])

    @property
    def allowed(self) -> Losses:
        """At each step, how far a curve may be from the reference."""
        highest = accumulate(map(abs, self.reference), max)
        horizon = self.parted_at or math.inf
        return tuple(
            MARGIN * reach if step < horizon else max(MARGIN * reach, most)
            for step, (reach, most) in enumerate(zip(self._reach, highest, strict=True), 1)
        )

    @property
    def parted_at(self) -> int | None:
        """The first step at which re-runs are different runs; from there on a curve is hardly judged."""
        pairs = enumerate(zip(self._reach, self.reference, strict=True), 1)
        return next((step for step, (reach, true) in pairs if reach > PARTED * abs(true)), None)

    @property
    def _reach(self) -> Losses:
        """At each step, how far any re-run has been from the reference, and at least the limit's share of roundoff."""
        roundoff = UNIT_ROUNDOFF[self.execution.precision]
        least = accumulate((limit_of(roundoff) * roundoff * abs(true) for true in self.reference), max)
        return tuple(map(max, zip(self._farthest(self.reruns), least, strict=True)))

    def _farthest(self, reruns: Sequence[Rerun]) -> Losses:
        """The largest distance of any of them from the reference up to each step."""
        here = [
            max(errors) for errors in zip(*(distances(rerun.losses, self.reference) for rerun in reruns), strict=True)
        ]
        return tuple(accumulate(here, max))

    @computed_field
    @property
    def judged(self) -> tuple[Judged, ...]:
        return tuple(judge(curve, self.reference, self.allowed) for curve in self.curves)

    @computed_field
    @property
    def within(self) -> bool:
        """Whether there are curves and all of them stay within the envelope."""
        return bool(self.judged) and all(judged.within for judged in self.judged)

    @property
    def sentence(self) -> str:
        """One line for a person."""
        left = [f"{said.backend} at step {said.left_at}" for said in self.judged if not said.within]
        untrained = "".join(f" Not trained: {name} {lacks}." for name, lacks in self.left_out.items())
        if left:
            return f"Outside: {', '.join(left)} left what rounding alone does to the loss.{untrained}"
        several = "every curve stays" if len(self.judged) > 1 else "the curve stays"
        return f"Within: {several} where rounding alone could have driven it.{untrained}"

    @model_validator(mode="after")
    def _consistent(self) -> Curves:
        for run in (*self.reruns, *self.curves):
            if len(run.losses) != self.steps:
                raise ValueError(f"losses: got {len(run.losses)} steps, expected {self.steps} as the reference has")
        if not any(rerun.times == 1 for rerun in self.reruns):
            raise ValueError("reruns: got none under noise of the precision itself, expected at least one")
        if not all(math.isfinite(loss) for run in (self.reference, *(r.losses for r in self.reruns)) for loss in run):
            raise ValueError("reference, reruns: got a loss that is not finite, expected numbers")
        return self


def distances(losses: Sequence[float], reference: Sequence[float]) -> Losses:
    """Of a curve from the reference at each step; infinite for NaN and Inf."""
    errors = (abs(loss - true) for loss, true in zip(losses, reference, strict=True))
    return tuple(error if math.isfinite(error) else math.inf for error in errors)


def judge(curve: Curve, reference: Sequence[float], allowed: Sequence[float]) -> Judged:
    """What is to be said of one curve."""
    shares = [_share(*pair) for pair in zip(distances(curve.losses, reference), allowed, strict=True)]
    farthest = max(range(len(shares)), key=shares.__getitem__)
    outside = tuple(step for step, share in enumerate(shares, 1) if share > 1)
    return Judged(backend=curve.backend, outside=outside, farthest=shares[farthest], farthest_at=farthest + 1)


def _share(error: float, allowed: float) -> float:
    return error / allowed if allowed else (math.inf if error else 0.0)
