"""Scaling over devices: efficiency, times and memory of each number of replicas, as rows of a table."""

from __future__ import annotations

import statistics

from benchmarks.device_scaling import MODES, DeviceScaling, Point, percent
from benchmarks.verdict import NO_INTERVAL

from ..units import milliseconds, sized

HEAD = ("scaling", "devices", "batch", "ms a step", "images/s", "efficiency", "95% interval", "memory per device")

SAID = (
    "Strong scaling keeps the batch of all devices, weak scaling that of each. Efficiency is the part of k times the "
    "speed of one device that k devices reach, with its 95% interval over groups of processes; one device has none of "
    "the engine that joins several. The slowest rank decides what a step took."
)


def where(point: Point) -> str:
    """ "2 processes of 1 core each", or the number of GPUs."""
    cell = point.records[0].cell
    return cell.where if cell.cores is not None else str(point.replicas)


def row(point: Point) -> list[str]:
    """The cells of a table, as in `HEAD`; a status where nothing was timed."""
    times = point.step_s
    place = [point.mode, where(point), str(point.batch)]
    if not times:
        return [*place, point.records[0].status.replace("_", " "), "", "", "", ""]
    step_s = statistics.median(times)
    said = percent(point.efficiency) if point.efficiency is not None else ("", "")
    memory = ", ".join(dict.fromkeys(map(sized, point.memory_bytes)))
    return [*place, milliseconds(step_s), f"{point.batch / step_s:.1f}", *said, memory]


def name(point: Point) -> str:
    """ "strong scaling, 2 images in all", or "weak scaling, 2 images each"."""
    fixed = f"{point.batch} images in all" if point.mode == "strong" else f"{point.batch // point.replicas} images each"
    return f"{point.mode} scaling, {fixed}"


def sentence(found: DeviceScaling) -> str:
    """The efficiency at the most devices, in both modes, and whose batch statistics they are."""
    said = []
    for mode in MODES:
        if not found.of(mode):
            continue
        *_, last = found.of(mode)
        if last.efficiency is None:
            said.append(f"{mode} scaling could not be told")
            continue
        value, interval = percent(last.efficiency)
        sure = NO_INTERVAL.replace("none", "no interval") if interval == NO_INTERVAL else f"95% {interval}"
        said.append(f"{name(last)}: {value} efficient on {last.records[0].cell.where} ({sure})")
    kind = found.batch_statistics.replace("_", " ")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}. Batch statistics, where the network has any: {kind}."
