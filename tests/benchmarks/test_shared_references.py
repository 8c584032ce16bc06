"""References that the jobs of a cluster share: computed once, by the first that needs it, whoever fails."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from benchmarks import gate, shared_references
from benchmarks.cell import Cell
from benchmarks.reference import Reference
from benchmarks.shared_references import StoredReferences
from shared_specs import TandemError

TinyCell = Callable[..., Cell]

VALUE = Reference({"loss": np.ones(1)}, {"loss": 1e-6}, 64.0)


class Computed:
    """Takes the place of NumPy's: counts how often it is asked for, and lets the first one wait."""

    def __init__(self) -> None:
        self.times, self.begun, self.may_end = 0, Event(), Event()
        self.first_fails = False

    def __call__(self, cell: Cell) -> Reference:
        self.times += 1
        if self.times == 1:
            self.begun.set()
            assert self.may_end.wait(20)
            if self.first_fails:
                raise TandemError("its node has failed")
        return VALUE


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    found = Computed()
    monkeypatch.setattr(gate, "_by_numpy", found)
    monkeypatch.setattr(shared_references, "LOOK_EVERY_S", 0.01)
    return found


def two_jobs(folder: Path, cell: Cell, computed: Computed, wait_s: float = 20.0) -> tuple[Reference | None, Reference]:
    """What two jobs get that need the same reference at the same time; None for one whose own failed."""

    def first() -> Reference | None:
        try:
            return StoredReferences(folder).get(cell)
        except TandemError:
            return None

    looked = Event()

    class Second(StoredReferences):
        def _awaited(self, path: Path) -> Reference | None:
            looked.set()
            return super()._awaited(path)

    with ThreadPoolExecutor(2) as jobs:
        one = jobs.submit(first)
        assert computed.begun.wait(20)
        other = jobs.submit(Second(folder, wait_s).get, cell)
        looked.wait(20 if wait_s else 0)
        if not wait_s:
            other.result(20)
        computed.may_end.set()
        return one.result(20), other.result(20)


def test_the_second_job_waits_for_what_the_first_computes(computed: Computed, tiny: TinyCell, tmp_path: Path) -> None:
    one, other = two_jobs(tmp_path, tiny("no_op"), computed)
    assert one == VALUE and other.to_json() == VALUE.to_json()
    assert computed.times == 1
    StoredReferences(tmp_path).get(tiny("no_op"))
    assert computed.times == 1, "a job that begins later reads the file"


def test_where_the_first_job_fails_the_second_computes_it(computed: Computed, tiny: TinyCell, tmp_path: Path) -> None:
    computed.first_fails = True
    assert two_jobs(tmp_path, tiny("no_op"), computed) == (None, VALUE)
    assert computed.times == 2


def test_nobody_waits_for_ever(computed: Computed, tiny: TinyCell, tmp_path: Path) -> None:
    assert two_jobs(tmp_path, tiny("no_op"), computed, wait_s=0.0) == (VALUE, VALUE)
    assert computed.times == 2


def test_without_locks_each_job_computes_it(
    computed: Computed, tiny: TinyCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    computed.may_end.set()
    with monkeypatch.context() as patch:
        patch.setattr(shared_references, "_read", lambda path: None)
        assert [StoredReferences(tmp_path).get(tiny("no_op")) for _ in range(2)] == [VALUE, VALUE]
    assert computed.times == 2
    assert StoredReferences(tmp_path).get(tiny("no_op")).to_json() == VALUE.to_json()


@pytest.mark.parametrize("text", ["", "null", "[1]", '{"quantities": 3}', '{"quantities": {}}'])
def test_a_file_that_holds_no_reference_is_replaced(
    computed: Computed, tiny: TinyCell, tmp_path: Path, text: str
) -> None:
    computed.may_end.set()
    StoredReferences(tmp_path).get(tiny("no_op"))
    (path,) = tmp_path.glob("*.json")
    path.write_text(text)
    assert StoredReferences(tmp_path).get(tiny("no_op")) == VALUE
    assert computed.times == 2
    assert StoredReferences(tmp_path).get(tiny("no_op")).to_json() == VALUE.to_json()
