"""The parent's side of a measurement: drive a worker through a cell, gate it, and write down what came of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil

from backends.processes import free_memory_limit_bytes
from shared_specs import TandemError
from shared_specs.cost import total_cost
from shared_specs.errors import one_line

from . import contestants, provenance
from .ceilings import CeilingsOf, is_impossible
from .cell import Cell
from .environment import worker_environment
from .gate import Reference, References, judge
from .machine import this_machine
from .plan import check_supported, interleave
from .process import WorkerFailure, WorkerProcess
from .record_files import check_folder, save_record
from .records import Gate, Record, Startup, Status, WarmUp, Window
from .replica_worker import GroupWorker

ROUNDS, WINDOW_S = 5, 0.2
"""A round is one window of pipelined steps of about this many seconds, or of one step where that takes longer."""

LATENCIES, LATENCIES_LIMIT_S = 20, 1.0
"""Single synchronised steps: this many, or as many as fit into the limit, and at least three."""

WARM_UP_LIMIT_S = 3.0

TIME_LIMIT_S = 600.0
"""For one worker, from start to end; where it is reached, the worker is killed and the record says so."""

BYTES_PER_ELEMENT = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2}


class WorkerClock:
    """A timer that only moves when a worker says how long a step took: give it to pytest-benchmark.

    Between two readings lies the seconds a step took by the worker's own clock, so that what the pipe, the parent
    or a busy terminal cost is in no figure.
    """

    def __init__(self, name: str = "worker_clock"):
        self.__name__ = self.__qualname__ = name  # pytest-benchmark writes a timer's name into its JSON
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


worker_clock = WorkerClock()

Runner = Callable[[Callable[[], None]], None]
"""Calls the round it is given as often as it wants; each call advances `worker_clock` by the seconds of a step."""


def plain_rounds(one_round: Callable[[], None]) -> None:
    for _ in range(ROUNDS):
        one_round()


def measure_cell(
    cell: Cell,
    replicate: int,
    references: References,
    time_limit_s: float = TIME_LIMIT_S,
    run_rounds: Runner = plain_rounds,
    ceilings: CeilingsOf | None = None,
) -> Record:
    """Time one cell in a fresh process. Whatever happens to the worker becomes the record's status.

    Args:
        run_rounds: is called only for a cell that has passed the gate.
        ceilings: what the machine can reach; without them the record has no percentage of it.

    Raises:
        SpecError, ShapeError: where the cell itself cannot be; `Cell.check` says so beforehand.
    """
    started_at, at_start = datetime.now(UTC), provenance.commit()
    seen: dict[str, Any] = {}
    is_ours = cell.backend not in contestants.NOT_OURS
    try:
        if cell.lacks is not None:
            raise WorkerFailure("unsupported", cell.lacks)
        # Before the worker starts, so that the two never share the cores.
        reference = _reference(references, cell) if is_ours else None
        seen["ceilings"] = ceilings.get(cell) if ceilings else None
        seen["other_work_percent"] = other_work_percent()
        with _worker_of(cell, time_limit_s) as worker:
            _drive(worker, cell, partial(judge, reference), run_rounds, seen)
        passed = "gate" not in seen or seen["gate"].comparable
        status: Status = "ok" if passed and "windows" in seen else "not_comparable"
        message = ""
    except WorkerFailure as failure:
        status, message = failure.status, str(failure)
    flops, bytes_moved = total_cost(cell.network, cell.images_shape, BYTES_PER_ELEMENT[cell.precision]).of_phase(
        cell.phase
    )
    record = Record(
        cell=cell,
        replicate=replicate,
        status=status,
        message=message,
        spec_fingerprint=cell.network.fingerprint,
        parameter_count=cell.network.parameter_count,
        flops=flops,
        bytes_moved=bytes_moved,
        machine=this_machine(),
        commit=provenance.of_run(at_start),
        command=provenance.command_line(),
        started_at=started_at.isoformat(timespec="seconds"),
        **seen,
    )
    return _refuse_the_impossible(record)


def _worker_of(cell: Cell, time_limit_s: float) -> WorkerProcess | GroupWorker:
    limit = free_memory_limit_bytes()
    if cell.replicas > 1:
        return GroupWorker(cell, time_limit_s, limit)
    return WorkerProcess(time_limit_s, environment=worker_environment(cell), memory_limit_bytes=limit)


def _refuse_the_impossible(record: Record) -> Record:
    """The record, as "broken" where its step is faster than this machine can be."""
    rate, ceilings = record.flops_per_s, record.ceilings
    if rate is None or record.step_s is None or ceilings is None:
        return record
    if not is_impossible(record.step_s, record.flops, ceilings):
        return record
    message = (
        f"a step of {1e3 * record.step_s:.3g} ms would be {rate:.3g} FLOP/s where this machine reached "
        f"{ceilings.flops_per_s:.3g}: it did not do its work, or the clock is wrong"
    )
    return record.model_copy(update={"status": "broken", "message": message})


def _reference(references: References, cell: Cell) -> Reference:
    """Raises WorkerFailure: without a reference there is no parity, so that no worker is started at all."""
    try:
        return references.get(cell)
    except MemoryError as error:
        said = one_line(str(error)) or "out of memory"
        raise WorkerFailure("failed", f"the reference could not be computed: {said}") from error
    except TandemError as error:
        raise WorkerFailure("failed", f"the reference could not be computed: {error}") from error


def other_work_percent() -> float:
    """How busy this machine is before we start, in percent of its cores: threads that wait for each other crawl."""
    return psutil.cpu_percent(interval=0.3)


def _drive(
    worker: WorkerProcess | GroupWorker,
    cell: Cell,
    judge_fingerprint: Callable[[dict[str, list[float]]], Gate],
    run_rounds: Runner,
    seen: dict[str, Any],
) -> None:
    """Take the worker through the cell; `seen` fills with fields of the record as they become known."""
    started = worker.ask("start", cell=cell.model_dump(mode="json"), spawned_at=worker.spawned_at)
    fingerprint, description = started.pop("fingerprint"), started.pop("description")
    if cell.backend in contestants.NOT_OURS:
        seen["another_network"] = description
        if not all(math.isfinite(value) for values in fingerprint.values() for value in values):
            raise WorkerFailure("failed", "computes NaN or Inf")
    else:
        seen["gate"] = judge_fingerprint(fingerprint)
    seen["startup"] = Startup(**started.pop("startup"))
    precision = started.pop("effective_precision")
    seen.update(started)
    if precision != cell.precision:
        raise WorkerFailure("not_comparable", f"computes in {precision}, and {cell.precision} was asked for")
    if "gate" in seen and not seen["gate"].comparable:
        return
    warm_up = seen["warm_up"] = WarmUp(**worker.ask("warm_up", window_s=WINDOW_S, limit_s=WARM_UP_LIMIT_S))
    steps = max(1, math.ceil(WINDOW_S / warm_up.step_s))

    def one_round() -> None:
        window = Window(**worker.ask("watched_window", steps=steps))
        seen["windows"] = (*seen.get("windows", ()), window)
        worker_clock.advance(window.seconds / window.steps)

    run_rounds(one_round)
    latencies = max(3, min(LATENCIES, int(LATENCIES_LIMIT_S / warm_up.step_s)))
    seen.update(worker.ask("steps", steps=latencies))
    ended = worker.ask("finish")
    again = ended.pop("fingerprint")
    seen.update(ended)
    if again and "gate" in seen:  # what was replayed in the windows, not the first call alone
        seen["gate"] = max(seen["gate"], judge_fingerprint(again), key=lambda gate: gate.distance)


Stage = Literal["reference", "ceilings", "timing", "done", "resumed"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `done` of `total` processes, and what is being done now."""

    done: int
    total: int
    cell: Cell
    replicate: int
    stage: Stage
    record: Record | None = None


