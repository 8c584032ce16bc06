"""The reference's re-runs: what the floors are made of, and how many are made beside each other."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from backends.conformance.networks import SMALLEST
from backends.contract import RoundingNoise
from parity import noise_floor, random_batch
from parity.batches import Batch
from parity.probes import Quantities
from parity.reruns import COPIES, Reference, deviations, floors_of, runs_at_once
from shared_specs import UNetSpec
from shared_specs.shapes import feature_shapes


@pytest.fixture
def batch(spec: UNetSpec) -> Batch:
    return random_batch(spec, 0, 2, SMALLEST["size"])


def made_up(asked: list[Any]) -> Any:
    """A reference whose re-runs move `q` by their seed, and what is turned by ten times that."""

    def run(noise: RoundingNoise | None) -> dict[str, Quantities]:
        asked.append(noise)
        moved = 0 if noise is None else noise.seed * (10 if noise.turned else 1)
        return {"first": {"q": np.full(4, 1.0 + moved), "still": np.ones(1)}, "second": {"q": np.full(2, 2.0)}}

    return run


NOISES = ([RoundingNoise(2.0**-24, 3), RoundingNoise(2.0**-24, 4)], [RoundingNoise(2.0**-24, 5, turned=1)])


def test_floors_are_of_the_reruns_and_one_run_serves_several_probes() -> None:
    asked: list[Any] = []
    reference = Reference(NOISES, 2.0**-24, 1)
    true, floors = reference.judge(["first"], made_up(asked))
    assert asked == [None, *NOISES[0], *NOISES[1]]
    assert list(true) == list(floors) == ["first"]
    assert np.array_equal(true["first"]["q"], np.ones(4))
    assert floors["first"] == {
        "q": noise_floor.combine([3.0, 4.0], [50.0], np.ones(4), 2.0**-24),
        "still": noise_floor.combine([0.0, 0.0], [0.0], np.ones(1), 2.0**-24),
    }
    true, floors = reference.judge(["second"], made_up(asked))
    assert len(asked) == 4
    assert floors["second"] == {"q": noise_floor.combine([0.0, 0.0], [0.0], np.full(2, 2.0), 2.0**-24)}
    reference.judge(["first"], made_up(asked))  # what was told is dropped, to spare memory
    assert len(asked) == 8


def test_nothing_is_turned_where_nothing_is_decided() -> None:
    asked: list[Any] = []
    _, floors = Reference(NOISES, 2.0**-24, 1).judge(["first"], made_up(asked), decides=False)
    assert asked == [None, *NOISES[0]]
    assert floors["first"]["q"] == noise_floor.combine([3.0, 4.0], [], np.ones(4), 2.0**-24)


@pytest.mark.parametrize("at_once", [1, 2])
def test_deviations_come_in_the_order_of_the_reruns(at_once: int) -> None:
    run = made_up([])
    found = deviations(run(None), run, NOISES[0], at_once)
    assert found == {("first", "q"): [3.0, 4.0], ("first", "still"): [0.0, 0.0], ("second", "q"): [0.0, 0.0]}


def test_the_floor_of_a_quantity_is_of_its_own_deviations() -> None:
    true = {"a": {"q": np.array([3.0])}, "b": {"q": np.array([4.0])}}
    noisy = {("a", "q"): [1.0, 2.0], ("b", "q"): [0.5]}
    turned = {("a", "q"): [4.0], ("b", "q"): []}
    assert floors_of(true, noisy, turned, 0.125) == {
        "a": {"q": noise_floor.combine([1.0, 2.0], [4.0], np.array([3.0]), 0.125)},
        "b": {"q": noise_floor.combine([0.5], [], np.array([4.0]), 0.125)},
    }


@pytest.mark.parametrize(("room", "runs"), [(0, 5), (-1, 1)], ids=["just fits", "one too many"])
def test_reruns_are_beside_each_other_as_long_as_they_fit(
    spec: UNetSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch, room: int, runs: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    maps = sum(math.prod(shape) for shape in feature_shapes(spec, batch.images.shape).values())
    monkeypatch.setattr("parity.reruns.LARGE_ELEMENTS", maps + COPIES * spec.parameter_count + room)
    assert runs_at_once(spec, batch) == runs


@pytest.mark.parametrize(("asked", "runs"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("0", 7), ("", 7), ("many", 7)])
def test_as_many_at_once_as_threads_were_asked_for(
    spec: UNetSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch, asked: str, runs: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert runs_at_once(spec, batch) == runs


def test_without_a_number_every_core_takes_one(spec: UNetSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert runs_at_once(spec, batch) == 7
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert runs_at_once(spec, batch) == 1


NOISES_OF_FOUR = [RoundingNoise(2.0**-24, seed) for seed in range(4)]


def test_no_more_run_beside_each_other_than_may() -> None:
    running, most = [], []

    def run(noise: RoundingNoise | None) -> dict[str, Quantities]:
        running.append(noise)
        most.append(len(running))
        time.sleep(0.005)
        running.remove(noise)
        return {}

    deviations({}, run, NOISES_OF_FOUR, 1)
    assert most == [1] * 4


def test_as_many_run_beside_each_other_as_may() -> None:
    together = threading.Barrier(2)  # whoever waits for the other alone fails

    def run(noise: RoundingNoise | None) -> dict[str, Quantities]:
        together.wait(timeout=60)
        return {}

    deviations({}, run, NOISES_OF_FOUR, 2)
    assert not together.broken


@pytest.mark.parametrize(("at_once", "threads"), [(1, {3}), (2, {1}), (4, {1})])
def test_runs_beside_each_other_have_one_thread_each_and_one_alone_what_there_is(
    at_once: int, threads: set[int]
) -> None:
    found: list[int] = []

    def run(noise: RoundingNoise | None) -> dict[str, Quantities]:
        found.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return {}

    with threadpool_limits(3, user_api="blas"):
        deviations({}, run, NOISES_OF_FOUR, at_once)
    assert set(found) == threads
