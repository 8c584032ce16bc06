"""What a backend cannot do is a record that says so: no process, no failure, and nothing left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import backends
from backends import Capabilities
from benchmarks import contestants, measure, verdict
from benchmarks.cell import Cell, CellError
from benchmarks.gate import References
from benchmarks.measure import Progress, measure_cell, run_cells
from benchmarks.plan import check_supported, interleave
from benchmarks.provenance import finished
from benchmarks.record_files import load_records, save_record
from benchmarks.records import Record
from benchmarks.scaling import sweep

TinyCell = Callable[..., Cell]

LACKS = "has no phase 'train_step' (inference only)"


@pytest.fixture
def inference_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch, as if it had declared no training."""
    known = contestants.capabilities
    can = Capabilities(phases=("forward",), note="inference only")
    monkeypatch.setattr(contestants, "capabilities", lambda name: can if name == "pytorch" else known(name))


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WorkerProcess", lambda *_, **__: pytest.fail("a worker was started"))


def test_it_is_a_record_without_a_process(tiny: TinyCell, inference_only: None, no_process: None) -> None:
    record = measure_cell(tiny("pytorch", "train_step"), 1, References())
    assert (record.status, record.message) == ("unsupported", LACKS)
    assert record.step_s is None and record.gate is None
    assert record.sentence == f"{record.cell.id}: unsupported: pytorch {LACKS}"


def test_others_are_timed_and_it_is_kept(
    tiny: TinyCell, inference_only: None, no_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.CeilingsOf, "get", lambda self, cell: None)
    monkeypatch.setattr(measure.References, "get", lambda self, cell: pytest.fail("a reference was computed"))
    cell, told = tiny("pytorch", "train_step"), list[Progress]()
    can = tiny("pytorch", "forward")
    known = measure.provenance.finished
    timed = Record.model_validate(measure_cell(cell, 1, References()).model_dump() | {"cell": can, "status": "ok"})
    monkeypatch.setattr(measure.provenance, "finished", lambda results: known(results) | {(can, 1): timed})
    for resume in (True, True):  # the second takes it from the folder
        told.clear()
        records = run_cells([can, cell], replicates=1, results=tmp_path, resume=resume, on_progress=told.append)
        assert [record.status for record in records] == ["ok", "unsupported"]
    assert [progress.stage for progress in told] == ["resumed", "resumed"]
    assert len(load_records(tmp_path)) == 1
    assert (cell, 1) in finished(tmp_path)


def test_it_has_no_replicates(tiny: TinyCell, inference_only: None) -> None:
    cells = [tiny("pytorch", "train_step"), tiny("flax_nnx", "train_step")]
    plan = [(cell.backend, replicate) for cell, replicate in interleave(cells, 3)]
    assert plan == [("pytorch", 1), ("flax_nnx", 1), ("flax_nnx", 2), ("flax_nnx", 3)]


def test_where_nothing_can_be_timed_it_is_bad_input(tiny: TinyCell, inference_only: None) -> None:
    cells = [tiny("pytorch", phase) for phase in ("train_step", "forward_backward")]
    with pytest.raises(CellError, match=r"^pytorch has no phase 'train_step' \(inference only\); take one of forward$"):
        check_supported(cells)
    with pytest.raises(CellError):
        run_cells(cells)
    check_supported([*cells, tiny("pytorch", "forward")])


def test_precisions_and_devices_count_too(tiny: TinyCell) -> None:
    assert tiny("numpy_reference", precision="float64").lacks is None
    assert tiny("numpy_reference", precision="float32").lacks == "has no precision 'float32'"
    assert tiny("numpy_reference", device="cuda:1").lacks == "has no cuda device"


def test_a_verdict_says_it_and_stands(record: Callable[..., Record]) -> None:
    times = [record("flax_nnx", 0.01 * (1 + n / 100), n) for n in (1, 2, 3)]
    left_out = record("pytorch", windows=(), status="unsupported", message=LACKS)
    (alone,) = verdict.compare([*times, left_out])
    assert alone.outcome == "not_timed"
    assert alone.sentence.endswith(f"only flax_nnx was timed, 10.20 ms a step; pytorch {LACKS}")
    others = [record("numpy_reference", 0.02 * (1 + n / 100), n) for n in (1, 2, 3)]
    (decided,) = verdict.compare([*times, *others, left_out])
    assert decided.outcome == "faster" and decided.ratios[0].faster == "flax_nnx"
    assert decided.sentence.endswith(f"; pytorch {LACKS}")


def test_a_sweep_ends_at_once(tiny: TinyCell, inference_only: None, no_process: None) -> None:
    found = sweep(tiny("pytorch", "train_step"), "batch", lambda cell: measure_cell(cell, 1, References()), 64)
    assert [record.status for record in found.records] == ["unsupported"]
    assert found.largest is None and found.ended is None


def test_what_a_plugin_does_not_declare_is_known_in_its_worker(outside: None, tiny: TinyCell) -> None:
    """For all that is known before it is loaded, it could do everything."""
    assert backends.capabilities("inference_only") == Capabilities()
    record = measure_cell(tiny("inference_only", "train_step"), 1, References())
    assert (record.status, record.message) == ("unsupported", LACKS)


def test_an_untimed_record_is_read_from_the_json_of_pytest_benchmark(
    record: Callable[..., Record], tmp_path: Path
) -> None:
    import json

    left_out = record("pytorch", windows=(), status="unsupported", message=LACKS)
    path = tmp_path / "benchmark.json"
    entries = [{"extra_info": {"record": record().to_dict()}}]
    path.write_text(json.dumps({"benchmarks": entries, "not_timed": [left_out.to_dict()]}))
    assert load_records(path) == [record(), left_out]
    assert load_records(save_record(left_out, tmp_path / "kept")) == [left_out]


def test_of_three_phases_in_a_precision_that_is_not_there_the_precision_is_told(tiny: TinyCell) -> None:
    """Once for each backend, and no phase that would not help."""
    cells = [
        tiny(backend, phase, precision="float64")
        for backend in ("onnxruntime", "pytorch")
        for phase in ("train_step", "forward_backward", "forward")
    ]
    can = {
        "onnxruntime": Capabilities(precisions=("float32",), phases=("forward",), note="inference only"),
        "pytorch": Capabilities(precisions=("float32", "bfloat16")),
    }
    with pytest.raises(CellError) as told:
        check_supported(cells, can.__getitem__)
    assert str(told.value) == (
        "onnxruntime has no precision 'float64'; take one of float32; "
        "pytorch has no precision 'float64'; take one of float32, bfloat16"
    )
