"""What would change an answer: said where the records show it, and nowhere else."""

from __future__ import annotations

from benchmarks.records import Record
from tandem.report.changes import beside, changes
from tandem.report.verdicts import verdicts

from .made_up import GIB, GPU_MACHINE, both, processes, record, startup, sweep


def said(records: list[Record], identity: str = "inference-throughput", number: int = 0) -> list[str]:
    found = next(verdict for verdict in verdicts(records) if verdict.scenario.identity == identity)
    return changes(found.settings[number], records)


def said_beside(records: list[Record], identity: str = "inference-throughput") -> list[str]:
    found = next(verdict for verdict in verdicts(records) if verdict.scenario.identity == identity)
    return beside(found.settings[0], records)


def test_nothing_is_said_where_nothing_would_change_it() -> None:
    same = [*both(0.010, 0.020), *both(0.009, 0.018, tuning="tuned"), *both(0.040, 0.080, batch=8)]
    assert said(same) == []


def test_another_tuning() -> None:
    records = [*both(0.010, 0.008), *both(0.006, 0.007, tuning="tuned")]
    (sentence,) = said(records)
    assert sentence.startswith("With both default, flax_nnx is 1.25 times faster than pytorch (95% interval ")


def test_a_tie_in_another_precision() -> None:
    records = [*both(0.010, 0.020), *both(0.010, 0.01001, precision="bfloat16")]
    (sentence,) = said(records)
    assert sentence.startswith("In bfloat16, a tie between pytorch and flax_nnx (ratio 1.00, ")


def test_the_batch_at_which_the_order_turns_is_the_nearest_one() -> None:
    records = [
        *both(0.001, 0.002, batch=2),
        *both(0.020, 0.010, batch=8),
        *both(0.040, 0.020, batch=16),
        *both(0.080, 0.040, batch=32),
    ]
    records = [r for r in records if r.cell.batch != 8] + [r for r in records if r.cell.batch == 8]
    (sentence,) = said(records)
    assert sentence.startswith("At batch 8, flax_nnx is 2.00 times faster than pytorch (95% interval ")
    assert sentence.endswith("; likewise at 16, 32")


def test_one_process_of_a_sweep_is_not_taken_for_a_proof() -> None:
    records = [*both(0.001, 0.002, batch=2), record(0.2, "pytorch", batch=8), record(0.1, "flax_nnx", batch=8)]
    (sentence,) = said(records)
    assert sentence.startswith("At batch 8, flax_nnx took 0.50 of the time of pytorch, from too few processes")
    agreeing = [*both(0.001, 0.002, batch=2), record(0.1, "pytorch", batch=8), record(0.2, "flax_nnx", batch=8)]
    assert said(agreeing) == []


def test_another_phase_changes_throughput_and_not_memory() -> None:
    records = [*both(0.010, 0.020), *both(0.060, 0.030, phase="train_step")]
    assert [sentence.partition(",")[0] for sentence in said(records)] == ["For train_step"]
    less = [r.model_copy(update={"peak_memory_bytes": 2 * GIB}) if r.cell.phase == "forward" else r for r in records]
    assert said(less, "training-memory") == []


def test_what_differs_in_two_things_is_no_answer_to_one() -> None:
    records = [*both(0.010, 0.020), *both(0.080, 0.040, batch=8, precision="bfloat16")]
    assert said(records) == []


def test_few_steps_decide_otherwise_where_the_faster_one_starts_later() -> None:
    """10 s later and 10 ms a step faster: level after 1 + 10 / 0.010 steps."""
    records = [
        *processes(0.010, "pytorch", spread=1e-6, startup=startup(12.0, compile_s=9.0)),
        *processes(0.020, "flax_nnx", spread=1e-6, startup=startup(2.0)),
    ]
    (sentence,) = said(records)
    assert sentence == "Up to about 1,001 steps (1,001 to 1,002), flax_nnx is done sooner: it starts earlier"
    (sentence,) = said(records, "first-step")
    assert sentence == "After about 1,001 steps (1,001 to 1,002), pytorch has caught up"


def test_who_starts_earlier_and_steps_faster_has_no_such_number() -> None:
    records = [
        *processes(0.010, "pytorch", startup=startup(2.0)),
        *processes(0.020, "flax_nnx", startup=startup(12.0)),
    ]
    assert said(records) == [] and said(records, "first-step") == []


def test_what_tuning_alone_brings_stands_beside_the_answer() -> None:
    records = [*both(0.010, 0.030), *both(0.005, 0.015, tuning="tuned")]
    (sentence,) = said_beside(records)
    assert sentence.startswith("Tuning alone: pytorch tuned is 2.00 times faster than pytorch default (95% interval ")


def test_the_largest_batches_that_fit_stand_beside_memory() -> None:
    records = [
        *both(0.010, 0.020, phase="train_step", batch=4),
        *sweep("pytorch", 8, phase="train_step"),
        *sweep("flax_nnx", 4, phase="train_step"),
    ]
    assert said_beside(records, "training-memory") == [
        "The largest batch that fits, in images of 64x64 pixels: pytorch (default) 8, flax_nnx (default) 4"
    ]
    ends_by_itself = [*both(0.010, 0.020, phase="train_step"), *sweep("pytorch", 99, phase="train_step")]
    assert said_beside(ends_by_itself, "training-memory") == []


def test_the_largest_batches_are_those_of_the_machine_and_of_the_size_that_is_named() -> None:
    records = [
        *both(0.010, 0.020, phase="train_step", batch=4),
        *sweep("pytorch", 8, phase="train_step"),
        *sweep("flax_nnx", 2, phase="train_step", size=(128, 128)),
        *sweep("pytorch", 4, phase="train_step", machine=GPU_MACHINE),
        *sweep("peer_monai_basic_unet", 8, phase="train_step", another_network="MONAI's"),
    ]
    assert said_beside(records, "training-memory") == [
        "The largest batch that fits, in images of 64x64 pixels: pytorch (default) 8",
        "The largest batch that fits, in images of 128x128 pixels: flax_nnx (default) 2",
    ]
