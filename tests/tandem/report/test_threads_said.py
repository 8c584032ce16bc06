"""Different numbers of threads are told beside the comparison: on both pages, and in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import conftest as suites
from benchmarks.records import Record
from benchmarks.verdict import compare
from tandem.commands import bench_on_cluster
from tandem.commands.compare import comparison_content, conclude
from tandem.console import Output
from tandem.report import Findings, to_html, to_markdown

from .made_up import both, check

POOLS: dict[str, dict[str, Any]] = {
    "pytorch": {"threads": {"torch": 1}, "versions": {"torch": "2.13"}},
    "flax_nnx": {"threads": {"xla": 2}, "versions": {"jax": "0.10"}},
}

SAID = "Threads differ: pytorch 1, flax_nnx 2; OMP_NUM_THREADS=1 limits PyTorch and not XLA."


def limited() -> list[Record]:
    """Two backends, of which the environment limits one."""
    limit = {"environment": {"OMP_NUM_THREADS": "1"}}
    return [each.model_copy(update=POOLS[each.cell.backend] | limit) for each in both(0.01, 0.02)]


def in_html(capsys: pytest.CaptureFixture[str]) -> str:
    pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")
    return to_html(Findings(records=limited()))


def in_markdown(capsys: pytest.CaptureFixture[str]) -> str:
    return to_markdown(Findings(records=limited()))


def after_compare(capsys: pytest.CaptureFixture[str]) -> str:
    records = limited()
    conclude(Findings(checks=[check()], records=records), compare(records), Output(None, []))
    return capsys.readouterr().out


def after_bench(capsys: pytest.CaptureFixture[str]) -> str:
    lines: list[str] = []
    reporter = SimpleNamespace(section=lines.append, line=lines.append)
    suites.pytest_terminal_summary(reporter, SimpleNamespace(stash={suites.RECORDS: limited()}))  # pyright: ignore
    return "\n".join(lines)


def in_json(capsys: pytest.CaptureFixture[str]) -> str:
    (compared,) = map(comparison_content, compare(limited()))
    assert comparison_content(compare(both(0.01, 0.02))[0])["threads"] is None
    return compared["threads"]


def after_a_cluster(capsys: pytest.CaptureFixture[str]) -> str:
    outcome: Any = SimpleNamespace(records=limited(), refused={})
    bench_on_cluster.show(outcome, SimpleNamespace(name="local"), Output(None, []))  # pyright: ignore
    return capsys.readouterr().out


@pytest.mark.parametrize("told", [in_html, in_markdown, in_json, after_compare, after_bench, after_a_cluster])
def test_it_is_said_once(told: Callable[[pytest.CaptureFixture[str]], str], capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(told(capsys).split())
    assert words.count(SAID) == 1


def test_the_page_has_the_threads_of_each_backend() -> None:
    assert "- Threads: flax_nnx 2, pytorch 1\n" in to_markdown(Findings(records=limited()))