def run_cells(
    cells: Sequence[Cell],
    replicates: int = 3,
    results: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> list[Record]:
    """Time cells, each in as many fresh processes as there are replicates, A-B-B-A within each comparison.

    Args:
        results: a folder; every record is written there as soon as it is there.
        resume: skip what this folder already holds from this machine and commit.

    Raises:
        TandemError: where a cell cannot be, or a record cannot be written; nothing measured is lost.
    """
    for cell in cells:
        cell.check()
    check_supported(cells)
    if results is not None:
        check_folder(results)
    known = provenance.finished(results) if resume and results is not None else {}
    references, ceilings, records = References(), CeilingsOf(), list[Record]()
    plan = interleave(cells, replicates)

    def prepare(cell: Cell, tell: Callable[[Stage], None]) -> None:
        """What a process needs that is measured once for several."""
        if cell.backend not in contestants.NOT_OURS and not references.has(cell):
            tell("reference")
            with contextlib.suppress(MemoryError, TandemError):  # the record will say so
                references.get(cell)
        if not ceilings.has(cell):
            tell("ceilings")
            ceilings.get(cell)
        tell("timing")

    for done, (cell, replicate) in enumerate(plan):

        def tell(
            stage: Stage,
            record: Record | None = None,
            at: tuple[int, Cell, int] = (done, cell, replicate),
        ) -> None:
            if on_progress is not None:
                on_progress(Progress(at[0] + (record is not None), len(plan), at[1], at[2], stage, record))

        record = known.get((cell, replicate))
        if record is None:
            if cell.lacks is None:
                prepare(cell, tell)
            record = measure_cell(cell, replicate, references, time_limit_s, ceilings=ceilings)
            if results is not None:
                save_record(record, results)
            tell("done", record)
        else:
            tell("resumed", record)
        records.append(record)
    return records
