"""What each tuning brings, against one baseline; and times of different machines, which are kept apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import conftest as suites
from benchmarks.levers import levers
from benchmarks.machine import check_one_machine, differences, this_machine
from benchmarks.records import Record
from shared_specs import TandemError
from tandem.report import Findings, to_markdown

MakeRecord = Callable[..., Record]


@pytest.fixture
def arm(record: MakeRecord) -> Callable[..., list[Record]]:
    """Three processes of one backend and tuning."""

    def make(backend: str, tuning: str, step_s: float, **values: Any) -> list[Record]:
        made = [record(backend, step_s * (1 + number / 1000), number + 1, **values) for number in range(3)]
        return [r.model_copy(update={"cell": r.cell.model_copy(update={"tuning": tuning})}) for r in made]

    return make


def test_every_arm_is_told_against_the_hand_written_module(arm: Callable[..., list[Record]]) -> None:
    records = [
        *arm("pytorch", "default", 0.010),
        *arm("pytorch", "tuned", 0.008),
        *arm("handwritten_pytorch", "default", 0.010),
        *arm("flax_nnx", "tuned", 0.020),
        *arm("peer_monai_basic_unet", "default", 0.011, another_network="MONAI"),
    ]
    (found,) = levers(records)
    assert found.baseline == ("handwritten_pytorch", "default")
    ratios = {(lever.backend, lever.tuning): round(lever.ratio, 3) for lever in found.arms}
    assert ratios == {
        ("pytorch", "tuned"): 0.8,
        ("pytorch", "default"): 1.0,
        ("handwritten_pytorch", "default"): 1.0,
        ("peer_monai_basic_unet", "default"): 1.1,
        ("flax_nnx", "tuned"): 2.0,
    }
    assert [lever.median_s for lever in found.arms] == sorted(lever.median_s for lever in found.arms)
    assert all(lever.low < lever.ratio < lever.high for lever in found.arms)

    page = to_markdown(Findings(records=records))
    assert "## What tuning brings" in page and "peer_monai_basic_unet (another network)" in page
    answer = page.partition("## ")[0]
    assert "peer_monai" not in answer, "a verdict between different networks"
    assert "default cpu.** forward" in answer and "tuned cpu.** forward" in answer


def test_a_peer_that_failed_is_still_another_network(arm: Callable[..., list[Record]]) -> None:
    peers = [r.model_copy(update={"another_network": ""}) for r in arm("peer_monai_basic_unet", "default", 0.01)]
    failed = peers[2].model_copy(update={"status": "failed", "windows": ()})
    records = [*arm("pytorch", "default", 0.01), *arm("flax_nnx", "default", 0.02), *peers[:2], failed]
    (found,) = levers(records)
    assert [lever.another_network for lever in found.arms if lever.backend.startswith("peer")] == [True]
    assert "peer" not in to_markdown(Findings(records=records)).partition("## ")[0]
    (alone,) = levers([*peers, *arm("flax_nnx", "default", 0.02)])
    assert alone.baseline == ("flax_nnx", "default"), "a peer is no baseline"


def test_one_arm_alone_tells_nothing(arm: Callable[..., list[Record]]) -> None:
    assert levers(arm("pytorch", "default", 0.01)) == []
    assert levers([*arm("pytorch", "tuned", 0.01), *arm("flax_nnx", "tuned", 0.01)]) == [], "no baseline was timed"


def test_a_busy_machine_is_said_beside_the_verdict(arm: Callable[..., list[Record]]) -> None:
    quiet = [*arm("pytorch", "default", 0.01), *arm("flax_nnx", "default", 0.02)]
    assert "not to be relied on" not in to_markdown(Findings(records=quiet))
    busy = [r.model_copy(update={"other_work_percent": 80.0}) for r in quiet]
    assert "not to be relied on" in to_markdown(Findings(records=busy)).partition("## ")[0]


def test_details_are_in_the_report(record: MakeRecord) -> None:
    latencies = tuple(0.010 + 0.001 * number for number in range(11))
    records = [record(backend, latencies_s=latencies, recompilations=2) for backend in ("pytorch", "flax_nnx")]
    page = to_markdown(Findings(records=records))
    latency = "| 15.0 ms | 5.0 ms | 19.0 ms |"
    assert latency in page, "the median, the interquartile range and the 90th percentile of single steps"


def test_machines_that_differ_are_kept_apart() -> None:
    here = this_machine()
    other = here.model_copy(update={"usable_cores": here.usable_cores + 1})
    assert differences(here, here) == ""
    assert differences(here, other) == f"usable_cores: {here.usable_cores} and {other.usable_cores}"
    check_one_machine([here, here])
    with pytest.raises(TandemError, match=r"different machines \(usable_cores: \d+ and \d+\).*--across-machines"):
        check_one_machine([here, other])


@pytest.mark.parametrize(
    ("saved", "across", "message"),
    [
        ({}, False, None),
        ({"memory_bytes": 1}, False, "of another machine .memory_bytes"),
        ({"memory_bytes": 1}, True, None),
        (None, False, "does not say of which machine"),
    ],
    ids=["the same", "another", "another, asked for", "unknown"],
)
def test_benchmark_compare_refuses_another_machine(saved: dict | None, across: bool, message: str | None) -> None:
    config: Any = SimpleNamespace(getoption=lambda name: across, stash={suites.SAVED: []})
    info = {} if saved is None else {"tandem": this_machine().model_dump(mode="json") | saved}
    compared = {"machine_info": json.loads(json.dumps(info))}
    hook = suites.pytest_benchmark_compare_machine_info
    if message is None:
        hook(config, None, {}, compared)
        return
    with pytest.raises(pytest.UsageError, match=message):
        hook(config, None, {}, compared)


def test_headlines_of_the_readme_come_from_records(arm: Callable[..., list[Record]], tmp_path: Path) -> None:
    from benchmarks.record_files import save_record
    from docs.results import headline_table, results

    for record in [*arm("pytorch", "tuned", 0.010), *arm("flax_nnx", "tuned", 0.020), *arm("pytorch", "default", 0.9)]:
        save_record(record, tmp_path / "some-cpu")
    page = results(tmp_path, headline_table)
    (line,) = [line for line in page.splitlines() if "| tuned |" in line]
    assert "| tuned | PyTorch, 2.00 times |" in line and line.endswith("| 10.0 | 20.0 |")
    assert "| default |" not in page  # nothing to compare it with


def test_results_page_comes_from_records(arm: Callable[..., list[Record]], tmp_path: Path) -> None:
    from benchmarks.record_files import save_record
    from docs.results import device_table, results

    for record in [*arm("handwritten_pytorch", "default", 0.010), *arm("pytorch", "tuned", 0.008)]:
        save_record(record, tmp_path / "some-cpu")
    page = results(tmp_path, device_table)
    assert (
        "| pytorch | tuned | 8.0 | 0.80 |" in page and "| handwritten_pytorch | default | 10.0 | the baseline |" in page
    )
    assert "`benchmarks/results/some-cpu/`" in page
