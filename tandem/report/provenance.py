"""Where the numbers come from, in facts."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Record

from ..left_out import processes
from ..units import sized


class Code(str):
    """A fact that is shown as code."""


def facts(records: Sequence[Record]) -> dict[str, list[str]]:
    """By name, what is true of some of the records or of all."""
    if not records:
        return {}
    gpus = {gpu.name for record in records for gpu in record.machine.gpus}
    machines = {f"{r.machine.cpu}, {r.machine.usable_cores} cores, {sized(r.machine.memory_bytes)}" for r in records}
    found: dict[str, set[str]] = {
        "Machine": machines | gpus,
        "System": {f"{record.machine.system}, {record.machine.python}" for record in records},
        "Versions": {f"{name} {number}" for record in records for name, number in record.versions.items()},
        "Precision flags": {f"{name} {value}" for record in records for name, value in record.flags.items()},
        "Commit": {record.commit or "not known" for record in records},
        "Command": {Code(record.command) for record in records if record.command},
        "Measured": {f"{min(r.started_at for r in records)} to {max(r.started_at for r in records)}"},
        "Processes": {str(processes(records))},
    }
    return {name: sorted(values) for name, values in found.items() if values}
