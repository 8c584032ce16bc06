"""Tiny cells, short windows, and backends from outside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import registry
from benchmarks import measure
from benchmarks.cell import Cell
from benchmarks.machine import Machine
from benchmarks.records import Gate, Record, Window

OUTSIDE = Path(__file__).parent / "outside"

NAMES = {
    "wrong_epsilon": "WrongEpsilon",
    "skipped_layer": "SkippedLayer",
    "not_a_number": "NotANumber",
    "out_of_memory": "OutOfMemory",
    "raises": "Raises",
    "killed_in_the_middle": "KilledInTheMiddle",
    "exits": "Exits",
    "hangs": "Hangs",
    "talkative": "Talkative",
    "remembers": "Remembers",
    "says_tf32": "SaysTF32",
    "wrong_last_image": "WrongLastImage",
    "wrong_later": "WrongLater",
    "inference_only": "InferenceOnly",
}


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WINDOW_S", 0.002)
    monkeypatch.setattr(measure, "ROUNDS", 3)
    monkeypatch.setattr(measure, "LATENCIES_LIMIT_S", 0.0)
    monkeypatch.setattr(measure, "WARM_UP_LIMIT_S", 0.2)


@pytest.fixture
def no_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine reaches is not asked for: to find it, each framework and each plugin is loaded in a process."""
    monkeypatch.setattr(measure.CeilingsOf, "get", lambda self, cell: None)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the backends of `outside/` as a plug-in, for this process and the workers that it starts."""
    site = tmp_path / "site"
    info = site / "outside_backends-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside_backends\nVersion: 1.0\n")
    lines = [f"{name} = outside_backends:{kind}" for name, kind in NAMES.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]))
    monkeypatch.syspath_prepend(site)
    earlier = filter(None, [os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(OUTSIDE), *earlier]))
    registry._targets.cache_clear()
    yield
    registry._targets.cache_clear()


@pytest.fixture
def tiny() -> Callable[..., Cell]:
    """A cell of milliseconds, in float64, which every backend here computes."""

    def make(backend: str = "numpy_reference", phase: str = "forward", **values: Any) -> Cell:
        chosen = {"spec": "unet_bn_same", "narrow": 32, "size": (16, 32), "batch": 2, "precision": "float64"}
        return Cell(backend=backend, phase=phase, **chosen | values)

    return make


@pytest.fixture
def record(tiny: Callable[..., Cell]) -> Callable[..., Record]:
    """A record as if a cell had been timed."""

    def make(backend: str = "pytorch", step_s: float = 0.01, replicate: int = 1, **values: Any) -> Record:
        cell = tiny(backend, values.pop("phase", "forward"))
        chosen: dict[str, Any] = {
            "cell": cell,
            "replicate": replicate,
            "status": "ok",
            "gate": Gate(comparable=True, distance=1.0, quantity="logits", limit=64.0),
            "windows": (Window(steps=2, seconds=2 * step_s),),
            "spec_fingerprint": cell.network.fingerprint,
            "parameter_count": cell.network.parameter_count,
            "flops": 1000,
            "bytes_moved": 100,
            "machine": Machine(
                cpu="x", logical_cores=2, usable_cores=2, memory_bytes=1, system="Linux", python=sys.version
            ),
        }
        return Record(**chosen | values)

    return make


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Tells whether a process has ended, a zombie counting as ended."""

    def has_ended(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    return has_ended
