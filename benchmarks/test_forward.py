"""Inference: the forward pass in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .cell import Cell
from .measure import worker_clock

PHASE = "forward"


@pytest.mark.benchmark(timer=worker_clock)
def test_forward(cell: Cell, replicate: int, time_cell: Callable[[Cell, int], None]) -> None:
    time_cell(cell, replicate)
