"""What a backend cannot do, in the commands: shown as such, kept in the JSON, and no failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

import backends
from backends import Capabilities
from backends.numpy_reference.model import NumPyModel
from parity import PROBES
from tandem.commands.kept_checks import verdict_of
from tandem.documents.checks import Checked

from .conftest import Run, Twin

SMALL = ("unet_same", "--narrow", "16", "--size", "16x32")


class Inference(NumPyModel):
    phases = ("forward",)


def test_check_shows_it_and_is_equal(run: Run, twin: Callable[..., None]) -> None:
    twin(Inference)
    result = run("check", *SMALL)
    assert result.exit_code == 0, result.output
    left_out = "statistics, gradients, optimizer, trajectory"
    assert f"twin was not compared in {left_out}: it has inference only." in " ".join(result.stdout.split())
    (checked,) = json.loads(run("check", *SMALL, "--json", "-").stdout)["checks"]
    assert [each["probe"] for each in checked["not_compared"]] == left_out.split(", ")
    again = verdict_of(Checked.model_validate(checked))
    assert [(each.model, each.probe) for each in again.not_compared] == [("twin", p) for p in left_out.split(", ")]
    assert again.probes == [probe for probe in PROBES if probe not in left_out]


def test_probes_that_nobody_takes_part_in_are_refused_or_said(
    run: Run, refused: Callable[..., str], twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a model has less than its backend declares, which shows once it is built."""
    twin(Inference)
    result = run("check", *SMALL, "--probe", "gradients")
    assert result.exit_code == 1
    assert "nothing was compared, distances in noise floors" in result.stdout
    assert result.stdout.splitlines()[-1] == "Nothing was compared: unet_same in float64."

    can = Capabilities(precisions=("float64",), phases=("forward",), note="inference only")
    monkeypatch.setattr(Twin, "capabilities", can)
    assert refused("check", *SMALL, "--probe", "gradients,trajectory") == (
        "error: gradients, trajectory: twin has no phase 'train_step' (inference only); take one of forward; or take "
        "the probes structure, forward, activations"
    )
    assert run("check", *SMALL, "--probe", "forward,gradients").exit_code == 0


def test_a_table_has_it_where_others_were_compared(capsys: pytest.CaptureFixture[str]) -> None:
    import parity
    from shared_specs import load_spec
    from tandem.console import console
    from tandem.verdict_tables import verdict_table

    spec = load_spec("unet_same").narrow(16)
    models = {
        "one": NumPyModel(spec, backends.Execution(precision="float64"), parity.compare.Recipe()),
        "two": Inference(spec, backends.Execution(precision="float64"), parity.compare.Recipe()),
    }
    verdict = parity.compare_models(*models.values(), probes=("forward", "gradients"))
    assert verdict.pairs == [("reference", "candidate")]
    console().print(verdict_table(verdict))
    assert "candidate was not compared in gradients: it has inference only." in capsys.readouterr().out


def test_curves_are_of_those_that_train(
    run: Run, refused: Callable[..., str], twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    twin()
    can = Capabilities(precisions=("float64",), phases=("forward",), note="inference only")
    monkeypatch.setattr(Twin, "capabilities", can)
    said = refused("curves", *SMALL, "--steps", "1", "--precision", "float64")
    assert "twin has no phase 'train_step' (inference only); take one of forward" in said


@pytest.mark.needs_backends("pytorch")
def test_curves_say_who_was_not_trained(run: Run, twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    twin()
    monkeypatch.setattr(Twin, "capabilities", Capabilities(phases=("forward",), note="inference only"))
    chosen = ("--backends", "twin,pytorch", "--steps", "1", "--precision", "float64")
    result = run("curves", *SMALL, *chosen, "--json", "-")
    assert result.exit_code == 0, result.output
    (curves,) = json.loads(result.stdout)["curves"]
    assert curves["left_out"] == {"twin": "has no phase 'train_step' (inference only)"}
    assert [curve["backend"] for curve in curves["curves"]] == ["pytorch"]
    said = " ".join(run("curves", *SMALL, *chosen).stdout.split())
    assert "Not trained: twin has no phase 'train_step' (inference only)." in said


def test_doctor_and_list_say_what_a_backend_lacks(run: Run) -> None:
    from tandem.commands.doctor import what_they_lack
    from tandem.examination import Examination

    whole, half = Examination("numpy_reference", 0.0), Examination("numpy_reference", 0.0)
    whole.phases = list(backends.contract.PHASES)
    half.name, half.phases, half.note = "half", ["forward"], "inference only"
    assert what_they_lack([whole, half]) == ["half: inference only: it has forward, not forward_backward, train_step"]
    content = json.loads(run("list", "--json", "-").stdout)["backends"]
    assert content["onnxruntime"]["phases"] == ["forward"]
    assert content["onnxruntime"]["precisions"] == ["float32"]
    assert content["pytorch"]["phases"] == ["forward", "forward_backward", "train_step"]
    listed = run("list").stdout
    is_told = re.search(r"^ onnxruntime +forward +float32 .* inference only", listed, re.MULTILINE) is not None
    assert is_told is (backends.missing("onnxruntime") is None)
