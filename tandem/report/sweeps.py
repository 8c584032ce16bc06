"""Scaling over the batch or the image: the records of one arm along one axis, put together again from wherever they
come, and each point as a row of a table."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.scaling import ENDS, Axis, Sweep
from shared_specs.shapes import size_label

from ..units import milliseconds, sized
from .scenarios import memory_bytes


def sweeps(records: Iterable[Record], axis: Axis) -> list[Sweep]:
    """One for each arm that was measured at several values of the axis, all else being equal.

    Two are enough where `tandem scale` measured them, or the second failed; of other commands it takes three.
    `largest` is the largest value below the first that was not timed, `ended` the status of that one.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.NO_OP and record.cell.is_alone:
            groups.setdefault(_key(record, axis), []).append(record)
    found = [_sweep(group, axis) for group in groups.values()]
    return [sweep for sweep in found if _is_one(sweep)]


def _is_one(sweep: Sweep) -> bool:
    places = len({sweep.place(record) for record in sweep.records})
    was_meant = sweep.ended is not None or any(_is_of_scale(record.command, sweep.axis) for record in sweep.records)
    return places > 2 or (places == 2 and was_meant)


def _is_of_scale(command: str, axis: Axis) -> bool:
    """Whether a record's command is `tandem scale` along this axis: `--most` may have left few places."""
    _, found, typed = command.partition("tandem scale ")
    return bool(found) and axis in typed.split()


def _key(record: Record, axis: Axis) -> tuple[object, ...]:
    # Two specs may be narrowed to one network, and their labels tell them apart.
    cell = record.cell
    fixed = cell.size if axis == "batch" else cell.batch
    what = (record.spec_fingerprint, cell.spec_label, cell.phase, cell.recipe, cell.seed, fixed)
    return *what, cell.backend, cell.tuning, cell.precision, cell.device, record.machine.kind, record.commit


def _sweep(records: list[Record], axis: Axis) -> Sweep:
    sweep = Sweep(records[0].cell, axis, tuple(records), None, None)
    places = sorted({sweep.place(record) for record in records})
    timed = {sweep.place(record) for record in records if record.step_s is not None}
    failed = [place for place in places if place not in timed and any(t < place for t in timed)]
    within = [place for place in timed if not failed or place < failed[0]]
    largest = max(within, default=None)
    ended = next((r.status for r in records if failed and sweep.place(r) == failed[0]), None)
    return Sweep(records[0].cell, axis, tuple(records), largest, ended)


def end(found: Sweep) -> str:
    """How the sweep ended, without the place."""
    what = "batch" if found.axis == "batch" else "side"
    if found.largest is None:
        return "Nothing fits" if all(record.status in ENDS for record in found.records) else "Nothing was timed"
    if found.ended is None:
        return f"The largest {what} tried, which fits"
    if found.ended == "out_of_memory":
        return f"The largest {what} that fits, before memory ends"
    return f"The largest {what} that was timed; beyond it, {found.ended.replace('_', ' ')}"


HEAD = ("ms a step", "images/s", "ns a pixel", "memory", "% of the floor")
"""Beside the place on the axis, in the terminal and in Markdown."""


def title(found: Sweep) -> str:
    """ "unet_paper train_step float32 cpu: pytorch tuned", with what does not grow."""
    cell = found.cell
    fixed = f"{size_label(cell.size)} pixels" if found.axis == "batch" else f"batch {cell.batch}"
    return f"{cell.spec_label} {fixed} {cell.phase} {cell.precision} {cell.device}: {cell.backend} {cell.tuning}"


def row(found: Sweep, record: Record) -> tuple[str, ...]:
    """The cells of a table, the place first; a status where nothing was timed."""
    place = str(record.cell.batch) if found.axis == "batch" else size_label(record.cell.size)
    if record.step_s is None:
        return place, record.status.replace("_", " "), "", "", "", ""
    memory, share = memory_bytes(record), record.percent_of_floor
    return (
        place,
        milliseconds(record.step_s),
        f"{record.images_per_s:.1f}",
        f"{found.ns_per_pixel(record):.1f}",
        sized(memory) if memory else "",
        f"{share:.0f}" if share is not None else "",
    )
