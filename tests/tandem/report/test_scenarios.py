"""What is said of each scenario, and how that hangs together with the verdicts of the benchmarks."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.records import Record
from benchmarks.verdict import compare
from tandem.cli import app
from tandem.report import Findings, to_markdown
from tandem.report.answers import answers
from tandem.report.scenarios import SCENARIOS
from tandem.report.verdicts import Verdict, verdicts

from .made_up import GIB, both, on_gpu, processes, record, startup

BY_NAME = {scenario.identity: scenario for scenario in SCENARIOS}


def verdict(identity: str, records: list[Record]) -> Verdict:
    return next(found for found in verdicts(records) if found.scenario.identity == identity)


def only_sentence(identity: str, records: list[Record]) -> str:
    (setting,) = verdict(identity, records).settings
    return setting.headline.sentence


DECIDED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "inference-latency": ({"batch": 1}, {"batch": 1}, "pytorch is 2.00 times faster than flax_nnx"),
    "inference-throughput": ({}, {}, "pytorch is 2.00 times faster than flax_nnx"),
    "training-throughput": ({"phase": "train_step"}, {"phase": "train_step"}, "pytorch is 2.00 times faster than"),
    "training-memory": (
        {"phase": "train_step", "peak_memory_bytes": GIB},
        {"phase": "train_step", "peak_memory_bytes": 3 * GIB},
        "pytorch needs 3.00 times less memory than flax_nnx",
    ),
    "first-step": (
        {"startup": startup(4.0)},
        {"startup": startup(2.0)},
        "flax_nnx is there 2.00 times sooner than pytorch",
    ),
}


@pytest.mark.parametrize("identity", DECIDED)
def test_a_difference_is_said_with_factor_and_interval(identity: str) -> None:
    of_pytorch, of_flax, words = DECIDED[identity]
    records = [*processes(0.01, "pytorch", **of_pytorch), *processes(0.02, "flax_nnx", **of_flax)]
    found = verdict(identity, records)
    assert words in found.settings[0].headline.sentence
    assert "95% interval" in found.settings[0].headline.sentence
    winner = words.split()[0]
    assert found.choice == f"{winner}, default"


@pytest.mark.parametrize("identity", DECIDED)
def test_no_difference_is_a_tie(identity: str) -> None:
    values, _, _ = DECIDED[identity]
    records = [*processes(0.01, "pytorch", **values), *processes(0.01002, "flax_nnx", **values)]
    assert verdict(identity, records).choice == "a tie"
    assert "a tie between" in only_sentence(identity, records)


@pytest.mark.parametrize("identity", BY_NAME)
@pytest.mark.parametrize("records", [[], [record(phase="forward_backward", device="cuda", spec="unet_paper")]])
def test_what_is_not_measured_names_a_command_that_measures_it(
    identity: str, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is given to the command line, which hands what it understood to `compare`."""
    found = verdict(identity, records)
    assert (found.choice, found.settings) == ("not measured", ())
    asked: list[Any] = []
    monkeypatch.setattr("tandem.commands.compare.run", lambda request, *rest: asked.append(request) or 0)
    program, *arguments = shlex.split(found.command)
    result = CliRunner().invoke(app, arguments)
    assert (program, result.exit_code) == ("tandem", 0), result.output
    (request,) = asked
    scenario = BY_NAME[identity]
    assert tuple(",".join(request.phases).split(",")) == scenario.phases
    assert request.tunings == ["default,tuned"]
    assert request.batch == (scenario.batch or (2 if records else None))
    if records:
        assert (request.specs, request.narrow, request.device) == (["unet_paper"], 8, "cuda")


def test_a_command_quotes_what_a_shell_would_read_as_more() -> None:
    hostile = record(spec="a; rm -rf ~ $(x).toml", phase="train_step")
    words = shlex.split(verdict("inference-latency", [hostile]).command)
    assert words[2] == "a; rm -rf ~ $(x).toml"


def test_too_few_processes_decide_nothing() -> None:
    records = [*processes(0.01, "pytorch", count=2), *processes(0.02, "flax_nnx", count=2)]
    assert verdict("inference-throughput", records).choice == "not decided"
    assert "take 3 replicates" in only_sentence("inference-throughput", records)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (["flax_nnx"], "pytorch took 0.50 of the time of flax_nnx, both default, from too few processes"),
        (
            ["flax_nnx", "onnxruntime"],
            "pytorch took 0.50 of the time of flax_nnx and 0.50 of that of onnxruntime, all default, from too few",
        ),
    ],
)
def test_the_tuning_stands_beside_the_backends_and_what_to_do_comes_once(others: list[str], words: str) -> None:
    said = only_sentence("inference-throughput", [record(0.01), *(record(0.02, other) for other in others)])
    assert said.startswith(words)
    assert said.endswith("too few processes to tell it from noise: take 3 replicates") and said.count("take") == 1


def test_one_backend_alone_is_no_choice() -> None:
    records = processes(0.01)
    assert verdict("inference-throughput", records).choice == "nothing to compare"
    assert only_sentence("inference-throughput", records) == "default: only pytorch was measured, 10.10 ms a step"


