"""`tandem scale`: how a step grows with the batch or the image, up to where memory ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import beware, threads
from benchmarks.ceilings import CeilingsOf
from benchmarks.cell import Cell
from benchmarks.gate import References
from benchmarks.measure import measure_cell
from benchmarks.record_files import check_folder, save_record
from benchmarks.records import FINE, Record
from benchmarks.scaling import AXES, Axis, Sweep, steps, sweep
from shared_specs import TandemError

from .. import selections
from ..console import Output, plain_table, progress, say_note
from ..report.sweeps import HEAD, row, title
from . import bench

MOST: dict[Axis, int] = {"batch": 64, "size": 1024}
"""Where a sweep ends that memory has not ended before."""


def run(
    request: bench.Request,
    axis: str,
    most: int | None = None,
    results: str | None = None,
    json_path: str | None = None,
) -> int:
    """Sweep every backend, phase and tuning that was asked for; 0 unless one that can be timed was not at all."""
    output = Output(json_path, request.specs)
    chosen = selections.choose("axis", [axis], (*AXES, "replicas"))
    assert chosen
    along: Axis = "batch" if chosen[0] == "batch" else "size"
    cells = bench.cells(replace(request, specs=request.specs or ["unet_bn_same"], phases=request.phases or ["forward"]))
    if most is not None and most < 1:
        raise TandemError(f"--most: got {most}, expected at least 1")
    if (request.batch if along == "batch" else request.size) is not None:
        raise TandemError(f"--{along} is what grows; leave it out, and say how far with --most")
    bench.check_cells(cells)
    for cell in cells:
        if not steps(cell.network, along, most or MOST[along]):
            raise TandemError(f"{cell.spec_label} takes nothing as small as --most {most}; take a larger --most")
    if results is not None:
        check_folder(Path(results))
    references, ceilings, sweeps = References(), CeilingsOf(), list[Sweep]()
    for cell in cells:
        seen: list[Record] = []
        try:
            with progress(f"{cell.backend} {cell.tuning} {cell.phase}") as tell:

                def measure(at: Cell, tell=tell, seen=seen) -> Record:
                    tell(at.shape_label)
                    record = measure_cell(at, 1, references, ceilings=ceilings)
                    seen.append(record)
                    if results is not None:
                        save_record(record, Path(results))
                    return record

                found = sweep(cell, along, measure, most or MOST[along])
        except (KeyboardInterrupt, Exception):
            if seen:
                show_points(Sweep(cell, along, tuple(seen), None, None), output)
                say_note("the sweep did not come to its end; these points were measured")
            raise
        sweeps.append(found)
        show(found, output)
    every = [[record for found in sweeps for record in found.records]]
    for said in beware.remarks(every):
        say_note(said)
    content = {"sweeps": [_content(found) for found in sweeps], "threads": threads.differences(every)}
    output.write("scale", {"axis": along, **content})
    return 0 if all(found.timed or unsupported(found) for found in sweeps) else 1


def check_not_given(axis: str, given: Mapping[str, object]) -> None:
    """Refuse options that belong to the axis replicas. Raises TandemError."""
    for option, value in given.items():
        if value is not None:
            raise TandemError(f"{option} belongs to `tandem scale replicas`; leave it out along {axis}")


def show(found: Sweep, output: Output) -> None:
    """One table a sweep, and what it amounts to in a sentence."""
    show_points(found, output)
    output.print(sentence(found))


def show_points(found: Sweep, output: Output) -> None:
    """The table alone, and of each point that was not timed why."""
    columns = (found.axis, *HEAD)
    table = plain_table(title(found), *columns, right=columns)
    for record in sorted(found.records, key=found.place):
        table.add_row(*row(found, record))
        if record.status not in FINE:
            say_note(record.sentence)
    output.print(table)


def unsupported(found: Sweep) -> bool:
    """Whether the backend cannot do it at all."""
    return found.records[-1].status == "unsupported"


def sentence(found: Sweep) -> str:
    """What the sweep says: the largest that fits, and why it ended."""
    if unsupported(found):
        return f"Unsupported: {found.cell.backend} {found.records[-1].message}."
    if found.largest is None:
        return "Nothing could be timed."
    what = "batch" if found.axis == "batch" else "side"
    if found.ended is None:
        return f"The largest {what} tried, {found.largest}, fits; --most goes further."
    if found.ended == "out_of_memory":
        return f"The largest {what} that fits is {found.largest}; beyond it memory ends."
    return f"The largest {what} that was timed is {found.largest}; beyond it: {found.ended.replace('_', ' ')}."


def _content(found: Sweep) -> dict[str, object]:
    records: Sequence[Record] = found.records
    return {
        "largest": found.largest,
        "ended": found.ended,
        "records": [record.to_dict() | {"ns_per_pixel": found.ns_per_pixel(record)} for record in records],
    }
