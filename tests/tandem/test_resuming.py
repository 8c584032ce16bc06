"""The command that goes on with a comparison, and what of its checks is believed."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from backends import Execution
from benchmarks import provenance
from parity import check as parity_check
from tandem.cli import app
from tandem.commands import bench, check, kept_checks
from tandem.commands.kept_checks import KeptChecks, now, verdict_of
from tandem.commands.resuming import command_to_go_on
from tandem.commands.run_parts import CheckSteps, passes_of_steps
from tandem.estimate import Part
from tandem.run_display import RunDisplay


def test_every_option_that_was_given_is_in_the_command() -> None:
    request = bench.Request(
        specs=["my nets/a.toml", "unet_same"],
        backends=["pytorch,flax_nnx"],
        phases=["forward", "train_step"],
        precisions=["bfloat16"],
        tunings=["default,tuned"],
        narrow=4,
        size="96x128",
        batch=3,
        device="cpu",
        replicates=5,
    )
    command = command_to_go_on("compare", request, Path("out/a b"), "-")
    words = shlex.split(command)
    assert words[:4] == ["tandem", "compare", "my nets/a.toml", "unet_same"]
    commands: Any = get_command(app)
    given = commands.commands["compare"].make_context("compare", words[2:]).params
    assert given == {
        "specs": ["my nets/a.toml", "unet_same"],
        "backends": ["pytorch,flax_nnx"],
        "phase": ["forward", "train_step"],
        "size": "96x128",
        "batch": 3,
        "narrow": 4,
        "full_width": False,
        "precision": ["bfloat16"],
        "tuning": ["default,tuned"],
        "device": "cpu",
        "replicates": 5,
        "output": "out/a b",
        "json": "-",
        "replicas": None,
    }


def test_no_option_of_compare_is_left_out() -> None:
    commands: Any = get_command(app)
    taken = [parameter for parameter in commands.commands["compare"].params if not getattr(parameter, "hidden", False)]
    options = {option for parameter in taken for option in parameter.opts}
    known = {"specs", "--full-width", "-o", "--help"}  # --full-width is --narrow 1
    request = bench.Request(["a"], ["b"], ["c"], ["d"], ["e"], 2, "f", 3, "g", 4)
    assert options - known == {
        word for word in command_to_go_on("compare", request, Path("h"), "i").split() if word.startswith("--")
    }


def test_what_was_not_given_is_not_in_the_command() -> None:
    assert command_to_go_on("compare", bench.Request([]), Path("out/x")) == "tandem compare --output out/x"


def test_from_a_checkout_the_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/tandem/__main__.py", "compare"])
    assert command_to_go_on("compare", bench.Request([]), Path("x")).startswith("python -m tandem compare ")


REQUEST = check.Request(
    specs=["unet_same"], narrow=16, backends=["twin"], probes=["structure"], precisions=["float64"], seed=5
)


@pytest.fixture
def kept(twin: Any, tmp_path: Path) -> tuple[KeptChecks, check.Plan]:
    """A folder with one verdict in it, and what was asked."""
    twin()
    chosen = check.plan(REQUEST)
    folder = KeptChecks(tmp_path, ["a remark"])
    verdict = check.check(chosen.jobs[0], chosen.executions[0], chosen, lambda step: None)
    folder.keep(folder.made_now(verdict, chosen.jobs[0], now()))
    assert verdict_of(folder.all[0]) == verdict
    return folder, chosen


def found(folder: Path, chosen: check.Plan, execution: Execution | None = None) -> bool:
    return KeptChecks(folder, []).find(chosen.jobs[0], execution or chosen.executions[0], chosen) is not None


def test_the_same_question_has_its_answer(kept: tuple[KeptChecks, check.Plan]) -> None:
    folder, chosen = kept
    assert found(folder.folder, chosen)


OTHERS = {
    "seed": lambda plan: replace(plan, seed=1),
    "probes": lambda plan: replace(plan, probes=["structure", "forward"]),
    "backends": lambda plan: replace(plan, backends=["twin", "pytorch"]),
    "narrow": lambda plan: replace(plan, jobs=[replace(plan.jobs[0], divisor=8)]),
    "spec": lambda plan: replace(plan, jobs=[replace(plan.jobs[0], spec=plan.jobs[0].spec.narrow(2))]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_question_has_none(kept: tuple[KeptChecks, check.Plan], other: Any) -> None:
    folder, chosen = kept
    assert not found(folder.folder, other(chosen))


def test_another_precision_has_none(kept: tuple[KeptChecks, check.Plan]) -> None:
    folder, chosen = kept
    assert not found(folder.folder, chosen, Execution(precision="float32"))


def test_other_code_is_not_believed(kept: tuple[KeptChecks, check.Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, chosen = kept
    monkeypatch.setattr(kept_checks.provenance, "commit", lambda: "another")
    assert not found(folder.folder, chosen)


def test_another_machine_is_not_believed(kept: tuple[KeptChecks, check.Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, chosen = kept
    other = kept_checks.this_machine().model_copy(update={"cpu": "an abacus"})
    monkeypatch.setattr(kept_checks, "this_machine", lambda: other)
    assert not found(folder.folder, chosen)


def test_other_versions_are_not_believed(kept: tuple[KeptChecks, check.Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, chosen = kept
    monkeypatch.setattr(provenance, "installed", lambda name: "0.0.1")
    assert not found(folder.folder, chosen)


def test_a_damaged_file_is_as_none(kept: tuple[KeptChecks, check.Plan]) -> None:
    folder, chosen = kept
    path = folder.folder / "check.json"
    path.write_bytes(path.read_bytes()[:-40])
    assert not found(folder.folder, chosen)


def test_a_difference_is_looked_at_again(kept: tuple[KeptChecks, check.Plan]) -> None:
    folder, chosen = kept
    path = folder.folder / "check.json"
    path.write_text(path.read_text().replace('"equal": true', '"equal": false'))
    assert not found(folder.folder, chosen)


def test_the_steps_of_a_check_are_counted_beforehand(twin: Any) -> None:
    twin()
    chosen = check.plan(replace(REQUEST, probes=None, precisions=["float32"]))
    execution = chosen.executions[0]
    display = RunDisplay([Part("check", "x")])
    told: list[str] = []
    parity_check(
        chosen.jobs[0].spec,
        backends=chosen.backends,
        execution=execution,
        batch=chosen.jobs[0].batch,
        on_progress=told.append,
    )
    passes = passes_of_steps(execution, chosen)
    assert len(told) == len(passes)
    steps, shares = CheckSteps(display, passes), []
    for step in told:
        steps(step)
        shares.append(display.estimate._share_done)
    assert shares[0] == 0.0 and shares == sorted(shares) and shares[-1] == pytest.approx(1 - passes[-1] / sum(passes))


def test_a_check_begun_after_a_source_was_written_is_of_the_code_before(
    kept: tuple[KeptChecks, check.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process does not see what is written after its start: the next run, which does, checks again."""
    folder, chosen = kept
    monkeypatch.setattr(kept_checks.provenance, "commit", lambda: "abc+changes")
    running = KeptChecks(folder.folder, [])
    verdict = verdict_of(folder.all[0])
    written_at = now()
    monkeypatch.setattr(kept_checks.provenance, "last_change", lambda: written_at)
    later = written_at + timedelta(seconds=60)
    running.keep(running.made_now(verdict, chosen.jobs[0], later))
    assert not found(folder.folder, chosen)
    sound = KeptChecks(folder.folder, [])
    sound.keep(sound.made_now(verdict, chosen.jobs[0], later))
    assert found(folder.folder, chosen)
