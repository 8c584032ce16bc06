"""`tandem check`: exit code 0 and 1, the numbers behind it, and real photographs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends.numpy_reference.model import NumPyModel
from parity import COARSE_LIMIT, LIMIT, PROBES
from shared_specs import UNetSpec, initial_weights, load_spec, save_weights
from shared_specs.catalog import ZOO

from .conftest import Run

FAST = ("--narrow", "16", "--backends", "pytorch")


@pytest.mark.needs_backends("pytorch")
def test_equal_builds_exit_with_0(run: Run, tmp_path: Path) -> None:
    result = run(
        "check", "unet_bn_same", *FAST, "--size", "16x32", "--precision", "all", "--json", tmp_path / "check.json"
    )
    assert result.exit_code == 0, result.output
    assert "unet_bn_same: widths divided by 16, 122,506 parameters; --full-width" in result.stdout
    assert "unet_bn_same, float64: equal" in result.stdout
    assert "unet_bn_same, float32: equal" in result.stdout
    assert all(f"\n {probe} " in result.stdout for probe in PROBES)
    assert "Equal: in all 3 checks the builds are the same network" in result.stdout

    content = json.loads((tmp_path / "check.json").read_text())
    assert (content["command"], content["schema"], content["equal"]) == ("check", 1, True)
    first, second, third = content["checks"]
    assert [check["execution"]["precision"] for check in (first, second, third)] == ["float64", "float32", "bfloat16"]
    assert [check["limit"] for check in (first, second, third)] == [LIMIT, LIMIT, COARSE_LIMIT]
    assert first["narrow"] == 16 and first["spec"]["widths"] == [4, 8, 16, 32, 64]
    assert {m["probe"] for m in first["measurements"]} == set(PROBES)
    assert 0 < max(m["distance"] for m in first["measurements"]) <= LIMIT


def test_json_on_stdout_is_alone(run: Run, twin: Callable[..., None]) -> None:
    twin()
    result = run("check", "unet_same", "--narrow", "16", "--probe", "forward", "--json", "-")
    assert json.loads(result.stdout)["equal"] is True


STATISTICS = {"unet_same": "—", "unet_bn_same": "0.00"}


@pytest.mark.parametrize(("name", "cell"), STATISTICS.items(), ids=STATISTICS)
def test_a_probe_that_had_nothing_to_compare_shows_no_distance(
    run: Run, twin: Callable[..., None], tmp_path: Path, name: str, cell: str
) -> None:
    twin()
    path = tmp_path / "check.json"
    arguments = ("--narrow", "16", "--size", "16", "--probe", "structure,statistics", "--json", path)
    rows = [line.split() for line in run("check", name, *arguments).stdout.splitlines()]
    assert ["structure", "0.00"] in rows
    assert ["statistics", cell] in rows
    page = [line.replace("|", " ").split() for line in run("report", path).stdout.splitlines()]
    assert ["structure", "0.00"] in page
    assert ["statistics", cell] in page


def test_selected_probes_run_in_their_order(run: Run, twin: Callable[..., None]) -> None:
    twin()
    result = run(
        "check", "unet_same", "--narrow", "16", "--probe", "gradients,forward", "--probe", "forward", "--json", "-"
    )
    (check,) = json.loads(result.stdout)["checks"]
    assert list(dict.fromkeys(m["probe"] for m in check["measurements"])) == ["forward", "gradients"]


def test_verbose_prints_every_quantity(run: Run, twin: Callable[..., None]) -> None:
    twin()
    arguments = ("check", "unet_same", "--narrow", "16", "--probe", "activations")
    names = [layer.name for layer in load_spec("unet_same").layers]
    everything, in_short = run(*arguments, "--verbose").stdout, run(*arguments).stdout
    assert [name for name in names if name not in everything] == []
    assert sum(name in in_short for name in names) <= 1


def test_seed_and_optimizer_reach_the_check(run: Run, twin: Callable[..., None]) -> None:
    twin()
    arguments = (
        "--narrow",
        "16",
        "--size",
        "16",
        "--probe",
        "optimizer",
        "--optimizer",
        "adamw",
        "--seed",
        "7",
        "--json",
        "-",
    )
    (check,) = json.loads(run("check", "unet_same", *arguments).stdout)["checks"]
    assert check["seed"] == 7 and check["recipe"]["optimizer"]["kind"] == "adamw"
    assert "first_moment/head.weight" in {m["quantity"] for m in check["measurements"]}


def test_size_and_batch_reach_the_check(run: Run, twin: Callable[..., None]) -> None:
    twin()
    arguments = ("--narrow", "16", "--probe", "forward", "--size", "32x64", "--batch", "3", "--json", "-")
    (check,) = json.loads(run("check", "unet_same", *arguments).stdout)["checks"]
    assert check["batch"]["shape"] == [3, 3, 32, 64]


@pytest.mark.parametrize(("widths", "divisor"), [([12, 24], 4), ([3, 6], 1), ([16, 32], 8)], ids=str)
def test_widths_are_divided_as_far_as_they_can_be(
    run: Run, twin: Callable[..., None], tmp_path: Path, widths: list[int], divisor: int
) -> None:
    twin()
    path = tmp_path / "net.toml"
    path.write_text((ZOO / "unet_same.toml").read_text().replace("[64, 128, 256, 512, 1024]", str(widths)))
    result = run("check", path, "--probe", "structure", "--json", tmp_path / "check.json")
    assert result.exit_code == 0
    assert ("full width" if divisor == 1 else f"widths divided by {divisor}") in result.stdout
    (check,) = json.loads((tmp_path / "check.json").read_text())["checks"]
    assert check["narrow"] == divisor
    assert check["spec"]["widths"] == [width // divisor for width in widths]


def test_weights_are_those_of_the_file(run: Run, twin: Callable[..., None], tmp_path: Path) -> None:
    twin()
    spec = load_spec("unet_same").narrow(16)
    weights = initial_weights(spec, seed=5) | {"head.bias": np.full(10, 1234.0)}
    save_weights(tmp_path / "weights.safetensors", weights, spec)
    arguments = ("--narrow", "16", "--probe", "structure", "--json", "-", "--weights", tmp_path / "weights.safetensors")
    (check,) = json.loads(run("check", "unet_same", *arguments).stdout)["checks"]
    (bias,) = [m for m in check["measurements"] if m["quantity"] == "head.bias"]
    assert bias["reference_value"] == 1234.0


class WrongSlope(NumPyModel):
    """Scales one layer's output by a billionth too much."""

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = super().activations(images)
        return outputs | {"encoder.2.block.0.conv": outputs["encoder.2.block.0.conv"] * (1 + 1e-9)}


