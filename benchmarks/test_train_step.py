"""One training step: loss, gradients, optimizer and normalisation state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .cell import Cell
from .measure import worker_clock

PHASE = "train_step"


@pytest.mark.benchmark(timer=worker_clock)
def test_train_step(cell: Cell, replicate: int, time_cell: Callable[[Cell, int], None]) -> None:
    time_cell(cell, replicate)
