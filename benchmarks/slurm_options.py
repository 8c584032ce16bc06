"""`--slurm KEY=VALUE`: what a job asks of Slurm, each key checked before anything is submitted."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared_specs import TandemError

from .gate import TIME_LIMIT_S as REFERENCE_LIMIT_S
from .measure import TIME_LIMIT_S

SPARE_MIN = 10
"""For ceilings, imports and slow file systems, beside the limits of a reference and of a worker."""

DEFAULT_LIMIT_MIN = math.ceil((REFERENCE_LIMIT_S + TIME_LIMIT_S) / 60) + SPARE_MIN

SIGNAL_DELAY_S = 90
"""How long before its time limit a job is told, so that it can still write down why it ends."""


def _text(value: str) -> str:
    if not value or any(not sign.isprintable() for sign in value):
        raise ValueError("a word")
    return value


def _count(value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", value):
        raise ValueError("a whole number above 0")
    return int(value)


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d{1,9}[KMGTkmgt]?B?", value):
        raise ValueError("an amount of memory, for instance 64G")
    return value


def _exclusive(value: str) -> bool | str:
    if value not in ("yes", "no", "user"):
        raise ValueError("yes, no or user")
    return {"yes": True, "no": False}.get(value, value)


def minutes(value: str) -> int:
    """Slurm's own notation of a time, in minutes rounded up: 90, 1:30:00, 2-12, 2-00:30:00. Raises ValueError."""
    match = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,5})(?::(\d{1,2}))?(?::(\d{1,2}))?", value)
    if match is None:
        raise ValueError("minutes, or Slurm's HH:MM:SS or D-HH:MM:SS")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        hours, minute, second = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minute, second = numbers
    else:  # MM, MM:SS
        hours, minute, second = 0, *[*numbers, 0][:2]
    found = math.ceil(int(days or 0) * 24 * 60 + hours * 60 + minute + second / 60)
    if found < 1:
        raise ValueError("at least a minute")
    return found


@dataclass(frozen=True)
class Key:
    """One key: what submitit or sbatch calls it, and what it takes. Extra ones submitit does not know itself."""

    name: str
    read: Callable[[str], Any]
    extra: bool = False


KEYS = {
    "partition": Key("partition", _text),
    "account": Key("account", _text),
    "qos": Key("qos", _text),
    "constraint": Key("constraint", _text),
    "nodelist": Key("nodelist", _text),
    "exclude": Key("exclude", _text),
    "reservation": Key("reservation", _text, extra=True),
    "time": Key("time", minutes),
    "gpus": Key("gpus_per_node", _count),
    "gres": Key("gres", _text),
    "cpus": Key("cpus_per_task", _count),
    "mem": Key("mem", _memory),
    "exclusive": Key("exclusive", _exclusive),
    "at_once": Key("array_parallelism", _count),
    "comment": Key("comment", _text),
}


@dataclass(frozen=True)
class SlurmOptions:
    """What was given, checked.

    Attributes:
        given: as typed, in order.
        values: by key.
    """

    given: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Sequence[str]) -> SlurmOptions:
        """Options as typed, KEY=VALUE each. Raises TandemError for one that is none, or comes twice."""
        values: dict[str, Any] = {}
        for text in given:
            name, equals, value = text.partition("=")
            if not equals:
                raise TandemError(f"--slurm: got {text!r}, expected KEY=VALUE, for instance partition=gpu")
            if name not in KEYS:
                near = difflib.get_close_matches(name, KEYS, n=2, cutoff=0.5)
                meant = f"; did you mean {' or '.join(near)}?" if near else ""
                raise TandemError(f"--slurm: no option is named {name!r}; take one of {', '.join(KEYS)}{meant}")
            if name in values:
                raise TandemError(f"--slurm: got {name} twice; give it once")
            try:
                values[name] = KEYS[name].read(value)
            except ValueError as error:
                raise TandemError(f"--slurm {name}: got {value!r}, expected {error}") from error
        return cls(tuple(given), values)

    @property
    def asks_for_gpus(self) -> bool:
        return "gpus" in self.values or "gpu" in self.values.get("gres", "")

    @property
    def limit_min(self) -> int:
        """The time limit of a job, in minutes."""
        return self.values.get("time", DEFAULT_LIMIT_MIN)

    def parameters(self, on_gpu: bool = False) -> dict[str, Any]:
        """For submitit's SlurmExecutor: one task on one node that nobody else uses, never started again by Slurm."""
        chosen = {"exclusive": True, "time": self.limit_min} | {
            KEYS[name].name: value for name, value in self.values.items() if not KEYS[name].extra
        }
        if on_gpu and not self.asks_for_gpus:
            chosen["gpus_per_node"] = 1
        if chosen["exclusive"] is False:
            del chosen["exclusive"]
        extra = {KEYS[name].name: value for name, value in self.values.items() if KEYS[name].extra}
        return chosen | {
            "job_name": "tandem",
            "nodes": 1,
            "ntasks_per_node": 1,
            # What fails is submitted again here, once, and counted; Slurm would do so silently, and without end.
            "additional_parameters": {"no_requeue": True, "signal": f"B:USR2@{SIGNAL_DELAY_S}", **extra},
        }
