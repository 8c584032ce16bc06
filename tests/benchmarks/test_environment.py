"""In what a worker starts: nothing of how the tests compile, and nothing that was compiled before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cell import Cell
from benchmarks.environment import COLD, worker_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tuning", ["default", "tuned"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_that_was_compiled_before_is_used(tuning: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLD:
        monkeypatch.delenv(name, raising=False)
    cell = Cell(spec="unet_same", backend="pytorch", phase="forward", batch=1, size=(32, 32), tuning=tuning)
    cell = cell.model_copy(update={"device": device})
    assert COLD.items() <= worker_environment(cell).items()
    monkeypatch.setenv(next(iter(COLD)), "the user's own")
    assert next(iter(COLD)) not in worker_environment(cell)


@pytest.mark.parametrize(("option", "found"), [("--benchmark-only", "0"), ("--benchmark-skip", "3")])
def test_benchmarks_compile_as_xla_does_by_itself(option: str, found: str) -> None:
    """Pytest reads the tests' conftest.py for them too."""
    code = """
import os, pytest
class Look:
    def pytest_collection(self):
        from tests.conftest import COMPILING
        print("found", sum(os.environ.get(name) == value for name, value in COMPILING.items()))
        pytest.exit("seen", 0)
pytest.main([OPTION, "-q", "-n0", "-p", "no:cacheprovider"], [Look()])
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "PYTEST_"))}
    ran = subprocess.run(
        [sys.executable, "-c", code.replace("OPTION", repr(option))],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert f"found {found}" in ran.stdout, ran.stdout + ran.stderr
