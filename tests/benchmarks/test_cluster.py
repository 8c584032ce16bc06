"""Runs on a cluster: jobs of this machine by submitit's local executor, and batch files of a stand-in for Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import cluster_job, cluster_state, executors, merging, provenance
from benchmarks.cell import Cell
from benchmarks.cluster import ClusterRun
from benchmarks.executors import open_cluster
from benchmarks.machine import this_machine
from benchmarks.record_files import load_records, save_record
from benchmarks.slurm_options import SlurmOptions
from shared_specs import TandemError

from . import jobs

pytest.importorskip("submitit", reason="submitit is not installed; it comes with the extra `test`")

TinyCell = Callable[..., Cell]
MakeRun = Callable[..., ClusterRun]

IDS = count(int(time.time()) % 10**6 * 1000, 100)
"""submitit remembers the states of jobs by their ids."""


@pytest.fixture
def make(tmp_path: Path, tiny: TinyCell) -> MakeRun:
    """A run of one cell in two processes."""

    def make(work: Callable[[dict[str, Any]], Any] = jobs.works, cluster: str = "local", **values: Any) -> ClusterRun:
        folder = tmp_path / "cluster"
        options = SlurmOptions.read(values.pop("slurm", ()))
        opened = open_cluster(cluster, folder, options, on_gpu=False)
        chosen = {"cells": [tiny("no_op")], "replicates": 2, "results": tmp_path / "results", "limit_min": 60} | values
        return ClusterRun(opened, folder=folder, work=work, **chosen)

    return make


def attempts(run: ClusterRun) -> list[int]:
    return [len(run.jobs[key].attempts) for key in run.plan]


def test_two_cells_are_timed_by_the_real_worker(make: MakeRun, tiny: TinyCell, tmp_path: Path) -> None:
    cells = [tiny("no_op"), tiny("no_op", phase="train_step")]
    told: list[str] = []
    outcome = make(cluster_job.run, cells=cells, replicates=1).run(told.append)
    assert [(record.cell, record.status) for record in outcome.records] == [(cell, "ok") for cell in cells]
    assert all(record.step_s and record.command == provenance.command_line() for record in outcome.records)
    assert load_records(tmp_path / "results") == sorted(outcome.records, key=lambda record: record.file_name)
    assert "1 of 2 jobs merged, 1 submitted" in told and told[-1] == "2 of 2 jobs merged, 0 submitted"


def test_what_fails_once_is_submitted_again(make: MakeRun) -> None:
    run, notes = make(jobs.fails_once, replicates=1), list[str]()
    (record,) = run.run(note=notes.append).records
    assert record.status == "ok" and attempts(run) == [2]
    assert "the first time fails" in notes[0] and notes[0].endswith("submitted again")


def test_what_fails_twice_is_recorded_and_the_run_goes_on(make: MakeRun, tmp_path: Path) -> None:
    run = make(jobs.second_fails)
    first, second = run.run().records
    assert (first.status, second.status) == ("ok", "failed") and attempts(run) == [1, 2]
    assert second.message.startswith("jobs ") and second.message.endswith("RuntimeError: it always fails")
    assert len(load_records(tmp_path / "results")) == 2

    again = make(jobs.works, resume=True)
    assert again.run().records == [first, second], "what is recorded is read, not repeated"
    assert (tmp_path / "cluster" / "ran-no_op-2").stat().st_size == 2


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [
        (jobs.dies, "failed", "ended as COMPLETED without an answer"),
        (jobs.never_begins, "failed", "no such environment on this node"),
        (jobs.is_told_to_end, "killed", "SIGUSR2 told the job to end after 0 of 60 minutes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_job_that_ends_early_is_a_record_with_the_reason(make: MakeRun, work: Any, status: str, words: str) -> None:
    run = make(work, replicates=1)
    (record,) = run.run().records
    assert (record.status, record.step_s) == (status, None) and words in record.message
    assert attempts(run) == [2]


def test_a_local_job_may_use_the_gpus_that_this_process_may(make: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, or none, is what submitit would give it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8932f937")
    (record,) = make(jobs.says_its_gpus, replicates=1).run().records
    assert record.message == "2,GPU-8932f937"


@pytest.mark.parametrize("visible", ["2", "", None], ids=str)
def test_a_task_sees_the_gpus_that_it_is_to_see(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    seen: list[tuple[str, str | None]] = []
    executors.seeing(visible, lambda task: seen.append((task, os.environ.get("CUDA_VISIBLE_DEVICES"))), "a task")
    assert seen == [("a task", visible)]


def test_an_answer_that_cannot_be_read_is_none_yet(tmp_path: Path) -> None:
    """A network folder says so of a file that is just being replaced."""
    cluster_job.answer_path(tmp_path, "token").mkdir(parents=True)
    assert cluster_job.read_answer(tmp_path, "token") is None


def test_jobs_of_unlike_cells_have_names_of_their_own(tiny: TinyCell, record: Any) -> None:
    """By which they are refused; as their records are called."""
    cells = [tiny("no_op"), tiny("no_op", seed=1)]
    names = [cluster_state.Job(cell=cell, replicate=1).name for cell in cells]
    assert cells[0].id == cells[1].id and names[0] != names[1]
    assert [f"{name}.json" for name in names] == [record(cell=cell, replicate=1).file_name for cell in cells]


def test_what_a_backend_cannot_do_needs_no_job(make: MakeRun, tiny: TinyCell) -> None:
    """Also where every job of the others fails."""
    lacking = tiny("no_op", precision="bfloat16")
    assert lacking.lacks is not None
    run = make(jobs.never_begins, cells=[lacking, tiny("no_op")], replicates=1)
    assert [record.status for record in run.run().records] == ["unsupported", "failed"]
    assert attempts(run) == [0, 2]


def test_where_no_job_ever_begins_each_is_recorded(make: MakeRun) -> None:
    """One that has ended takes no place, though its record waits for the machine that another job may tell."""
    run = make(jobs.never_begins)

    def not_stuck(step: str) -> None:
        jobs_of_run = run._waiting()
        under_way = any(job.attempts and job.attempts[-1].token not in run._ended_at for job in jobs_of_run)
        assert under_way or all(job.attempts for job in jobs_of_run), "nothing runs, and nothing is submitted"

    assert [record.status for record in run.run(not_stuck).records] == ["failed", "failed"]
    assert attempts(run) == [2, 2]


def test_a_job_that_never_began_is_in_no_column_of_a_machine(make: MakeRun, tmp_path: Path) -> None:
    first, second = make(jobs.second_never_begins, columns=["machine"]).run().records
    assert (first.machine, second.machine) == (this_machine(), merging.NOWHERE)
    assert "no such environment" in second.message
    assert len(list((tmp_path / "results").glob("*-no-machine.json"))) == 1


def test_a_signal_near_the_limit_is_that_of_the_limit(make: MakeRun) -> None:
    (record,) = make(jobs.is_told_to_end, replicates=1, limit_min=0).run().records
    assert record.status == "timed_out"


@pytest.fixture(params=["to end", "to ignore SIGINT"])
def ending_s(request: pytest.FixtureRequest) -> Iterator[float]:
    """Jobs inherit what their parent does on SIGINT: of one that runs in the background, they ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler if request.param == "to end" else signal.SIG_IGN)
    yield 10.0 if request.param == "to end" else 0.2
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_local_jobs_and_another_run_begins_them_again(
    make: MakeRun, ending_s: float, tmp_path: Path
) -> None:
    run = make(jobs.waits, replicates=1)

    def interrupt(step: str) -> None:
        if (tmp_path / "cluster" / "began-no_op-1").exists():
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "ENDING_S", ending_s)
        with pytest.raises(KeyboardInterrupt):
            run.run(interrupt)
    (job,) = cluster_state.load(tmp_path / "cluster").jobs  # pyright: ignore[reportOptionalMemberAccess]
    assert job.attempts == () and run.running() == []
    assert not [process.pid for process in psutil.Process().children() if str(tmp_path) in " ".join(process.cmdline())]
    with pytest.raises(TandemError, match="1 jobs whose records are not merged; give --resume"):
        make().run()
    (record,) = make(replicates=1, resume=True).run().records
    assert record.status == "ok"


