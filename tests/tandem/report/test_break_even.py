"""After how many steps a later start has paid off."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.records import Record
from tandem.report import Findings, to_html
from tandem.report.break_even import all_break_evens, break_even, running, steps_to_break_even, undecided_pairs

from .made_up import processes, record, startup


@pytest.mark.parametrize(
    ("later", "sooner", "steps"),
    [
        ((12.0, 0.010), (2.0, 0.020), 1001),
        ((2.0, 1.0), (1.0, 2.0), 2),  # level after the second step: 2 + 1 and 1 + 2 seconds
        ((2.5, 1.0), (1.0, 2.0), 3),  # 2.5 steps are 3
        ((1.0, 1.0), (2.0, 1.0), 1),  # does not start later at all
        ((2.0, 1.0), (1.0, 1.0), None),
        ((2.0, 1.1), (1.0, 1.0), None),
        ((1e300, 1.0), (1.0, 1.0 + 1e-16), None),
    ],
)
def test_steps(later: tuple[float, float], sooner: tuple[float, float], steps: int | None) -> None:
    assert steps_to_break_even(*later, *sooner) == steps


@pytest.mark.parametrize(("later", "sooner"), [((12.0, 0.010), (2.0, 0.020)), ((2.5, 1.0), (1.0, 2.0))])
def test_at_that_step_the_later_one_has_caught_up_and_one_step_before_it_had_not(
    later: tuple[float, float], sooner: tuple[float, float]
) -> None:
    steps = steps_to_break_even(*later, *sooner)
    assert steps is not None

    def seconds(start_s: float, step_s: float, count: int) -> float:
        return start_s + (count - 1) * step_s

    assert seconds(*later, steps) <= seconds(*sooner, steps) + 1e-9
    assert seconds(*later, steps - 1) > seconds(*sooner, steps - 1)


def test_the_span_is_that_of_single_processes() -> None:
    records = [
        *[record(step, "pytorch", n, tuning="tuned", startup=startup(11.0)) for n, step in enumerate((1.0, 1.1, 1.2))],
        *[record(step, "pytorch", n, startup=startup(1.0)) for n, step in enumerate((2.0, 2.0, 2.0))],
    ]
    ((_, arms),) = running(records)
    (found,) = all_break_evens(arms)
    assert (found.later.arm, found.sooner.arm) == (("pytorch", "tuned"), ("pytorch", "default"))
    assert (found.steps, found.fewest, found.most) == (13, 11, 14)
    assert found.span == "11 to 14"


LATER: dict[str, Any] = {"tuning": "tuned", "startup": startup(11.0)}


@pytest.mark.parametrize(
    "records",
    [
        [record(1.0, **LATER), record(2.0, startup=startup(1.0))],
        [*processes(1.0, count=2, **LATER), *processes(2.0, startup=startup(1.0))],
        [*processes(1.0, spread=0.9, **LATER), *processes(2.0, startup=startup(1.0))],
        [*processes(1.0, tuning="tuned", startup=startup(1.01)), *processes(2.0, startup=startup(1.005))],
    ],
    ids=["one process", "two of one", "a tie in the step", "a tie in the start"],
)
def test_no_break_even_is_stated_where_it_is_not_decided_who_starts_later_or_steps_faster(
    records: list[Record],
) -> None:
    ((_, arms),) = running(records)
    assert all_break_evens(arms) == []
    few = min(len(arm.step_s) for arm in arms) < 3
    assert bool(undecided_pairs(arms)) == few
    pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")
    page = to_html(Findings(records=records))
    assert "level after steps" not in page
    said = "None is stated for pytorch tuned and pytorch default: too few processes to decide"
    assert (said in page) == few
    assert ("so few processes that it is not decided" in page) == few


def test_pairs_are_one_backend_in_two_tunings_or_two_backends_in_one() -> None:
    arms = [("pytorch", "default"), ("pytorch", "tuned"), ("flax_nnx", "default"), ("flax_nnx", "tuned")]
    records = [
        made
        for number, (backend, tuning) in enumerate(arms)
        for made in processes(0.1 / (1 + number), backend, tuning=tuning, startup=startup(1.0 + number))
    ]
    ((_, found),) = running(records)
    pairs = {(paid.later.arm, paid.sooner.arm) for paid in all_break_evens(found)}
    assert pairs == {
        (("pytorch", "tuned"), ("pytorch", "default")),
        (("flax_nnx", "default"), ("pytorch", "default")),
        (("flax_nnx", "tuned"), ("pytorch", "tuned")),
        (("flax_nnx", "tuned"), ("flax_nnx", "default")),
    }


def test_no_break_even_without_a_later_start() -> None:
    ((_, (one, other)),) = running([*processes(0.1, "pytorch"), *processes(0.2, "flax_nnx")])
    assert break_even(one, other) is None and break_even(other, one) is None


def test_a_process_without_a_start_is_left_out() -> None:
    assert running([record(startup=None)]) == []
