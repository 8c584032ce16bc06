"""`tandem report`: which format, which runs, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record_files import save_record
from benchmarks.records import Record
from tandem.report import html

from ..conftest import Run
from .made_up import GPU_MACHINE, both, sweep

OLD: dict[str, Any] = {"commit": "b" * 40}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str, list[Record]], Path]:
    """Writes records into a folder of this name."""

    def write(name: str, records: list[Record]) -> Path:
        (tmp_path / name).mkdir()
        for number, record in enumerate(records):
            (tmp_path / name / f"{number}.json").write_text(record.model_dump_json())
        return tmp_path / name

    return write


needs_plotly = pytest.mark.skipif(
    not html.page.find_spec("plotly"), reason="plotly is not installed; it comes with the extra `report`"
)


@needs_plotly
@pytest.mark.parametrize(
    ("name", "options", "is_html"),
    [
        ("r.html", [], True),
        ("r.HTM", [], True),
        ("r.md", [], False),
        ("r", [], False),
        ("r.html", ["--format", "markdown"], False),
        ("r.txt", ["--format", "html"], True),
    ],
)
def test_the_name_of_the_file_or_the_option_says_the_format(
    run: Run, folder, tmp_path: Path, name: str, options: list[str], is_html: bool
) -> None:
    result = run("report", folder("a", both(0.01, 0.02)), "-o", tmp_path / name, *options)
    assert result.exit_code == 0, result.output
    page = (tmp_path / name).read_text()
    assert page.startswith("<!doctype html>" if is_html else "# Tandem report")


@needs_plotly
def test_stdout_is_markdown_unless_html_is_asked_for(run: Run, folder) -> None:
    path = folder("a", both(0.01, 0.02))
    assert run("report", path).stdout.startswith("# Tandem report")
    assert run("report", path, "--format", "html").stdout.startswith("<!doctype html>")


def test_markdown_has_the_answer_of_every_scenario(run: Run, folder) -> None:
    page = run("report", folder("a", both(0.01, 0.02))).stdout
    assert "- **Inference throughput: pytorch, default.**" in page
    assert "- **Training throughput: not measured.** `tandem compare unet_bn_same " in page


def test_another_format_is_refused(refused: Callable[..., str], folder) -> None:
    assert "no format is named 'pdf'; take one of html, markdown" in refused(
        "report", folder("a", both(0.01, 0.02)), "--format", "pdf"
    )


def test_without_plotly_html_is_refused_before_any_work(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html.page, "find_spec", lambda name: None)
    line = refused("report", "no_such_file.json", "-o", tmp_path / "report.html")
    assert "the HTML report needs plotly" in line and "tandem[report]" in line and "no_such_file" not in line
    assert not (tmp_path / "report.html").exists()


def test_two_runs_of_the_same_cells_are_compared(run: Run, folder) -> None:
    before, after = folder("before", both(0.01, 0.01, **OLD)), folder("after", both(0.01, 0.02))
    result = run("report", before, after)
    assert "1 slower, 1 the same" in result.stdout
    assert f"note: {after} is compared with {before}" in " ".join(result.stderr.split())
    named = run("report", after, "--against", before)
    assert named.stdout == result.stdout and named.stderr == ""


def test_two_files_of_other_cells_are_read_together(run: Run, folder) -> None:
    one, other = folder("one", both(0.01, 0.02)), folder("other", both(0.01, 0.02, phase="train_step"))
    page = run("report", one, other).stdout
    assert "Compared with another run" not in page
    assert "Training throughput: pytorch, default" in page and "Inference throughput: pytorch, default" in page


def test_runs_of_two_machines_are_refused_unless_it_is_asked_for(run: Run, refused, folder) -> None:
    here, there = folder("here", both(0.01, 0.02)), folder("there", both(0.01, 0.01, machine=GPU_MACHINE))
    assert "different machines (gpus: " in refused("report", here, "--against", there)
    page = run("report", here, "--against", there, "--across-machines").stdout
    assert "1 slower, 1 the same" in page and "different machines" in page


@pytest.mark.parametrize("mixed", ["after", "before"])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"commit": "c" * 40}, "holds records of several commits ("),
        ({"machine": GPU_MACHINE}, "holds records of several machines (gpus: "),
    ],
    ids=["commits", "machines"],
)
def test_a_run_that_is_several_itself_is_refused(
    refused: Callable[..., str], folder, mixed: str, other: dict[str, Any], words: str
) -> None:
    """Their times would be taken for processes of one cell."""
    runs = {"after": both(0.01, 0.02), "before": both(0.01, 0.01, **OLD)}
    commit = runs[mixed][0].commit
    runs[mixed] += both(0.03, 0.03, **{"commit": commit} | other)
    after, before = (folder(name, records) for name, records in runs.items())
    line = refused("report", after, "--against", before, "--across-machines")
    assert words in line and f"{mixed}: holds" in line and "name files of one" in line


def test_nothing_to_compare_with_is_refused(refused: Callable[..., str], folder, tmp_path: Path) -> None:
    (tmp_path / "check.json").write_text(json.dumps({"checks": []}))
    line = refused("report", folder("a", both(0.01, 0.02)), "--against", tmp_path / "check.json")
    assert "holds no benchmark record to compare with" in line


def test_what_scale_wrote_is_read(run: Run, tmp_path: Path) -> None:
    records = [record.to_dict() | {"ns_per_pixel": 1.0} for record in sweep("pytorch", 8)]
    (tmp_path / "scale.json").write_text(json.dumps({"axis": "batch", "sweeps": [{"largest": 8, "records": records}]}))
    (tmp_path / "broken.json").write_text(json.dumps({"axis": "batch", "sweeps": [{"largest": 8}]}))
    result = run("report", tmp_path / "scale.json", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "out.json").read_text())["records"]) == 5
    assert run("report", tmp_path / "broken.json").exit_code == 2


def test_a_report_is_made_of_a_report(run: Run, folder, tmp_path: Path) -> None:
    """What `--json` writes, and what the page lets one download, holds all that the report was made of."""
    after, before = folder("after", both(0.01, 0.02)), folder("before", both(0.01, 0.01, **OLD))
    first = run("report", after, "--against", before, "--json", tmp_path / "out.json")
    assert run("report", tmp_path / "out.json").stdout == first.stdout


def test_files_as_the_benchmarks_write_them_are_read(run: Run, tmp_path: Path) -> None:
    for record in both(0.01, 0.02):
        save_record(record, tmp_path / "records")
    assert "pytorch is 2.00 times faster" in run("report", tmp_path).stdout


@pytest.mark.parametrize("name", ["report.pdf", "report.json"])
def test_a_report_is_not_written_as_what_its_name_does_not_say(
    run: Run, folder: Callable[[str, list[Record]], Path], tmp_path: Path, name: str
) -> None:
    result = run("report", folder("records", both(0.01, 0.02)), "-o", tmp_path / name)
    assert result.exit_code == 2
    assert f"a report is no {Path(name).suffix} file; name it report.html" in result.stderr
    assert not (tmp_path / name).exists()
