"""Which backend for what: the answer of the records in each scenario, and what would change it."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.verdict import Outcome, Ratio, comparable_key, is_busy, judge, latest, problem
from shared_specs.shapes import size_label

from ..units import milliseconds, seconds, sized

Quantity = Callable[[Record], float | None]
"""What is compared, of one process; less is better, and None where there is none."""


@dataclass(frozen=True)
class Scenario:
    """What somebody wants to do, and what of a record tells how well a backend does it.

    Attributes:
        meaning: what is compared, in a sentence.
        phases: of the cells that tell it.
        batch: the only one that tells it, or None.
        better, amount: words for `Ratio.words`.
        shown: one value for people.
        options: of the command that measures it.
    """

    identity: str
    name: str
    meaning: str
    phases: tuple[str, ...]
    quantity: Quantity
    better: str
    amount: str
    shown: Callable[[float], str]
    options: str
    batch: int | None = None
    prefers: Literal["throughput", "largest"] = "largest"

    def takes(self, record: Record) -> bool:
        return record.cell.phase in self.phases and self.batch in (None, record.cell.batch)


def positive(value: float | None) -> float | None:
    """The value where it can be compared as a ratio, else None: files may hold anything."""
    return value if value is not None and value > 0 and math.isfinite(value) else None


def step_s(record: Record) -> float | None:
    return positive(record.step_s)


def latency_s(record: Record) -> float | None:
    """Of a single synchronised step: the median of the process."""
    latency = record.latency_ms
    return positive(latency["median"] / 1e3) if latency else None


def first_step_s(record: Record) -> float | None:
    """From the start of the process to the end of the first step."""
    return positive(start.time_to_first_step_s) if (start := record.cold_startup) and record.status == "ok" else None


def memory_bytes(record: Record) -> float | None:
    """The peak of the device's memory where it has its own, else of the process."""
    on_gpu = record.cell.device != "cpu"
    peak = record.peak_device_memory_bytes if on_gpu else record.peak_memory_bytes
    return positive(peak) if record.status == "ok" else None


FASTER = "is {} times faster than"

SCENARIOS = (
    Scenario(
        "inference-latency",
        "Inference latency at batch 1",
        "the time of one image, from the call to the result",
        ("forward",),
        latency_s,
        FASTER,
        "time",
        lambda value: f"{milliseconds(value)} ms an image",
        "--phase forward --batch 1",
        batch=1,
    ),
    Scenario(
        "inference-throughput",
        "Inference throughput",
        "the time of a step among many, where most is decided and, of that, most pixels a second are computed",
        ("forward",),
        step_s,
        FASTER,
        "time",
        lambda value: f"{milliseconds(value)} ms a step",
        "--phase forward",
        prefers="throughput",
    ),
    Scenario(
        "training-throughput",
        "Training throughput",
        "the time of a training step among many: loss, gradients and optimizer",
        ("train_step",),
        step_s,
        FASTER,
        "time",
        lambda value: f"{milliseconds(value)} ms a step",
        "--phase train_step",
        prefers="throughput",
    ),
    Scenario(
        "training-memory",
        "Memory-bound training",
        "the peak memory of training, where most is decided and, of that, at the largest input",
        ("train_step",),
        memory_bytes,
        "needs {} times less memory than",
        "memory",
        sized,
        "--phase train_step",
    ),
    Scenario(
        "first-step",
        "Time to first step",
        "the time from the start of the process to the end of the first step: imports, building, compiling",
        ("forward", "train_step"),
        first_step_s,
        "is there {} times sooner than",
        "time",
        seconds,
        "--phase forward,train_step",
    ),
)


