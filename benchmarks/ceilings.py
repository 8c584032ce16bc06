"""What the machine can reach: `python -m benchmarks.ceilings` is the process that measures it for one framework.

A percentage of a data sheet would flatter nobody: what counts is the fastest product, convolution and copy that any
of the frameworks does here, in this run, in the precision of the cell.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from backends.contract import Execution, LoadSizes

from . import contestants, protocol
from .cell import Cell
from .environment import huge_pages
from .process import WorkerFailure, WorkerProcess
from .records import Ceilings

SIZES = {
    "cpu": LoadSizes(matrix=1536, maps=(2, 128, 64), copied_bytes=2**28),
    "cuda": LoadSizes(matrix=8192, maps=(16, 256, 128), copied_bytes=2**30),
}

REPETITIONS, REPEAT_S = 5, 0.3
"""A load is run at least this often and this long, and its fastest run counts."""

TIME_LIMIT_S = 120.0

FEWEST_MULTIPLICATIONS = 2.25
"""How many times fewer FLOPs than the analytic ones a 3x3 convolution can take: F(2x2, 3x3) of Winograd's algorithm
(Lavin & Gray 2016, arXiv 1509.09308). A step faster than that allows is no measurement."""


@dataclass
class CeilingsOf:
    """The ceilings of a run by device and precision, each measured once, when it is first asked for."""

    _known: dict[tuple[str, str], Ceilings | None] = field(default_factory=dict)

    def has(self, cell: Cell) -> bool:
        """Whether those of a cell are known already."""
        return key_of(cell) in self._known

    def get(self, cell: Cell) -> Ceilings | None:
        """The fastest rates of all frameworks that are installed, or None where none of them could be run."""
        key = key_of(cell)
        if key not in self._known:
            self._known[key] = measure(*key)
        return self._known[key]


def key_of(cell: Cell) -> tuple[str, str]:
    """What decides on a cell's ceilings."""
    return cell.device, cell.precision


def frameworks() -> list[str]:
    """Whose loads are run."""
    return contestants.default()


def measure(device: str, precision: str) -> Ceilings | None:
    """Run every framework's loads in a process of its own."""
    rates, sizes = dict[str, float](), asdict(SIZES[device.partition(":")[0]])
    for backend in frameworks():
        try:
            environment = huge_pages() if device == "cpu" else {}  # the best that any cell is given
            with WorkerProcess(TIME_LIMIT_S, "benchmarks.ceilings", environment) as worker:
                asked = {"backend": backend, "device": device, "precision": precision}
                found = worker.ask("rates", **asked, sizes=sizes, repeat_s=REPEAT_S)["rates"]
        except WorkerFailure:  # a framework that cannot run here is no ceiling; its cells will say why
            continue
        rates |= {f"{backend} {name}": rate for name, rate in found.items()}
    copies = [rate for name, rate in rates.items() if name.endswith(" copy")]
    products = [rate for name, rate in rates.items() if not name.endswith(" copy")]
    if not copies or not products:
        return None
    return Ceilings(flops_per_s=max(products), bytes_per_s=max(copies), loads=rates)


def is_impossible(step_s: float, flops: int, ceilings: Ceilings) -> bool:
    """Whether a step is faster than its arithmetic could be; small maps may well be copied faster, in a cache."""
    return step_s < flops / FEWEST_MULTIPLICATIONS / ceilings.flops_per_s


def rates(backend: str, device: str, precision: str, sizes: dict[str, Any], repeat_s: float) -> dict[str, Any]:
    """By load, FLOP/s or bytes/s of its fastest run.

    Args:
        sizes: of the loads, as JSON.
        repeat_s: how long a load is run at least, in seconds.
    """
    execution = Execution(device, precision)
    found = {}
    for load in contestants.get(backend).loads(execution, LoadSizes(**sizes)):
        load.run()  # compiles
        fastest_s, count, end = float("inf"), 0, time.perf_counter() + repeat_s
        while count < REPETITIONS or time.perf_counter() < end:
            start = time.perf_counter()
            load.run()
            fastest_s, count = min(fastest_s, time.perf_counter() - start), count + 1
        found[load.name] = (load.flops or load.bytes_moved) / fastest_s
    return {"rates": found}


def main() -> None:
    protocol.die_with_parent()
    answers = protocol.claim_stdout()
    protocol.serve({"rates": rates}, answers)


if __name__ == "__main__":
    main()
