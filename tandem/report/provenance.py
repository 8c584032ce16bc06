"""Where the numbers come from, in facts."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import threads
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
        "Threads": {f"{backend} {count}" for backend, count in threads.by_backend(records).items()},
        "GPU while timed": _gpu_states(records),
        "Settled when the warm-up ended": _settled(records),
        "Commit": {record.commit or "not known" for record in records},
        "Command": {Code(record.command) for record in records if record.command},
        "Measured": {f"{min(r.started_at for r in records)} to {max(r.started_at for r in records)}"},
        "Processes": {str(processes(records))},
    }
    return {name: sorted(values) for name, values in found.items() if values}


def _gpu_states(records: Sequence[Record]) -> set[str]:
    """From the least to the most of all windows, as NVML said it just after each."""
    windows = [window.gpu for record in records for window in record.windows if window.gpu is not None]
    found = {
        "SM clock {} MHz": [window.sm_clock_mhz for window in windows],
        "memory clock {} MHz": [window.memory_clock_mhz for window in windows],
        "temperature {} C": [window.temperature_c for window in windows],
    }
    known = {form: [value for value in values if value is not None] for form, values in found.items()}
    ranges = {form: dict.fromkeys((min(values), max(values))) for form, values in known.items() if values}
    return {form.format(" to ".join(map(str, ends))) for form, ends in ranges.items()}


def _settled(records: Sequence[Record]) -> set[str]:
    """How many processes were timed at a pace that had become steady."""
    warmed_up = [record.warm_up.stable for record in records if record.warm_up is not None]
    return {f"{sum(warmed_up)} of {len(warmed_up)} processes"} if warmed_up else set()


def flags(records: Sequence[Record]) -> dict[str, list[str]]:
    """The switches of precision and algorithms by whose they are: of a backend, or of each way in which it was run."""
    found: dict[str, list[str]] = {}
    for backend in dict.fromkeys(record.cell.backend for record in records if record.flags):
        own = [record for record in records if record.cell.backend == backend and record.flags]
        parts = next((parts for parts in WAYS if _tell_apart(own, parts)), WAYS[-1])
        for record in own:
            name = " ".join(getattr(record.cell, part) for part in ("backend", *parts))
            found.setdefault(name, []).extend(f"{flag} {value}" for flag, value in record.flags.items())
    return {name: sorted(set(values)) for name, values in found.items()}


WAYS = ((), ("tuning",), ("precision",), ("tuning", "precision"), ("tuning", "precision", "phase", "device"))
"""What of a cell may decide on its flags, the least of it first."""


def _tell_apart(records: Sequence[Record], parts: Sequence[str]) -> bool:
    """Whether records that are alike in these parts have the same flags."""
    seen: dict[tuple[str, ...], dict[str, str]] = {}
    return all(
        seen.setdefault(tuple(getattr(record.cell, part) for part in parts), record.flags) == record.flags
        for record in records
    )