DRIVER = """
import sys
from pathlib import Path
from benchmarks.cell import Cell
from benchmarks.cluster import ClusterRun
from benchmarks.executors import open_cluster
from benchmarks.slurm_options import SlurmOptions
from tests.benchmarks import jobs

cell, folder = Cell.model_validate_json(sys.argv[1]), Path(sys.argv[2])
cluster = open_cluster("local", folder / "cluster", SlurmOptions(), False)
ClusterRun(cluster, [cell], 1, folder / "results", folder / "cluster", 60, work=jobs.waits).run()
"""


def test_a_job_that_still_runs_is_found_again_by_its_id(make: MakeRun, tiny: TinyCell, tmp_path: Path) -> None:
    """As from another login, after the first one was lost."""
    command = [sys.executable, "-c", DRIVER, tiny("no_op").model_dump_json(), str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(provenance.ROOT)}) as driver:
        while not (tmp_path / "cluster" / "began-no_op-1").exists():
            assert driver.poll() is None
            time.sleep(0.02)
        with pytest.raises(TandemError, match=f"process {driver.pid} of .* is merging its jobs"):
            make(replicates=1, resume=True).run()
        os.kill(driver.pid, signal.SIGKILL)
    run = make(jobs.dies, replicates=1, resume=True)  # whose own job would fail

    def let_it_go_on(step: str) -> None:
        assert run.running() == [job.attempts[0].job_id for job in run.jobs.values()]
        assert run.cluster.state(run.running()[0]) == "RUNNING"
        (tmp_path / "cluster" / "go").touch()

    (record,) = run.run(lambda step: None if (tmp_path / "cluster" / "go").exists() else let_it_go_on(step)).records
    assert record.status == "ok" and attempts(run) == [1]


