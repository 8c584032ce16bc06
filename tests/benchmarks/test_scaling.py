"""Sweeps: where they go, where they end, and what a memory limit makes of a worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import reference
from benchmarks.cell import Cell
from benchmarks.gate import References
from benchmarks.measure import measure_cell
from benchmarks.process import WorkerFailure, WorkerProcess
from benchmarks.records import Record
from benchmarks.scaling import sweep
from shared_specs import load_spec
from shared_specs.shapes import feature_shapes

TinyCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]


@pytest.fixture
def machine_with(record: MakeRecord) -> Callable[[int, str], Callable[[Cell], Record]]:
    """Measures as a machine would that has room for so many images or rows, and says how it ends."""

    def make(room: int, status: str = "out_of_memory") -> Callable[[Cell], Record]:
        def measure(cell: Cell) -> Record:
            fits = cell.batch * cell.size[0] <= room
            made = record(step_s=1e-3 * cell.batch, **({} if fits else {"status": status, "windows": ()}))
            return made.model_copy(update={"cell": cell})

        return measure

    return make


@pytest.mark.parametrize(("room", "largest"), [(16, 1), (16 * 5, 5), (16 * 8, 8), (16 * 13, 13), (16 * 14, 14)])
def test_the_largest_batch_that_fits_is_found(tiny: TinyCell, machine_with, room: int, largest: int) -> None:
    found = sweep(tiny(), "batch", machine_with(room), most=64)
    assert (found.largest, found.ended) == (largest, "out_of_memory")
    tried = [record.cell.batch for record in found.records]
    assert largest in tried and largest + 1 in tried, "the border was not closed in on"
    assert len(tried) == len(set(tried)), "a batch was tried twice"
    assert [record.cell.batch for record in found.timed] == sorted(b for b in tried if b <= largest)


def test_a_sweep_that_never_ends_stops_at_most(tiny: TinyCell, machine_with) -> None:
    found = sweep(tiny(), "batch", machine_with(10**9), most=20)
    assert (found.largest, found.ended) == (16, None)
    assert [record.cell.batch for record in found.records] == [1, 2, 4, 8, 16]


def test_a_failure_that_is_no_lack_of_memory_is_not_closed_in_on(tiny: TinyCell, machine_with) -> None:
    found = sweep(tiny(), "batch", machine_with(16 * 5, "failed"), most=64)
    assert (found.largest, found.ended) == (4, "failed")
    assert [record.cell.batch for record in found.records] == [1, 2, 4, 8]


def test_one_image_may_be_too_few(tiny: TinyCell, machine_with, record: MakeRecord) -> None:
    """Batch norm cannot be trained on one value a channel: that is no end."""
    measure_fitting = machine_with(10**9)

    def measure(cell: Cell) -> Record:
        made = measure_fitting(cell)
        return made if cell.batch > 1 else made.model_copy(update={"status": "failed", "windows": ()})

    found = sweep(tiny(), "batch", measure, most=8)
    assert (found.largest, found.ended) == (8, None)
    assert [r.cell.batch for r in found.records] == [1, 2, 4, 8]


def test_another_failure_on_the_way_ends_the_search(tiny: TinyCell, machine_with) -> None:
    measure_fitting = machine_with(16 * 5)

    def measure(cell: Cell) -> Record:
        made = measure_fitting(cell)
        return made.model_copy(update={"status": "broken"}) if cell.batch == 6 else made

    found = sweep(tiny(), "batch", measure, most=64)
    assert (found.largest, found.ended) == (4, "broken")


def test_nothing_fits(tiny: TinyCell, machine_with) -> None:
    found = sweep(tiny(), "batch", machine_with(1), most=64)
    assert found.largest is None and not found.timed and len(found.records) == 1


@pytest.mark.parametrize("spec_name", ["unet_bn_same", "unet_paper", "unet_bn_pad"])
def test_sizes_are_those_that_the_network_takes(tiny: TinyCell, machine_with, spec_name: str) -> None:
    found = sweep(tiny(spec=spec_name, batch=1), "size", machine_with(10**9), most=600)
    spec = load_spec(spec_name)
    sides = [record.cell.size[0] for record in found.records]
    assert len(sides) >= 2 and sides == sorted(sides)
    for side in sides:
        feature_shapes(spec, (1, spec.in_channels, side, side))


def test_nanoseconds_a_pixel(tiny: TinyCell, machine_with) -> None:
    found = sweep(tiny(size=(16, 32)), "batch", machine_with(10**9), most=2)
    assert [found.ns_per_pixel(record) for record in found.timed] == pytest.approx([1e6 / 512, 1e6 / 512])


def test_a_worker_that_takes_too_much_memory_is_ended_and_said_to_be_out_of_memory(gone: Callable[[int], bool]) -> None:
    with WorkerProcess(60, memory_limit_bytes=2**20) as worker, pytest.raises(WorkerFailure) as caught:
        worker.ask("warm_up", window_s=0.1, limit_s=1)
    assert caught.value.status == "out_of_memory" and "'warm_up'" in str(caught.value)
    assert gone(worker.pid)


def test_forward_is_gated_by_the_first_and_last_image_of_any_batch(tiny: TinyCell, outside: None) -> None:
    references = References()
    assert measure_cell(tiny(batch=5), 1, references).status == "ok"
    assert measure_cell(tiny("wrong_last_image", batch=5), 1, references).status == "not_comparable"


def test_what_is_wrong_only_when_it_is_repeated_gets_no_throughput(tiny: TinyCell, outside: None) -> None:
    record = measure_cell(tiny("wrong_later"), 1, References())
    assert (record.status, record.images_per_s) == ("not_comparable", None)


def test_a_reference_without_room_is_no_lack_of_memory_of_the_cell(
    tiny: TinyCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "reference_bytes", lambda cell: 2**60)
    record = measure_cell(tiny(), 1, References())
    assert record.status == "failed" and "the NumPy reference would take about" in record.message
