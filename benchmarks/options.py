"""The selectors of `pytest --benchmark-only`, the same names as those of `tandem bench`.

They stand in a module of their own because pytest knows the options of a conftest in a sub-folder only where that
folder is named on the command line: the root conftest hands this hook on.
"""

from __future__ import annotations

from pathlib import Path

import pytest

GROUP = "tandem", "Tandem's benchmarks (with --benchmark-only)"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(*GROUP)
    group.addoption("--spec", action="append", help="zoo names or TOML files, several with commas or repeated")
    group.addoption("--narrow", type=int, help="divide every width by this")
    group.addoption("--backend", action="append", help="backends; all that are installed by default")
    group.addoption("--phase", action="append", help="of forward, forward_backward, train_step; all by default")
    group.addoption("--tuning", default="default", help="how each backend runs the step (%(default)s)")
    group.addoption("--precision", default="float32", help="float32 or another that the backends have (%(default)s)")
    group.addoption("--batch", type=int, help="images a batch")
    group.addoption("--size", help="pixels: one number, or HEIGHTxWIDTH")
    group.addoption("--device", help="cpu, cuda or cuda:1; a GPU where there is one by default")
    group.addoption("--replicates", type=int, default=3, help="fresh processes a cell (%(default)s)")
    group.addoption("--time-limit", type=float, default=600.0, help="seconds for one process (%(default)s)")
    group.addoption("--results", type=Path, help="write each record to this folder as soon as it is there")
    group.addoption("--resume", action="store_true", help="skip what --results holds from this machine and commit")


def several(config: pytest.Config, name: str) -> list[str] | None:
    """The values of an option that takes several; None where it was not given."""
    values = config.getoption(name)
    return None if values is None else [part.strip() for value in values for part in value.split(",") if part.strip()]
