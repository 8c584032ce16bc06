"""Cells over several devices: their names, the gate, the slowest rank, failures by rank, and what efficiency is."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from benchmarks import device_scaling, machine, measure, replica_worker
from benchmarks.cell import Cell, CellError
from benchmarks.device_scaling import by_turns, counts, device_scalings, plan
from benchmarks.fingerprint import after_training
from benchmarks.gate import References, key_of
from benchmarks.measure import measure_cell
from benchmarks.process import WorkerFailure
from benchmarks.records import Ranks, Record, Startup
from benchmarks.replica_worker import GroupWorker, check_alike
from benchmarks.worker import Worker
from shared_specs import Recipe, TandemError

TinyCell = Callable[..., Cell]

OWN = Recipe(batch_statistics="per_replica")


@pytest.fixture
def two(tiny: TinyCell) -> Cell:
    """Two replicas in PyTorch, of one core each."""
    return tiny("pytorch", phase="train_step", batch=4, size=(32, 32), replicas=2, cores=1, recipe=OWN)


def test_a_cell_of_one_device_is_called_as_ever(tiny: TinyCell) -> None:
    cell = tiny()
    assert not {"replicas", "cores"} & cell.model_dump().keys()
    assert cell.id == "unet_bn_same_narrow32-numpy_reference-default-float64-2x16x32-forward-cpu"
    assert cell.digest == "5a9171c7", "what it was before there were replicas"
    assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_replicas_and_cores_are_in_the_name(two: Cell) -> None:
    assert two.where == "2 processes of 1 core each"
    assert "2_processes_of_1_core_each" in two.id
    assert Cell.model_validate(two.model_dump(mode="json")) == two
    alone = two.model_copy(update={"replicas": 1})
    assert alone.where == "1 process of 1 core" and alone.digest != two.digest
    assert two.model_copy(update={"cores": None, "device": "cuda"}).where == "2 cuda devices"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"phase": "forward"}, "take --phase train_step"),
        ({"batch": 3}, "a batch of 3 does not divide among 2 replicas"),
        ({"backend": "numpy_reference"}, "numpy_reference trains on one device only"),
    ],
)
def test_replicas_that_cannot_be_are_refused(two: Cell, values: dict[str, object], words: str) -> None:
    with pytest.raises(CellError, match=words):
        two.model_copy(update=values).check()


def test_statistics_of_their_own_need_a_reference_of_their_own(two: Cell) -> None:
    as_one = two.model_copy(update={"recipe": Recipe()})
    assert key_of(two) != key_of(as_one)
    assert key_of(as_one) == key_of(as_one.model_copy(update={"replicas": 1}))


@pytest.mark.needs_backends("pytorch")
def test_two_ranks_are_timed_and_judged(two: Cell) -> None:
    record = measure_cell(two, 1, References())
    assert record.status == "ok", record.message
    assert record.gate is not None and record.gate.comparable
    assert record.ranks is not None and record.ranks.usable_cores == (1, 1)
    assert record.startup is not None and min(record.startup.import_s, record.startup.join_s) > 0
    assert [window.seconds for window in record.windows] == [max(times) for times in record.ranks.window_s]
    assert record.peak_memory_bytes == max(record.ranks.peak_memory_bytes) and len(record.ranks.peak_memory_bytes) == 2
    assert Record.model_validate_json(record.model_dump_json()) == record


@pytest.mark.needs_backends("pytorch")
def test_ranks_that_take_more_than_is_free_are_a_record_that_names_one(
    two: Cell, monkeypatch: pytest.MonkeyPatch, gone: Callable[[int], bool]
) -> None:
    """And no casualty of the kernel."""
    pids: list[int] = []
    real = GroupWorker.__enter__

    def enter(self: GroupWorker) -> GroupWorker:
        entered = real(self)
        pids.extend(self._group.pids)
        self._group.memory_limit_bytes = given.pop()
        return entered

    given = [64 * 2**20]
    monkeypatch.setattr(GroupWorker, "__enter__", enter)
    record = measure_cell(two, 1, References())
    assert (record.status, record.step_s) == ("out_of_memory", None)
    said = r"^rank [01] of 2 replicas of pytorch held 0\.\d GiB, .* than the 0\.1 GiB that were free, during 'start'$"
    assert re.search(said, record.message)
    assert len(pids) == 2 and all(map(gone, pids))


def test_the_limit_of_a_group_is_that_of_one_process(two: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "free_memory_limit_bytes", lambda: 12345)
    worker = measure._worker_of(two, 60)
    assert isinstance(worker, GroupWorker) and worker._group.memory_limit_bytes == 12345


def test_what_a_rank_spends_before_it_is_asked_is_import_and_joining(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts add up to the time from the start of the processes to the end of the first call."""
    seconds = iter([101.0, 104.0])  # by the clock: the import begins, and is done
    monkeypatch.setattr(replica_worker, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    joined = SimpleNamespace(join_replicas=lambda rank, replicas, execution: execution)
    monkeypatch.setattr(replica_worker.backends, "get", lambda name: joined)
    rank = replica_worker.ReplicaWorker("pytorch", "cpu", 0, 2).worker
    alone = {"start_s": 9.0, "import_s": 0.25, "build_s": 1.0, "program_s": 2.0, "first_call_s": 3.0}
    monkeypatch.setattr(Worker, "start", lambda self, cell, spawned_at: {"startup": dict(alone)})
    told = rank.start({}, spawned_at=100.0)["startup"]
    assert told == alone | {"start_s": 1.0, "import_s": 3.25, "join_s": 5.0}
    assert Startup(**told).time_to_first_step_s == Startup(**alone).time_to_first_step_s
    assert Startup(**told).ready_s == 1.0 + 3.25 + 1.0 + 2.0


def test_the_start_is_that_of_the_rank_that_the_others_waited_for(two: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"start_s": 1.0, "import_s": 1.0, "join_s": 6.0, "build_s": 1.0, "program_s": 1.0, "first_call_s": 2.0}
    slow = quick | {"import_s": 6.9, "join_s": 0.1, "compile_s": 0.5}
    same = {"fingerprint": {after_training(tensor.name): [1.0] for tensor in two.network.tensors}}
    answers = [{"startup": quick, "versions": "of rank 0"} | same, {"startup": slow, "versions": "of rank 1"} | same]
    worker = GroupWorker(two, 60)
    monkeypatch.setattr(worker._group, "ask", lambda *_, **__: answers)
    assert worker.ask("start", cell={}, spawned_at=0.0) == {"startup": slow, "versions": "of rank 0"} | same


def test_a_rank_that_trained_otherwise_is_told_though_the_gate_sees_rank_0_alone(two: Cell) -> None:
    """Statistics of their own differ."""
    own, shared = two, two.model_copy(update={"recipe": Recipe()})
    weight, statistic = (next(t.name for t in two.network.tensors if t.trainable is kind) for kind in (True, False))
    same = {after_training(tensor.name): [1.0, float("nan")] for tensor in two.network.tensors}
    for cell in (own, shared):
        check_alike(cell, [same, same])
        with pytest.raises(WorkerFailure, match=f"rank 2 of 3 replicas of pytorch has another {weight} after step 3"):
            check_alike(cell, [same, same, same | {after_training(weight): [1.0, 2.0]}])
    drifted = [same, same | {after_training(statistic): [1.0, 2.0]}]
    check_alike(own, drifted)
    with pytest.raises(WorkerFailure, match=f"rank 1 of 2 replicas of pytorch has another {statistic}") as failed:
        check_alike(shared, drifted)
    assert failed.value.status == "not_comparable"


@pytest.mark.needs_backends("pytorch")
def test_other_statistics_are_another_network(two: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate tells replicas with statistics of their own from one device with the whole batch."""
    monkeypatch.setattr("benchmarks.reference.replicas_apart", lambda cell: 1)
    record = measure_cell(two, 1, References())
    assert record.status == "not_comparable" and record.step_s is None


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGKILL, "killed", "rank 1 of 2 replicas of pytorch was killed by SIGKILL"),
     (signal.SIGSTOP, "timed_out", "rank 1 of 2 replicas of pytorch gave no answer")],
    ids=["dies", "hangs"],
)  # fmt: skip
def test_a_rank_that_dies_or_hangs_is_named_and_nothing_is_left(
    two: Cell,
    monkeypatch: pytest.MonkeyPatch,
    gone: Callable[[int], bool],
    number: signal.Signals,
    status: str,
    words: str,
) -> None:
    pids: list[int] = []
    real = GroupWorker.ask

    def ask(self: GroupWorker, command: str, **arguments: object) -> dict[str, object]:
        if command == "watched_window" and not pids:
            pids.extend(self._group.pids)
            os.kill(pids[1], number)
            if number == signal.SIGSTOP:
                self.time_limit_s = time.monotonic() - self.spawned_at + 2
        return real(self, command, **arguments)

    monkeypatch.setattr(GroupWorker, "ask", ask)
    record = measure_cell(two, 1, References())
    assert (record.status, record.step_s) == (status, None)
    assert words in record.message
    assert len(pids) == 2 and all(map(gone, pids))


def test_counts_double_and_end_at_most() -> None:
    assert [counts(most) for most in (2, 4, 6, 8)] == [[1, 2], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this a machine of so many cores, without a GPU."""

    def make(count: int) -> None:
        here = machine.this_machine().model_copy(update={"usable_cores": count, "gpus": ()})
        monkeypatch.setattr(device_scaling.machine, "this_machine", lambda: here)

    return make


def test_the_plan_is_strong_and_weak_from_one_device(tiny: TinyCell, cores: Callable[[int], None]) -> None:
    cores(9)
    cells = plan(tiny("pytorch", phase="train_step", batch=4), 4, "per_replica")
    assert [(cell.replicas, cell.batch) for cell in cells] == [(1, 4), (2, 4), (2, 8), (4, 4), (4, 16)]
    assert {cell.cores for cell in cells} == {2}, "each process has the same cores"
    assert cells[0].recipe == Recipe() and cells[1].recipe == OWN
    order = by_turns(cells, 2)
    assert [cell for cell, _ in order] == [*cells, *reversed(cells)]


@pytest.mark.parametrize(
    ("values", "most", "words"),
    [
        ({}, 4, "got 4 replicas, each of which takes one core, and this machine has 2 cores; take 2 replicas"),
        ({"batch": 3}, 2, "give --batch a multiple of 2"),
        ({"device": "cuda"}, 2, "each of which takes one cuda device, and this machine has 0 cuda devices"),
        ({"device": "cuda:1"}, 2, "is one device, and replicas take one each; give cuda"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    tiny: TinyCell, cores: Callable[[int], None], values: dict[str, object], most: int, words: str
) -> None:
    cores(2)
    with pytest.raises(TandemError, match=words):
        plan(tiny("pytorch", phase="train_step", **{"batch": 4, **values}), most, "global")


@pytest.fixture
def scaled(record: Callable[..., Record], tiny: TinyCell, cores: Callable[[int], None]) -> list[Record]:
    """Two devices of which the second brings half its speed in strong scaling, and 80% in weak scaling."""
    cores(2)
    one, strong, weak = plan(tiny("pytorch", phase="train_step", batch=4), 2, "per_replica")
    steps_s = {one: 0.2, strong: 0.2 / 1.5, weak: 0.2 / 0.9}
    held = Ranks(peak_memory_bytes=(3 * 2**30, 2 * 2**30))
    return [
        record(step_s=seconds * (1 + 0.01 * replicate), replicate=replicate).model_copy(
            update={"cell": cell, "ranks": held if cell.replicas > 1 else None, "peak_memory_bytes": 2**30}
        )
        for cell, seconds in steps_s.items()
        for replicate in (1, 2, 3)
    ]


def test_efficiency_is_what_k_devices_reach_of_k_times_the_speed(scaled: list[Record]) -> None:
    (found,) = device_scalings(scaled)
    points = {(point.mode, point.replicas): point for point in found.points}
    assert list(points) == [("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2)]
    for mode, expected in (("strong", 0.75), ("weak", 0.9)):
        value, low, high = points[mode, 2].efficiency  # pyright: ignore[reportGeneralTypeIssues]
        assert value == pytest.approx(expected) and low < value < high
        assert points[mode, 1].efficiency is None
    assert points["weak", 2].batch == 8 and points["strong", 2].batch == 4
    assert points["weak", 2].memory_bytes == (3 * 2**30, 2 * 2**30) and points["weak", 1].memory_bytes == (2**30,)


def test_a_rank_that_failed_leaves_a_point_without_efficiency(scaled: list[Record]) -> None:
    failed = [record.model_copy(update={"status": "killed"}) if record.cell.batch == 8 else record for record in scaled]
    (found,) = device_scalings(failed)
    assert [point.efficiency is None for point in found.points] == [True, False, True, True]


def test_one_device_alone_scales_nothing(scaled: list[Record]) -> None:
    assert device_scalings([record for record in scaled if record.cell.replicas == 1]) == []