@pytest.mark.parametrize(
    ("work", "column", "words"),
    [
        (jobs.second_elsewhere, "machine", "cpu: "),
        (jobs.second_of_other_code, "commit", "is of commit ffffffffffff"),
    ],
)
def test_records_of_two_kinds_are_refused_or_columns(
    make: MakeRun, tmp_path: Path, work: Any, column: str, words: str
) -> None:
    outcome = make(work).run()
    (reason,) = outcome.refused.values()
    assert words in reason and f"--columns {column}" in reason
    assert len(outcome.records) == len(load_records(tmp_path / "results")) == 1

    outcome = make(jobs.dies, resume=True, columns=[column]).run()  # read again, not run again
    assert not outcome.refused and len(outcome.records) == 2
    assert len(load_records(tmp_path / "results")) == 2


@pytest.mark.parametrize("changed", ["sources", "version", "commit"])
def test_what_other_code_gave_is_not_read_but_run_again(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    columns = ["commit"] if changed == "commit" else []
    run = make(replicates=1, columns=columns)
    (record,) = run.run().records
    (path,) = (tmp_path / "results").glob("*.json")
    with_changes = "a" * 40 + provenance.CHANGES
    other: dict[str, dict[str, Any]] = {
        "sources": {"commit": with_changes, "started_at": "2000-01-01T00:00:00+00:00"},
        "version": {"versions": {"numpy": "0.0"}},
        "commit": {"commit": "b" * 40},
    }
    path.write_text(record.model_copy(update={"message": "of then", **other[changed]}).model_dump_json())
    if changed == "sources":
        monkeypatch.setattr(provenance, "commit", lambda: with_changes)

    again = make(replicates=1, columns=columns, resume=True)
    (record,) = again.run().records
    assert not again.outcome.refused and record.message == ""
    (before,), (now,) = ([job.attempts for job in each.jobs.values()] for each in (run, again))
    assert len(now) == 1 and now != before, "the answer of then is not read either"
    assert len(load_records(tmp_path / "results")) == 1


def test_with_changes_what_never_began_is_read_again_like_the_rest(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No date tells of which code it is; the commit does."""
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40 + "+changes.12345678")
    first = make(jobs.never_begins, replicates=1)
    (record,) = first.run().records
    assert (record.status, record.started_at) == ("failed", "")
    again = make(jobs.works, replicates=1, resume=True)
    assert again.run().records == [record]
    assert again.jobs == first.jobs


def test_records_from_before_a_change_of_the_sources_stay_alone(
    make: MakeRun, record: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A commit with changes is of other code than the same one with others."""
    code = "a" * 40 + provenance.CHANGES
    held = record(commit=code, started_at="2000-01-01T00:00:00+00:00", machine=this_machine())
    new = record(commit=code, started_at="2999-01-01T00:00:00+00:00", machine=this_machine())
    assert "what is there was begun before the sources were last changed" in (merging.refusal(new, [held]) or "")
    assert merging.refusal(new, [held], ["commit"]) is None
    assert merging.refusal(new, [new]) is None

    monkeypatch.setattr(provenance, "commit", lambda: code)
    save_record(new, tmp_path / "results")
    save_record(held.model_copy(update={"replicate": 2}), tmp_path / "results")
    with pytest.raises(TandemError, match=r"--results holds records .* before the sources were last changed"):
        make().run()
    assert cluster_state.load(tmp_path / "cluster") is None


def test_the_earliest_of_several_records_tells_whether_the_sources_have_changed(make: MakeRun, record: Any) -> None:
    code, run = "a" * 40 + provenance.CHANGES, make()
    dates = ["", "2999-01-01T00:00:00+00:00", "2000-01-01T00:00:00+00:00", "2998-01-01T00:00:00+00:00"]
    for number, started_at in enumerate(dates, 1):
        run._hold(record(commit=code, replicate=number, started_at=started_at))
    (held,) = run._held.values()
    assert held.started_at == "2000-01-01T00:00:00+00:00"


def test_columns_of_one_cell_have_files_of_their_own(make: MakeRun, tmp_path: Path) -> None:
    outcome = make(jobs.works, replicates=1, columns=["machine", "commit"]).run()
    (path,) = (tmp_path / "results").glob("*.json")
    (record,) = outcome.records
    assert path.name.startswith(record.file_name.removesuffix(".json") + "-")
    assert record.machine.label("cpu") in path.name


def test_a_folder_of_another_commit_is_refused_before_any_job(make: MakeRun, record: Any, tmp_path: Path) -> None:
    save_record(record(commit="e" * 40), tmp_path / "results")
    with pytest.raises(TandemError, match="--results holds records of commit eeeeeeeeeeee, and this is"):
        make().run()
    assert cluster_state.load(tmp_path / "cluster") is None


@pytest.mark.parametrize("text", ["", "[]", '{"cluster": "slurm"}', "no JSON"])
def test_a_damaged_state_is_refused_in_one_line(make: MakeRun, tmp_path: Path, text: str) -> None:
    run = make(resume=True)
    (tmp_path / "cluster" / "jobs.json").write_text(text)
    with pytest.raises(TandemError, match=r"jobs\.json: .*; name another --cluster-folder"):
        run.run()


def test_jobs_of_another_cluster_are_gone_on_with_there(make: MakeRun, tmp_path: Path) -> None:
    run = make(resume=True)
    cluster_state.save(cluster_state.Jobs(cluster="slurm", commit=provenance.commit()), tmp_path / "cluster")
    with pytest.raises(TandemError, match="has jobs of --cluster slurm; go on with that one"):
        run.run()


# ------------------------------------------------------------------------------------------- a stand-in for Slurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-in, its commands first on the path."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    jobs.make_slurm(folder, next(IDS))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(executors.Slurm, "grace_s", 0.0)
    monkeypatch.setattr(executors.Slurm, "look_every_s", 0.1)
    return folder


def test_slurm_is_given_one_array_of_exclusive_jobs(make: MakeRun, slurm: Path) -> None:
    run = make(cluster="slurm", slurm=["partition=gpu", "time=1:30:00", "gpus=1", "reservation=ours"])
    outcome = run.run()
    assert [record.status for record in outcome.records] == ["ok", "ok"]
    (script,) = slurm.glob("*.sh")
    lines = script.read_text().splitlines()
    for wanted in ("partition=gpu", "time=90", "gpus-per-node=1", "reservation=ours", "nodes=1", "array=0-1%2"):
        assert f"#SBATCH --{wanted}" in lines
    assert "#SBATCH --exclusive" in lines and "#SBATCH --no-requeue" in lines
    # The batch shell is told before the limit, and has become the job.
    assert "#SBATCH --signal=B:USR2@90" in lines and lines[-1].startswith(f"exec {sys.executable}")
    assert not any("srun" in line for line in lines)


def test_what_slurm_says_of_a_job_is_in_its_record(make: MakeRun, slurm: Path) -> None:
    (slurm / "ends_as").write_text("TIMEOUT\n")
    (record,) = make(jobs.never_begins, "slurm", replicates=1).run().records
    assert "the job ended as TIMEOUT without an answer; it said at last: " in record.message
    assert record.status == "timed_out" and "no such environment on this node" in record.message


def test_jobs_of_slurm_outlive_an_interrupt_and_can_be_cancelled(make: MakeRun, slurm: Path, tmp_path: Path) -> None:
    run = make(jobs.waits, "slurm", replicates=1)

    def interrupt(step: str) -> None:
        if (tmp_path / "cluster" / "began-no_op-1").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(interrupt)
    (job_id,) = run.running()
    assert run.cluster.command_to_cancel([job_id]) == f"scancel {job_id}"
    (tmp_path / "cluster" / "go").touch()
    again = make(jobs.dies, "slurm", replicates=1, resume=True)
    (record,) = again.run().records
    assert record.status == "ok" and attempts(again) == [1]


def test_sbatch_that_refuses_is_one_line(make: MakeRun, slurm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    with pytest.raises(TandemError, match=r"no job could be submitted: .*invalid partition specified: gpu"):
        make(cluster="slurm", slurm=["partition=gpu"]).run()
    assert capfd.readouterr().err == ""
