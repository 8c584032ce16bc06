"""The parts of a comparison that take time, and how far each is: checks, references, ceilings, timed processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends import Execution, capabilities
from backends.contract import PHASES, UNIT_ROUNDOFF
from benchmarks import ceilings, contestants, gate
from benchmarks.cell import Cell
from benchmarks.measure import Progress
from benchmarks.plan import interleave
from parity.compare import REFERENCE
from parity.noise_floor import reruns
from parity.probes import EVALUATION, STAGES, TRAINING, joined_with, train
from shared_specs.cost import total_cost

from ..estimate import Part
from ..run_display import RunDisplay
from . import check

FORWARD_PASSES = {"activations": 1, "forward": 1, "gradients": 3, "trajectory": 9}
"""What a stage costs, by its last probe: a backward pass counts two forward ones, a trajectory has three steps."""


def part_of_check(job: check.Job, execution: Execution, chosen: check.Plan) -> Part:
    """One network in one precision."""
    passes = sum(passes_of_steps(execution, chosen))
    flops = total_cost(job.spec, job.batch.images.shape).forward_flops
    return Part("check", f"{job.spec.name}, {execution.precision}", work=passes * max(1, flops))


def passes_of_steps(execution: Execution, chosen: check.Plan) -> list[int]:
    """The forward passes of each step that a check tells: every stage of every model and re-run."""
    able = {name: capabilities(name) for name in {REFERENCE, *chosen.backends}}
    able = {name: can for name, can in able.items() if name == REFERENCE or can.lacks(execution) is None}
    trained = [name for name, can in able.items() if set(PHASES) <= set(can.phases)]
    noisy, turned = map(len, reruns(execution.unit_roundoff, chosen.seed))
    passes: list[int] = []
    served: set[str] = set()  # by a run of the reference for an earlier stage
    for stage, views in STAGES.items():
        wanted = [view for view in views if view in chosen.probes]
        others = len(trained if stage in TRAINING else able) - 1
        if not wanted or not others:
            continue
        _, also = joined_with(stage, STAGES, chosen.probes)
        if not set(wanted) <= served:
            runs = 1 + noisy + (0 if stage in EVALUATION else turned)
            passes += [FORWARD_PASSES[(STAGES[train] if also else views)[-1]]] * runs
        passes += [FORWARD_PASSES[views[-1]]] * others
        served.update(wanted, also)
    return passes


class CheckSteps:
    """Takes what a check tells of itself to the display, with the share of it that is done."""

    def __init__(self, display: RunDisplay, passes: Sequence[int]):
        self._display, self._left, self._total = display, list(passes), sum(passes)

    def __call__(self, step: str) -> None:
        self._display.advance(step, 1 - sum(self._left) / self._total)
        if self._left:
            del self._left[0]


class TimedParts:
    """The references, ceilings and processes of a run of cells, in the order in which they come.

    Args:
        known: what an earlier run has measured already.
    """

    def __init__(self, cells: Sequence[Cell], replicates: int, known: Mapping[tuple[Cell, int], object]):
        self.parts: list[Part] = []
        self._references: dict[tuple[object, ...], Part] = {}
        self._ceilings: dict[tuple[str, str], Part] = {}
        self._processes: dict[tuple[Cell, int], Part] = {}
        for cell, replicate in interleave(cells, replicates):
            if cell.lacks is not None:
                continue  # no process, and done at once
            if (cell, replicate) not in known:
                self._plan_before(cell)
            process = self._processes[cell, replicate] = _process(cell, replicate, replicates)
            self.parts.append(process)

    def _plan_before(self, cell: Cell) -> None:
        """What a process needs that is measured once for several."""
        if cell.backend not in contestants.NOT_OURS and gate.key_of(cell) not in self._references:
            self.parts.append(_reference(cell))
            self._references[gate.key_of(cell)] = self.parts[-1]
        if ceilings.key_of(cell) not in self._ceilings:
            words = f"what this machine reaches in {cell.precision} on {cell.device}"
            self.parts.append(Part("ceiling", words, (cell.device,)))
            self._ceilings[ceilings.key_of(cell)] = self.parts[-1]

    def tell(self, display: RunDisplay, progress: Progress) -> None:
        """Take what a run tells of itself to the display."""
        process = self._processes.get((progress.cell, progress.replicate))
        if process is None:
            return
        before = display.estimate.running
        if before is not None and before != process:  # a reference or ceilings, which are told by what comes next
            display.finish(before)
        match progress.stage:
            case "reference":
                display.start(self._references[gate.key_of(progress.cell)])
            case "ceilings":
                display.start(self._ceilings[ceilings.key_of(progress.cell)])
            case "timing":
                display.start(process)
            case "done" | "resumed":
                display.finish(process)


def _reference(cell: Cell) -> Part:
    by = "numpy" if gate.is_small(cell) else "framework"
    flops, _ = total_cost(cell.network, cell.images_shape).of_phase(cell.phase)
    runs = 1 + sum(map(len, reruns(UNIT_ROUNDOFF[cell.precision], cell.seed)))
    return Part("reference", f"{cell.phase} of {_what(cell)}", (by,), max(1, flops) * runs)


def _process(cell: Cell, replicate: int, replicates: int) -> Part:
    tuning = "" if cell.tuning == "default" else f" {cell.tuning}"
    words = f"{cell.backend}{tuning} {cell.phase}, {_what(cell)}, run {replicate} of {replicates}"
    return Part("process", words, (cell.backend, cell.tuning, cell.phase, cell.spec_label, cell.precision))


def _what(cell: Cell) -> str:
    return f"{cell.spec_label} {cell.shape_label} {cell.precision}"
