"""`tandem scale replicas`: how a training step scales over devices, with the batch of all fixed and that of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import contestants, machine, threads
from benchmarks.cell import Cell
from benchmarks.device_scaling import DeviceScaling, by_turns, counts, device_scalings, found_devices, plan
from benchmarks.gate import References
from benchmarks.measure import measure_cell
from benchmarks.record_files import check_folder, save_record
from benchmarks.records import Record
from benchmarks.verdict import is_busy
from shared_specs import TandemError
from shared_specs.recipe import BatchStatistics

from .. import selections
from ..console import Output, plain_table, progress, say_note
from ..report.devices import HEAD, row, sentence
from . import bench

STATISTICS: tuple[BatchStatistics, ...] = ("global", "per_replica")


def run(
    request: bench.Request,
    most: int | None = None,
    batch_statistics: str | None = None,
    results: str | None = None,
    json_path: str | None = None,
) -> int:
    """Time every backend that can on 1, 2, 4 ... devices; 1 where a cell could not be timed."""
    output = Output(json_path, request.specs)
    device = request.device or machine.default_device()
    statistics_of = chosen_statistics(batch_statistics, device)
    most = devices_to_use(most, device)
    request = replace(
        request,
        specs=request.specs or ["unet_bn_same"],
        phases=request.phases or ["train_step"],
        device=device,
    )
    alone = [with_divisible_batch(cell, most, request.batch) for cell in bench.cells(request)]
    lacking: dict[str, str] = {}
    planned: list[list[Cell]] = []
    for cell in alone:
        cells = plan(cell, most, statistics_of)
        if reason := lacks(cells[-1]):
            lacking[f"{cell.backend} {cell.tuning}"] = reason
            continue
        for each in cells:
            each.check()
        planned.append(cells)
    if not planned:
        raise TandemError("; ".join(f"{who.split()[0]} {reason}" for who, reason in lacking.items()))
    if results is not None:
        check_folder(Path(results))
    for who, reason in lacking.items():
        say_note(f"{who.split()[0]} is left out: it {reason}")
    records = measure(planned, request.replicates, results)
    scalings = device_scalings(records)
    for found in scalings:
        show(found, output)
    if is_busy(records):
        say_note("other work kept the cores busy meanwhile: measure again when the machine is quiet")
    for said in threads.differences([records]):
        say_note(said)
    content = [content_of(found) for found in scalings]
    output.write("scale_replicas", {"scalings": content, "lacking": lacking, "records": records})
    return 0 if all(record.status == "ok" for record in records) else 1


def chosen_statistics(text: str | None, device: str) -> BatchStatistics:
    """What was asked for; by default what can be judged at usual sizes: each replica's own on a CPU, else global."""
    if text is None:
        return "per_replica" if device == "cpu" else "global"
    chosen = selections.one("kind of batch statistics", text.replace("-", "_"), STATISTICS)
    return "global" if chosen == "global" else "per_replica"


def devices_to_use(most: int | None, device: str) -> int:
    """How many devices are used at most; by default all. Raises TandemError."""
    found = found_devices(device)
    most = found if most is None else most
    if most < 2:
        raise TandemError(
            f"got {most} device{'' if most == 1 else 's'}, and replicas take one each; scaling begins with --most 2"
        )
    return most


def with_divisible_batch(cell: Cell, most: int, asked: int | None) -> Cell:
    """The cell with a batch that divides among all numbers of devices, where none was asked for."""
    if asked is not None:
        return cell
    needed = cell.batch
    while any(needed % count for count in counts(most)):
        needed += 1
    return cell.model_copy(update={"batch": needed})


def lacks(cell: Cell) -> str | None:
    """Why a backend cannot train such replicas, or None."""
    if lacking := cell.lacks or contestants.capabilities(cell.backend).lacks(replicas=cell.replicas):
        return lacking
    return contestants.get(cell.backend).lacks_replicas(cell.network, cell.execution, cell.recipe)


def measure(planned: Sequence[Sequence[Cell]], replicates: int, results: str | None) -> list[Record]:
    """Every cell in so many groups of processes, all backends of a comparison by turns."""
    references, records = References(), list[Record]()
    order = by_turns([cell for cells in planned for cell in cells], replicates)
    with progress("tandem scale replicas") as tell:
        for number, (cell, replicate) in enumerate(order, start=1):
            where = f"{cell.backend} {cell.tuning}, {cell.where}, batch {cell.batch}"
            tell(f"{where}, run {replicate} of {replicates} ({number} of {len(order)})")
            # No ceilings: they are those of one device, and of all cores.
            records.append(measure_cell(cell, replicate, references))
            if results is not None:
                save_record(records[-1], Path(results))
            if records[-1].status != "ok":
                say_note(records[-1].sentence)
    return records


def show(found: DeviceScaling, output: Output) -> None:
    """One table, and what it amounts to in a sentence for each mode."""
    table = table_of(found, HEAD)
    output.print(table if output.fits(table) else table_of(found, NARROW_HEAD))
    output.print(sentence(found))


NARROW_HEAD = ("scaling", "devices", "ms a step", "efficiency", "memory per device")
"""Of the columns, those that a terminal of 80 columns has room for; the sentence below has the intervals."""


def table_of(found: DeviceScaling, columns: Sequence[str]) -> Table:
    """One row a point."""
    table = plain_table(found.title, *columns, right=HEAD[2:])
    for point in found.points:
        cells: dict[str, str] = dict(zip(HEAD, row(point), strict=True))
        table.add_row(*(cells[column] for column in columns))
    return table


def content_of(found: DeviceScaling) -> dict[str, Any]:
    """As JSON."""
    return {
        "title": found.title,
        "batch_statistics": found.batch_statistics,
        "points": [
            {
                "mode": point.mode,
                "replicas": point.replicas,
                "where": point.records[0].cell.where,
                "batch": point.batch,
                "step_s": tuple(point.step_s),
                "efficiency": None if point.efficiency is None else dict(zip(KEYS, point.efficiency, strict=True)),
                "memory_bytes": point.memory_bytes,
            }
            for point in found.points
        ],
    }


KEYS = ("value", "low", "high")
