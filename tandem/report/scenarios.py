"""What somebody wants to do, and what of a record tells how well a backend does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.records import Record
from benchmarks.verdict import FASTER

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
