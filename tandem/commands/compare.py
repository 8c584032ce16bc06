"""`tandem compare`: check, bench and report in one. The main job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from backends import capabilities
from benchmarks import beware, provenance, threads
from benchmarks.cell import Cell
from benchmarks.machine import default_device
from benchmarks.measure import Progress, run_cells
from benchmarks.records import FINE, Record
from benchmarks.verdict import BUSY_PERCENT, Comparison
from benchmarks.verdict import compare as compare_records
from parity.compare import REFERENCE
from shared_specs import TandemError
from shared_specs.files import check_writable, write_atomically

from .. import interrupts, selections
from ..console import Output, plain_table, progress, say_command, say_note
from ..gpu_memory import sparing_the_gpu
from ..report import Findings, to_html, to_markdown
from ..report.sentences import gates_sentence, parity_sentence
from ..report.timing import TIMING_COLUMNS, timing_rows
from ..run_display import RunDisplay
from . import bench, check
from .kept_checks import KeptChecks, now, verdict_of
from .resuming import command_to_go_on
from .run_parts import CheckSteps, TimedParts, part_of_check, passes_of_steps

SEMANTICS = "float64"
"""The precision in which every real difference is enormous; the precision that is timed is checked beside it."""

RECORDS = "records"
"""The folder of the records, in that of the comparison."""


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
    with progress("tandem compare") as tell, sparing_the_gpu():
        tell("loading the backends")
        chosen = plan(request, folder)
    chosen = replace(chosen, folder=make_folder(chosen.folder, fresh=folder is None))
    remarks = other_work()
    for remark in remarks:
        say_note(remark)
    known = provenance.finished(chosen.folder / RECORDS)
    timed = TimedParts(chosen.cells, chosen.replicates, known)
    parts = [part_of_check(job, how, chosen.parity) for job in chosen.parity.jobs for how in chosen.parity.executions]
    display = RunDisplay([*parts, *timed.parts])
    kept = KeptChecks(chosen.folder, remarks)
    try:
        return _run(chosen, kept, timed, display, output)
    except (KeyboardInterrupt, Exception) as error:
        if not isinstance(error, KeyboardInterrupt) and not interrupts.came():
            raise
        say_note(
            f"{display.summary()} are done; checks and processes are kept in {chosen.folder}, and "
            "this goes on with the rest:"
        )
        say_command(command_to_go_on("compare", request, chosen.folder, json_path))
        raise


def _run(chosen: Plan, kept: KeptChecks, timed: TimedParts, display: RunDisplay, output: Output) -> int:
    with display:
        with sparing_the_gpu():
            _check(chosen, kept, display, output)
        equal = all(checked.equal for checked in kept.all)
        records = _time(chosen, timed, display) if equal else []
    comparisons = compare_records(records)
    show_timing(comparisons, output)
    findings = Findings(checks=kept.for_report(), records=records, remarks=list(kept.remarks))
    reports = write_reports(findings, chosen.folder)
    conclude(findings, comparisons, output)
    show_files(reports, chosen.folder, output)
    output.write(
        "compare",
        {
            "equal": equal,
            "folder": str(chosen.folder),
            "reports": reports,
            "remarks": findings.remarks,
            "comparisons": list(map(comparison_content, comparisons)),
            "checks": kept.all,
            "records": records,
        },
    )
    return 0 if equal and all(record.status in FINE for record in records) else 1


def plan(request: bench.Request, folder: str | None) -> Plan:
    """Raises TandemError on the first thing that cannot be done."""
    request = replace(request, specs=request.specs or ["unet_bn_same"], device=request.device or default_device())
    named, _ = selections.backend_names(request.backends)
    has_semantics = any(SEMANTICS in capabilities(name).precisions for name in named if name != REFERENCE)
    parity = check.plan(
        check.Request(
            specs=request.specs,
            backends=request.backends,
            precisions=[*([SEMANTICS] if has_semantics else []), *(request.precisions or ["float32"])],
            # Neither size nor batch of the times: a check is on images of unequal sides that tell all choices of a
            # network apart. The gate holds every program at the very input and width that is timed, for which NumPy
            # would take hours with all probes.
            narrow=None if request.narrow == 1 else request.narrow,
            device=request.device or "cpu",
        )
    )
    timed = [name for name in parity.backends if name != REFERENCE]  # it is what the others are checked against
    cells = bench.cells(replace(request, backends=timed))
    bench.check_cells(cells)
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


def _check(chosen: Plan, kept: KeptChecks, display: RunDisplay, output: Output) -> None:
    """Every check, those aside that an earlier run has made; each is printed and kept as soon as it is there."""
    parity = chosen.parity
    for job in parity.jobs:
        with display.aside():
            describe(job, chosen, output)
        for execution in parity.executions:
            part = part_of_check(job, execution, parity)
            checked = kept.find(job, execution, parity)
            was_there = checked is not None
            if checked is None:
                display.start(part)
                started_at = now()
                verdict = check.check(job, execution, parity, CheckSteps(display, passes_of_steps(execution, parity)))
                checked = kept.made_now(verdict, job, started_at)
            kept.keep(checked)
            display.finish(part)
            with display.aside():
                check.show(verdict_of(checked), output)
                if was_there:
                    output.print(f"From an earlier run, of {checked.made and checked.made.started_at}.", style="dim")


def describe(job: check.Job, chosen: Plan, output: Output) -> None:
    """Say on what one network is checked, on what it is timed, and what holds the two together."""
    checked = f"{shape_in_words(job.batch.images.shape)}, {selections.width_in_words(job.spec, job.divisor)}"
    recipe = chosen.parity.recipe.optimizer.kind
    timed = [
        f"{shape_in_words(cell.images_shape)}, {selections.width_in_words(cell.network, cell.narrow)}"
        for cell in chosen.cells
        if cell.network.name == job.spec.name
    ]
    output.print(job.spec.name, style="bold")
    output.print(f"Checked on {checked}: {job.batch.origin}; optimizer {recipe}; {chosen.cells[0].device}", style="dim")
    output.print(f"Timed on   {'; '.join(dict.fromkeys(timed))}; the gate checks every program there", style="dim")


def shape_in_words(shape: Sequence[int]) -> str:
    """ "2 images of 3x32x48"."""
    return f"{shape[0]} image{'s' if shape[0] > 1 else ''} of {'x'.join(map(str, shape[1:]))}"


def _time(chosen: Plan, timed: TimedParts, display: RunDisplay) -> list[Record]:
    """Every process, those aside that an earlier run has timed; each record is written as soon as it is there."""

    def tell(progress: Progress) -> None:
        timed.tell(display, progress)
        if progress.record is not None and progress.record.status not in FINE:
            say_note(progress.record.sentence)

    records = chosen.folder / RECORDS
    return run_cells(chosen.cells, chosen.replicates, results=records, resume=True, on_progress=tell)


NARROW_COLUMNS = ("phase", "backend", "ms a step", "processes", "images/s", "gate")
"""Of the columns of the times, those that a terminal of 80 columns has room for; the report has all."""


def show_timing(comparisons: Sequence[Comparison], output: Output) -> None:
    """One table for each thing that was timed."""
    for title in dict.fromkeys(comparison.title for comparison in comparisons):
        chosen = [comparison for comparison in comparisons if comparison.title == title]
        table = timing_table(title, chosen, TIMING_COLUMNS)
        output.print(table if output.fits(table) else timing_table(title, chosen, NARROW_COLUMNS))


def timing_table(title: str, comparisons: Sequence[Comparison], columns: Sequence[str]) -> Table:
    """One row a backend, one section a phase."""
    table = plain_table(title, *columns, right=TIMING_COLUMNS[2:])
    for comparison in comparisons:
        table.add_section()
        for row in timing_rows(comparison):
            cells: dict[str, str] = dict(zip(TIMING_COLUMNS, row, strict=True))
            table.add_row(*(cells[column] for column in columns))
    return table


def write_reports(findings: Findings, folder: Path) -> dict[str, str | None]:
    """The report in Markdown, and in HTML where plotly is installed; gives their paths."""
    markdown, html = folder / "report.md", folder / "report.html"
    write_atomically(markdown, to_markdown(findings).encode())
    try:
        page = to_html(findings)
    except TandemError as error:  # without plotly
        say_note(f"no report.html: {error}")
        return {"markdown": str(markdown), "html": None}
    write_atomically(html, page.encode())
    return {"markdown": str(markdown), "html": str(html)}


def conclude(findings: Findings, comparisons: Sequence[Comparison], output: Output) -> None:
    """The answer: the same network or not, and for each phase which is faster."""
    equal = all(checked.equal for checked in findings.checks)
    output.print(parity_sentence(findings.checks), style="bold green" if equal else "bold red")
    inputs = dict.fromkeys(shape_in_words(checked.batch.shape) for checked in findings.checks)
    gates = gates_sentence(findings.records)
    output.print(f"Checked on {', '.join(inputs)}.{f' {gates}' if gates else ''}", style="dim")
    for comparison in comparisons:
        output.print(f"{comparison.sentence}.", style="bold")
    limits = beware.remarks(comparison.records for comparison in comparisons)
    for remark in [*findings.remarks, *limits] if comparisons else ():
        output.print(remark, style="bold yellow")
    if not equal:
        output.print("Nothing was timed: there is no time without parity.")


def show_files(reports: dict[str, str | None], folder: Path, output: Output) -> None:
    """Where it all is."""
    output.print("")
    label = "Report"
    for path in filter(None, (reports["html"], reports["markdown"])):
        output.print(f"{label:<8} {path}")
        label = ""
    if (folder / RECORDS).is_dir():
        output.print(f"Records  {folder / RECORDS}")


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    return {
        "title": comparison.title,
        "phase": comparison.phase,
        "outcome": comparison.outcome,
        "sentence": comparison.sentence,
        "step_s": comparison.step_s,
        "threads": threads.difference(comparison.records),
    }
