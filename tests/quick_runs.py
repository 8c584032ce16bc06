"""No ceilings and short windows, for a run of pytest that a test starts: `-p tests.quick_runs`.

To ask each framework for ceilings, in a process of its own, would take longer than all else that such a run does, and
seconds of windows tell nothing more of a cell that takes milliseconds.
"""

from __future__ import annotations

import pytest

from benchmarks import ceilings, measure

WINDOW_S, LATENCIES_LIMIT_S, WARM_UP_LIMIT_S = 0.002, 0.0, 0.2


def pytest_configure(config: pytest.Config) -> None:
    ceilings.frameworks = list
    measure.WINDOW_S, measure.LATENCIES_LIMIT_S, measure.WARM_UP_LIMIT_S = WINDOW_S, LATENCIES_LIMIT_S, WARM_UP_LIMIT_S
