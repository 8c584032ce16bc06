"""`tandem curves`: exit codes, what is trained on, the record, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends.numpy_reference.model import NumPyModel
from parity import Curves
from shared_specs import Recipe, load_spec
from tandem.commands.curves import default_size, show
from tandem.console import Output

from .conftest import Run

FAST = ("--steps", "2", "--narrow", "16", "--size", "16x32", "--precision", "float64")


class OtherLearningRate(NumPyModel):
    def __init__(self, spec, execution, recipe):
        super().__init__(spec, execution, Recipe.named("sgd", learning_rate=0.0100001))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8))
    return path


def curves_of(path: Path) -> Curves:
    content = json.loads(path.read_text())
    assert (content["command"], content["schema"]) == ("curves", 1)
    (values,) = content["curves"]
    curves = Curves.model_validate(values)
    assert content["within"] == curves.within
    return curves


def test_curves_within_exit_with_0(run: Run, twin: Callable[..., None], tmp_path: Path) -> None:
    twin()
    result = run("curves", "unet_same", *FAST, "--seed", "3", "--optimizer", "adamw", "--output", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert "unet_same: widths divided by 16" in result.stdout
    assert "Within: the curve stays where rounding alone could have driven it." in result.stdout
    note = "note: no --image was given: all are trained on random images, seed 3; labels: 10 classes by the brightness"
    assert note in result.stderr
    assert "progress: unet_same, float64: twin: step 0 of 2" in result.stderr
    curves = curves_of(tmp_path / "c.json")
    assert (curves.name, curves.narrow, curves.seed, curves.steps) == ("unet_same", 16, 3, 2)
    assert (curves.recipe.optimizer.kind, curves.execution.precision) == ("adamw", "float64")
    assert curves.batch.shape == (2, 3, 16, 32)


def test_a_curve_outside_exits_with_1(run: Run, twin: Callable[..., None], tmp_path: Path) -> None:
    twin(OtherLearningRate)
    result = run("curves", "unet_same", *FAST, "--json", tmp_path / "c.json")
    assert result.exit_code == 1
    assert "Outside: twin at step 2 left what rounding alone does to the loss." in result.stdout
    (judged,) = curves_of(tmp_path / "c.json").judged
    assert judged.outside == (2,)


def test_images_are_trained_on_with_labels_that_can_be_learned(
    run: Run, twin: Callable[..., None], picture: Path, tmp_path: Path
) -> None:
    twin()
    arguments = ("--steps", "1", "--narrow", "16", "--image", picture, "--output", tmp_path / "c.json")
    result = run("curves", "unet_same", *arguments)
    assert result.exit_code == 0, result.output
    assert "no --image was given" not in result.stderr
    batch = curves_of(tmp_path / "c.json").batch
    assert batch.shape == (1, 3, 32, 64)
    assert batch.origin == (
        "1 image, 32x64 about the centre of 40x70; labels: 10 classes by the brightness of each pixel's surroundings"
    )


def test_labels_from_files_are_taken(run: Run, twin: Callable[..., None], picture: Path, tmp_path: Path) -> None:
    twin()
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros((40, 70), np.uint8))
    result = run("curves", "unet_same", *FAST, "--image", picture, "--labels", labels, "--output", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert curves_of(tmp_path / "c.json").batch.origin.endswith("; labels from files")


def test_json_on_stdout_is_alone(run: Run, twin: Callable[..., None]) -> None:
    twin()
    result = run("curves", "unet_same", *FAST, "--output", "-")
    assert json.loads(result.stdout)["within"] is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("unet_sam",), "unet_same"),
        (("unet_same", "--precision", "float16"), "no precision is named 'float16'"),
        (("unet_same", "--precision", "all"), "got the precision 'all', expected one"),
        (("unet_same", "--judge", "nympy"), "no backend is named 'nympy'; take one of numpy_reference"),
        (("unet_same", "--optimizer", "lion"), "no optimizer is named 'lion'"),
        (("unet_same", "--narrow", "7"), "7"),
        (("unet_same", "--image", "nowhere.png"), "nowhere.png: cannot be read"),
        (("unet_same", "--labels", "some.npy"), "--labels go with --image"),
        (("unet_same", "--size", "15x15"), "15"),
        (("unet_same", "--backends", "numpy_reference"), "nothing to compare with numpy_reference"),
        (("unet_same", "--output", "nowhere/c.json"), "nowhere/c.json: cannot be written"),
    ],
    ids=lambda value: " ".join(value[1:3]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_refused_in_one_line_before_anything_is_trained(
    refused: Callable[..., str], twin: Callable[..., None], arguments: tuple[str, ...], told: str
) -> None:
    twin()
    assert told in refused("curves", *arguments)


@pytest.mark.parametrize(
    ("name", "size"), [("unet_bn_same", "64x80"), ("unet_paper", "203x219"), ("monai_unet", "31x32x47")]
)
def test_the_size_is_one_at_which_the_network_shows_its_choices(name: str, size: str) -> None:
    assert default_size(load_spec(name)) == size


def test_a_reference_that_has_learned_all_by_heart_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    made = Curves.model_validate(
        {
            "spec": {"name": "tiny"},
            "spec_fingerprint": "0",
            "execution": {"device": "cpu", "precision": "float64", "tuning": "default"},
            "recipe": Recipe(),
            "seed": 0,
            "batch": {"shape": (1, 1, 4, 4), "origin": "random"},
            "judge": "numpy_reference",
            "reference": (1.0, 0.0),
            "reruns": ({"seed": 0, "times": 1, "losses": (1.0, 0.0)},),
            "curves": ({"backend": "twin", "losses": (1.0, 0.0)},),
        }
    )
    show(made, Output(None, []))
    assert "Within: the curve stays" in capsys.readouterr().out
