"""Ceilings of small loads: what a machine reaches matters to no test, and to find it takes half a minute a run.

The tests of this process have them from `tests/conftest.py`; a run of pytest that a test starts has the plugin named:
`-p tests.quick_ceilings`.
"""

from __future__ import annotations

import pytest

from backends.contract import LoadSizes
from backends.registry import BUILT_IN
from benchmarks import ceilings, contestants

SIZES = LoadSizes(matrix=384, maps=(1, 32, 32), copied_bytes=2**22)
"""Large enough to reach a good part of the machine's FLOP/s, so that no tiny cell beats it."""

REPEAT_S = 0.02


def built_in() -> list[str]:
    """Without the plugins of tests: each would be a process more."""
    return [name for name in contestants.default() if name in BUILT_IN]


def pytest_configure(config: pytest.Config) -> None:
    ceilings.SIZES["cpu"] = SIZES
    ceilings.REPEAT_S = REPEAT_S
    ceilings.frameworks = built_in
