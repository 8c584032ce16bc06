"""`tandem scale`, with a machine that has room for so much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cell import Cell
from benchmarks.machine import this_machine
from benchmarks.records import Record, Window
from tandem.commands import scale

from .conftest import Run


@pytest.fixture(autouse=True)
def _room_for_five(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(cell: Cell, replicate: int, references: Any, ceilings: Any) -> Record:
        fits = cell.batch <= 5
        return Record(
            cell=cell,
            replicate=replicate,
            status="ok" if fits else "out_of_memory",
            windows=(Window(steps=1, seconds=0.01 * cell.batch),) if fits else (),
            spec_fingerprint="x",
            parameter_count=1,
            flops=1,
            bytes_moved=1,
            machine=this_machine(),
        )

    monkeypatch.setattr(scale, "measure_cell", measure)


@pytest.mark.needs_backends("pytorch")
def test_the_largest_batch_is_said_and_written(run: Run, tmp_path: Path) -> None:
    written, results = tmp_path / "scale.json", tmp_path / "results"
    result = run("scale", "batch", "--device", "cpu", "--backends", "pytorch", "--json", written, "--results", results)
    assert result.exit_code == 0, result.stderr
    assert "The largest batch that fits is 5; beyond it memory ends." in result.stdout
    assert "out of memory" in result.stdout
    content = json.loads(written.read_text())
    assert (content["axis"], content["sweeps"][0]["largest"]) == ("batch", 5)
    assert len(list(results.glob("*.json"))) == len(content["sweeps"][0]["records"]) == 6  # 1 2 4 8 6 5


@pytest.mark.needs_backends("pytorch")
def test_what_was_measured_before_an_interrupt_is_shown_and_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measure = scale.measure_cell

    def interrupted(cell: Cell, *arguments: Any, **named: Any) -> Record:
        if cell.batch == 4:
            raise KeyboardInterrupt
        return measure(cell, *arguments, **named)

    monkeypatch.setattr(scale, "measure_cell", interrupted)
    result = run("scale", "batch", "--device", "cpu", "--backends", "pytorch", "--results", tmp_path)
    assert result.exit_code == 130
    assert "20.00" in result.stdout and "fits" not in result.stdout, "the milliseconds of batch 2, and no conclusion"
    assert "note: the sweep did not come to its end" in result.stderr
    assert len(list(tmp_path.glob("*.json"))) == 2


@pytest.mark.needs_backends("pytorch")
def test_threads_that_differ_are_in_the_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale.threads, "differences", lambda comparisons: ["Threads differ: a 1, b 2."])
    result = run("scale", "batch", "--most", "1", "--device", "cpu", "--backends", "pytorch", "--json", "-")
    assert json.loads(result.stdout)["threads"] == ["Threads differ: a 1, b 2."]


@pytest.mark.needs_backends("pytorch")
def test_the_side_grows_to_most(run: Run) -> None:
    result = run("scale", "size", "unet_paper", "--most", "400", "--backends", "pytorch", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "--most goes further" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["depth"], "no axis is named 'depth'"),
        (["batch", "--most", "0"], "--most: got '0', expected a whole number, at least 1"),
        (["batch", "unet_papr"], "unet_paper"),
        (["batch", "--tuning", "fastest"], "no tuning of"),
        (["batch", "--batch", "2"], "--batch is what grows"),
        (["size", "--size", "96"], "--size is what grows"),
        (["size", "unet_paper", "--most", "100"], "takes nothing as small as"),
        (["batch", "--precision", "tf32", "--device", "cpu"], "NVIDIA"),
    ],
)
def test_bad_input_is_one_line(refused: Callable[..., str], arguments: list[str], words: str) -> None:
    assert words in refused("scale", *arguments)
