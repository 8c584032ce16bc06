"""The page on the suite's own tests: its tables are made of what the tools say, and every survivor has its reason."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from docs import suite

from .pages import ROOT, read, rows

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


def section(start: str, end: str) -> str:
    return read("docs/tests.md").partition(start)[2].partition(end)[0]


def test_every_survivor_has_its_reason() -> None:
    listed: Counter[str] = Counter()
    for change, reason, where in rows(section("### The survivors", "\n## "))[2:]:
        places = re.findall(r"`(\S+\.py)` (\d+)", where)
        assert change and reason and places, where
        assert ", ".join(f"`{module}` {count}" for module, count in places) == where
        for module, count in places:
            listed[module] += int(count)
    assert listed == {cells[0].strip("`"): int(cells[3]) for cells in table_of("mutants")[:-1] if cells[3] != "0"}


def has_functions(path: Path) -> bool:
    """Whether there is one that mutmut changes: of those with a decorator it leaves all but class methods alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return any({ast.unparse(of) for of in node.decorator_list} <= {"classmethod"} for node in functions)


def test_every_module_is_measured_or_named_with_the_reason() -> None:
    left_out = re.findall(r"`((?:parity|shared_specs)/[\w/.]+)`", section("### What is left out", "\n### "))
    measured = [cells[0].strip("`") for cells in table_of("mutants")[:-1]]
    for package in ("parity", "shared_specs"):
        for path in filter(has_functions, sorted((ROOT / package).rglob("*.py"))):
            name = path.relative_to(ROOT).as_posix()
            named = [place for place in left_out if place == name or (place.endswith("/") and name.startswith(place))]
            assert (name in measured) + len(named) == 1, name


def test_modules_that_are_left_out_are_those_of_the_configuration() -> None:
    left_out = re.findall(r"`((?:parity|shared_specs)/[\w/.]+)`", section("### What is left out", "\n### "))
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    assert sorted(left_out) == sorted(path.removesuffix("*") for path in config["do_not_mutate"])
