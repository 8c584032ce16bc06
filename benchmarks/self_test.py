"""Can the measurement be believed? `python -m benchmarks.self_test` answers with two experiments, in a minute or so.

A/A: one cell is timed against itself, in turns A-B-B-A; anything but a tie is a false alarm, which at 95% comes once
in twenty experiments, so that one repetition is allowed. No-op: a step that does nothing goes through the worker; what
it takes is what the harness adds to each step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from .cell import Cell
from .measure import run_cells
from .records import Record
from .verdict import FEWEST, Ratio, ratio

MOST_OVERHEAD = 0.01
"""Of a step of the smallest cell that is timed by default."""

Run = Callable[..., list[Record]]


@dataclass(frozen=True)
class Overhead:
    """What the harness adds to a step, beside the smallest step that is timed."""

    no_op_s: float
    step_s: float

    @property
    def share(self) -> float:
        return self.no_op_s / self.step_s


def against_itself(cell: Cell, repetitions: int = 2, run: Run = run_cells) -> Ratio:
    """Time a cell in 2 x FEWEST processes, as if it were two in the order A-B-B-A.

    Raises:
        RuntimeError: where a process could not be timed.
    """
    first, second = _halves(run([cell], replicates=2 * FEWEST))
    found = ratio("A", first, "B", second)
    return found if found.tie or repetitions == 1 else against_itself(cell, repetitions - 1, run)


def _halves(records: list[Record]) -> tuple[list[float], list[float]]:
    halves: tuple[list[float], list[float]] = [], []
    for number, record in enumerate(records):
        if record.step_s is None:
            raise RuntimeError(record.sentence)
        halves[number % 4 in (1, 2)].append(record.step_s)
    return halves


def overhead(cell: Cell, run: Run = run_cells) -> Overhead:
    """Time a no-op in the place of a cell, and the cell. Raises RuntimeError where one could not be timed."""
    no_op, timed = run([cell.model_copy(update={"backend": "no_op", "tuning": "default"}), cell], replicates=1)
    for record in (no_op, timed):
        if record.step_s is None:
            raise RuntimeError(record.sentence)
    assert no_op.step_s is not None and timed.step_s is not None
    return Overhead(no_op.step_s, timed.step_s)


def main() -> None:
    """Run both on the smallest cell of the default suite and exit with 1 where one fails."""
    from .plan import default_cells

    cell = next(cell for cell in default_cells(device="cpu") if cell.phase == "forward")
    same, extra = against_itself(cell), overhead(cell)
    print(f"A/A, {cell.id}: {'a tie' if same.tie else 'NOT A TIE'}: ratio {same.ratio:.3f}")
    print(f"  95% interval {same.low:.3f} to {same.high:.3f}, {same.processes[0]} and {same.processes[1]} processes")
    print(f"No-op: {1e6 * extra.no_op_s:.2f} us a step, {100 * extra.share:.4f}% of {1e3 * extra.step_s:.1f} ms")
    sys.exit(0 if same.tie and extra.share < MOST_OVERHEAD else 1)


if __name__ == "__main__":
    main()
