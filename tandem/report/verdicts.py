"""Which backend for what: the one answer of each scenario, or the command that would measure it."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.verdict import Outcome
from shared_specs.shapes import size_label

from .answers import Answer, answers
from .scenarios import SCENARIOS, Scenario

DECIDED: dict[Outcome, int] = {"faster": 3, "tie": 3, "undecided": 2, "not_comparable": 1, "not_timed": 0}

NO_CHOICE = "nothing to compare"


@dataclass(frozen=True)
class Setting:
    """The answer for one network, precision and device, and all others of the scenario."""

    headline: Answer
    others: tuple[Answer, ...]

    @property
    def choice(self) -> str:
        """Which backend and tuning, in a word or two."""
        answer = self.headline
        if answer.winner is not None:
            return f"{answer.winner}, {answer.records[0].cell.tuning}"
        return {
            "tie": "a tie",
            "undecided": "not decided",
            "not_comparable": "not comparable",
        }.get(answer.outcome, NO_CHOICE)

    @property
    def label(self) -> str:
        cell = self.headline.records[0].cell
        phase = f" {cell.phase}" if len(self.headline.scenario.phases) > 1 else ""
        return f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device}{phase}"


@dataclass(frozen=True)
class Verdict:
    """Of one scenario: a setting for each network, precision and device; or the command that would measure it."""

    scenario: Scenario
    settings: tuple[Setting, ...]
    command: str

    @property
    def choice(self) -> str:
        """One for all, or that it depends; "not measured" where there is nothing."""
        choices = self._counted()
        if not choices:
            return "not measured"
        return next(iter(choices)) if len(choices) == 1 else "it depends"

    @property
    def choices(self) -> str:
        """How often which, where they differ."""
        counts = self._counted()
        return "; ".join(f"{name}: {count} of {counts.total()}" for name, count in counts.most_common())

    def _counted(self) -> Counter[str]:
        """A setting with one backend alone leaves nothing to choose, and counts where there are no others."""
        choices = [setting.choice for setting in self.settings]
        return Counter([choice for choice in choices if choice != NO_CHOICE] or choices)


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """One a scenario, in the order of `SCENARIOS`."""
    return [_verdict(records, scenario) for scenario in SCENARIOS]


def _verdict(records: Sequence[Record], scenario: Scenario) -> Verdict:
    found = answers(records, scenario)
    families: dict[tuple[object, ...], list[Answer]] = {}
    for answer in found:
        cell = answer.records[0].cell
        if answer.values and scenario.takes(answer.records[0]) and cell.tuning not in contestants.DIAGNOSTIC:
            families.setdefault(_family(answer.records[0]), []).append(answer)
    settings = [Setting(_headline(family), tuple(found)) for family in families.values()]
    return Verdict(scenario, tuple(settings), command(records, scenario))


def _family(record: Record) -> tuple[object, ...]:
    """What has one answer: all but backend, tuning, batch and size."""
    cell = record.cell
    what = (record.spec_fingerprint, cell.phase, cell.recipe, cell.precision, cell.device)
    return *what, record.machine.kind, record.commit


def _headline(family: Sequence[Answer]) -> Answer:
    """At one shape, the tuning whose best backend is the best of all: each pairs its backends in one tuning."""
    at_shapes: dict[tuple[object, ...], list[Answer]] = {}
    for answer in family:
        cell = answer.records[0].cell
        at_shapes.setdefault((cell.batch, cell.size, cell.seed), []).append(answer)
    shape = max(at_shapes.values(), key=lambda those: max(map(_preference, those)))
    return max(shape, key=lambda answer: (DECIDED[answer.outcome], -_best(answer)))


def _preference(answer: Answer) -> tuple[int, float]:
    cell = answer.records[0].cell
    pixels = float(cell.batch * math.prod(cell.size))
    prefers = pixels / _best(answer) if answer.scenario.prefers == "throughput" else pixels
    return DECIDED[answer.outcome], prefers


def _best(answer: Answer) -> float:
    return min(statistics.median(values) for values in answer.values.values())


def to_choose(records: Sequence[Record]) -> str:
    """What to type to find out which backend to choose, for the phases of these records."""
    return _command(records, f"--phase {','.join(sorted({record.cell.phase for record in records}))}")


def command(records: Sequence[Record], scenario: Scenario) -> str:
    """What to type to measure a scenario, for the network that most of the records are of."""
    return _command(records, scenario.options)


def _command(records: Sequence[Record], options: str) -> str:
    if not records:
        return f"tandem compare unet_bn_same {options} --tuning default,tuned"
    cells = Counter((r.cell.spec, r.cell.narrow, r.cell.size, r.cell.precision, r.cell.device) for r in records)
    (spec, narrow, size, precision, device), _ = cells.most_common(1)[0]
    words = ["tandem", "compare", shlex.quote(spec), "--narrow", str(narrow), "--size", size_label(size)]
    words += [options, "--tuning default,tuned"]
    batches = {record.cell.batch for record in records}
    words += [] if "--batch" in options or len(batches) > 1 else ["--batch", str(max(batches))]
    words += [] if precision == "float32" else ["--precision", shlex.quote(precision)]
    return " ".join([*words, "--device", shlex.quote(device)])
