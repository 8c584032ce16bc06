"""The answer of a check: every measurement, whether all are equal, and where the first difference is."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from backends.contract import Execution
from shared_specs import Recipe, UNetSpec

from .noise_floor import distance, limit_of

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Measurement:
    """How far a candidate's value of one quantity lies from the reference's.

    Attributes:
        reference: the name of one model.
        candidate: the name of the other.
        probe: in which it was compared.
        quantity: what was compared.
        distance: in noise floors; infinite for NaN, Inf or another shape.
        floor: the noise floor, in the quantity's unit.
        max_abs_error: the largest difference of two elements.
        max_rel_error: that difference relative to the largest element of the reference.
        index: where it is, None for another shape.
        reference_value: the reference's element there.
        candidate_value: the candidate's.
        limit: the largest distance that is equal.
    """

    reference: str
    candidate: str
    probe: str
    quantity: str
    distance: float
    floor: float
    max_abs_error: float
    max_rel_error: float
    index: tuple[int, ...] | None
    reference_value: float
    candidate_value: float
    limit: float

    @property
    def equal(self) -> bool:
        return self.distance <= self.limit

    def __str__(self) -> str:
        if self.index is None:
            both = f"{self.candidate} and {self.reference}"
            return f"{self.probe}: {self.quantity}: {both} have different shapes, or one of them lacks it"
        where = f" at {list(self.index)}" if self.index else ""
        theirs, own = told_apart(self.reference_value, self.candidate_value)
        return (
            f"{self.probe}: {self.quantity}: {self.candidate} has {own}{where}, {self.reference} {theirs}: "
            f"{self.distance:.3g} noise floors apart (limit {self.limit:g})"
        )


def measure(
    names: tuple[str, str],
    probe: str,
    quantity: str,
    reference: np.ndarray,
    candidate: np.ndarray,
    floor: float,
    limit: float,
) -> Measurement:
    """Compare one quantity of two models, `names` being (reference, candidate)."""
    apart = distance(candidate, reference, floor)
    if candidate.shape != reference.shape:
        return Measurement(*names, probe, quantity, apart, floor, math.inf, math.inf, None, math.nan, math.nan, limit)
    wide_reference, wide_candidate = np.atleast_1d(reference).astype(float), np.atleast_1d(candidate).astype(float)
    with np.errstate(invalid="ignore"):
        error = np.abs(wide_candidate - wide_reference)
    # NaN and Inf are the worst elements there are.
    worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(error), error, np.inf))), error.shape)
    largest = float(np.max(np.abs(wide_reference)))
    largest_error = float(error[worst])
    return Measurement(
        *names,
        probe,
        quantity,
        apart,
        floor,
        largest_error,
        largest_error / largest if largest else (math.inf if largest_error else 0.0),
        tuple(int(i) for i in worst) if reference.ndim else (),
        float(wide_reference[worst]),
        float(wide_candidate[worst]),
        limit,
    )


@dataclass(frozen=True)
class NotCompared:
    """What a model takes no part in, as its backend cannot do it.

    Attributes:
        model: its name.
        probe: which one.
        reason: what it lacks, as a clause after its name.
    """

    model: str
    probe: str
    reason: str

    def __str__(self) -> str:
        return f"{self.probe}: {self.model} {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        replicas: how many trained together in the probe `data_parallel`; 1 where it was not asked for.
        models: all that were asked for, in that order. Nothing was run of those that `not_compared` has at every probe.
    """

    spec: UNetSpec
    execution: Execution
    recipe: Recipe
    seed: int
    batch_shape: tuple[int, ...]
    batch_origin: str
    steps: int
    models: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    not_compared: tuple[NotCompared, ...] = ()
    replicas: int = 1

    def and_of_replicas(self, other: Verdict) -> Verdict:
        """This verdict with what another one found of replicas of the same."""
        return replace(
            self,
            measurements=self.measurements + other.measurements,
            not_compared=self.not_compared + other.not_compared,
            replicas=other.replicas,
        )

    @property
    def limit(self) -> float:
        """The largest distance in noise floors that is equal, in this precision."""
        return limit_of(self.execution.unit_roundoff)

    @property
    def equal(self) -> bool:
        """Whether there is something to compare and no quantity lies beyond the limit."""
        return bool(self.measurements) and not self.differences

    @property
    def differences(self) -> list[Measurement]:
        """Every measurement beyond the limit, in the order of the probes and of execution."""
        return [measurement for measurement in self.measurements if not measurement.equal]

    @property
    def first_difference(self) -> Measurement | None:
        """The first diverging layer or tensor: the place to look. Of logits and layers, the layer is nearer."""
        differences = self.differences
        if differences and differences[0].probe == "forward":
            return next(
                (measurement for measurement in differences if measurement.probe == "activations"), differences[0]
            )
        return differences[0] if differences else None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs (reference, candidate) that were compared."""
        return list(dict.fromkeys((m.reference, m.candidate) for m in self.measurements))

    @property
    def probes(self) -> list[str]:
        """The probes that were run, in order."""
        return list(dict.fromkeys(m.probe for m in self.measurements))

    def worst(self, probe: str, pair: tuple[str, str] | None = None) -> Measurement | None:
        """The largest distance of a probe, over all pairs or one, or None if it compared nothing."""
        chosen = [m for m in self.measurements if m.probe == probe and pair in (None, (m.reference, m.candidate))]
        return max(chosen, key=lambda m: m.distance, default=None)

    def to_json(self) -> str:
        """All of it as JSON; what is infinite or not a number is null."""
        values = {
            "kind": "tandem verdict",
            "version": SCHEMA_VERSION,
            "equal": self.equal,
            "limit": self.limit,
            "spec": self.spec.model_dump(mode="json"),
            "spec_fingerprint": self.spec.fingerprint,
            "execution": asdict(self.execution),
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "batch": {"shape": self.batch_shape, "origin": self.batch_origin},
            "steps": self.steps,
            "replicas": self.replicas,
            "models": self.models,
            "first_difference": None if self.first_difference is None else _finite(asdict(self.first_difference)),
            "not_compared": [asdict(left_out) for left_out in self.not_compared],
            "measurements": [_finite(asdict(measurement)) for measurement in self.measurements],
        }
        return json.dumps(values, allow_nan=False)

    def __str__(self) -> str:
        """A table of the worst quantity per pair and probe, and the first difference if there is one."""
        table = Table(title=f"{self.spec.name}, {self.execution.precision}, {self.batch_origin}", title_justify="left")
        for column in ("pair", "probe", "worst quantity", "distance", "max abs", "max rel", "at", "values"):
            table.add_column(column, justify="right" if column in ("distance", "max abs", "max rel") else "left")
        for pair in self.pairs:
            for probe in self.probes:
                if worst := self.worst(probe, pair):
                    table.add_row(*_row(worst))
        for left_out in self.not_compared:
            table.add_row(left_out.model, left_out.probe, f"not compared: it {left_out.reason}")
        text = io.StringIO()
        console = Console(file=text, width=200)
        console.print(table)
        if self.first_difference:
            console.print(f"first difference: {self.first_difference}", markup=False, highlight=False)
        else:
            console.print("equal" if self.equal else "nothing was compared")
        return text.getvalue()


def _row(m: Measurement) -> tuple[str, ...]:
    return (
        f"{m.reference} | {m.candidate}",
        m.probe,
        m.quantity,
        f"{m.distance:.3g}",
        f"{m.max_abs_error:.3g}",
        f"{m.max_rel_error:.3g}",
        "" if m.index is None else str(list(m.index)),
        " | ".join(told_apart(m.reference_value, m.candidate_value)),
    )


def told_apart(one: float, other: float, least: int = 9) -> tuple[str, str]:
    """Two values in words, with so many significant digits, and more where those would not tell them apart.

    17 tell any two float64 numbers apart.
    """
    shown = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(least, 18)]
    return next((pair for pair in shown if pair[0] != pair[1]), shown[0])


def _finite(values: dict[str, object]) -> dict[str, object]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
