"""What a report is made of: checks and benchmark records, read from any JSON file that a command wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.record_files import load_records
from benchmarks.records import Record
from parity.envelope import Curves
from shared_specs import TandemError
from shared_specs.problems import describe

READS = "expected what check, curves, bench, scale or compare wrote with --json or --output"


class ReportError(TandemError):
    """A file that no report can be made of."""


class Part(BaseModel):
    """Newer files may say more than is read here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Measured(Part):
    """One quantity of one pair; `distance` in noise floors is None where it is infinite."""

    reference: str
    candidate: str
    probe: str
    quantity: str
    distance: float | None

    @property
    def floors(self) -> float:
        return math.inf if self.distance is None else self.distance


class LeftOutOf(Part):
    """A model that took no part in a probe, and what it lacks, as a clause after its name."""

    model: str
    probe: str
    reason: str


class DeepSupervisionOf(Part):
    levels: tuple[int, ...] = ()


class SpecOf(Part):
    name: str
    widths: tuple[int, ...]
    deep_supervision: DeepSupervisionOf | None = None


class ExecutionOf(Part):
    device: str
    precision: str


class RecipeOf(Part):
    batch_statistics: str = "global"


class BatchOf(Part):
    shape: tuple[int, ...]
    origin: str


class Check(Part):
    """One verdict, as `Verdict.to_json` has it."""

    equal: bool
    limit: float
    spec: SpecOf
    execution: ExecutionOf
    batch: BatchOf
    seed: int
    narrow: int | None = None
    recipe: RecipeOf = RecipeOf()
    replicas: int = 1
    first_difference: dict[str, Any] | None
    not_compared: tuple[LeftOutOf, ...] = ()
    measurements: tuple[Measured, ...]

    @property
    def title(self) -> str:
        """ "unet_bn_same, float64, cpu"; of replicas also how many, and whose batch statistics."""
        return ", ".join([self.spec.name, self.execution.precision, self.execution.device, *self.together])

    @property
    def together(self) -> list[str]:
        """How many replicas there are, and whose batch statistics; nothing for one device."""
        if self.replicas == 1:
            return []
        kind = self.recipe.batch_statistics.replace("_", "-")
        return [f"{self.replicas} replicas", f"{kind} batch statistics"]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((m.reference, m.candidate) for m in self.measurements))

    @property
    def probes(self) -> list[str]:
        return list(dict.fromkeys(m.probe for m in self.measurements))

    def farthest(self, probe: str, pair: tuple[str, str] | None = None) -> Measured | None:
        """The measurement of a probe with the largest distance, over all pairs or one."""
        chosen = [m for m in self.measurements if m.probe == probe and pair in (None, (m.reference, m.candidate))]
        return max(chosen, key=lambda m: m.floors, default=None)


@dataclass
class Findings:
    """Checks, loss curves and records in the order in which they were read, and what a reader should beware of.

    Attributes:
        against: records of an earlier run, or of another machine, with which `records` are compared.
    """

    checks: list[Check] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    against: list[Record] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; `load` reads it again."""
        return {
            "checks": [check.model_dump(mode="json") for check in self.checks],
            "curves": [curves.to_dict() for curves in self.curves],
            "records": [record.to_dict() for record in self.records],
            "remarks": self.remarks,
            "against": [record.to_dict() for record in self.against],
        }


def load(paths: Iterable[str | Path]) -> Findings:
    """Read files, and folders with all the JSON files in them and in their folder `records`.

    Raises:
        TandemError: where a file cannot be read, or holds neither a check nor loss curves nor a record.
    """
    findings = Findings()
    for path in map(Path, paths):
        files = sorted([*path.glob("*.json"), *path.glob("records/*.json")]) if path.is_dir() else [path]
        if not files:
            raise ReportError(f"{path}: holds no JSON file; {READS}")
        for file in files:
            _load_file(file, findings)
    return findings


def _load_file(path: Path, findings: Findings) -> None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}); {READS}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is not JSON; {READS}") from error
    if not isinstance(values, dict):
        raise ReportError(f"{path}: holds neither a check nor loss curves nor a benchmark record; {READS}")
    if not values.keys() & {"checks", "measurements", "curves", "sweeps", "records"}:
        findings.records += load_records(path)
        return
    try:
        if values.get("kind") == "tandem curves":  # a record without the document around it
            values = {"curves": [values]}
        checks = values.get("checks", [values] if "measurements" in values else [])
        swept = _without_added(values.get("sweeps", []))
        if not isinstance(values.get("remarks", []), list):
            raise TypeError("remarks are a list")
        findings.checks += [Check.model_validate(check) for check in checks]
        findings.curves += [Curves.model_validate(curves) for curves in values.get("curves", [])]
        findings.records += [Record.model_validate(record) for record in [*swept, *values.get("records", [])]]
        findings.against += [Record.model_validate(record) for record in values.get("against", [])]
        findings.remarks += map(str, values.get("remarks", []))
    except ValidationError as error:
        raise ReportError(f"{path}: {describe(error, values)}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise ReportError(f"{path}: holds no list of checks, curves and records; {READS}") from error


def _without_added(sweeps: list[Any]) -> list[Any]:
    """The records of what `scale --json` wrote, without the figure that it adds to each."""
    records = [record for sweep in sweeps for record in sweep["records"]]
    return [{key: value for key, value in record.items() if key != "ns_per_pixel"} for record in records]
