"""Who judges a cell: NumPy a small one, a framework's reference a large one, once that has shown that it is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import backends
from benchmarks import gate, reference
from benchmarks.cell import Cell
from benchmarks.gate import References, check_proof, is_small, judge, proof_cell
from benchmarks.measure import measure_cell
from benchmarks.process import WorkerFailure
from benchmarks.record_files import load_records, save_record
from benchmarks.records import Gate, Record
from benchmarks.reference import Reference, compute
from shared_specs import TandemError
from shared_specs.shapes import feature_shapes

TinyCell = Callable[..., Cell]

needs_pytorch = pytest.mark.needs_backends("pytorch")


@pytest.fixture
def every_cell_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "NUMPY_FLOPS", 0.0)


@pytest.fixture(scope="module")
def references() -> References:
    return References()


@pytest.fixture
def made_up() -> Reference:
    return Reference({"loss": np.array([1.0])}, {"loss": 1e-16}, 64.0)


def test_numpy_judges_the_default_cells_of_a_cpu_and_no_full_width() -> None:
    def cell(phase: str, narrow: int, size: int, batch: int) -> Cell:
        sides = (size, size)
        return Cell(spec="unet_bn_same", backend="pytorch", phase=phase, narrow=narrow, size=sides, batch=batch)

    assert all(is_small(cell(phase, narrow=4, size=96, batch=2)) for phase in ("forward", "train_step"))
    assert not any(is_small(cell(phase, narrow=1, size=224, batch=8)) for phase in ("forward", "train_step"))
    assert is_small(cell("forward", narrow=4, size=96, batch=4096))  # of which two images are computed


def test_a_proof_is_small_and_of_the_same_network(spec_name: str) -> None:
    large = Cell(spec=spec_name, backend="flax_nnx", phase="train_step", size=(572, 572), batch=8, precision="bfloat16")
    small = proof_cell(large)
    assert is_small(small)
    assert (small.precision, small.batch, small.phase) == ("float64", 2, "train_step")
    assert small.size[0] != small.size[1]
    feature_shapes(small.network, small.images_shape)
    assert [layer.kind for layer in small.network.layers] == [layer.kind for layer in large.network.layers]


@needs_pytorch
def test_the_process_answers_what_is_computed_here(
    tiny: TinyCell, references: References, every_cell_is_large: None
) -> None:
    cell = tiny("pytorch", "train_step", precision="float32")
    given, here = references.get(cell), compute(cell, "pytorch")
    assert (given.by, given.limit) == ("pytorch", here.limit)
    assert given.floors == here.floors
    assert given.quantities.keys() == here.quantities.keys()
    for name, values in here.quantities.items():
        np.testing.assert_array_equal(given.quantities[name], values)


@needs_pytorch
@pytest.mark.parametrize("phase", ["forward", "forward_backward", "train_step"])
def test_both_references_say_the_same(tiny: TinyCell, phase: str) -> None:
    cell = tiny("pytorch", phase, precision="float32")
    numpys, pytorchs = compute(cell, "numpy_reference"), compute(cell, "pytorch")
    for name, values in numpys.quantities.items():
        np.testing.assert_allclose(pytorchs.quantities[name], values, rtol=1e-9, atol=1e-12)
    ratios = [pytorchs.floors[name] / floor for name, floor in numpys.floors.items()]
    assert 0.7 < np.median(ratios) < 1.4
    assert min(ratios) > 0.1 and max(ratios) < 10.0  # from 4 re-runs, a single number is uncertain


@needs_pytorch
def test_a_large_cell_is_timed_and_its_record_says_who_judged_it(
    tiny: TinyCell, references: References, every_cell_is_large: None, tmp_path: Any
) -> None:
    record = measure_cell(tiny(phase="train_step"), 1, references)
    assert record.status == "ok", record.sentence
    assert record.gate is not None and record.gate.reference == "pytorch"
    assert load_records(save_record(record, tmp_path)) == [record]


@needs_pytorch
@pytest.mark.parametrize("phase", ["forward", "forward_backward", "train_step"])
def test_a_planted_fault_gets_no_throughput_at_any_size(
    phase: str, tiny: TinyCell, references: References, every_cell_is_large: None, outside: None
) -> None:
    record = measure_cell(tiny("wrong_epsilon", phase), 1, references)
    assert record.status == "not_comparable" and record.images_per_s is None
    assert record.gate is not None and record.gate.reference == "pytorch" and record.gate.distance > 1000


def test_numpy_judges_where_pytorch_is_missing(
    tiny: TinyCell, every_cell_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "missing", lambda name: f"{name} is not installed")
    assert References().get(tiny()).by == "numpy_reference"


def test_a_reference_that_is_not_numpys_is_not_believed(made_up: Reference) -> None:
    check_proof(made_up, replace(made_up, by="pytorch"))
    with pytest.raises(TandemError, match=r"that of pytorch is not that of numpy_reference.*loss lies"):
        check_proof(made_up, replace(made_up, quantities={"loss": np.array([1.0 + 1e-12])}, by="pytorch"))
    with pytest.raises(TandemError, match="noise floors of pytorch are 3 times"):
        check_proof(made_up, replace(made_up, floors={"loss": 3e-16}, by="pytorch"))


def test_a_disproven_reference_is_a_record(
    tiny: TinyCell, every_cell_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(worker: object, cell: Cell) -> Reference:
        right = compute(cell, "numpy_reference")
        return replace(right, quantities={name: 1.01 * values for name, values in right.quantities.items()})

    monkeypatch.setattr(backends, "missing", lambda name: None)
    monkeypatch.setattr(gate, "_ask", wrong)
    record = measure_cell(tiny(), 1, References())
    assert record.status == "failed" and "the reference could not be computed: that of" in record.message


def test_a_reference_is_proven_once_a_run(
    tiny: TinyCell, every_cell_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Cell] = []

    def right(worker: object, cell: Cell) -> Reference:
        asked.append(cell)
        return compute(cell, "numpy_reference")

    monkeypatch.setattr(backends, "missing", lambda name: None)
    monkeypatch.setattr(gate, "_ask", right)
    references = References()
    one, other = tiny(), tiny(batch=3)
    for cell in (one, other, one):
        references.get(cell)
    assert asked == [proof_cell(one), one, other]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (WorkerFailure("out_of_memory", "CUDA out of memory"), "ran out of memory on cpu (CUDA out of memory); there"),
        (WorkerFailure("killed", "killed by SIGKILL"), "the reference could not be computed: killed by SIGKILL"),
    ],
    ids=["out of memory", "killed"],
)
def test_a_process_that_fails_is_a_record(
    failure: WorkerFailure,
    words: str,
    tiny: TinyCell,
    every_cell_is_large: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(worker: object, cell: Cell) -> Reference:
        raise failure

    monkeypatch.setattr(backends, "missing", lambda name: None)
    monkeypatch.setattr(gate, "_ask", fails)
    record = measure_cell(tiny(), 1, References())
    assert record.status == "failed" and words in record.message


def test_a_process_that_takes_too_long_is_ended(
    tiny: TinyCell, every_cell_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "missing", lambda name: None)
    monkeypatch.setattr(gate, "TIME_LIMIT_S", 0.05)
    with pytest.raises(WorkerFailure, match="no answer to 'reference' within the limit") as caught:
        References().get(tiny())
    assert caught.value.status == "timed_out"


@needs_pytorch
def test_a_process_without_room_says_so(tiny: TinyCell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "reference_bytes", lambda cell: 2**60)
    with pytest.raises(TandemError, match=r"the PyTorch reference would take about .* take a smaller batch or size"):
        reference.answer(tiny().model_dump(mode="json"), "pytorch")


@needs_pytorch
def test_a_device_that_pytorch_lacks_is_replaced_by_the_cpu(tiny: TinyCell) -> None:
    """As where JAX has a GPU and PyTorch was installed without."""
    cell = tiny(device="cuda:9")
    assert reference.answer(cell.model_dump(mode="json"), "pytorch")["by"] == "pytorch"


def test_an_older_record_was_judged_by_numpy(record: Callable[..., Record]) -> None:
    values = record().to_dict()
    del values["gate"]["reference"]
    assert Record.model_validate(values).gate == Gate(comparable=True, distance=1.0, quantity="logits", limit=64.0)
    assert judge(Reference({}, {}, 64.0, by="pytorch"), {}).reference == "pytorch"
