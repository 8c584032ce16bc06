"""Two suites in one tree: `pytest` runs the tests, `pytest --benchmark-only` the benchmarks, neither shows skips."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that each use every core wait for one another more than they compute. Set before NumPy is loaded.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from benchmarks import options

ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    # Known here, they are known in whatever folder pytest is started. A run of the conformance suite from elsewhere, in
    # an editable installation, reads this file too, and has its own `--backend` by then.
    with contextlib.suppress(ValueError):
        options.pytest_addoption(parser)


def wants_benchmarks(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False) or config.getoption("benchmark_enable", False))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the other suite's folder unread, unless it was named on the command line."""
    other = ROOT / ("tests" if wants_benchmarks(config) else "benchmarks")
    from_testpaths = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    return True if from_testpaths and collection_path.is_relative_to(other) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the other suite's items where its folder was named."""
    wanted = wants_benchmarks(config)
    chosen = {True: [], False: []}
    for item in items:
        chosen[("benchmark" in getattr(item, "fixturenames", ())) == wanted].append(item)
    if chosen[False]:
        config.hook.pytest_deselected(items=chosen[False])
        items[:] = chosen[True]
