"""The selectors of `pytest --benchmark-only`, the same names as those of `tandem bench`.

They stand in a module of their own because pytest knows the options of a conftest in a sub-folder only where that
folder is named on the command line: the root conftest hands this hook on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

FLAGS = {"time_limit_s": "time_limit"}

GROUP = "tandem", "Tandem's benchmarks (with --benchmark-only)"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption("--spec", action="append", help="zoo names or TOML files, several with commas or repeated")
    group.addoption("--narrow", type=int, help="divide every width by this")
    group.addoption("--backend", action="append", help="backends; all that are installed by default")
    group.addoption("--phase", action="append", help="of forward, forward_backward, train_step; all by default")
    group.addoption("--tuning", action="append", help="how each backend runs the step: default, tuned or another")
    group.addoption("--precision", action="append", help="of float64, float32, tf32, bfloat16; float32 by default")
    group.addoption("--batch", type=int, help="images a batch")
    group.addoption("--size", help="pixels: one number, or HEIGHTxWIDTH")
    group.addoption("--device", help="cpu, cuda or cuda:1; a GPU where there is one by default")
    group.addoption("--replicates", type=int, default=3, help="fresh processes a cell (%(default)s)")
    group.addoption("--time-limit", type=float, default=600.0, help="seconds for one process (%(default)s)")
    group.addoption("--results", type=Path, help="write each record to this folder as soon as it is there")
    group.addoption("--across-machines", action="store_true", help="allow --benchmark-compare with another machine")
    group.addoption("--resume", action="store_true", help="skip what --results holds from this machine and commit")


@dataclass(frozen=True)
class Options:
    """What was asked for; None stands for the default of this machine."""

    spec: list[str] | None
    backend: list[str] | None
    phase: list[str] | None
    tuning: list[str]
    precision: list[str]
    device: str | None
    batch: int | None
    size: str | None
    narrow: int | None
    replicates: int
    time_limit_s: float
    results: Path | None
    resume: bool

    @property
    def selects(self) -> bool:
        """Whether some of the cells were picked out, so that what is no cell is not wanted."""
        return any(chosen is not None for chosen in (self.spec, self.backend, self.phase))


def read(config: pytest.Config) -> Options:
    """The options of a run. Raises UsageError where a number is none that could be meant."""
    values: dict[str, Any] = {
        field.name: config.getoption(FLAGS.get(field.name, field.name)) for field in fields(Options)
    }
    for name in ("spec", "backend", "phase", "tuning", "precision"):
        if values[name] is not None:
            parts = [part.strip() for given in values[name] for part in given.split(",") if part.strip()]
            values[name] = list(dict.fromkeys(parts))
    values["tuning"] = values["tuning"] or ["default"]
    values["precision"] = values["precision"] or ["float32"]
    for name in ("batch", "narrow", "replicates", "time_limit_s"):
        if values[name] is not None and values[name] <= 0:
            flag = FLAGS.get(name, name).replace("_", "-")
            raise pytest.UsageError(f"--{flag}: got {values[name]}, expected a number above 0")
    if values["resume"] and values["results"] is None:
        raise pytest.UsageError("--resume: goes on with what is in a folder; name it with --results")
    return Options(**values)
