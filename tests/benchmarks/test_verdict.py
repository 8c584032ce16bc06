"""Verdicts: faster, a tie, or nothing, and never more than the processes show."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from benchmarks.records import Gate, Record
from benchmarks.verdict import Comparison, bounds, compare, ratio, student_t

MakeRecord = Callable[..., Record]


def timed(record: MakeRecord, **step_s: list[float]) -> list[Record]:
    return [
        record(backend, seconds, replicate)
        for backend, times in step_s.items()
        for replicate, seconds in enumerate(times, start=1)
    ]


def only(records: list[Record]) -> Comparison:
    (comparison,) = compare(records)
    return comparison


@pytest.mark.parametrize(
    ("degrees_of_freedom", "confidence", "quantile"),
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (4, 0.95, 2.776), (4, 0.99, 4.604), (10, 0.95, 2.228), (120, 0.95, 1.980)],
)
def test_student_t_is_that_of_the_tables(degrees_of_freedom: int, confidence: float, quantile: float) -> None:
    assert student_t(degrees_of_freedom, confidence) == pytest.approx(quantile, abs=2e-3)


def test_interval_is_welchs() -> None:
    # By hand: logs of equal spread s on both sides, so that v = 4 and the margin is t s sqrt(2 / 3).
    found = ratio("a", [1.0, 1.1, 1.21], "b", [2.0, 2.2, 2.42])
    assert found.ratio == pytest.approx(2.0)
    assert found.high / found.ratio == pytest.approx(1.1 ** (2.776 * (2 / 3) ** 0.5), rel=1e-3)
    assert found.low * found.high == pytest.approx(found.ratio**2)


def test_a_clear_difference_is_faster(record: MakeRecord) -> None:
    comparison = only(timed(record, flax_nnx=[0.0262, 0.0263, 0.0261], pytorch=[0.0200, 0.0201, 0.0199]))
    assert comparison.outcome == "faster"
    assert comparison.sentence == "forward: pytorch is 1.31 times faster than flax_nnx (95% interval 1.30 to 1.32)"


@pytest.mark.parametrize(
    ("pytorch", "flax_nnx"),
    [
        pytest.param([1.0, 1.2, 0.9], [1.1, 1.3, 1.0], id="within-the-spread"),
        pytest.param([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], id="the-same"),
        pytest.param([1.0, 1.0, 1.0], [1.005, 1.005, 1.005], id="below-the-resolution"),
        pytest.param([1.0, 1.0, 3.0], [2.0, 2.0, 2.0], id="one-slow-process"),
    ],
)
def test_a_difference_within_the_spread_is_a_tie(
    pytorch: list[float], flax_nnx: list[float], record: MakeRecord
) -> None:
    comparison = only(timed(record, pytorch=pytorch, flax_nnx=flax_nnx))
    assert comparison.outcome == "tie"
    assert "a tie between" in comparison.sentence


def test_the_same_against_itself_is_rarely_decided() -> None:
    draw = random.Random(0)
    pairs = [[[draw.lognormvariate(0, 0.03) for _ in range(3)] for _ in range(2)] for _ in range(400)]
    wrong = sum(not ratio("a", first, "b", second).tie for first, second in pairs)
    assert wrong <= 0.05 * len(pairs)


def test_one_process_each_decides_nothing(record: MakeRecord) -> None:
    comparison = only(timed(record, pytorch=[0.01], flax_nnx=[0.05]))
    assert comparison.outcome == "undecided"
    assert "take 3 replicates" in comparison.sentence


def test_too_few_processes_are_said_once_for_all_pairs(record: MakeRecord) -> None:
    comparison = only(timed(record, pytorch=[0.01], flax_nnx=[0.05], numpy_reference=[0.1]))
    assert comparison.sentence == (
        "forward: pytorch took 0.20 of the time of flax_nnx and 0.10 of that of numpy_reference, from too few "
        "processes to tell it from noise: take 3 replicates"
    )
    some = only(timed(record, pytorch=[0.010, 0.011, 0.010], flax_nnx=[0.05, 0.05, 0.05], numpy_reference=[0.1]))
    assert some.sentence.startswith("forward: pytorch is 4.84 times faster than flax_nnx (95% interval ")
    assert some.sentence.count("replicates") == 1
    assert "; pytorch took 0.10 of the time of numpy_reference, from too few processes" in some.sentence


def test_an_open_interval_says_why() -> None:
    assert bounds(0.0, math.inf) == "none: too few processes"
    assert bounds(0.005, 250.0) == "under 0.01 to over 100" and bounds(1.2, 1.4) == "1.20 to 1.40"


def test_a_stray_is_not_comparable(record: MakeRecord) -> None:
    gate = Gate(comparable=False, distance=3e6, quantity="logits", limit=64.0)
    stray = record("flax_nnx", status="not_comparable", gate=gate)
    comparison = only([*timed(record, pytorch=[0.01, 0.01]), stray])
    assert comparison.outcome == "not_comparable"
    assert comparison.sentence == (
        "forward: not comparable: flax_nnx computes something else: logits lies 3e+06 noise floors from the reference, "
        "at most 64 allowed"
    )


def test_a_failure_is_named_beside_what_was_timed(record: MakeRecord) -> None:
    failed = record("flax_nnx", status="out_of_memory", message="RESOURCE_EXHAUSTED")
    comparison = only([*timed(record, pytorch=[0.01, 0.01]), failed])
    assert comparison.outcome == "not_timed"
    assert "only pytorch was timed, 10.00 ms a step" in comparison.sentence
    assert "flax_nnx was not timed (out of memory: RESOURCE_EXHAUSTED)" in comparison.sentence


def test_a_network_that_diverged_is_named(record: MakeRecord) -> None:
    comparison = only([record("pytorch", 0.01, number, finite_at_end=False) for number in (1, 2)])
    assert "pytorch had come to NaN or Inf by the end" in comparison.sentence


def test_three_are_compared_with_the_fastest(record: MakeRecord) -> None:
    comparison = only(timed(record, a=[3.0, 3.01, 2.99], b=[1.0, 1.01, 0.99], c=[2.0, 2.01, 1.99]))
    assert [(found.faster, found.slower) for found in comparison.ratios] == [("b", "c"), ("b", "a")]
    assert "b is 2.00 times faster than c" in comparison.sentence and "3.00 times faster than a" in comparison.sentence


def test_phases_machines_and_commits_are_never_mixed(record: MakeRecord) -> None:
    other = record().machine.model_copy(update={"cpu": "another"})
    records = [record(), record(phase="train_step"), record(machine=other), record(commit="another")]
    assert len(compare(records)) == 4


def test_devices_of_one_machine_are_never_mixed(record: MakeRecord) -> None:
    on_cpu, other = record("pytorch", 1.0), record("pytorch", 0.01)
    on_gpu = other.model_copy(update={"cell": other.cell.model_copy(update={"device": "cuda"})})
    assert [comparison.step_s for comparison in compare([on_cpu, on_gpu])] == [{"pytorch": [1.0]}, {"pytorch": [0.01]}]


def test_a_process_loaded_twice_counts_once(record: MakeRecord) -> None:
    early = record("pytorch", 0.05, started_at="2030-01-01T00:00:00+00:00")
    late = record("pytorch", 0.01, started_at="2030-01-02T00:00:00+00:00")
    assert only([late, early]).step_s == {"pytorch": [0.01]}
