"""The page on the suite's own tests: its tables are made of what the tools say, and every survivor has its reason."""

from __future__ import annotations

import re

import pytest

from docs import suite

from .pages import read, rows

RESULTS = """
    parity.noise_floor.x_rms__mutmut_1: killed
    parity.noise_floor.x_rms__mutmut_2: timeout
    parity.noise_floor.x_rms__mutmut_3: survived
    shared_specs.cost.xǁCostǁof_phase__mutmut_1: no tests
"""


def test_mutants_are_counted_by_module() -> None:
    assert rows(suite.mutants_table(RESULTS))[2:] == [
        ["`parity/noise_floor.py`", "3", "2", "1", "66.7%"],
        ["`shared_specs/cost.py`", "1", "0", "1", "0.0%"],
        ["all", "4", "2", "2", "50.0%"],
    ]


def test_a_run_that_did_not_end_is_not_published() -> None:
    with pytest.raises(SystemExit, match="mutants are not checked; run `make mutants` to its end"):
        suite.mutants_table(RESULTS + "    parity.batches.x_random_batch__mutmut_1: not checked")


def test_coverage_is_summed_by_package() -> None:
    one = {"num_statements": 6, "covered_lines": 5, "num_branches": 4, "covered_branches": 1, "percent_covered": 9.9}
    files = {name: {"summary": one} for name in ("parity/a.py", "parity/b.py", "tandem/c.py")}
    parity = ["`parity`", "2", "12", "83.3%", "8", "25.0%"]
    assert rows(suite.coverage_table(files, ["parity"]))[2:] == [parity]
    assert rows(suite.coverage_table(files, []))[2:] == [parity, ["`tandem`", "1", "6", "83.3%", "4", "25.0%"]]


def test_the_command_of_the_figures_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "version", lambda tool: f"<{tool}>")
    made = suite.made("coverage", TESTS="tests/parity -k rms", PACKAGES="")
    assert made.startswith("Made with `make coverage TESTS='tests/parity -k rms'`; coverage <coverage>, Python 3.")


def table_of(name: str) -> list[list[str]]:
    return rows(read("docs/tests.md").partition(f"<!-- begin: {name} -->")[2].partition(f"<!-- end: {name} -->")[0])[2:]


def test_the_tables_are_whole() -> None:
    assert table_of("coverage")
    assert all(0 < float(cells[column].rstrip("%")) <= 100 for cells in table_of("coverage") for column in (3, 5))
    *modules, total = [[int(n) for n in cells[1:4]] for cells in table_of("mutants")]
    assert modules
    assert [sum(column) for column in zip(*modules, strict=True)] == total
    assert total[0] == total[1] + total[2]


def test_every_survivor_has_its_reason() -> None:
    listed: dict[str, int] = {}
    survivors = read("docs/tests.md").partition("### The survivors")[2].partition("\n## ")[0]
    for module, count, change, reason in rows(survivors)[2:]:
        assert change and reason, module
        listed[module] = listed.get(module, 0) + int(count)
    assert listed == {cells[0]: int(cells[3]) for cells in table_of("mutants")[:-1] if cells[3] != "0"}


def test_mutants_are_those_of_the_modules_that_the_page_names() -> None:
    named = re.findall(
        r"`((?:parity|shared_specs)/\w+\.py)`", read("docs/tests.md").partition("<!-- begin: mutants")[0]
    )
    assert sorted(named) == sorted(cells[0].strip("`") for cells in table_of("mutants")[:-1])
