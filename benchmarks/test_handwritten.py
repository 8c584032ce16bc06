"""The training step of the module that a newcomer to PyTorch would write, in turn with those of test_train_step.py.

The summary prints all times relative to this one. What they shall be, and what they are in the records that are
kept, stands in docs/results.md; no test asserts a time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .cell import Cell
from .measure import worker_clock

PHASE, IS_HANDWRITTEN = "train_step", True


@pytest.mark.benchmark(timer=worker_clock)
def test_handwritten_train_step(cell: Cell, replicate: int, time_cell: Callable[[Cell, int], None]) -> None:
    time_cell(cell, replicate)