def test_what_computes_something_else_is_never_chosen() -> None:
    records = [*processes(0.01, "pytorch"), *processes(0.02, "flax_nnx")]
    strayed = [r.model_copy(update={"status": "not_comparable"}) if r.cell.backend == "pytorch" else r for r in records]
    found = verdict("inference-throughput", strayed)
    assert found.choice == "not comparable"
    assert "pytorch" in found.settings[0].headline.sentence


def test_who_ran_out_of_memory_is_named() -> None:
    records = [*processes(0.01, "pytorch"), record(None, "flax_nnx")]
    assert "flax_nnx was not timed (out of memory: no room)" in only_sentence("inference-throughput", records)


def test_the_hand_written_module_and_peers_cannot_be_chosen() -> None:
    records = [
        *both(0.02, 0.03),
        *processes(0.001, "handwritten_pytorch"),
        *processes(0.001, "peer_monai_basic_unet", another_network="MONAI"),
    ]
    assert verdict("inference-throughput", records).choice == "pytorch, default"


def test_headlines_pair_one_tuning_and_are_never_crossed() -> None:
    """The fastest of all is flax_nnx tuned, which has nobody beside it in its tuning but pytorch tuned."""
    records = [*both(0.010, 0.020), *both(0.009, 0.008, tuning="tuned")]
    (setting,) = verdict("inference-throughput", records).settings
    assert {r.cell.tuning for r in setting.headline.records} == {"tuned"}
    assert setting.choice == "flax_nnx, tuned"
    alone = [*both(0.010, 0.020), *processes(0.001, "flax_nnx", tuning="donate")]
    (setting,) = verdict("inference-throughput", alone).settings
    assert setting.choice == "pytorch, default", "a tuning that one backend alone has is nobody's rival"


def test_the_headline_is_at_the_batch_with_the_most_images_a_second() -> None:
    records = [*both(0.010, 0.020, batch=1), *both(0.015, 0.030, batch=4), *both(0.080, 0.090, batch=16)]
    (setting,) = verdict("inference-throughput", records).settings
    assert setting.headline.records[0].cell.batch == 4
    (setting,) = verdict("inference-latency", records).settings
    assert setting.headline.records[0].cell.batch == 1


def test_networks_precisions_and_devices_are_settings_of_their_own() -> None:
    records = [
        *both(0.01, 0.02),
        *both(0.02, 0.01, spec="unet_paper"),
        *both(0.01, 0.01001, precision="bfloat16"),
    ]
    found = verdict("inference-throughput", records)
    assert [setting.choice for setting in found.settings] == ["pytorch, default", "flax_nnx, default", "a tie"]
    assert found.choice == "it depends"
    assert found.choices == "pytorch, default: 1 of 3; flax_nnx, default: 1 of 3; a tie: 1 of 3"


def test_memory_is_the_devices_on_a_gpu() -> None:
    there = on_gpu(1.0, 0.01, phase="train_step")
    records = [
        *processes(0.01, "pytorch", **there | {"peak_memory_bytes": 9 * GIB}),
        *processes(0.01, "flax_nnx", **there | {"peak_memory_bytes": GIB, "peak_device_memory_bytes": 16 * GIB}),
    ]
    assert "pytorch needs 2.00 times less memory" in only_sentence("training-memory", records)


def test_a_busy_machine_is_said() -> None:
    records = both(0.01, 0.02, other_work_percent=80.0)
    assert only_sentence("inference-throughput", records).endswith("other work kept the machine busy meanwhile")


def test_times_are_judged_as_the_benchmarks_judge_them() -> None:
    """Throughput has the ratios and the outcome of `benchmarks.verdict.compare`, number for number."""
    records = [*both(0.010, 0.013), *both(0.01, 0.0101, spec="unet_paper"), *both(0.03, 0.02, phase="train_step")]
    theirs = [(found.ratios, found.outcome) for found in compare(records)]
    ours = [(found.ratios, found.outcome) for found in answers(records, BY_NAME["inference-throughput"])]
    assert ours == theirs
    assert {outcome for _, outcome in ours} == {"faster", "tie"}


def test_a_backend_that_came_to_nan_is_said_so_beside_its_time() -> None:
    records = [*processes(0.01, "pytorch", finite_at_end=False), *processes(0.02, "flax_nnx")]
    assert only_sentence("inference-throughput", records).endswith("; pytorch had come to NaN or Inf by the end")


def test_how_often_which_is_in_the_markdown_too() -> None:
    records = [*both(0.01, 0.02), *both(0.02, 0.01, precision="bfloat16")]
    page = to_markdown(Findings(records=records))
    assert "- **Inference throughput: it depends.** pytorch, default: 1 of 2; flax_nnx, default: 1 of 2." in page


def test_a_diagnostic_tuning_is_no_answer() -> None:
    records = both(0.01, 0.02, tuning="op_by_op", phase="train_step")
    assert verdict("training-throughput", records).choice == "not measured"
    assert [found.outcome for found in compare(records)] == ["faster"], "it was asked for, and is said"
    with_default = [*records, *processes(0.03, "pytorch", phase="train_step")]
    assert verdict("training-throughput", with_default).choice == "nothing to compare"
