"""`tandem check --json`, and the verdicts in what other commands write."""

from __future__ import annotations

from typing import Literal

from benchmarks.machine import Machine
from shared_specs import Recipe, UNetSpec

from .base import Document, Part


class Measured(Part):
    """One quantity of one pair of models. What is infinite or not a number is null."""

    reference: str
    candidate: str
    probe: str
    quantity: str
    distance: float | None
    """In noise floors."""
    floor: float | None
    """The noise floor, in the quantity's own unit."""
    max_abs_error: float | None
    max_rel_error: float | None
    """That error relative to the largest element of the reference."""
    index: tuple[int, ...] | None
    """Of the worst element; null where the two have different shapes."""
    reference_value: float | None
    """Of the worst element."""
    candidate_value: float | None
    limit: float
    """The largest distance that is equal."""


class ExecutedAs(Part):
    """How the backends ran."""

    device: str
    precision: str
    tuning: str


class Input(Part):
    """The batch that all models were given."""

    shape: tuple[int, ...]
    origin: str
    """Where it comes from, in words."""


class MadeWith(Part):
    """Where a verdict comes from: what decides on whether an interrupted run need repeat it."""

    machine: Machine
    commit: str | None
    """Of the checkout; with `+changes` and a digest of the sources where they differed; null where git says none."""
    versions: dict[str, str]
    """Of the frameworks."""
    started_at: str


class LeftOut(Part):
    """What a model took no part in, as its backend cannot do it."""

    model: str
    probe: str
    reason: str
    """What it lacks, as a clause after its name."""


class Verdict(Part):
    """One check of one network in one precision, as `parity.Verdict.to_json` has it."""

    kind: Literal["tandem verdict"]
    version: Literal[1]
    equal: bool
    limit: float
    """The largest distance, in noise floors, that is equal in this precision."""
    spec: UNetSpec
    spec_fingerprint: str
    execution: ExecutedAs
    recipe: Recipe
    seed: int
    batch: Input
    steps: int
    """Of the trajectory, and of replicas that train together."""
    replicas: int = 1
    """How many trained together in the probe `data_parallel`; 1 where it was not asked for."""
    models: tuple[str, ...]
    first_difference: Measured | None
    """The first diverging layer or tensor: the place to look."""
    not_compared: tuple[LeftOut, ...] = ()
    measurements: tuple[Measured, ...]


class Checked(Verdict):
    """A verdict of `check` or `compare`."""

    narrow: int
    """By what every width was divided."""
    made: MadeWith | None = None
    """Given by `compare`."""


class CheckDocument(Document):
    """Whether the builds are the same network."""

    command: Literal["check"]
    equal: bool
    """Whether all checks are."""
    checks: tuple[Checked, ...]
    """For each network and precision."""


class CheckFile(Part):
    """The file `check.json` of a comparison, which grows with every check."""

    checks: tuple[Checked, ...]
    remarks: tuple[str, ...] = ()
