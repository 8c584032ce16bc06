"""Loss and gradients, in training mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .cell import Cell
from .measure import worker_clock

PHASE = "forward_backward"


@pytest.mark.benchmark(timer=worker_clock)
def test_backward(cell: Cell, replicate: int, time_cell: Callable[[Cell, int], None]) -> None:
    time_cell(cell, replicate)
