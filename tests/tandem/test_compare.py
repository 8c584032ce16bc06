"""`tandem compare`, `bench` and `report`: check, time, and write it up, with the smallest network that does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends.numpy_reference.model import NumPyModel
from benchmarks.cell import Cell
from benchmarks.record_files import load_records
from benchmarks.records import Record
from shared_specs import load_spec
from tandem.commands import bench, compare
from tandem.documents import model_of
from tandem.report import Findings, to_markdown
from tandem.report.markdown import table

from .conftest import Run, check_document

SMALL = ("unet_same", "--narrow", "16", "--size", "32", "--phase", "forward", "--backends", "pytorch")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """One real comparison, which several tests look at."""
    from typer.testing import CliRunner

    from tandem.cli import app

    folder = tmp_path_factory.mktemp("compared")
    arguments = [*SMALL, "--replicates", "1", "--output", str(folder), "--json", str(folder / "all.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare.check.parity, "PROBES", ("structure", "forward"))
        return CliRunner().invoke(app, ["compare", *arguments]), folder


@pytest.mark.needs_backends("pytorch")
class TestARealComparison:
    def test_prints_parity_then_time_then_one_sentence(self, compared: tuple[Any, Path]) -> None:
        result, folder = compared
        assert result.exit_code == 0, result.output
        places = [
            result.stdout.find(text)
            for text in (
                "unet_same, float64: equal",
                "unet_same, float32: equal",
                "ms a step",
                "forward: only pytorch was",
            )
        ]
        assert -1 not in places and places == sorted(places)
        assert result.stdout.endswith(
            f"Report   {folder}/report.html\n         {folder}/report.md\nRecords  {folder}/records\n"
        )

    def test_says_on_what_it_checks_and_on_what_it_times(self, compared: tuple[Any, Path]) -> None:
        """A small input of unequal sides for all probes, and the gate for what is timed; never one for the other."""
        result, folder = compared
        checked, timed = [line for line in result.stdout.splitlines() if line.startswith(("Checked on", "Timed on"))][
            :2
        ]
        assert checked.startswith("Checked on 2 images of 3x32x48, widths divided by 16, ")
        assert timed.startswith("Timed on   2 images of 3x32x32, widths divided by 16, ")
        assert timed.endswith("; the gate checks every program there")
        (record,) = load_records(folder / "records")
        assert record.gate is not None and record.cell.images_shape == (2, 3, 32, 32)
        last = "Checked on 2 images of 3x32x48. 1 timed program passed its gate: at most "
        assert [line for line in result.stdout.splitlines() if line.startswith(last)]
        assert "Input " not in result.stdout and "--full-width" not in result.stdout

    def test_tells_each_part_on_stderr(self, compared: tuple[Any, Path]) -> None:
        result, _ = compared
        lines = [line.partition(" (")[0] for line in result.stderr.splitlines() if line.startswith("progress: ")]
        cell = "unet_same_narrow16 2x32x32 float32"
        assert lines == [
            "progress: tandem compare: loading the backends",
            "progress: check 1 of 2: unet_same, float64",
            "progress: check 2 of 2: unet_same, float32",
            f"progress: reference 1 of 1: forward of {cell}",
            "progress: ceiling 1 of 1: what this machine reaches in float32 on cpu",
            f"progress: process 1 of 1: pytorch forward, {cell}, run 1 of 1",
        ]
        assert "elapsed, time left not known yet)" in result.stderr

    def test_writes_report_check_and_records(self, compared: tuple[Any, Path]) -> None:
        _, folder = compared
        names = ["all.json", "check.json", "records", "report.html", "report.md"]
        assert sorted(path.name for path in folder.iterdir()) == names
        (record,) = load_records(folder / "records")
        assert record.status == "ok" and record.cell.narrow == 16

    def test_json_holds_all_of_it(self, compared: tuple[Any, Path]) -> None:
        _, folder = compared
        content = json.loads((folder / "all.json").read_text())
        check_document(["compare", "--json", str(folder / "all.json")], compared[0])
        assert content["equal"] is True
        assert content["reports"] == {"markdown": f"{folder}/report.md", "html": f"{folder}/report.html"}
        assert [c["phase"] for c in content["comparisons"]] == ["forward"]
        assert len(content["checks"]) == 2 and len(content["records"]) == 1

    def test_report_is_made_again_from_the_folder_and_from_the_json(
        self, compared: tuple[Any, Path], run: Run, tmp_path: Path
    ) -> None:
        _, folder = compared
        page = (folder / "report.md").read_text()
        assert "- **Parity.** The builds of unet_same are the same network: equal in float64 and float32." in page
        assert "| forward | pytorch " in page
        assert run("report", folder / "all.json").stdout == page
        again = run("report", folder / "check.json", folder / "records", "-o", tmp_path / "again.md")
        assert again.exit_code == 0 and (tmp_path / "again.md").read_text() == page

    def test_what_was_checked_and_timed_is_not_done_again(
        self, compared: tuple[Any, Path], run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, folder = compared
        before = json.loads((folder / "check.json").read_text())["checks"]
        monkeypatch.setattr("benchmarks.measure.measure_cell", lambda *arguments: pytest.fail("timed again"))
        monkeypatch.setattr(compare.check.parity, "check", lambda *_, **__: pytest.fail("checked again"))
        monkeypatch.setattr(compare.check.parity, "PROBES", ("structure", "forward"))
        result = run("compare", *SMALL, "--replicates", "1", "--output", folder)
        assert result.exit_code == 0, result.output
        assert result.stdout.count("From an earlier run, of ") == 2
        assert "unet_same, float32: equal" in result.stdout
        assert json.loads((folder / "check.json").read_text())["checks"] == before

    def test_a_check_of_another_question_is_made(
        self, compared: tuple[Any, Path], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        shutil.copytree(compared[1], tmp_path / "copy")
        made: list[str] = []

        def check(spec: Any, **how: Any) -> Any:
            made.append(how["execution"].precision)
            raise KeyboardInterrupt

        monkeypatch.setattr(compare.check.parity, "check", check)
        monkeypatch.setattr(compare.check.parity, "PROBES", ("structure",))
        assert run("compare", *SMALL, "--replicates", "1", "--output", tmp_path / "copy").exit_code == 130
        assert made == ["float64"]


class Wrong(NumPyModel):
    def forward(self, images: np.ndarray) -> np.ndarray:
        return super().forward(images) * (1 + 1e-4)


def test_nothing_is_timed_without_parity(
    run: Run, twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    twin(Wrong)
    monkeypatch.setattr("benchmarks.contestants.missing", lambda name: None)
    monkeypatch.setattr(compare, "run_cells", lambda *arguments, **named: pytest.fail("timed without parity"))
    monkeypatch.setattr(compare.check.parity, "PROBES", ("forward",))
    result = run("compare", "unet_same", "--size", "32", "--output", tmp_path)
    assert result.exit_code == 1
    assert "Nothing was timed: there is no time without parity." in result.stdout
    assert "The builds of unet_same differ in float64, first in logits (probe forward)." in result.stdout
    assert "DIFFERENT" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(("status", "code"), [("unsupported", 0), ("failed", 1)])
def test_what_a_backend_cannot_do_is_no_failure(
    run: Run, twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, code: int
) -> None:
    twin()
    left_out = made_up("flax_nnx", [0.1], status=status, message="has no phase 'train_step'")
    monkeypatch.setattr("benchmarks.contestants.missing", lambda name: None)
    monkeypatch.setattr(compare, "run_cells", lambda *_, **__: made_up("pytorch", [0.2, 0.2, 0.2]) + left_out)
    monkeypatch.setattr(compare.check.parity, "PROBES", ("forward",))
    result = run("compare", "unet_same", "--size", "32", "--output", tmp_path)
    assert result.exit_code == code, result.output
    assert "has no phase 'train_step'" in result.stdout
    assert status in (tmp_path / "report.md").read_text()


def test_without_plotly_there_is_a_note_and_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tandem.report.html.page.find_spec", lambda name: None)
    reports = compare.write_reports(Findings(records=made_up("pytorch", [0.2])), tmp_path)
    assert reports == {"markdown": f"{tmp_path}/report.md", "html": None}
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert "note: no report.html: the HTML report needs plotly" in capsys.readouterr().err


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(
    ("options", "checked", "timed"),
    [
        (["--full-width"], ("widths divided by 8", "3x32x48"), ("full width", "3x96x96")),
        (
            ["--size", "64x48", "--batch", "5"],
            ("widths divided by 8", "2 images"),
            ("divided by 4", "5 images of 3x64x48"),
        ),
    ],
    ids=["full_width", "size"],
)
def test_width_and_size_of_the_times_are_not_taken_for_those_of_the_check(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: list[str],
    checked: Sequence[str],
    timed: Sequence[str],
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare.check.parity, "check", stop)
    arguments = ["unet_same", "--device", "cpu", "--backends", "pytorch", "--output", tmp_path, *options]
    lines = run("compare", *arguments).stdout.splitlines()
    for start, words in (("Checked on ", checked), ("Timed on ", timed)):
        (line,) = [line for line in lines if line.startswith(start)]
        assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(("percent", "remarks"), [(3.0, 0), (90.0, 1)], ids=["idle", "busy"])
def test_a_busy_machine_is_remarked(monkeypatch: pytest.MonkeyPatch, percent: float, remarks: int) -> None:
    monkeypatch.setattr(compare.psutil, "cpu_percent", lambda interval: percent)
    found = compare.other_work()
    assert len(found) == remarks
    page = to_markdown(Findings(records=made_up("pytorch", [0.2]), remarks=found))
    assert page.count("- **Beware.** Other work kept 90% of the cores busy") == remarks


def made_up(backend: str, times_s: Sequence[float], phase: str = "train_step", **changes: object) -> list[Record]:
    """Records as if each process had taken one of these times a step."""
    from benchmarks.machine import Machine
    from benchmarks.records import Window

    cell = Cell(spec="unet_same", backend=backend, phase=phase, size=(32, 32), batch=2, narrow=16)
    machine = Machine(cpu="an abacus", logical_cores=2, usable_cores=2, memory_bytes=2**33, system="Wood", python="3")
    known: dict[str, Any] = {
        "status": "ok",
        "spec_fingerprint": load_spec("unet_same").narrow(16).fingerprint,
        "parameter_count": 1,
        "flops": 2 * 10**9,
        "bytes_moved": 1,
        "machine": machine,
        "commit": "abc",
    }
    return [
        Record(cell=cell, replicate=i, windows=(Window(steps=1, seconds=seconds),), **known | changes)
        for i, seconds in enumerate(times_s, start=1)
    ]


def test_markdown_says_which_is_faster_and_from_what() -> None:
    records = made_up("pytorch", [0.2, 0.201, 0.202]) + made_up("flax_nnx", [0.1, 0.101, 0.102])
    page = to_markdown(Findings(records=records))
    assert "train_step: flax_nnx is 1.99 times faster than pytorch" in page
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if "| train_step" in line]
    assert rows[0][:6] == ["train_step", "pytorch", "201.0", "200.0 to 202.0", "10.0", "9.95 G"]
    assert "- Machine: an abacus, 2 cores, 8.00 GiB" in page
    assert "No parity check is among these files." in page


def test_markdown_gives_the_reason_in_place_of_a_time() -> None:
    records = made_up("pytorch", [0.2, 0.2]) + made_up("flax_nnx", [0.1], status="out_of_memory", message="no room")
    page = to_markdown(Findings(records=records))
    assert "flax_nnx was not timed (out of memory: no room)" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| train_step | flax_nnx")]
    assert "out of memory" in row and "100.0" not in row


def test_markdown_tables_survive_a_bar() -> None:
    lines = table(("a", "number"), [("x|y", "1")], right=[1]).splitlines()
    assert lines == ["| a    | number |", "| ---- | -----: |", "| x\\|y |      1 |"]


@pytest.mark.needs_backends("pytorch")
def test_bench_runs_the_suites(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where it is set, pytest-benchmark times nothing
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.quick_ceilings")
    written, results = tmp_path / "benchmarks.json", tmp_path / "results"
    both = [*SMALL, "--backends", "numpy_reference"]  # which has no float32
    result = run("bench", *both, "--replicates", "1", "--results", results, "--json", written)
    assert result.exit_code == 0, capfd.readouterr()
    record, unsupported = load_records(written)
    assert record.cell.id == "unet_same_narrow16-pytorch-default-float32-2x32x32-forward-cpu"
    assert (unsupported.cell.backend, unsupported.status) == ("numpy_reference", "unsupported")
    assert load_records(results) == [unsupported, record]
    model_of("bench").model_validate_json(written.read_text())
    assert "1 passed, 1 skipped" in capfd.readouterr().out


def test_bench_command_is_what_a_user_could_type() -> None:
    request = bench.Request(("unet_same", "unet_paper"), ["pytorch,flax_nnx"], ["forward"], size="199x207", batch=3)
    command = bench.pytest_command(request, "results", resume=True)
    given = {"--spec=unet_same", "--spec=unet_paper", "--backend=pytorch", "--backend=flax_nnx", "--phase=forward"}
    given |= {"--size=199x207", "--batch=3", "--results=results", "--resume", "--benchmark-only"}
    assert given <= set(command)
    assert not [part for part in command if part.startswith(("--narrow", "--device"))]
    every = bench.pytest_command(bench.Request(("unet_same",), ["pytorch"], ["all"], ["float64,float32"]))
    assert [part for part in every if part.startswith(("--phase", "--precision"))] == [
        *("--phase=forward", "--phase=forward_backward", "--phase=train_step"),
        *("--precision=float64", "--precision=float32"),
    ]


@pytest.mark.parametrize(("code", "ours"), [(0, 0), (1, 1), (2, 130), (3, 1), (4, 2), (5, 2), (-9, 1)])
def test_bench_translates_the_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch, code: int, ours: int) -> None:
    # Its own alone: whoever asks for the GPUs first runs a program too.
    ended = SimpleNamespace(run=lambda *arguments, **named: SimpleNamespace(returncode=code))
    monkeypatch.setattr(bench, "subprocess", ended)
    assert run("bench", *SMALL).exit_code == ours
