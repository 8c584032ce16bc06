"""How many threads each backend of a comparison computed with, and what in the environment limited one of them alone.

On a CPU this decides: PyTorch heeds `OMP_NUM_THREADS`, and XLA has never heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .records import Record

HEEDS: Mapping[str, tuple[str, ...]] = {
    "PyTorch": ("OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    "XLA": ("NPROC", "PJRT_NPROC"),
    "ONNX Runtime": (),
}
"""By engine, what in the environment sets how many threads it computes with."""

VARIABLES = tuple(dict.fromkeys(name for names in HEEDS.values() for name in names))


def engine(record: Record) -> str | None:
    """What computes for the backend of a record, as its versions say; None for what has no pool that is told of."""
    for distribution, name in (("onnxruntime", "ONNX Runtime"), ("jax", "XLA"), ("torch", "PyTorch")):
        if distribution in record.versions:
            return name
    return None


def threads(record: Record) -> int | None:
    """The threads that a backend computed with; None where the record does not tell."""
    match engine(record):
        case "PyTorch":
            return record.threads.get("torch")
        case "XLA":
            return record.threads.get("xla")
        case "ONNX Runtime":
            count = record.flags.get("onnxruntime.intra_op_num_threads", "")
            return int(count) if count.isdecimal() else None
    return None


def by_backend(records: Iterable[Record]) -> dict[str, str]:
    """In words, by backend: "2", "1 to 2" where its processes differ, or why it is not known."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.cell.device == "cpu" and record.threads and engine(record) is not None:
            found.setdefault(record.cell.backend, []).append(record)
    return {backend: _words(own) for backend, own in found.items()}


def _words(records: Sequence[Record]) -> str:
    counts = sorted({count for record in records if (count := threads(record)) is not None})
    if counts:
        return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    cores = max(record.threads.get("usable_cores", record.machine.usable_cores) for record in records)
    return f"not recorded, of {cores} usable {'core' if cores == 1 else 'cores'}"


def difference(records: Sequence[Record]) -> str | None:
    """One sentence where backends of a comparison had different numbers of threads, and why; None where they had not.

    Of a backend whose record does not tell, it is believed that it took every core, unless the environment limits it.
    """
    told = by_backend(records)
    engines = {record.cell.backend: engine(record) for record in records if record.cell.backend in told}
    counts = {_count(records, backend) for backend in told}
    if len(told) < 2 or len(counts) < 2:
        return None
    said = f"Threads differ: {', '.join(f'{backend} {count}' for backend, count in told.items())}"
    named = list(dict.fromkeys(name for name in engines.values() if name is not None))
    limits: dict[str, list[str]] = {}
    for variable, value in _settings(records).items():
        limited = [name for name in named if variable in HEEDS[name]]
        free = [name for name in named if variable not in HEEDS[name]]
        if limited and free:
            limits.setdefault(f"{' and '.join(limited)} and not {' or '.join(free)}", []).append(f"{variable}={value}")
    for whom, those in limits.items():
        said += f"; {' and '.join(those)} {'limits' if len(those) == 1 else 'limit'} {whom}"
    return f"{said}. Unset what limits one alone, or keep all to the same cores (taskset)."


def _count(records: Iterable[Record], backend: str) -> int:
    """The most of its processes; where it is not known, the cores that there were."""
    own = [record for record in records if record.cell.backend == backend]
    known = [count for record in own if (count := threads(record)) is not None]
    return max(known or [record.threads.get("usable_cores", record.machine.usable_cores) for record in own])


def _settings(records: Iterable[Record]) -> dict[str, str]:
    """Those of `VARIABLES` that were set, with their values."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name in VARIABLES:
            if name in record.environment:
                values.setdefault(name, {})[record.environment[name]] = None
    return {name: " or ".join(found) for name, found in values.items()}


def differences(comparisons: Iterable[Sequence[Record]]) -> list[str]:
    """The sentences of several comparisons, each once."""
    return list(dict.fromkeys(said for records in comparisons if (said := difference(records)) is not None))
