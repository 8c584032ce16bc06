"""`--benchmark-compare` between two commits, and what it refuses to set beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import conftest as suites
from benchmarks.cell import Cell
from benchmarks.machine import this_machine
from benchmarks.record_files import load_records
from benchmarks.records import Record

from .test_suites import TINY, run

MakeRecord = Callable[..., Record]


def test_a_run_is_resumed_and_set_beside_one_of_another_commit(tmp_path: Path) -> None:
    before, after, results = tmp_path / "before.json", tmp_path / "after.json", tmp_path / "results"
    arguments = [*TINY, "--backend", "numpy_reference", "--results", str(results)]
    ended = run(*arguments, "--replicates", "1", f"--benchmark-json={before}")
    assert ended.returncode == 0, ended.stdout + ended.stderr

    saved = json.loads(before.read_text())
    saved["commit_info"]["id"] = "f" * 40
    (first,) = saved["benchmarks"]
    second = json.loads(json.dumps(first).replace("-r1]", "-r2]"))
    second["stats"] |= {"median": 1000.0, "min": 1000.0, "max": 1000.0}
    saved["benchmarks"].append(second)
    before.write_text(json.dumps(saved))

    compare = [f"--benchmark-compare={before}", "--benchmark-compare-fail=median:5%"]
    ended = run(*arguments, "--replicates", "2", "--resume", f"--benchmark-json={after}", *compare)
    assert ended.returncode == 0, ended.stdout + ended.stderr  # and is much faster than the other commit was
    assert "1 passed, 1 skipped" in ended.stdout and "already measured" in ended.stdout
    table = [line for line in ended.stdout.splitlines() if line.startswith("test_forward[")]
    assert len(table) == 2 and all("float64-r2]" in line for line in table)
    assert sum("(NOW)" in line for line in table) == 1
    content = json.loads(after.read_text())
    assert (len(content["benchmarks"]), len(content["resumed"])) == (1, 1)
    assert sorted(found.replicate for found in load_records(after)) == [1, 2], "what was resumed is in the file too"

    ended = run(*arguments, "--replicates", "1", "--size", "32", "--collect-only", compare[0])
    assert ended.returncode == 4, ended.stdout
    assert "the saved run did other work (size: (16, 16) there and (32, 32) here); give it the same" in ended.stderr


def test_another_machine_ends_the_run_before_anything_is_timed(tmp_path: Path) -> None:
    other = this_machine().model_dump(mode="json") | {"memory_bytes": 1}
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"machine_info": {"tandem": other}, "benchmarks": []}))
    ended = run(*TINY, "--backend", "numpy_reference", f"--benchmark-compare={saved}")
    assert ended.returncode == 4
    *_, line = ended.stderr.strip().splitlines()
    assert line.startswith("ERROR: --benchmark-compare: the saved run is of another machine (memory_bytes: ")
    assert "passed" not in ended.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"batch": 4}, "batch: 4 there and 2 here"),
        ({"size": (32, 32)}, "size: (32, 32) there and (16, 32) here"),
        ({"seed": 3}, "seed: 3 there and 0 here"),
        ({"device": "cuda"}, "device: cuda there and cpu here"),
    ],
    ids=["the same", "batch", "size", "seed", "device"],
)
def test_other_work_under_the_same_name_is_refused(
    change: dict[str, Any], words: str | None, record: MakeRecord, tiny: Callable[..., Cell]
) -> None:
    """Names of tests have neither batch nor size, and pytest-benchmark goes by them."""
    cell = tiny("pytorch")
    timed = record("pytorch").model_copy(update={"cell": cell.model_copy(update=change)})
    item: Any = SimpleNamespace(nodeid="a", callspec=SimpleNamespace(params={"cell": cell}))
    other: Any = SimpleNamespace(nodeid="copies no cell")
    saved = [{"fullname": name, "extra_info": {"record": timed.to_dict()}} for name in ("a", "not here now")]
    if words is None:
        suites._check_the_same_work([item, other], [*saved, {"fullname": "copies no cell"}])
        return
    with pytest.raises(pytest.UsageError) as caught:
        suites._check_the_same_work([item, other], saved)
    assert str(caught.value) == f"--benchmark-compare: the saved run did other work ({words}); give it the same"


def test_another_network_of_the_same_name_is_refused(record: MakeRecord, tiny: Callable[..., Cell]) -> None:
    timed = record("pytorch", spec_fingerprint="another")
    item: Any = SimpleNamespace(nodeid="a", callspec=SimpleNamespace(params={"cell": tiny("pytorch")}))
    saved = [{"fullname": "a", "extra_info": {"record": timed.to_dict()}}]
    with pytest.raises(pytest.UsageError, match="another network of the name unet_bn_same_narrow32"):
        suites._check_the_same_work([item], saved)


def test_records_of_another_version_are_refused(record: MakeRecord, tiny: Callable[..., Cell]) -> None:
    item: Any = SimpleNamespace(nodeid="a", callspec=SimpleNamespace(params={"cell": tiny("pytorch")}))
    saved = [{"fullname": "a", "extra_info": {"record": record("pytorch").to_dict() | {"schema_version": 99}}}]
    with pytest.raises(pytest.UsageError, match="records of another version; measure it again"):
        suites._check_the_same_work([item], saved)
