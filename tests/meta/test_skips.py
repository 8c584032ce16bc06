"""No test is skipped in silence: pytest prints every skip, and the reason for a missing package names the extra."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SKIPS = {"pytest.skip": 0, "pytest.importorskip": None, "pytest.mark.skipif": None, "pytest.mark.skip": None}
"""What can skip a test, with the place of a reason that needs no name."""


def skips() -> Iterator[tuple[str, str, str | None]]:
    """(place, what skips, the reason's source) of every call in the tests and the benchmarks."""
    for path in sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (what := ast.unparse(node.func)) in SKIPS:
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                place = SKIPS[what]
                reason = node.args[place] if place is not None and node.args else given.get("reason")
                yield f"{path.relative_to(ROOT)}:{node.lineno}", what, reason and ast.unparse(reason)


def test_pytest_prints_the_reasons() -> None:
    (shown,) = [option for option in PROJECT["tool"]["pytest"]["ini_options"]["addopts"] if option.startswith("-r")]
    assert set("fEs") <= set(shown)


def test_every_skip_has_a_reason() -> None:
    found = list(skips())
    assert len(found) > 10
    assert [place for place, _, reason in found if not reason] == []


@pytest.mark.parametrize(
    ("place", "reason"), [(place, reason) for place, what, reason in skips() if what == "pytest.importorskip"]
)
def test_a_missing_package_names_the_extra_that_brings_it(place: str, reason: str) -> None:
    named = re.findall(r"extra `(\w+)`", reason)
    assert named, place
    assert set(named) <= set(PROJECT["project"]["optional-dependencies"]), place
