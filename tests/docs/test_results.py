"""The tables of results are those of the records, and what was aimed at stands beside them."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from benchmarks.records import Record
from docs import results, targets
from tests.tandem.report.made_up import on_gpu, processes

from .pages import ROOT, read, rows

CELL = {"narrow": 2, "size": (128, 128), "phase": "train_step"}


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_tables_are_those_of_the_records(page: str) -> None:
    for name, text in results.generated()[ROOT / page].items():
        assert f"<!-- begin: {name} -->\n{text}\n<!-- end: {name} -->" in read(page), f"{name}: run `make results`"


def table(records: list[Record]) -> dict[tuple[str, str], list[str]]:
    """By backend and target, the cells after them."""
    return {(cells[1], cells[2]): cells[3:] for cells in rows(targets.cpu_table(records))[2:]}


def of(backend: str, step_s: float, tuning: str = "default", **values: Any) -> list[Record]:
    return processes(step_s, backend, spread=0.001, tuning=tuning, **CELL | values)


def test_what_is_missed_is_told_as_missed() -> None:
    records = [
        *of("handwritten_pytorch", 0.100),
        *of("pytorch", 0.105),
        *of("pytorch", 0.085, "tuned"),
        *of("flax_nnx", 0.140, "tuned"),
        *of("peer_monai_basic_unet", 0.120, another_network="MONAI"),
    ]
    found = table(records)
    assert found["pytorch tuned", "at most 0.90"][0] == "0.85"
    assert found["pytorch tuned", "at most 0.90"][-1] == "reached"
    assert found["flax_nnx tuned", "at most 1.25"][0] == "1.40"
    assert found["flax_nnx tuned", "at most 1.25"][-1] == "**missed**"
    assert found["pytorch tuned", "ahead of peer_monai_basic_unet"][0] == "0.71"
    assert found["pytorch tuned", "ahead of peer_monai_basic_unet"][-1] == "reached"
    assert found["flax_nnx tuned", "ahead of peer_monai_basic_unet"][-1] == "**missed**"
    assert not [key for key in found if "0.70" in key[1]], "inference was not timed"


def test_where_a_step_would_stand_that_meets_the_target() -> None:
    """At 1e12 FLOP/s these FLOPs take 0.3277 ms: 80% of the floor at 0.41 ms, and 102% at 0.9/1.15 of that."""
    records = [*of("handwritten_pytorch", 0.41e-3 / 1.15), *of("pytorch", 0.41e-3)]
    ratio, _, share, at_target, said = table(records)["pytorch default", "at most 0.90"]
    assert (ratio, share, at_target, said) == ("1.15", "80", "102", "**missed**")


@pytest.mark.parametrize(
    ("measured", "low", "high", "words"),
    [
        (0.8, 0.7, 0.85, "reached"),
        (0.8, 0.7, 0.95, "reached, within the noise"),
        (1.0, 0.85, 1.1, "**missed**, within the noise"),
        (1.0, 0.95, 1.1, "**missed**"),
    ],
)
def test_an_interval_that_has_the_target_in_it_is_said(measured: float, low: float, high: float, words: str) -> None:
    assert targets.standing(0.9, measured, low, high) == words


def test_a_gpu_that_was_not_there_is_not_measured() -> None:
    assert [cells[-1] for cells in rows(targets.gpu_table([]))[2:]] == ["not measured"] * 4
    there = {"spec": "unet_paper", "narrow": 1, "size": (572, 572), "batch": 8, "precision": "bfloat16"}
    step_s = 1e-12 * 10_000 * 8 * 572**2 / 0.65  # 65% of the floor
    records = [
        each
        for phase in ("forward", "train_step")
        for each in processes(step_s, "pytorch", **on_gpu(1.0, step_s, phase=phase, **there))
    ]
    said = {(cells[0].split()[-1], cells[1]): cells[-1] for cells in rows(targets.gpu_table(records))[2:]}
    assert said == {
        ("train_step", "pytorch"): "reached",
        ("train_step", "flax_nnx"): "not measured",
        ("forward", "pytorch"): "**missed**",
        ("forward", "flax_nnx"): "not measured",
    }


def rules() -> list[tuple[str, str]]:
    """Each rule of *How we measure*, and each command that shows it."""
    listed = rows(read("docs/benchmarks.md").partition("| rule | shown by |")[2].partition("\n\n")[0])[1:]
    return [(rule, command) for rule, shown in listed for command in shown.split("`")[1::2]]


@pytest.mark.parametrize(("rule", "command"), rules(), ids=[rule for rule, _ in rules()])
def test_a_rule_is_shown_by_something_that_exists(rule: str, command: str) -> None:
    match command.split():
        case ["pytest", path, *rest] if path.startswith("tests/"):
            defined = ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
            names = [node.name for node in defined if isinstance(node, ast.FunctionDef)]
            words = rest[1] if rest[:1] == ["-k"] else ""
            assert [name for name in names if name.startswith("test_") and words in name], command
        case ["python", "-m", module]:
            assert (ROOT / f"{module.replace('.', '/')}.py").exists()
        case _:
            assert command.startswith(("pytest --benchmark-only", "tandem scale", "make full")), command
