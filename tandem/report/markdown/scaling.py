"""Scaling in Markdown: over the batch, over the image, and over devices."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.device_scaling import device_scalings
from benchmarks.records import Record
from benchmarks.scaling import AXES

from .. import devices, sweeps
from .markup import plain, table


def over_devices(records: Sequence[Record]) -> str:
    """Scaling over devices, a table for each backend and tuning."""
    parts = []
    for found in device_scalings(records):
        rows = list(map(devices.row, found.points))
        parts += [f"**{plain(found.title)}**", plain(devices.sentence(found)), table(devices.HEAD, rows, range(2, 8))]
    return "\n\n".join(["## Scaling over devices", plain(devices.SAID), *parts]) if parts else ""


def over_sizes(records: Sequence[Record]) -> str:
    """Scaling over the batch and over the image size, a table for each backend and tuning."""
    parts = []
    for axis in AXES:
        for found in sweeps.sweeps(records, axis):
            parts.append(f"**{plain(sweeps.title(found))}**")
            parts.append(plain(f"{sweeps.end(found)}{'' if found.largest is None else f': {found.largest}'}."))
            rows = [sweeps.row(found, record) for record in sorted(found.records, key=found.place)]
            parts.append(table((found.axis, *sweeps.HEAD), rows, range(6)))
    return "\n\n".join(["## Scaling", *parts]) if parts else ""
