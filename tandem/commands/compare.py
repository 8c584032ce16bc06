"""`tandem compare`: check, bench and report in one. The main job."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

import psutil

from benchmarks.cell import Cell
from benchmarks.machine import default_device
from benchmarks.measure import Progress, run_cells
from benchmarks.records import Record
from benchmarks.verdict import BUSY_PERCENT, Comparison
from benchmarks.verdict import compare as compare_records
from parity.compare import REFERENCE
from shared_specs import TandemError
from shared_specs.files import check_writable, write_atomically

from ..console import Output, console, plain_table, say_note, say_progress, to_json
from ..report import Check, Findings, to_markdown
from ..report.markdown import TIMING_COLUMNS, parity_sentence, timing_rows
from . import bench, check

SEMANTICS = "float64"
"""The precision in which every real difference is enormous; the precision that is timed is checked beside it."""


@dataclass(frozen=True)
class Plan:
    """All that will be done, found to be possible before any of it is."""

    parity: check.Plan
    cells: list[Cell]
    replicates: int
    folder: Path


def run(request: bench.Request, folder: str | None = None, json_path: str | None = None) -> int:
    """Check, time what is equal, and say which is faster; 1 where the builds differ or a cell was not timed."""
    output = Output(json_path, request.specs)
    chosen = plan(request, folder)
    chosen = replace(chosen, folder=make_folder(chosen.folder, fresh=folder is None))
    remarks = other_work()
    for remark in remarks:
        say_note(remark)
    with sparing_the_gpu():
        checks = _check(chosen, remarks, output)
    equal = all(checked.equal for checked in checks)
    records = _time(chosen, output) if equal else []
    comparisons = compare_records(records)
    show_timing(comparisons, output)

    page = to_markdown(Findings(checks, records, remarks))
    write_atomically(chosen.folder / "report.md", page.encode())
    output.print(parity_sentence(checks), style="bold green" if equal else "bold red")
    for comparison in comparisons:
        output.print(f"{comparison.sentence}.", style="bold")
    if comparisons:
        for remark in remarks:
            output.print(remark, style="bold yellow")
    if not equal:
        output.print("Nothing was timed: there is no time without parity.")
    output.print(f"The report and every record are in {chosen.folder}", style="dim")
    output.write("compare", _content(equal, checks, records, comparisons, remarks, chosen.folder))
    return 0 if equal and all(record.status == "ok" for record in records) else 1


def plan(request: bench.Request, folder: str | None) -> Plan:
    """Raises TandemError on the first thing that cannot be done."""
    request = replace(request, specs=request.specs or ["unet_bn_same"], device=request.device or default_device())
    parity = check.plan(
        check.Request(
            specs=request.specs,
            backends=request.backends,
            precisions=[SEMANTICS, *(request.precisions or ["float32"])],
            # The gate holds the full width, at the very size that is timed; NumPy would take hours for all probes.
            narrow=None if request.narrow == 1 else request.narrow,
            device=request.device or "cpu",
        )
    )
    timed = [name for name in parity.backends if name != REFERENCE]  # it is what the others are checked against
    cells = bench.cells(replace(request, backends=timed))
    name = "-".join(job.spec.name for job in parity.jobs) if len(parity.jobs) < 4 else "all"
    default = Path("out") / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}"
    return Plan(parity, cells, request.replicates, Path(folder) if folder else default)


def make_folder(folder: Path, fresh: bool = False) -> Path:
    """Make the folder of the results; a fresh one is no other run's, and has a number where its name is taken.

    Raises:
        TandemError: where it cannot be made, or not written to.
    """
    made = folder
    for number in count(2):
        try:
            made.mkdir(parents=True, exist_ok=not fresh)
            break
        except OSError as error:
            if not fresh or not made.is_dir():
                raise TandemError(
                    f"{made}: cannot be made ({error.strerror}); name a writable folder with --output"
                ) from error
            made = folder.with_name(f"{folder.name}-{number}")
    check_writable(made / "report.md")
    return made


def other_work() -> list[str]:
    """What to beware of where this machine is busy before we start: threads that wait for each other crawl."""
    busy_percent = psutil.cpu_percent(interval=0.5)
    if busy_percent <= BUSY_PERCENT:
        return []
    return [f"Other work kept {busy_percent:.0f}% of the cores busy: measure again when the machine is quiet."]


@contextmanager
def sparing_the_gpu() -> Iterator[None]:
    """Keep JAX in this process from taking most of the GPU's memory, which the workers are to have."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    before = os.environ.get(name)
    os.environ.setdefault(name, "false")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


