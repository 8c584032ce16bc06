"""`tandem bench --cluster`: what is printed, written, refused and said after an interrupt."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cell import Cell
from benchmarks.cluster import ClusterRun
from tandem.commands import bench_on_cluster
from tests.benchmarks import jobs

from .conftest import Run

CELL = Cell(
    spec="unet_bn_same",
    narrow=32,
    size=(16, 32),
    batch=2,
    backend="numpy_reference",
    phase="forward",
    precision="float64",
)


@pytest.fixture
def one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell of the reference, which the jobs do not really time."""
    pytest.importorskip("submitit", reason="submitit is not installed; it comes with the extra `test`")
    monkeypatch.setattr(bench_on_cluster.bench, "cells", lambda request, devices: [CELL])
    monkeypatch.setattr(bench_on_cluster.bench, "check_cells", lambda cells: None)
    monkeypatch.setattr(bench_on_cluster, "ClusterRun", partial(ClusterRun, work=jobs.works))


@pytest.mark.usefixtures("one_cell")
def test_records_are_merged_and_a_report_reads_them(run: Run, tmp_path: Path) -> None:
    results, written = tmp_path / "results", tmp_path / "all.json"
    more = ("--replicates", "1", "--results", results, "--json", written)
    result = run("bench", "--cluster", "local", *more)
    assert result.exit_code == 0, result.stderr
    assert "only numpy_reference was timed, 10.00 ms a step" in result.stdout
    content = json.loads(written.read_text())
    assert (content["command"], content["cluster"], len(content["records"])) == ("bench_cluster", "local", 1)
    for read in (written, results):
        assert "numpy_reference" in run("report", read).stdout


@pytest.mark.usefixtures("one_cell")
def test_an_interrupt_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Interrupted(ClusterRun):
        def run(self, *arguments: Any) -> Any:
            raise KeyboardInterrupt

        def running(self) -> list[str]:
            return ["101_0", "101_1"]

    for name in ("sbatch", "sacct", "srun", "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bench_on_cluster, "ClusterRun", Interrupted)
    result = run("bench", "--cluster", "slurm", "--slurm", "partition=a b", "--results", tmp_path / "results")
    assert result.exit_code == 130
    first, command, second, cancel, last = result.stderr.splitlines()
    assert "the 2 that were submitted go on without this" in first and "from any login" in first
    results = tmp_path / "results"
    assert (
        command == f"  tandem bench --device cpu --results {results} --cluster slurm --slurm 'partition=a b' --resume"
    )
    assert (second, cancel) == ("note: and this ends them:", "  scancel 101_0 101_1")
    assert last.startswith("error: interrupted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cluster", "pbs", "--results", "OUT"], "no cluster is named 'pbs'; take one of slurm, local"),
        (["--cluster", "slurm", "--results", "OUT"], "--cluster slurm needs sbatch, which is not on the path"),
        (["--cluster", "local"], "name it with --results"),
        (["--slurm", "partition=gpu"], "belong to --cluster"),
        (["--cluster", "local", "--results", "OUT", "--slurm", "mem=1G"], "is an option of --cluster slurm"),
        (["--cluster", "slurm", "--results", "OUT", "--slurm", "partion=gpu"], "did you mean partition"),
        (["--cluster", "local", "--results", "OUT", "--columns", "node"], "no column is named 'node'"),
        (["--cluster", "local", "--results", "FILE"], "cannot be written"),
        (["--cluster", "local", "--results", "OUT", "--cluster-folder", "FILE"], "with --cluster-folder"),
    ],
)
@pytest.mark.usefixtures("one_cell")
def test_bad_input_is_one_line(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "file").touch()
    places = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    assert words in refused("bench", *[places.get(argument, argument) for argument in arguments])
    assert not (tmp_path / "out" / "cluster" / "jobs.json").exists()


@pytest.mark.usefixtures("one_cell")
def test_without_submitit_it_is_named(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.executors.find_spec", lambda name: None)
    assert "pip install 'tandem[cluster]'" in refused("bench", "--cluster", "local", "--results", "out")


def test_a_gpu_need_not_be_here_for_slurm(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The login has none; `cuda:1` is not for the user to choose."""
    pytest.importorskip("submitit", reason="submitit is not installed; it comes with the extra `test`")
    monkeypatch.setenv("PATH", "")
    to_slurm = ("bench", "unet_bn_same", "--backends", "numpy_reference", "--cluster", "slurm", "--results", "out")
    said = refused(*to_slurm, "--device", "cuda:1")
    assert said == "error: no device is named 'cuda:1'; take one of cpu, cuda"
