"""What the project set out to reach, beside what the records say: the tables of targets in docs/results.md.

The numbers here are aims, set before anything was measured. What was reached is taken from records alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import contestants
from benchmarks.levers import Lever, Levers, levers
from benchmarks.records import Record
from benchmarks.verdict import ratio

from .tables import row, table

CELLS = ("unet_bn_same_narrow2 2x128x128 float32 cpu", "unet_paper_narrow2 2x236x236 float32 cpu")
"""Those that the targets of a CPU are of."""

PUBLIC_FLAX = 1.92
"""Times the eager module: the fastest public Flax U-Net known when the targets were set. It is no peer here."""


@dataclass(frozen=True)
class Target:
    """What a step of a backend's best tuning shall take at most, as a multiple of the eager module's."""

    phase: str
    backend: str
    most: float
    reason: str = ""

    @property
    def words(self) -> str:
        return f"at most {self.most:.2f}{self.reason}"


ON_A_CPU = (
    Target("forward", "pytorch", 0.70),
    Target("forward", "flax_nnx", 0.70),
    Target("train_step", "pytorch", 0.90),
    Target("train_step", "flax_nnx", 1.25),
    Target("train_step", "flax_nnx", PUBLIC_FLAX / 1.5, ", 1.5 times as fast as a public Flax U-Net"),
)

ON_A_GPU = {"train_step": 60, "forward": 70}
"""Percent of the floor, at least, in both frameworks."""

GPU_CELL = ("unet_paper", "8x572x572", "bfloat16")

HEADS = ["network, batch, phase", "backend, its best tuning", "target", "measured", "95% interval"]
HEADS += ["% of the floor", "% at the target", "it is"]


def cpu_table(records: Sequence[Record]) -> str:
    """One row a target of a network, and one for each peer that was timed in the same run; "" where none of it was."""
    found = {(each.title, each.phase): each for each in levers(records) if each.title in CELLS}
    lines = [
        _row(found[title, target.phase], target, records)
        for title in CELLS
        for target in ON_A_CPU
        if (title, target.phase) in found
    ]
    lines += [line for each in found.values() for line in _beside_peers(each)]
    reached = sum(line.endswith((" reached |", " reached, within the noise |")) for line in lines)
    return f"{table(HEADS, lines)}\n\nReached: {reached} of {len(lines)}." if lines else ""


def gpu_table(records: Sequence[Record]) -> str:
    """One row for each phase and framework, measured or not."""
    lines = []
    for phase, least in ON_A_GPU.items():
        for backend in ("pytorch", "flax_nnx"):
            best = _best_share([record for record in records if _is_of_gpu(record, phase, backend)])
            reached = "not measured" if best is None else "reached" if best >= least else "**missed**"
            measured = "" if best is None else f"{best:.0f}"
            lines.append(row(" ".join((*GPU_CELL, phase)), backend, f"at least {least}", measured, reached))
    return table(["network, batch, precision, phase", "backend", "% of the floor", "measured", "it is"], lines)


def own_records(arm: Lever, phase: str, records: Sequence[Record]) -> list[Record]:
    """The processes behind an arm."""
    return [
        record
        for record in records
        if (record.cell.backend, record.cell.tuning, record.cell.phase) == (arm.backend, arm.tuning, phase)
        and record.step_s in arm.step_s
    ]


def share(arm: Lever, phase: str, records: Sequence[Record]) -> float | None:
    """The percentage of the floor that an arm reaches: the median over its processes."""
    shares = [found for record in own_records(arm, phase, records) if (found := record.percent_of_floor) is not None]
    return statistics.median(shares) if shares else None


def standing(target: float, measured: float, low: float, high: float) -> str:
    """Whether a ratio is what it shall be at most, and whether its interval leaves that open."""
    said = "reached" if measured <= target else "**missed**"
    return f"{said}, within the noise" if low <= target < high else said


def _best(found: Levers, backend: str) -> Lever | None:
    own = [arm for arm in found.arms if arm.backend == backend and arm.tuning not in contestants.DIAGNOSTIC]
    return min(own, key=lambda arm: arm.ratio, default=None)


def _row(found: Levers, target: Target, records: Sequence[Record]) -> str:
    best, name = _best(found, target.backend), f"{found.title} {found.phase}"
    if best is None:
        return row(name, target.backend, target.words, "", "", "", "", "not measured")
    of_floor = share(best, found.phase, records)
    at_target = "" if of_floor is None else f"{of_floor * best.ratio / target.most:.0f}"
    return row(
        name,
        f"{best.backend} {best.tuning}",
        target.words,
        f"{best.ratio:.2f}",
        f"{best.low:.2f} to {best.high:.2f}",
        "" if of_floor is None else f"{of_floor:.0f}",
        at_target,
        standing(target.most, best.ratio, best.low, best.high),
    )


def _beside_peers(found: Levers) -> list[str]:
    """Each backend's best beside each peer, as a multiple of the peer's time."""
    lines = []
    for peer in [arm for arm in found.arms if arm.backend in contestants.PEERS]:
        for backend in ("pytorch", "flax_nnx"):
            if (best := _best(found, backend)) is None:
                continue
            compared = ratio(backend, best.step_s, peer.backend, peer.step_s)
            ahead = compared.faster == backend
            times = 1 / compared.ratio if ahead else compared.ratio
            low, high = (1 / compared.high, 1 / compared.low) if ahead else (compared.low, compared.high)
            said = "**missed**, a tie" if compared.tie else "reached" if ahead else "**missed**"
            lines.append(
                row(
                    f"{found.title} {found.phase}",
                    f"{best.backend} {best.tuning}",
                    f"ahead of {peer.backend}",
                    f"{times:.2f}",
                    f"{low:.2f} to {high:.2f}",
                    "",
                    "",
                    said,
                )
            )
    return lines


def _is_of_gpu(record: Record, phase: str, backend: str) -> bool:
    cell = record.cell
    there = (cell.spec_label, cell.shape_label, cell.precision) == GPU_CELL and cell.device.startswith("cuda")
    return there and (cell.phase, cell.backend) == (phase, backend)


def _best_share(records: Sequence[Record]) -> float | None:
    by_tuning: dict[str, list[float]] = {}
    for record in records:
        if record.percent_of_floor is not None:
            by_tuning.setdefault(record.cell.tuning, []).append(record.percent_of_floor)
    return max(map(statistics.median, by_tuning.values()), default=None)