class WrongEverywhere(WrongSlope):
    """The same fault, which also shows in the logits."""

    def forward(self, images: np.ndarray) -> np.ndarray:
        return super().forward(images) * (1 + 1e-9)


class NotANumber(NumPyModel):
    def forward(self, images: np.ndarray) -> np.ndarray:
        logits = super().forward(images)
        logits[1, 2, 3, 4] = np.nan
        return logits


FAULTS = {
    "layer": (WrongSlope, "First difference in the activations probe: encoder.2.block.0.conv"),
    "layer_before_logits": (WrongEverywhere, "First difference in the activations probe: encoder.2.block.0.conv"),
    "nan": (
        NotANumber,
        "First difference in the forward probe: logits\n  twin is infinitely far from numpy_reference",
    ),
}


@pytest.mark.parametrize(("model", "message"), FAULTS.values(), ids=FAULTS)
def test_a_difference_exits_with_1_and_says_where(
    run: Run, twin: Callable[..., None], model: type[NumPyModel], message: str
) -> None:
    twin(model)
    result = run("check", "unet_same", "--narrow", "16", "--probe", "forward,activations")
    assert result.exit_code == 1
    assert "unet_same, float64: DIFFERENT" in result.stdout
    assert message in result.stdout
    assert "Different: unet_same in float64." in result.stdout


def test_a_difference_shows_its_place_and_both_values(run: Run, twin: Callable[..., None]) -> None:
    twin(NotANumber)
    result = run("check", "unet_same", "--narrow", "16", "--probe", "forward")
    assert "at (1, 2, 3, 4): numpy_reference " in result.stdout
    assert "twin            nan" in result.stdout


def test_a_difference_is_in_the_json(run: Run, twin: Callable[..., None]) -> None:
    twin(WrongSlope)
    result = run("check", "unet_same", "--narrow", "16", "--probe", "activations", "--json", "-")
    (check,) = json.loads(result.stdout)["checks"]
    assert result.exit_code == 1 and check["equal"] is False
    assert check["first_difference"]["quantity"] == "encoder.2.block.0.conv"
    assert check["first_difference"]["distance"] > 1e5


