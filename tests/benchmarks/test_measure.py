"""One cell through a worker: what is timed, what the gate refuses, and every way in which a worker can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks import gate, measure, provenance
from benchmarks.cell import Cell
from benchmarks.gate import References, judge
from benchmarks.machine import this_machine
from benchmarks.measure import Progress, measure_cell, run_cells, worker_clock
from benchmarks.process import WorkerProcess
from benchmarks.record_files import load_records, save_record
from benchmarks.records import Record
from benchmarks.worker import Worker
from shared_specs import TandemError

TinyCell = Callable[..., Cell]
Gone = Callable[[int], bool]


@pytest.fixture(scope="module")
def references() -> References:
    return References()


@pytest.mark.parametrize("phase", ["forward", "forward_backward", "train_step"])
def test_a_correct_cell_is_timed(phase: str, tiny: TinyCell, references: References) -> None:
    record = measure_cell(tiny(phase=phase), 2, references)
    assert (record.status, record.message) == ("ok", "")
    assert record.gate is not None and record.gate.distance == 0.0  # the reference against itself
    assert len(record.windows) == 3
    assert record.step_s is not None and record.images_per_s == pytest.approx(2 / record.step_s)
    assert len(record.latencies_s) == 3 and min(record.latencies_s) > 0
    assert record.startup is not None and record.startup.time_to_first_step_s > record.startup.first_call_s > 0
    assert record.peak_memory_bytes is not None and record.memory_after_import_bytes is not None
    assert record.peak_memory_bytes >= record.memory_after_import_bytes > 0
    assert record.finite_at_end
    assert record.versions.keys() == {"numpy"}
    assert record.flops > 0 and record.bytes_moved > 0


@pytest.mark.needs_backends("pytorch", "flax_nnx")
@pytest.mark.parametrize(
    ("name", "phase"),
    [("pytorch", "train_step"), ("flax_nnx", "train_step"), ("handwritten_pytorch", "forward_backward")],
)
def test_each_framework_passes_the_gate_in_its_worker(
    name: str, phase: str, tiny: TinyCell, references: References
) -> None:
    cell = tiny(name, phase, precision="float32")
    record = measure_cell(cell, 1, references)
    assert record.status == "ok", record.sentence
    assert record.gate is not None and 0 < record.gate.distance <= 64
    assert record.threads["usable_cores"] >= 1
    assert record.flags


def test_the_hand_written_module_pads_as_the_spec_says(tiny: TinyCell, references: References) -> None:
    pytest.importorskip("torch", reason="the hand-written module is PyTorch's; see the extra `torch`")
    cell = tiny("handwritten_pytorch", precision="float32", spec="unet_bn_pad", size=(199, 207))
    record = measure_cell(cell, 1, references)
    assert record.status == "ok", record.sentence


def test_clock_is_the_workers_and_holds_nothing_of_the_pipe(
    tiny: TinyCell, references: References, outside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "WorkerProcess", partial(WorkerProcess, module="slow_worker"))
    monkeypatch.setenv("TANDEM_TEST_DELAY_S", "0.2")
    before = worker_clock()
    record = measure_cell(tiny(), 1, references)
    assert record.status == "ok", record.sentence
    assert worker_clock() - before == pytest.approx(3 * 0.001)
    assert record.step_s == pytest.approx(0.001)


def test_a_window_waits_for_every_step() -> None:
    waited: list[int] = []

    class Later:
        def __init__(self, number: int):
            self.number = number

        def block_until_ready(self) -> None:
            waited.append(self.number)

    class Model:
        def synchronize(self) -> None:
            waited.append(-1)

    worker, numbers = Worker(), iter(range(3))
    worker.model = Model()  # type: ignore[assignment]
    worker.step = lambda: {"logits": Later(next(numbers))}
    assert worker.window(3)["steps"] == 3
    assert waited == [0, 1, 2, -1]


def test_a_window_keeps_nothing_that_it_need_not_wait_for() -> None:
    class Model:
        def synchronize(self) -> None:
            pass

    class Logits:
        alive: ClassVar[list[weakref.ref[Logits]]] = []

        def __init__(self) -> None:
            self.alive[:] = [seen for seen in self.alive if seen() is not None] + [weakref.ref(self)]

    worker, most = Worker(), [0]

    def step() -> dict[str, object]:
        outputs: dict[str, object] = {"logits": Logits()}
        most[0] = max(most[0], len(Logits.alive))
        return outputs

    worker.model, worker.step = Model(), step  # type: ignore[assignment]
    worker.window(5)
    assert most == [1]


@pytest.mark.parametrize("phase", ["forward", "forward_backward", "train_step"])
@pytest.mark.parametrize("name", ["wrong_epsilon", "skipped_layer"])
def test_a_planted_fault_gets_no_throughput(
    name: str, phase: str, tiny: TinyCell, references: References, outside: None
) -> None:
    record = measure_cell(tiny(name, phase), 1, references)
    assert record.status == "not_comparable"
    assert record.gate is not None and record.gate.distance > 1000
    assert record.windows == () and record.step_s is None and record.images_per_s is None
    assert "not comparable" in record.sentence and record.gate.quantity in record.sentence


def test_not_a_number_is_not_comparable(tiny: TinyCell, references: References, outside: None) -> None:
    record = measure_cell(tiny("not_a_number"), 1, references)
    assert record.status == "not_comparable"
    assert record.gate is not None and record.gate.distance == float("inf")


def test_gate_refuses_a_missing_and_an_unexpected_quantity(tiny: TinyCell, references: References) -> None:
    reference = references.get(tiny())
    right = {name: values.tolist() for name, values in reference.quantities.items()}
    assert judge(reference, right).comparable
    assert not judge(reference, {}).comparable
    assert judge(reference, right | {"more": [1.0]}).quantity == "more"


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("out_of_memory", "out_of_memory", "Unable to allocate"),
        ("raises", "failed", "RuntimeError: compilation failed"),
        ("killed_in_the_middle", "killed", "SIGKILL during 'warm_up'"),
        ("exits", "failed", "exit code 3 during 'start': fatal: no kernel image"),
    ],
)
def test_a_failure_is_a_record(
    name: str, status: str, words: str, tiny: TinyCell, references: References, outside: None
) -> None:
    record = measure_cell(tiny(name), 1, references)
    assert record.status == status
    assert words in record.message and "\n" not in record.message
    assert record.step_s is None


def test_what_was_known_before_a_failure_is_kept(tiny: TinyCell, references: References, outside: None) -> None:
    record = measure_cell(tiny("killed_in_the_middle"), 1, references)
    assert record.gate is not None and record.startup is not None


def test_an_unsupported_precision_is_a_record(tiny: TinyCell, references: References) -> None:
    record = measure_cell(tiny("numpy_reference", precision="float32"), 1, references)
    assert record.status == "unsupported"
    assert record.message == "has no precision 'float32'"


def test_a_hang_ends_at_the_limit_and_leaves_nothing(
    tiny: TinyCell, references: References, outside: None, gone: Gone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setenv("TANDEM_TEST_PIDS", str(pids))
    record = measure_cell(tiny("hangs"), 1, references, time_limit_s=5)
    assert record.status == "timed_out"
    assert "limit of 5 s" in record.message
    worker, child = map(int, pids.read_text().split())
    _wait_until(lambda: gone(worker) and gone(child))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_a_worker_dies_with_its_parent(outside: None, tiny: TinyCell, gone: Gone, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = "import sys; from benchmarks.process import WorkerProcess; from benchmarks.cell import Cell\n"
    code += "worker = WorkerProcess(600)\n"
    code += "worker.ask('start', cell=Cell.model_validate_json(sys.argv[1]).model_dump(mode='json'), spawned_at=0)"
    cell = tiny("hangs").model_dump_json()
    parent = subprocess.Popen([sys.executable, "-c", code, cell], env=os.environ | {"TANDEM_TEST_PIDS": str(pids)})
    _wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    worker, child = map(int, pids.read_text().split())
    assert not gone(worker)
    parent.kill()
    parent.wait()
    _wait_until(lambda: gone(worker))
    os.kill(child, signal.SIGKILL)  # a grandchild is only ended by a parent that lives


def test_a_talkative_library_does_not_corrupt_the_protocol(
    tiny: TinyCell, references: References, outside: None
) -> None:
    assert measure_cell(tiny("talkative"), 1, references).status == "ok"


def test_ctrl_c_leaves_no_worker(
    tiny: TinyCell, references: References, gone: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Remembered(WorkerProcess):
        def __init__(self, *arguments: Any, **named: Any):
            super().__init__(*arguments, **named)
            seen.append(self.pid)

    def interrupt(one_round: Callable[[], None]) -> None:
        one_round()
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "WorkerProcess", Remembered)
    with pytest.raises(KeyboardInterrupt):
        measure_cell(tiny(), 1, references, run_rounds=interrupt)
    assert len(seen) == 1 and gone(seen[0])


def test_a_run_goes_on_after_a_failure_and_resumes(
    tiny: TinyCell, outside: None, no_ceilings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "one")
    cells, results = [tiny(), tiny("exits")], tmp_path / "results"
    stages: list[tuple[str, str]] = []

    def watch(progress: Progress) -> None:
        stages.append((progress.stage, progress.cell.backend))

    first = run_cells(cells, replicates=2, results=results, on_progress=watch)
    assert [record.status for record in first] == ["ok", "failed", "failed", "ok"]
    assert stages[0] == ("reference", "numpy_reference") and stages.count(("done", "exits")) == 2
    assert sorted(load_records(results), key=str) == sorted(first, key=str)

    stages.clear()
    second = run_cells(cells, replicates=2, results=results, resume=True, on_progress=watch)
    assert [record for record in second if record.status == "ok"] == [first[0], first[3]]
    assert stages.count(("resumed", "numpy_reference")) == 2 and stages.count(("done", "exits")) == 2

    monkeypatch.setattr(provenance, "commit", lambda: "another")
    assert provenance.finished(results) == {}


@pytest.mark.parametrize("commit", ["one", "one+changes", None])
def test_only_what_would_be_timed_again_is_resumed(
    commit: str | None, record: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(provenance, "commit", lambda: commit)
    monkeypatch.setattr(provenance, "last_change", lambda: now)

    def resumed(**values: object) -> bool:
        kept = record(**{"machine": this_machine(), "commit": commit, "started_at": now.isoformat()} | values)
        save_record(kept, tmp_path)
        return bool(provenance.finished(tmp_path))

    assert resumed(started_at=(now + timedelta(seconds=1)).isoformat())
    assert resumed() == (commit == "one")  # other code may have run
    assert resumed(started_at="") == (commit == "one")
    later = (now + timedelta(seconds=1)).isoformat()
    assert not resumed(started_at=later, spec_fingerprint="another")
    assert resumed(started_at=later, versions={"numpy": np.__version__, "cudnn": "9"})
    assert not resumed(started_at=later, versions={"numpy": "1.0"})


def test_going_on_replaces_no_record_of_other_code(
    record: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_other_code = {"machine": this_machine(), "commit": "0123456789abcdef"}
    ended, failed = record(**of_other_code), record(**of_other_code, status="failed", replicate=2)
    save_record(ended, tmp_path)
    save_record(failed, tmp_path)
    with monkeypatch.context() as then:
        then.setattr(provenance, "commit", lambda: ended.commit)
        known = provenance.to_go_on_with(tmp_path, [ended.cell])
    assert known == {(ended.cell, ended.replicate): ended}
    assert provenance.to_go_on_with(tmp_path, []) == {}
    assert provenance.to_go_on_with(tmp_path / "new", [ended.cell]) == {}
    with pytest.raises(TandemError) as error:
        provenance.to_go_on_with(tmp_path, [ended.cell])
    assert str(error.value) == (
        f"{tmp_path}: would lose records of these cells (1 of commit 0123456789ab), as code, versions or machine "
        "are others here; name another folder with --results, or measure all again without --resume"
    )


def test_last_change_is_that_of_a_source_file() -> None:
    written = Path(provenance.__file__).stat().st_mtime
    assert written <= provenance.last_change().timestamp() <= time.time()


@pytest.mark.parametrize(
    ("error", "status"), [(MemoryError("Unable to allocate"), "failed"), (TandemError("no such"), "failed")]
)
def test_a_reference_that_fails_is_a_record_and_the_run_goes_on(
    error: Exception, status: str, tiny: TinyCell, no_ceilings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = gate.compute

    def fail(cell: Cell, by: str) -> gate.Reference:
        if cell.batch == 1:
            raise error
        return compute(cell, by)

    monkeypatch.setattr(gate, "compute", fail)
    records = run_cells([tiny(batch=1), tiny()], replicates=1)
    assert [record.status for record in records] == [status, "ok"]
    assert records[0].message == f"the reference could not be computed: {error}"


def test_bad_cells_are_refused_before_any_work(tiny: TinyCell, tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="the nearest are"):
        run_cells([tiny(), tiny("nobody")], results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_unwritable_results_are_one_line(tiny: TinyCell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TandemError, match="name a writable folder"):
        run_cells([tiny()], replicates=1, results=tmp_path / "file")


def _wait_until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