def _check(chosen: Plan, remarks: list[str], output: Output) -> list[Check]:
    values = []
    for job in chosen.parity.jobs:
        check.describe(job, chosen.parity, output)
        for execution in chosen.parity.executions:
            verdict = check.check(job, execution, chosen.parity)
            check.show(verdict, output)
            values.append({"narrow": job.divisor, **json.loads(verdict.to_json())})
    write_atomically(chosen.folder / "check.json", to_json({"checks": values, "remarks": remarks}).encode())
    return [Check.model_validate(value) for value in values]


def _time(chosen: Plan, output: Output) -> list[Record]:
    processes = len(chosen.cells) * chosen.replicates
    output.print(f"Timing in {processes} fresh processes, {chosen.replicates} a cell.", style="bold")
    records = chosen.folder / "records"
    try:
        with _watching(processes) as tell:
            return run_cells(chosen.cells, chosen.replicates, results=records, resume=True, on_progress=tell)
    except KeyboardInterrupt:
        say_note(f"what was timed is kept; the same command with --output {shlex.quote(str(chosen.folder))} goes on")
        raise


class _Watch:
    """Shows a run's progress: the cell, how many processes are done, time passed and an estimate of the rest."""

    def __init__(self, processes: int):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        self.bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console(stderr=True),
            transient=True,
            speed_estimate_period=math.inf,
        )
        self.task = self.bar.add_task("starting", total=processes)

    def __call__(self, progress: Progress) -> None:
        self.bar.update(self.task, completed=progress.done, description=_step(progress))
        _note_failure(progress)


def _say(progress: Progress) -> None:
    """A run's progress where no terminal shows it: one line a process."""
    if progress.record is None:
        say_progress(f"{progress.done} of {progress.total} processes done; {_step(progress)}")
    _note_failure(progress)


def _step(progress: Progress) -> str:
    cell = progress.cell
    what = "the reference of" if progress.stage == "reference" else f"process {progress.replicate} of"
    return f"{what} {cell.backend} {cell.phase}"


def _note_failure(progress: Progress) -> None:
    if progress.record is not None and progress.record.status != "ok":
        say_note(progress.record.sentence)


@contextmanager
def _watching(processes: int) -> Iterator[Callable[[Progress], None]]:
    if not console(stderr=True).is_terminal:
        yield _say
        return
    watch = _Watch(processes)
    with watch.bar:
        yield watch


def show_timing(comparisons: Sequence[Comparison], output: Output) -> None:
    """One table for each thing that was timed."""
    for title in dict.fromkeys(comparison.title for comparison in comparisons):
        table = plain_table(title, *TIMING_COLUMNS, right=TIMING_COLUMNS[2:])
        for comparison in comparisons:
            if comparison.title == title:
                table.add_section()
                for row in timing_rows(comparison):
                    table.add_row(*row)
        output.print(table)


def _content(
    equal: bool,
    checks: list[Check],
    records: list[Record],
    comparisons: list[Comparison],
    remarks: list[str],
    folder: Path,
) -> dict:
    return {
        "equal": equal,
        "folder": str(folder),
        "remarks": remarks,
        "comparisons": [
            {"title": c.title, "phase": c.phase, "outcome": c.outcome, "sentence": c.sentence, "step_s": c.step_s}
            for c in comparisons
        ],
        "checks": [checked.model_dump(mode="json") for checked in checks],
        "records": [record.to_dict() for record in records],
    }