def test_one_difference_among_many_checks_exits_with_1(run: Run, twin: Callable[..., None]) -> None:
    class WrongPaper(NumPyModel):
        def forward(self, images: np.ndarray) -> np.ndarray:
            return super().forward(images) + (self.spec.name == "unet_bn_same")

    twin(WrongPaper)
    result = run("check", "unet_same", "unet_bn_same", "--narrow", "16", "--probe", "forward")
    assert result.exit_code == 1
    assert "unet_same, float64: equal" in result.stdout
    assert "Different: unet_bn_same in float64." in result.stdout


@pytest.mark.needs_backends("pytorch")
def test_a_wrong_epsilon_in_a_torch_module_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.pytorch.model import PyTorchModel

    build = PyTorchModel.__init__

    def with_wrong_epsilon(self: PyTorchModel, spec: UNetSpec, *rest: object) -> None:
        build(self, spec, *rest)  # pyright: ignore[reportArgumentType]
        self.module.get_submodule("encoder.1.block.0.norm").eps = 1.0001e-5

    monkeypatch.setattr(PyTorchModel, "__init__", with_wrong_epsilon)
    result = run("check", "unet_bn_same", *FAST, "--probe", "forward,activations")
    assert result.exit_code == 1
    assert "First difference in the activations probe: encoder.1.block.0.norm" in result.stdout


PHOTOGRAPHS = ["retina.jpg", "ihc.png", "hubble_deep_field.jpg", "chelsea.png"]


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_go_through_both(run: Run, photograph: Callable[[str], Path], name: str) -> None:
    path = photograph(name)
    arguments = (*FAST, "--image", path, "--size", "32", "--probe", "forward,activations", "--json", "-")
    result = run("check", "unet_bn_same", *arguments)
    (check,) = json.loads(result.stdout)["checks"]
    assert result.exit_code == 0 and check["batch"]["shape"] == [1, 3, 32, 32]
    assert "32x32 about the centre of" in check["batch"]["origin"]


@pytest.mark.parametrize("name", ["microaneurysms.png", "cell.png"])
def test_grey_photographs_go_through_the_grey_network(
    run: Run, twin: Callable[..., None], photograph: Callable[[str], Path], name: str
) -> None:
    twin()
    path = photograph(name)
    if name == "microaneurysms.png":
        result = run("check", "unet_paper", "--narrow", "16", "--image", path)
        assert result.exit_code == 2 and "an image of 102 pixels a side is too small" in result.stderr
    else:
        result = run("check", "unet_paper", "--narrow", "16", "--image", path, "--size", "190", "--probe", "forward")
        assert result.exit_code == 0 and "Input 1x1x190x190: 1 image" in result.stdout


def test_several_images_make_one_batch_with_their_labels(run: Run, twin: Callable[..., None], tmp_path: Path) -> None:
    twin()
    random = np.random.default_rng(0)
    arguments: list[str | Path] = []
    for name, (height, width) in {"a": (40, 50), "b": (48, 36)}.items():
        np.save(tmp_path / f"{name}.npy", random.integers(0, 2**16, (height, width, 3)).astype(np.uint16))
        np.save(tmp_path / f"{name}-labels.npy", random.integers(0, 10, (height, width)))
        arguments += ["--image", tmp_path / f"{name}.npy", "--labels", tmp_path / f"{name}-labels.npy"]
    result = run("check", "unet_same", "--narrow", "16", "--probe", "gradients", *arguments)
    assert result.exit_code == 0, result.output
    assert "Input 2x3x32x32: 2 images" in result.stdout and "labels from files" in result.stdout


def test_an_alpha_channel_is_noted(run: Run, twin: Callable[..., None], photograph: Callable[[str], Path]) -> None:
    twin()
    path = photograph("horse.png")
    result = run("check", "unet_same", "--narrow", "16", "--image", path, "--size", "32", "--probe", "forward")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"note: {path}: the alpha channel is left out"


def test_progress_is_told_in_lines_where_no_terminal_shows_it(run: Run, twin: Callable[..., None]) -> None:
    twin()
    result = run("check", "unet_same", "--narrow", "16", "--size", "16", "--probe", "structure,forward", "--json", "-")
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("progress: unet_same, float64: ") for line in lines)
    assert {line.rpartition(": ")[2] for line in lines} >= {"numpy_reference", "twin"}
    assert json.loads(result.stdout)["equal"] is True


def test_a_backend_that_is_left_out_is_noted(
    run: Run, twin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.registry import REQUIREMENTS

    twin()
    monkeypatch.setitem(REQUIREMENTS, "flax_nnx", (("a_module_that_is_not_here",), "flax"))
    result = run("check", "unet_same", "--narrow", "16", "--probe", "structure")
    assert result.exit_code == 0
    assert "note: backend flax_nnx needs a_module_that_is_not_here" in result.stderr
