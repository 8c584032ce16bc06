"""The measurement measures itself, on tiny cells; and it can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import self_test
from benchmarks.ceilings import CeilingsOf, is_impossible
from benchmarks.cell import Cell
from benchmarks.gate import References
from benchmarks.measure import measure_cell
from benchmarks.records import Ceilings, Record
from benchmarks.self_test import MOST_OVERHEAD, Overhead, against_itself, overhead
from benchmarks.verdict import ratio

TinyCell = Callable[..., Cell]
MakeRecord = Callable[..., Record]


def test_a_cell_against_itself_is_a_tie(tiny: TinyCell, no_ceilings: None) -> None:
    """With real processes; twice in a row it would be said to be faster than itself in one of 400 runs."""
    found = against_itself(tiny())
    assert found.tie, found
    assert found.processes == (3, 3)


@pytest.mark.parametrize(
    ("times", "tie"),
    [([1.0, 2.0, 2.02, 1.01, 1.02, 2.01], False), ([1.0, 1.02, 1.01, 1.015, 1.005, 1.01], True)],
    ids=["a real difference", "noise"],
)
def test_against_itself_can_fail_and_takes_a_b_b_a(
    tiny: TinyCell, record: MakeRecord, times: list[float], tie: bool
) -> None:
    calls = []

    def run(cells: list[Cell], replicates: int) -> list[Record]:
        calls.append(replicates)
        return [record(step_s=time, replicate=number) for number, time in enumerate(times, start=1)]

    assert against_itself(tiny(), run=run).tie == tie
    assert calls == ([6] if tie else [6, 6]), "a false alarm is repeated once, a tie never"


def test_the_harness_costs_next_to_nothing(tiny: TinyCell) -> None:
    """A loop of Python against milliseconds: a hundred times less than what is allowed, on any machine."""
    found = overhead(tiny())
    assert found.no_op_s > 0 and found.share < MOST_OVERHEAD


@pytest.mark.parametrize(
    ("step_s", "no_op_s", "code"),
    [((1.0, 1.01, 0.99), 1e-6, 0), ((2.0, 2.01, 2.02), 1e-6, 1), ((1.0, 1.01, 0.99), 2e-2, 1)],
    ids=["sound", "no tie with itself", "costs two percent"],
)
def test_the_command_fails_where_one_of_the_two_does(
    step_s: tuple[float, ...],
    no_op_s: float,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(self_test, "against_itself", lambda cell: ratio("A", step_s, "B", [1.0, 1.01, 1.02]))
    monkeypatch.setattr(self_test, "overhead", lambda cell: Overhead(no_op_s, 1.0))
    with pytest.raises(SystemExit) as ended:
        self_test.main()
    assert ended.value.code == code
    said = capsys.readouterr().out
    assert ("NOT A TIE" in said) == (step_s[0] == 2.0)
    assert f"No-op: {1e6 * no_op_s:.2f} us a step" in said


def test_a_step_that_beats_the_floor_is_a_broken_measurement(tiny: TinyCell, outside: None) -> None:
    """It passes the gate, since what it gives is right: it was computed once and is given again."""
    ceilings = CeilingsOf({("cpu", "float64"): Ceilings(flops_per_s=1e12, bytes_per_s=1e12)})
    record = measure_cell(tiny("remembers", size=(64, 64)), 1, References(), ceilings=ceilings)
    assert (record.status, record.images_per_s) == ("broken", None)
    assert record.gate is not None and record.gate.comparable
    assert "did not do its work" in record.message
    honest = measure_cell(tiny(size=(64, 64)), 1, References(), ceilings=ceilings)
    assert honest.status == "ok" and honest.percent_of_floor is not None and 0 < honest.percent_of_floor < 100


def test_fewer_multiplications_than_the_analytic_ones_are_possible() -> None:
    ceilings = Ceilings(flops_per_s=1e9, bytes_per_s=1e9)
    assert not is_impossible(0.5, 10**9, ceilings)  # Winograd's algorithm could
    assert is_impossible(0.4, 10**9, ceilings)
    assert ceilings.floor_s(10**9, 3 * 10**9) == 3.0


def test_a_precision_other_than_the_one_asked_for_is_not_comparable(tiny: TinyCell, outside: None) -> None:
    record = measure_cell(tiny("says_tf32"), 1, References())
    assert (record.status, record.step_s) == ("not_comparable", None)
    assert record.message == "computes in tf32, and float64 was asked for"
    assert record.sentence.endswith("not comparable: computes in tf32, and float64 was asked for")
