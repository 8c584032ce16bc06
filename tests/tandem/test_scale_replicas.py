"""`tandem scale replicas`: two processes of one core each, what is printed and written, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import device_scaling, machine
from benchmarks.cell import Cell
from benchmarks.machine import this_machine
from benchmarks.records import Ranks, Record, Window
from tandem.commands import scale_replicas

from .conftest import Run

SMALL = ("--narrow", "16", "--size", "32", "--device", "cpu")


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, on which two processes are three quarters as efficient in strong scaling, and nothing is run."""
    here = this_machine().model_copy(update={"usable_cores": 2, "gpus": ()})
    for module in (device_scaling.machine, scale_replicas.machine):
        monkeypatch.setattr(module, "this_machine", lambda: here)

    def measure(cell: Cell, replicate: int, references: Any) -> Record:
        seconds = 0.1 * cell.batch / cell.replicas / (0.75 if cell.replicas > 1 else 1)
        return Record(
            cell=cell,
            replicate=replicate,
            status="ok",
            windows=(Window(steps=1, seconds=seconds * (1 + 0.01 * replicate)),),
            peak_memory_bytes=2**30,
            ranks=Ranks(peak_memory_bytes=(2**30, 2**30)) if cell.replicas > 1 else None,
            spec_fingerprint=cell.network.fingerprint,
            parameter_count=1,
            flops=1,
            bytes_moved=1,
            machine=here,
        )

    monkeypatch.setattr(scale_replicas, "measure_cell", measure)


@pytest.mark.needs_backends("pytorch")
def test_efficiencies_are_printed_written_and_reported(run: Run, tmp_path: Path) -> None:
    written, results, page = tmp_path / "scale.json", tmp_path / "results", tmp_path / "page.html"
    more = ("--backends", "pytorch", "--json", written, "--results", results)
    result = run("scale", "replicas", "unet_bn_same", "--most", "2", *SMALL, *more)
    assert result.exit_code == 0, result.stderr
    assert "2 processes of 1 core each" in result.stdout and "1 process of 1 core" in result.stdout
    said = "Strong scaling, 2 images in all: 75% efficient on 2 processes of 1 core each (95% 73 to 77%)"
    assert said in " ".join(result.stdout.split())
    content = json.loads(written.read_text())
    (scaling,) = content["scalings"]
    assert [(point["mode"], point["replicas"], point["batch"]) for point in scaling["points"]] == [
        ("strong", 1, 2),
        ("strong", 2, 2),
        ("weak", 1, 2),
        ("weak", 2, 4),
    ]
    assert scaling["points"][1]["efficiency"]["value"] == pytest.approx(0.75)
    assert scaling["points"][3]["memory_bytes"] == [2**30, 2**30]
    assert len(content["records"]) == len(list(results.glob("*.json"))) == 9

    for read in (written, results):
        markdown = run("report", read).stdout
        assert "## Scaling over devices" in markdown and "|        75% |    73 to 77% |" in markdown
    assert run("report", results, "-o", page).exit_code == 0
    text = page.read_text()
    assert "Scaling over devices" in text and "2 processes of 1 core each" in text


@pytest.mark.needs_backends("pytorch")
def test_who_cannot_is_named_beside_the_others(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "scale.json"
    more = ("--backends", "pytorch,numpy_reference", "--precision", "float64", "--json", written)
    result = run("scale", "replicas", "--most", "2", *SMALL, *more)
    assert result.exit_code == 0, result.stderr
    assert "note: numpy_reference is left out: it trains on one device only" in result.stderr
    assert "numpy_reference default" in json.loads(written.read_text())["lacking"]


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--most", "3"],
            "got 3 replicas, each of which takes one core, and this machine has 2 cores; take",
        ),
        (["--most", "1"], "scaling begins with --most 2"),
        (["--batch", "3"], "a batch of 3 does not divide among 2 replicas"),
        (["--phase", "forward"], "take --phase train_step"),
        (["--batch-statistics", "mine"], "take one of global, per_replica"),
        (["--batch-statistics", "all"], "got the kind of batch statistics 'all', expected one of global"),
        (["--batch-statistics", "global,per_replica"], "expected one of global, per_replica"),
        (["--batch-statistics", "global"], "SyncBatchNorm refuses"),
        (["--backends", "numpy_reference", "--precision", "float64"], "numpy_reference trains on one device only"),
    ],
)
def test_bad_input_is_one_line(refused: Callable[..., str], arguments: list[str], words: str) -> None:
    backends = [] if "--backends" in arguments else ["--backends", "pytorch"]
    assert words in refused("scale", "replicas", "unet_bn_same", *SMALL, *backends, *arguments)


def test_options_of_replicas_belong_to_replicas(refused: Callable[..., str]) -> None:
    assert "belongs to `tandem scale replicas`" in refused("scale", "batch", "--batch-statistics", "global")


def test_the_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.this_machine()
    assert scale_replicas.devices_to_use(None, "cpu") == here.usable_cores == 2
