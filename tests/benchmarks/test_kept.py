"""What was measured is kept: on a full disk, after Ctrl-C, and where no cell was timed at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import conftest as suites
from benchmarks import measure, record_files
from benchmarks.cell import Cell
from benchmarks.measure import run_cells
from benchmarks.record_files import load_records
from benchmarks.records import Record
from shared_specs import TandemError
from shared_specs.files import write_atomically

from .test_suites import ROOT, TINY, environment

TinyCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]


@pytest.fixture
def room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full after the first record."""
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        if written:
            raise TandemError(f"{path}: cannot be written ({os.strerror(errno.ENOSPC)}); name a path elsewhere")
        written.append(path)
        write_atomically(path, content)

    monkeypatch.setattr(record_files, "write_atomically", write)


def test_a_full_disk_ends_a_run_in_one_line_and_keeps_what_is_there(
    tiny: TinyCell, record: MakeRecord, room_for_one: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[int] = []

    def timed(cell: Cell, replicate: int, *arguments: Any, **named: Any) -> Record:
        begun.append(replicate)
        return record("numpy_reference", replicate=replicate)

    monkeypatch.setattr(measure, "measure_cell", timed)
    monkeypatch.setattr(measure.References, "has", lambda self, cell: True)
    monkeypatch.setattr(measure.CeilingsOf, "has", lambda self, cell: True)
    with pytest.raises(TandemError, match="No space left on device") as caught:
        run_cells([tiny()], replicates=3, results=tmp_path / "results")
    assert "\n" not in str(caught.value)
    assert begun == [1, 2], "nothing more is timed that could not be kept"
    assert [kept.replicate for kept in load_records(tmp_path / "results")] == [1]


def test_in_the_suites_a_full_disk_is_a_failure_that_has_the_time_in_it(
    record: MakeRecord, room_for_one: None, tmp_path: Path
) -> None:
    first, second = record(replicate=1), record(replicate=2)
    assert suites._save(first, tmp_path) is None and suites._save(second, None) is None
    said = suites._save(second, tmp_path)
    assert said is not None and said.startswith(second.sentence) and "10.00 ms a step" in said
    assert "the record is in no file" in said and "No space left on device" in said


@pytest.mark.usefixtures("interrupts_heard")
def test_ctrl_c_keeps_what_was_timed_and_leaves_no_process(
    outside: None, gone: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second cell hangs, and has a child; pytest is interrupted as a terminal does it."""
    pids, written, results = tmp_path / "pids", tmp_path / "all.json", tmp_path / "results"
    monkeypatch.setenv("TANDEM_TEST_PIDS", str(pids))
    command = [sys.executable, "-m", "pytest", "benchmarks/test_forward.py", "--benchmark-only"]
    command += ["-p", "no:cacheprovider", "-p", "tests.quick_runs", *TINY, "--replicates", "1"]
    command += ["--backend", "numpy_reference,hangs", "--results", str(results), f"--benchmark-json={written}"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    deadline = time.monotonic() + 120
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    (kept,) = load_records(results)
    assert (kept.cell.backend, kept.status) == ("numpy_reference", "ok")
    assert load_records(written) == [kept]


def test_the_json_is_written_where_no_cell_was_timed(record: MakeRecord, tmp_path: Path) -> None:
    """pytest-benchmark writes none then, and the reasons would be lost."""
    failed = record(status="failed", message="no room", windows=())
    resumed = record("numpy_reference")
    path = tmp_path / "all.json"

    def update(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
        suites.pytest_benchmark_update_json(config, benchmarks, output_json)

    hook = SimpleNamespace(
        pytest_benchmark_generate_commit_info=lambda config: {"id": "abc"},
        pytest_benchmark_generate_json=lambda **about: {"benchmarks": [], "machine_info": about["machine_info"]},
        pytest_benchmark_update_json=update,
    )
    config: Any = SimpleNamespace(
        hook=hook,
        getoption=lambda name, default=None: path,
        stash={suites.RECORDS: [resumed, failed], suites.RESUMED: [resumed]},
        _benchmarksession=SimpleNamespace(benchmarks=[], get_machine_info=lambda: {"tandem": {}}),
    )
    suites.pytest_sessionfinish(SimpleNamespace(config=config))  # pyright: ignore
    content = json.loads(path.read_text())
    assert (len(content["not_timed"]), len(content["resumed"])) == (1, 1)
    assert load_records(path) == [failed, resumed]
