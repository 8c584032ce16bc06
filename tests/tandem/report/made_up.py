"""Records and checks as if something had been measured, on machines that do not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.cell import Cell
from benchmarks.gpu_telemetry import GpuWindow
from benchmarks.machine import Gpu, Machine
from benchmarks.records import Ceilings, Gate, Record, Startup, Window
from tandem.report import Check

GIB = 2**30

MACHINE = Machine(
    cpu="Made-up CPU", logical_cores=2, usable_cores=2, memory_bytes=16 * GIB, system="Linux", python="CPython 3.11"
)

GPU_MACHINE = MACHINE.model_copy(update={"gpus": (Gpu(name="Made-up GPU", memory_bytes=80 * GIB, driver="1"),)})

CELL_FIELDS = frozenset(Cell.model_fields)


def record(step_s: float | None = 0.01, backend: str = "pytorch", replicate: int = 1, **values: Any) -> Record:
    """One process. Fields of the cell and of the record by name; without `step_s` it ran out of memory."""
    chosen: dict[str, Any] = {"spec": "unet_bn_same", "phase": "forward", "size": (64, 64), "batch": 2, "narrow": 8}
    cell = Cell(backend=backend, **chosen | {key: values.pop(key) for key in list(values) if key in CELL_FIELDS})
    pixels = cell.batch * cell.size[0] * cell.size[1]
    failed: dict[str, Any] = {"status": "out_of_memory", "message": "no room"}
    timed: dict[str, Any] = {
        "status": "ok",
        "gate": Gate(comparable=True, distance=1.5, quantity="logits", limit=64.0),
        "windows": (Window(steps=10, seconds=10 * (step_s or 1.0)),),
        "latencies_s": tuple((step_s or 1.0) * factor for factor in (1.0, 1.1, 1.2)),
        "startup": Startup(start_s=0.2, import_s=1.0, build_s=0.3, program_s=0.1, first_call_s=0.4),
        "peak_memory_bytes": GIB,
        "compilations": 0,
    }
    made: dict[str, Any] = {
        "cell": cell,
        "replicate": replicate,
        "spec_fingerprint": f"{cell.spec}/{cell.narrow}",
        "parameter_count": 1000,
        "flops": 10_000 * pixels,
        "bytes_moved": 100 * pixels,
        "ceilings": Ceilings(flops_per_s=1e12, bytes_per_s=1e11),
        "machine": MACHINE,
        "commit": "a" * 40,
        "command": "tandem bench unet_bn_same",
        "versions": {"torch": "2.13"},
        "flags": {"tf32": "off"},
        "started_at": f"2026-01-02T03:04:{replicate:02d}+00:00",
    }
    return Record(**made | (failed if step_s is None else timed) | values)


def processes(step_s: float, backend: str = "pytorch", count: int = 3, spread: float = 0.01, **values: Any):
    """Several processes of one cell, `spread` apart from each other, relative to the first."""
    return [record(step_s * (1 + spread * number), backend, number + 1, **values) for number in range(count)]


def both(pytorch_s: float, flax_s: float, **values: Any) -> list[Record]:
    """Three processes of each of two backends."""
    return [*processes(pytorch_s, "pytorch", **values), *processes(flax_s, "flax_nnx", **values)]


def startup(seconds: float, compile_s: float = 0.0) -> Startup:
    """A start that takes so long in all."""
    return Startup(
        start_s=0.0, import_s=0.0, build_s=0.0, program_s=0.0, first_call_s=seconds, trace_s=0.0, compile_s=compile_s
    )


def on_gpu(energy_j: float, step_s: float, **values: Any) -> dict[str, Any]:
    """What a record has of a GPU whose counter was read."""
    window = GpuWindow(
        energy_j=energy_j, temperature_c=60, sm_clock_mhz=1900, memory_clock_mhz=2600, throttle_reasons=()
    )
    return {
        "device": "cuda",
        "machine": GPU_MACHINE,
        "windows": (Window(steps=10, seconds=10 * step_s, gpu=window),),
        "peak_device_memory_bytes": 8 * GIB,
        **values,
    }


def sweep(backend: str, fits: int, batches: Iterable[int] = (1, 2, 4, 8, 16), **values: Any) -> list[Record]:
    """One process a batch, up to where memory ends."""
    return [record(0.01 * batch if batch <= fits else None, backend, batch=batch, **values) for batch in batches]


def check(equal: bool = True, pairs: Sequence[tuple[str, str]] = (("numpy_reference", "pytorch"),)) -> Check:
    distance = 1.5 if equal else 99.0
    measured = [
        {"reference": one, "candidate": other, "probe": "forward", "quantity": "logits", "distance": distance}
        for one, other in pairs
    ]
    return Check.model_validate(
        {
            "equal": equal,
            "limit": 64.0,
            "spec": {"name": "unet_bn_same", "widths": [8, 16]},
            "execution": {"device": "cpu", "precision": "float64"},
            "batch": {"shape": [1, 3, 16, 16], "origin": "random"},
            "seed": 0,
            "narrow": 8,
            "first_difference": None if equal else measured[0],
            "measurements": measured,
        }
    )


def five_hundred() -> list[Record]:
    """As many records, and as different ones, as a large report has: networks, precisions, tunings, sweeps, a GPU."""
    made: list[Record] = []
    for number, spec in enumerate(("unet_bn_same", "unet_paper", "unet_same", "unet_bn_pad")):
        for precision in ("float32", "bfloat16"):
            for phase in ("forward", "train_step"):
                for tuning, factor in (("default", 1.0), ("tuned", 0.7)):
                    slow = factor * (1 + number) * (3 if phase == "train_step" else 1)
                    cell: dict[str, Any] = {"spec": spec, "precision": precision, "phase": phase, "tuning": tuning}
                    for backend, step_s in (("pytorch", 0.010 * slow), ("flax_nnx", 0.012 * slow)):
                        start = startup(2.0 + 8 * (tuning == "tuned"), 6.0)
                        for replicate, times in enumerate((1.0, 1.02, 1.01), 1):
                            gpu = on_gpu(300.0 * slow, times * step_s, startup=start, compilations=1)
                            made.append(record(step_s, backend, replicate, **cell, **gpu))
    for backend, fits in (("pytorch", 48), ("flax_nnx", 40)):
        for tuning in ("default", "tuned"):
            for phase in ("forward", "train_step"):
                where: dict[str, Any] = {
                    "tuning": tuning,
                    "phase": phase,
                    "machine": GPU_MACHINE,
                    "device": "cuda",
                    "size": (96, 96),
                }
                made += sweep(backend, fits, (1, 2, 4, 8, 16, 32, 40, 44, 48, 64), **where)
                sides = (16, 32, 64, 128, 256, 512, 1024, 2048)
                for side in sides:
                    at: dict[str, Any] = where | {"size": (side, side)}
                    made.append(record(1e-7 * side**2 if side < 2000 else None, backend, batch=1, **at))
    number = 0
    while len(made) < 500:
        number += 1
        made.append(record(0.02, "numpy_reference", number, machine=GPU_MACHINE, precision="float64"))
    return made
