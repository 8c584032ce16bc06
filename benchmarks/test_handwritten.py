"""The training step of the module that a newcomer to PyTorch would write, in turn with those of test_train_step.py.

On the same input in one run, the `pytorch` step shall be no slower than this one, and the `flax_nnx` step no slower
than 1.5 times this one. The summary prints the ratios; no test asserts a time.
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
