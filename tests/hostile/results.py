"""Results as if something had been checked and timed."""

from __future__ import annotations

from typing import Any

from benchmarks.cell import Cell
from benchmarks.machine import Machine
from benchmarks.records import Gate, Record, Window


def record(backend: str = "pytorch", replicate: int = 1, **values: Any) -> Record:
    """As if a cell had been timed."""
    cell = Cell(spec="unet_bn_same", narrow=32, size=(16, 32), batch=2, backend=backend, phase="forward")
    chosen: dict[str, Any] = {
        "cell": cell,
        "replicate": replicate,
        "status": "ok",
        "gate": Gate(comparable=True, distance=1.0, quantity="logits", limit=64.0),
        "windows": tuple(Window(steps=2, seconds=0.02 * step) for step in (1, 1.1)),
        "latencies_s": (0.1, 0.2),
        "versions": {"torch": "2.11"},
        "flags": {"tf32": "off"},
        "spec_fingerprint": "0" * 64,
        "parameter_count": 9,
        "flops": 1000,
        "bytes_moved": 100,
        "machine": Machine(cpu="x", logical_cores=2, usable_cores=2, memory_bytes=1, system="Linux", python="3.11"),
        "commit": "0" * 40,
        "command": "tandem bench",
        "started_at": "2026-01-02T03:04:05+00:00",
    }
    return Record(**chosen | values)


def results() -> dict[str, Any]:
    """What `tandem compare --json` writes, with one check and two records of each of two backends."""
    pair = {"reference": "numpy_reference", "candidate": "pytorch", "probe": "forward", "quantity": "logits"}
    check = {
        "equal": False,
        "limit": 64.0,
        "spec": {"name": "unet_bn_same", "widths": [2, 4]},
        "execution": {"device": "cpu", "precision": "float64"},
        "batch": {"shape": [1, 3, 16, 16], "origin": "random"},
        "seed": 0,
        "narrow": 32,
        "first_difference": pair | {"distance": 99.0},
        "measurements": [pair | {"distance": 99.0}],
    }
    records = [record(backend, replicate).to_dict() for backend in ("pytorch", "flax_nnx") for replicate in (1, 2)]
    return {"checks": [check], "records": records, "remarks": ["the machine was busy"]}
