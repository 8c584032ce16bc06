"""Two runs of the same cells: regressions are what is slower beyond its interval, and what fails now."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.records import Record
from tandem.report import Findings, to_html, to_markdown
from tandem.report.runs import are_two_runs, compare_runs

from .made_up import GPU_MACHINE, both, processes, record

OLD: dict[str, Any] = {"commit": "b" * 40}


def became(after: list[Record], before: list[Record]) -> list[str]:
    return [change.became for change in compare_runs(after, before).changes]


@pytest.mark.parametrize(
    ("after_s", "before_s", "expected"),
    [(0.012, 0.010, "slower"), (0.010, 0.012, "faster"), (0.01001, 0.010, "the same"), (0.010, 0.010, "the same")],
)
def test_a_cell_is_judged_as_backends_are(after_s: float, before_s: float, expected: str) -> None:
    runs = compare_runs(processes(after_s), processes(before_s, **OLD))
    (change,) = runs.changes
    assert change.became == expected
    assert len(runs.regressions) == (expected == "slower")
    assert change.factor is not None
    factor, low, high = change.factor
    assert factor == pytest.approx(after_s / before_s) and low <= factor <= high


def test_a_difference_within_the_spread_is_no_regression() -> None:
    assert became(processes(0.0102, spread=0.2), processes(0.010, spread=0.2, **OLD)) == ["the same"]


def test_too_few_processes_decide_nothing() -> None:
    assert became(processes(0.02, count=2), processes(0.01, **OLD)) == ["not decided"]


def test_what_fails_now_is_a_regression_and_what_failed_before_is_none() -> None:
    runs = compare_runs([record(None)], processes(0.01, **OLD))
    assert [change.became for change in runs.regressions] == ["failing"]
    assert "out of memory: no room" in runs.regressions[0].why
    assert became(processes(0.01), [record(None, **OLD)]) == ["timed now"]
    assert became([record(None)], [record(None, **OLD)]) == ["still failing"]


def test_one_process_that_fails_is_a_regression_however_fast_the_others_are() -> None:
    after = [*processes(0.008, count=2), record(None, replicate=3)]
    (change,) = compare_runs(after, processes(0.010, **OLD)).changes
    assert change.became == "failing" and change.ratio is None
    assert change.why == "pytorch was not timed (out of memory: no room) in 1 of 3 processes"
    assert len(change.after_s) == 2, "what was timed is shown all the same"
    assert became(after, [*processes(0.010, count=2, **OLD), record(None, replicate=3, **OLD)]) == ["still failing"]
    assert became(
        [record(None), record(None, replicate=2)], [record(0.01, **OLD), record(None, replicate=2, **OLD)]
    ) == ["failing"], "more of them than before"


def test_what_comes_to_nan_now_is_failing() -> None:
    strayed = processes(0.010, finite_at_end=False)
    (change,) = compare_runs(strayed, processes(0.010, **OLD)).changes
    assert (change.became, change.why) == ("failing", "pytorch had come to NaN or Inf by the end")


def test_what_failed_before_is_told_beside_what_is_judged_now() -> None:
    before = [*processes(0.010, **OLD), record(None, replicate=4, **OLD)]
    (change,) = compare_runs(processes(0.020), before).changes
    assert change.became == "slower"
    assert change.why == "before: pytorch was not timed (out of memory: no room) in 1 of 4 processes"


def test_a_failure_that_was_measured_again_is_none() -> None:
    again = [record(None, started_at="2026-01-01T00:00:00+00:00"), *processes(0.010)]
    assert became(again, processes(0.010, **OLD)) == ["the same"]


def test_cells_of_one_run_alone_are_told_on_every_page() -> None:
    findings = Findings(records=both(0.01, 0.02), against=[*processes(0.01, **OLD), *processes(0.01, batch=9, **OLD)])
    for page in (to_html(findings), to_markdown(findings)):
        assert "Cells in the earlier run alone: 1; in this alone: 1." in page


@pytest.mark.parametrize("then", [True, False])
def test_a_change_on_a_busy_machine_is_told_as_such_on_every_page(then: bool) -> None:
    """Whichever of the two runs it was."""
    busy: dict[str, Any] = {"other_work_percent": 80.0}
    after = both(0.01, 0.02, **({} if then else busy))
    findings = Findings(records=after, against=both(0.01, 0.01, **OLD, **(busy if then else {})))
    for page in (to_html(findings), to_markdown(findings)):
        assert "2 cells are not to be relied on, as other work kept a machine busy meanwhile." in page
        assert "slower (machine busy)" in page
    quiet = to_html(Findings(records=both(0.01, 0.02), against=both(0.01, 0.01, **OLD)))
    assert "not to be relied on" not in quiet and "(machine busy)" not in quiet


def test_earlier_runs_that_are_left_out_are_told_on_every_page() -> None:
    early: dict[str, Any] = {"started_at": "2025-01-01T00:00:00+00:00"}
    again = Findings(records=[*both(0.01, 0.02, **early), *both(0.01, 0.02)])
    for page in (to_html(again), to_markdown(again)):
        assert "6 earlier processes are left out for later ones" in page
    loaded_twice = Findings(records=[*both(0.01, 0.02), *both(0.01, 0.02)])
    two_commits = Findings(records=[*both(0.01, 0.02), *both(0.01, 0.02, **OLD)])
    for findings in (loaded_twice, two_commits):
        assert "left out for later ones" not in to_markdown(findings)


def test_what_a_backend_cannot_do_is_no_regression() -> None:
    unsupported = record(windows=(), status="unsupported", message="has no phase 'forward'")
    for before in (processes(0.01, **OLD), [record(None, **OLD)]):
        runs = compare_runs([unsupported], before)
        assert [change.became for change in runs.changes] == ["unsupported"] and runs.regressions == []
        assert runs.changes[0].why == "pytorch has no phase 'forward'"
        assert runs.sentence == "Of 1 cells that both have: 1 unsupported"


def test_the_worst_comes_first_and_cells_of_one_run_alone_are_counted() -> None:
    after = [*both(0.01, 0.02), *processes(0.03, phase="train_step"), *processes(0.02, "flax_nnx", batch=9)]
    before = [*both(0.01, 0.01, **OLD), *processes(0.01, phase="train_step", **OLD), *both(1.0, 1.0, batch=5, **OLD)]
    runs = compare_runs(after, before)
    assert [(c.record.cell.backend, c.became) for c in runs.changes] == [
        ("pytorch", "slower"),
        ("flax_nnx", "slower"),
        ("pytorch", "the same"),
    ]
    assert (runs.only_before, runs.only_after) == (2, 1)
    assert runs.sentence == "Of 3 cells that both have: 2 slower, 1 the same"


def test_it_is_said_in_what_the_runs_differ() -> None:
    elsewhere: dict[str, Any] = {"machine": GPU_MACHINE, "versions": {"torch": "2.12"}, **OLD}
    apart = compare_runs(processes(0.01), processes(0.01, **elsewhere)).apart
    assert apart.startswith("They differ in: commit aaaaaaaaaaaa against bbbbbbbbbbbb; ")
    assert "different machines (gpus: " in apart
    assert "versions torch 2.13 against torch 2.12" in apart
    assert compare_runs(processes(0.01), processes(0.01)).apart == "Both are of the same commit, machine and versions"


def test_two_runs_are_told_from_files_of_one() -> None:
    after, before = both(0.01, 0.02), both(0.01, 0.02, **OLD)
    assert are_two_runs(after, before)
    assert not are_two_runs(after, after), "one commit and machine"
    assert not are_two_runs(after, both(0.01, 0.02, batch=7, **OLD)), "no cell in common"
    assert not are_two_runs([*after, *before], before), "one of them is two runs already"
    assert not are_two_runs(after, [])


def test_regressions_are_pointed_out_on_the_page() -> None:
    findings = Findings(records=both(0.01, 0.02), against=both(0.01, 0.01, **OLD))
    for page in (to_html(findings), to_markdown(findings)):
        assert "Compared with another run" in page and "1 slower, 1 the same" in page
    page = to_html(findings)
    assert "Regressions: 1" in page
    assert "flax_nnx default: 2.00 times as long as before (95% interval " in page
    quiet = to_html(Findings(records=both(0.01, 0.01), against=both(0.01, 0.01, **OLD)))
    assert "No regression" in quiet and "Regressions:" not in quiet
    assert "Compared with another run" not in to_html(Findings(records=both(0.01, 0.01)))


def test_no_regression_is_not_said_where_nothing_was_decided() -> None:
    one_process = to_html(Findings(records=[record(0.03)], against=[record(0.01, **OLD)]))
    assert "No regression" not in one_process
    assert "no cell was timed in both runs by 3 processes or more" in one_process
    nothing = to_html(Findings(records=[record(0.03)], against=[record(0.01, batch=7, **OLD)]))
    assert "No regression" not in nothing
    some = [*processes(0.01), record(0.03, "flax_nnx")]
    page = to_html(Findings(records=some, against=[*processes(0.01, **OLD), record(0.01, "flax_nnx", **OLD)]))
    assert "No regression" in page and "1 of 2 cells has too few processes to decide" in page
