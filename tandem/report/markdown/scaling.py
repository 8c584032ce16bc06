"""Scaling in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.device_scaling import device_scalings
from benchmarks.records import Record

from .. import devices
from .markup import plain, table


def over_devices(records: Sequence[Record]) -> str:
    """Scaling over devices, a table for each backend and tuning."""
    parts = []
    for found in device_scalings(records):
        rows = list(map(devices.row, found.points))
        parts += [f"**{plain(found.title)}**", plain(devices.sentence(found)), table(devices.HEAD, rows, range(2, 8))]
    return "\n\n".join(["## Scaling over devices", plain(devices.SAID), *parts]) if parts else ""
