"""What a comparison's folder holds of its checks: written after each, and not repeated where all is as it was."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import backends
from backends import Execution
from benchmarks import provenance
from benchmarks.machine import this_machine
from parity import Measurement, NotCompared, Verdict
from parity.compare import REFERENCE
from parity.probes import EVERY_PROBE
from shared_specs.files import write_atomically

from ..documents.checks import Checked, CheckFile
from ..report import Check
from . import check

FILE = "check.json"

STEPS = 3
"""Of the trajectory, as `parity.check` has it by default."""


@dataclass
class KeptChecks:
    """The verdicts of a folder, those of this run before and those made now."""

    folder: Path
    remarks: Sequence[str]

    def __post_init__(self) -> None:
        self._before = _read(self.folder / FILE)
        self._made: list[Checked] = []
        self._began = now()
        self._commit, self._changed = provenance.commit(), provenance.last_change()

    def find(self, job: check.Job, execution: Execution, chosen: check.Plan) -> Checked | None:
        """The verdict of an earlier run, where the same code on this machine would give the same again.

        One that found a difference is made again: whoever goes on has perhaps done something about it.
        """
        for checked in self._before:
            made = checked.made
            if made is None or not checked.equal or made.machine != this_machine():
                continue
            if not provenance.is_current(made.commit, made.versions, made.started_at, self._commit, self._changed):
                continue
            if _question(checked) == _asked(job, execution, chosen):
                return checked
        return None

    def made_now(self, verdict: Verdict, job: check.Job, started_at: datetime) -> Checked:
        """A verdict of this run, with where it comes from.

        This process has its code from when it began: where a source was written since, the verdict is older than that.
        """
        if provenance.last_change() != self._changed:
            started_at = self._began
        versions = {k: v for name in verdict.models for k, v in backends.get(name).versions().items()}
        made = {
            "machine": this_machine(),
            "commit": provenance.of_run(self._commit),
            "versions": versions,
            "started_at": started_at.isoformat(timespec="seconds"),
        }
        return Checked.model_validate({**check.keys(verdict, job), "made": made})

    def keep(self, checked: Checked) -> None:
        """Add a verdict to the file. Raises TandemError where it cannot be written."""
        self._made.append(checked)
        content = CheckFile(checks=tuple(self._made), remarks=tuple(self.remarks))
        write_atomically(self.folder / FILE, (content.model_dump_json(indent=1) + "\n").encode())

    @property
    def all(self) -> list[Checked]:
        """Every verdict of this run, kept or made."""
        return self._made

    def for_report(self) -> list[Check]:
        """The same as a report reads them."""
        return [Check.model_validate(json.loads(checked.model_dump_json())) for checked in self._made]


def now() -> datetime:
    return datetime.now(UTC)


def _read(path: Path) -> tuple[Checked, ...]:
    try:
        return CheckFile.model_validate_json(path.read_bytes()).checks
    except (OSError, ValidationError):  # none is there, or one of another version: all checks are made
        return ()


def _question(checked: Checked) -> dict[str, Any]:
    """What a verdict answers."""
    return {
        "spec": checked.spec_fingerprint,
        "name": checked.spec.name,
        "narrow": checked.narrow,
        "execution": checked.execution.model_dump(),
        "recipe": checked.recipe,
        "seed": checked.seed,
        "batch": checked.batch.model_dump(),
        "steps": checked.steps,
        "models": checked.models,
        "probes": sorted(
            {each.probe for each in (*checked.measurements, *checked.not_compared)}, key=EVERY_PROBE.index
        ),
    }


def _asked(job: check.Job, execution: Execution, chosen: check.Plan) -> dict[str, Any]:
    """The same of a check that is to be made."""
    return {
        "spec": job.spec.fingerprint,
        "name": job.spec.name,
        "narrow": job.divisor,
        "execution": asdict(execution),
        "recipe": chosen.recipe,
        "seed": chosen.seed,
        "batch": {"shape": job.batch.images.shape, "origin": job.batch.origin},
        "steps": STEPS,
        "models": tuple(dict.fromkeys([REFERENCE, *chosen.backends])),
        "probes": chosen.probes,
    }


def verdict_of(checked: Checked) -> Verdict:
    """The verdict itself again; what is null was infinite."""
    names = [field.name for field in fields(Measurement)]
    measurements = []
    for measured in checked.measurements:
        values: dict[str, Any] = {name: getattr(measured, name) for name in names}
        infinite: dict[str, Any] = {
            name: math.inf for name, value in values.items() if value is None and name != "index"
        }
        measurements.append(Measurement(**values | infinite))
    return Verdict(
        spec=checked.spec,
        execution=Execution(**checked.execution.model_dump()),
        recipe=checked.recipe,
        seed=checked.seed,
        batch_shape=checked.batch.shape,
        batch_origin=checked.batch.origin,
        steps=checked.steps,
        models=checked.models,
        measurements=tuple(measurements),
        not_compared=tuple(NotCompared(**left_out.model_dump()) for left_out in checked.not_compared),
    )