@dataclass(frozen=True)
class Answer:
    """What the records say of cells that differ in the backend alone.

    Attributes:
        values: by backend, one of each process.
        ratios: of the best to each other one.
        problems: by backend, why it has none.
    """

    scenario: Scenario
    records: tuple[Record, ...]
    values: dict[str, list[float]]
    ratios: tuple[Ratio, ...]
    outcome: Outcome
    problems: dict[str, str]

    @property
    def winner(self) -> str | None:
        return self.ratios[0].faster if self.outcome == "faster" else None

    @property
    def leader(self) -> str | None:
        """Who is ahead, told from noise or not."""
        return self.ratios[0].faster if self.ratios else None

    @property
    def phrase(self) -> str:
        """The best against each other one, or why nothing can be said; no sentence yet."""
        return self._said("")

    @property
    def sentence(self) -> str:
        """The same with the tuning that both have."""
        tuning = self.records[0].cell.tuning
        if len(self.values) < 2:
            return f"{tuning}: {self._said('')}"
        return self._said(f", both {tuning}" if len(self.values) == 2 else f", all {tuning}")

    def _said(self, tuning: str) -> str:
        if self.outcome == "not_comparable":
            return f"not comparable: {'; '.join(self.problems.values())}"
        said = "; ".join(ratio.words(self.scenario.better, self.scenario.amount) for ratio in self.ratios) + tuning
        if len(self.values) == 1:
            (backend, values), *_ = self.values.items()
            said = f"only {backend} was measured, {self.scenario.shown(statistics.median(values))}"
        beware = "not to be relied on, as other work kept the machine busy meanwhile"
        busy = self.scenario.amount == "time" and self.values and is_busy(self.records)
        return (
            "; ".join(filter(None, [said, beware if busy else "", *self.problems.values()])) or "nothing was measured"
        )

    @property
    def medians(self) -> str:
        """The values themselves, best first: "29.00 ms a step against 42.30 ms a step"."""
        order = [self.ratios[0].faster, *(ratio.slower for ratio in self.ratios)] if self.ratios else []
        return ", ".join(f"{name} {self.scenario.shown(statistics.median(self.values[name]))}" for name in order)


def answers(records: Iterable[Record], scenario: Scenario) -> list[Answer]:
    """One for all that is compared with each other, as in `benchmarks.verdict`, in every phase and at every batch.

    Public U-Nets are other networks, and the hand-written module is no backend: neither can be chosen. Replicas, and
    processes that have some of the cores alone, answer another question (`tandem.report.devices`).
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.BESIDE and record.cell.is_alone:
            groups.setdefault(comparable_key(record), []).append(record)
    return [_answer(latest(group), scenario) for group in groups.values()]


def _answer(records: list[Record], scenario: Scenario) -> Answer:
    values: dict[str, list[float]] = {}
    problems: dict[str, str] = {}
    for record in records:
        if record.status != "ok":
            problems[record.cell.backend] = problem(record)
        elif (value := scenario.quantity(record)) is not None:
            values.setdefault(record.cell.backend, []).append(value)
            if record.finite_at_end is False:
                problems[record.cell.backend] = f"{record.cell.backend} had come to NaN or Inf by the end"
    ratios, outcome = judge(values)
    if any(record.status == "not_comparable" for record in records):
        outcome = "not_comparable"
    return Answer(scenario, tuple(records), values, ratios, outcome, problems)


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
        if answer.values and scenario.takes(answer.records[0]):
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


def command(records: Sequence[Record], scenario: Scenario) -> str:
    """What to type to measure a scenario, for the network that most of the records are of."""
    if not records:
        return f"tandem compare unet_bn_same {scenario.options} --tuning default,tuned"
    cells = Counter((r.cell.spec, r.cell.narrow, r.cell.size, r.cell.precision, r.cell.device) for r in records)
    (spec, narrow, size, precision, device), _ = cells.most_common(1)[0]
    words = ["tandem", "compare", shlex.quote(spec), "--narrow", str(narrow), "--size", size_label(size)]
    words += [scenario.options, "--tuning default,tuned"]
    words += [] if precision == "float32" else ["--precision", shlex.quote(precision)]
    return " ".join([*words, "--device", shlex.quote(device)])
