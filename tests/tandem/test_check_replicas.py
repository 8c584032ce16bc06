"""`tandem check --replicas`: both kinds of batch statistics, what cannot be compared, and bad input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import BackendError, contract
from backends.numpy_reference.model import NumPyReference
from parity import PROBES

from .conftest import Run

SMALL = ("unet_bn_same", "--narrow", "16", "--size", "16", "--replicas", "2")
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
DIFFERENT = "global and per-replica batch statistics are two different models"


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has."""
    monkeypatch.setattr(contract, "usable_core_count", lambda: 2)


@pytest.mark.parametrize("command", ["check", "compare"])
def test_this_process_leaves_the_memory_of_the_gpu_before_it_asks_for_devices(
    run: Run, twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """JAX takes it when it is first asked, which a plan does already."""
    monkeypatch.delenv(PREALLOCATE, raising=False)
    seen: list[str | None] = []

    def check_execution(*_: object) -> None:
        seen.append(os.environ.get(PREALLOCATE))
        raise BackendError("enough was seen")

    twin()
    monkeypatch.setattr(NumPyReference, "check_execution", check_execution)
    assert run(command, "unet_same").exit_code == 2
    assert seen == ["false"]
    assert PREALLOCATE not in os.environ


@pytest.mark.needs_backends("pytorch")
def test_what_a_backend_cannot_is_said_and_the_rest_is_proven(run: Run, tmp_path: Path) -> None:
    """The probes of one device go with the kind that can be trained."""
    path = tmp_path / "check.json"
    result = run("check", *SMALL, "--backends", "pytorch", "--probe", "forward,data_parallel", "--json", path)
    assert result.exit_code == 0, result.output
    assert DIFFERENT in result.stderr
    assert "global batch statistics: not compared, as pytorch has no global batch statistics on a CPU" in result.stderr
    assert "unet_bn_same, float64, 2 replicas, per-replica statistics: equal" in result.stdout
    assert "Equal: the builds are the same network, and so are 2 replicas that train together" in result.stdout
    (check,) = json.loads(path.read_text())["checks"]
    assert (check["replicas"], check["recipe"]["batch_statistics"]) == (2, "per_replica")
    assert {measured["probe"] for measured in check["measurements"]} == {"forward", "data_parallel"}
    assert check["batch"]["shape"][0] == 4  # two images a replica


@pytest.mark.full
@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_both_frameworks_are_proven_equal_to_one_device(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    result = run("check", "unet_bn_same", "--replicas", "2", "--json", path)
    assert result.exit_code == 0, result.output
    shared, own = json.loads(path.read_text())["checks"]
    assert {m["probe"] for m in shared["measurements"]} == {*PROBES, "data_parallel"}
    proven = [
        {m["candidate"] for m in check["measurements"] if m["probe"] == "data_parallel"} for check in (shared, own)
    ]
    assert proven == [{"flax_nnx"}, {"pytorch", "flax_nnx"}]
    assert [(left["model"], left["probe"]) for left in shared["not_compared"]] == [("pytorch", "data_parallel")]


@pytest.mark.parametrize("command", ["compare", "bench"])
def test_what_times_one_device_says_what_to_use_for_several(refused: Callable[..., str], command: str) -> None:
    said = refused(command, "unet_bn_same", "--replicas", "2")
    assert said == (
        f"error: {command} times one device; `tandem check unet_bn_same --replicas 2 --json check.json` proves 2 "
        "replicas, `tandem scale replicas unet_bn_same --most 2 --json times.json` times them, and `tandem report "
        "check.json times.json` has both"
    )


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "more_than_a_cpu_takes": (
        ("--replicas", "99"),
        "error: got 99 replicas, each of which takes one core, and this",
    ),
    "a_batch_that_does_not_divide": (
        ("--replicas", "2", "--batch", "3"),
        "a batch of 3 images does not divide among 2 replicas; take a multiple of 2",
    ),
    "no_replicas": (
        ("--probe", "data_parallel"),
        "the probe data_parallel compares replicas; give --replicas 2 or more",
    ),
    "statistics_of_none": (("--batch-statistics", "global"), "says what replicas have in common; give --replicas 2"),
    "statistics_typo": (
        ("--replicas", "2", "--batch-statistics", "globl"),
        "no kind of batch statistics is named 'globl'; take one of global, per_replica; did you mean global?",
    ),
    "another_probe": (("--replicas", "2", "--probe", "forward"), "which --probe leaves out; give both, or neither"),
    "one_that_nobody_can": (
        ("--replicas", "2", "--batch-statistics", "global"),
        "error: pytorch has no global batch statistics on a CPU: SyncBatchNorm refuses to run there",
    ),
    "a_number_below_one": (("--replicas", "0"), "error: --replicas: got '0', expected a whole number, at least 1"),
}


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_one_line(refused: Callable[..., str], case: tuple[tuple[str, ...], str]) -> None:
    arguments, message = case
    assert message in refused("check", "unet_bn_same", "--narrow", "16", "--backends", "pytorch", *arguments)
