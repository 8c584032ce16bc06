"""Cells: their names, their defaults, their order, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contestants, machine
from benchmarks.cell import Cell
from benchmarks.plan import default_cells, interleave, parse_size
from shared_specs import Recipe, ShapeError, SpecError, TandemError
from shared_specs.catalog import CORE

TinyCell = Callable[..., Cell]


def test_id_names_everything_a_reader_chooses_by(tiny: TinyCell) -> None:
    cell = tiny("pytorch", "train_step", device="cuda:1")
    assert cell.id == "unet_bn_same_narrow32-pytorch-default-float64-2x16x32-train_step-cuda1"


def test_json_round_trip_keeps_the_cell(tiny: TinyCell) -> None:
    cell = tiny(recipe=Recipe.named("adam", learning_rate=0.5), seed=7)
    assert Cell.model_validate_json(cell.model_dump_json()) == cell


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"recipe": Recipe.named("adam")}, {"batch": 3}, {"backend": "pytorch"}]
)
def test_digest_tells_cells_apart(tiny: TinyCell, change: dict[str, object]) -> None:
    assert tiny().digest != tiny().model_copy(update=change).digest


RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def test_digest_is_that_of_the_records_that_are_kept() -> None:
    """A key that a recipe or a cell has got since does not rename them."""
    paths = sorted(RESULTS.glob("*/*.json"))
    assert paths
    for path in paths:
        cell = Cell.model_validate(json.loads(path.read_text())["cell"])
        assert f"-{cell.digest}-" in path.name


def test_kinds_of_batch_statistics_are_different_cells(tiny: TinyCell) -> None:
    assert tiny().digest != tiny(recipe=Recipe(batch_statistics="per_replica")).digest


def test_group_is_all_but_backend_and_tuning(tiny: TinyCell) -> None:
    assert tiny("pytorch").group == tiny("flax_nnx", tuning="tuned").group
    assert tiny("pytorch").group != tiny("pytorch", "train_step").group
    assert tiny("pytorch").group != tiny("pytorch", seed=1).group


def test_batch_is_seeded_random_and_of_the_logits_size(tiny: TinyCell) -> None:
    cell = tiny(spec="unet_paper", size=(188, 204))
    images, labels = cell.batch_arrays()
    assert images.shape == (2, 1, 188, 204)
    assert labels.shape == (2, 4, 20)
    assert set(np.unique(labels)) == {0, 1}
    assert np.array_equal(images, cell.batch_arrays()[0])
    assert not np.array_equal(images, cell.model_copy(update={"seed": 1}).batch_arrays()[0])


def test_default_on_a_cpu_is_one_narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ())
    cells = default_cells(backends=["numpy_reference"])
    assert [cell.phase for cell in cells] == ["forward", "forward_backward", "train_step"]
    assert {(cell.spec, cell.narrow, cell.size, cell.device) for cell in cells} == {
        ("unet_bn_same", 4, (96, 96), "cpu")
    }


def test_default_on_a_gpu_is_the_zoo_at_full_width(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = machine.Gpu(name="NVIDIA H200", memory_bytes=1, driver="1")
    monkeypatch.setattr(machine, "gpus", lambda: (gpu,))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cells = default_cells(backends=["numpy_reference"], phases=["forward"])
    assert [cell.spec for cell in cells] == list(CORE)
    assert {cell.narrow for cell in cells} == {1}
    assert next(cell.size for cell in cells if cell.spec == "unet_paper") == (572, 572)


@pytest.mark.parametrize(("device", "label"), [("cuda:0", "nvidia-h200"), ("cpu", "intel-xeon-platinum-8370c-2-cores")])
def test_device_label_is_a_folder_name(device: str, label: str) -> None:
    here = machine.Machine(
        cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
        logical_cores=4,
        usable_cores=2,
        memory_bytes=1,
        system="Linux",
        python="CPython 3.11",
        gpus=(machine.Gpu(name="NVIDIA H200", memory_bytes=1, driver="1"),),
    )
    assert here.label(device) == label


def test_hidden_gpu_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: (machine.Gpu(name="NVIDIA H200", memory_bytes=1, driver="1"),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.default_device() == "cpu"


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        *[(None, 4), ("2", 1), ("3,0", 2), (" 1 , 2", 2), ("0,-1,2", 1), ("9", 0), ("-1", 0), ("", 0), ("none", 0)],
        *[("GPU-8932f937,GPU-aa", 2), ("MIG-1,MIG-2,MIG-3,MIG-4,MIG-5", 5)],
    ],
    ids=str,
)
def test_gpus_are_counted_as_frameworks_count_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(machine, "gpus", lambda: (machine.Gpu(name="NVIDIA H200", memory_bytes=1, driver="1"),) * 4)
    assert machine.devices() == ["cpu", *["cuda"] * bool(count), *(f"cuda:{index}" for index in range(count))]
    assert machine.usable_gpus(0) == 0


def test_the_reference_is_timed_only_where_it_is_named() -> None:
    assert "numpy_reference" in contestants.known()
    assert "numpy_reference" not in contestants.default()


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"specs": ["unet_papr"]}, SpecError, "unet_paper"),
        ({"backends": ["pytorhc"]}, TandemError, "pytorch"),
        ({"phases": ["backward"]}, TandemError, "forward_backward"),
        ({"precisions": ["float8"]}, TandemError, "bfloat16"),
        ({"precisions": ["tf32"]}, TandemError, "NVIDIA"),
        ({"tunings": ["fastest"], "backends": ["pytorch", "flax_nnx"]}, TandemError, "op_by_op"),
        ({"size": "97"}, ShapeError, "divisible by 16"),
        ({"size": "12y"}, TandemError, "HEIGHTxWIDTH"),
        ({"size": "0"}, TandemError, "HEIGHTxWIDTH"),
        ({"narrow": 7}, SpecError, "divided by 7"),
    ],
)
def test_bad_choices_are_one_line(values: dict[str, object], error: type[TandemError], words: str) -> None:
    with pytest.raises(error) as caught:
        default_cells(**{"backends": ["numpy_reference"], "device": "cpu"} | values)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tuning_is_timed_for_those_that_have_it() -> None:
    cells = default_cells(
        backends=["pytorch", "flax_nnx"], tunings=["default", "op_by_op"], phases=["forward"], device="cpu"
    )
    arms = [(cell.backend, cell.tuning) for cell in cells]
    assert arms == [("pytorch", "default"), ("flax_nnx", "default"), ("flax_nnx", "op_by_op")]


@pytest.mark.parametrize(
    ("text", "size"),
    [("96", (96,)), (96, (96,)), ("199x207", (199, 207)), ((3, 4), (3, 4)), ("32x96x80", (32, 96, 80))],
)
def test_sizes(text: str, size: tuple[int, ...]) -> None:
    assert parse_size(text) == size


def test_order_is_a_b_b_a_within_each_comparison(tiny: TinyCell) -> None:
    cells = [tiny(backend, phase) for phase in ("forward", "train_step") for backend in ("a", "b")]
    plan = interleave(cells, 3)
    assert "".join(cell.backend for cell, _ in plan) == "abbaab" * 2
    assert [replicate for _, replicate in plan] == [1, 1, 2, 2, 3, 3] * 2
    assert [cell.phase for cell, _ in plan] == ["forward"] * 6 + ["train_step"] * 6


def test_order_of_three_runs_backwards_every_other_time(tiny: TinyCell) -> None:
    assert "".join(cell.backend for cell, _ in interleave([tiny(name) for name in "abc"], 2)) == "abccba"
