"""Scaling: the records of one arm along one axis, put together again from wherever they come."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import contestants
from benchmarks.records import Record
from benchmarks.scaling import Axis, Sweep


def sweeps(records: Iterable[Record], axis: Axis) -> list[Sweep]:
    """One for each arm that was measured at three values of the axis, or up to one that failed, all else being equal.

    `largest` is the largest value below the first that was not timed, `ended` the status of that one.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if record.cell.backend not in contestants.NO_OP and record.cell.is_alone:
            groups.setdefault(_key(record, axis), []).append(record)
    found = [_sweep(group, axis) for group in groups.values()]
    return [sweep for sweep in found if _places(sweep) > 2 or (_places(sweep) == 2 and sweep.ended is not None)]


def _places(sweep: Sweep) -> int:
    return len({sweep.place(record) for record in sweep.records})


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
