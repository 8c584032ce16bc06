"""Bad input: one clear line that says what was wrong, exit code 2, no traceback, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.registry import REQUIREMENTS
from shared_specs import initial_weights, load_spec, save_weights, spec_names
from shared_specs.catalog import ZOO

from .conftest import Run

Refused = Callable[..., str]

MISTYPED = {
    "unknown_command": (["chekc"], "No such command 'chekc'. Did you mean 'check'?"),
    "unknown_option": (["check", "unet_same", "--bogus"], "No such option: --bogus"),
    "missing_argument": (["show"], "Missing argument 'SPEC'"),
    "spec_typo": (["check", "unet_bn_sam"], "no spec is named 'unet_bn_sam'; the nearest are unet_bn_same"),
    "spec_typo_in_show": (["show", "unet_papers"], "the nearest are unet_paper"),
    "spec_typo_in_bench": (["bench", "unet_papers"], "the nearest are unet_paper"),
    "spec_typo_in_compare": (["compare", "unet_papers"], "the nearest are unet_paper"),
    "no_such_spec_file": (["check", "nowhere/net.toml"], "nowhere/net.toml: cannot be read (No such file"),
    "backend_typo": (
        ["check", "unet_same", "--backends", "torch"],
        "no backend is named 'torch'; take one of numpy",
    ),
    "backend_typo_in_bench": (["bench", "--backends", "flax"], "did you mean flax_nnx or flax_linen?"),
    "probe_typo": (["check", "unet_same", "--probe", "gradient"], "did you mean gradients?"),
    "phase_typo": (
        ["bench", "--phase", "forwards"],
        "no phase is named 'forwards'; take one of forward, forw",
    ),
    "precision_typo": (["check", "unet_same", "--precision", "float46"], "did you mean float64"),
    "precision_of_gpus": (
        ["check", "unet_same", "--precision", "tf32"],
        "tf32 is a precision of NVIDIA GPUs",
    ),
    "precision_typo_in_bench": (["bench", "--precision", "float46"], "no precision is named 'float46'"),
    "device_typo_in_bench": (["bench", "--device", "abacus"], "no device is named 'abacus'; take one of cpu"),
    "precision_that_a_backend_has_not": (
        ["bench", "--backends", "numpy_reference", "--precision", "float32"],
        "numpy_reference has no precision 'float32'; take one of float64",
    ),
    "optimizer_typo": (["check", "unet_same", "--optimizer", "adan"], "take one of sgd, adam, adamw"),
    "only_the_reference": (["check", "unet_same", "--backends", "numpy_reference"], "nothing to compare with"),
    "reference_is_not_timed": (["compare", "--backends", "numpy_reference"], "nothing to compare with"),
    "size_in_words": (["check", "unet_same", "--size", "big"], "--size: got 'big', expected HEIGHTxWIDTH"),
    "size_of_nothing": (["show", "unet_same", "--size", "0x16"], "--size: got '0x16'"),
    "size_too_small": (["check", "unet_paper", "--size", "64"], "images of 64x64 are too small: nothing is left after"),
    "size_that_does_not_fit": (["show", "unet_same", "--size", "199x207"], "level 3: the skip is 24x25"),
    "size_too_small_to_time": (["bench", "unet_paper", "--size", "64"], "too small"),
    "empty_batch": (
        ["check", "unet_same", "--batch", "0"],
        "error: --batch: got '0', expected a whole number, at least 1",
    ),
    "batch_of_too_many": (["check", "unet_same", "--batch", "9" * 20], "expected at most 2147483647"),
    "negative_seed": (["check", "unet_same", "--seed", "-1"], "--seed: got '-1', expected a whole number, at least 0"),
    "steps_in_words": (["curves", "unet_same", "--steps", "ten"], "--steps: got 'ten', expected a whole number"),
    "half_a_replicate": (["bench", "--replicates", "1.5"], "--replicates: got '1.5', expected a whole number"),
    "most_of_nothing": (["scale", "batch", "--most", "0"], "--most: got '0', expected a whole number, at least 1"),
    "an_empty_variable": (["check", "unet_same", "--weights="], "--weights: got nothing; give it a value, or leave it"),
    "json_to_nowhere": (["list", "--json", ""], "--json: got nothing; give it a value, or leave it out"),
    "tuning_typo": (
        ["check", "unet_same", "--backends", "pytorch,flax_nnx", "--tuning", "tunde"],
        "no tuning of pytorch, flax_nnx is named 'tunde'; take one of default, ",
    ),
    "no_tuning_between_commas": (["bench", "--tuning", ","], "got no tuning, expected default, tuned, or another"),
    "cluster_typo": (["bench", "--cluster", "slum"], "no cluster is named 'slum'; take one of slurm, local"),
    "dimensions_of_time": (["list", "--dimensions", "4"], "--dimensions: got '4', expected 2 or 3"),
    "precision_that_no_phase_brings": (
        ["bench", "--backends", "onnxruntime", "--precision", "float64"],
        "error: onnxruntime has no precision 'float64'; take one of float32",
    ),
    "indivisible_widths": (["check", "unet_same", "--narrow", "3"], "cannot all be divided by 3"),
    "two_widths": (["check", "unet_same", "--narrow", "8", "--full-width"], "exclude each other"),
    "labels_without_image": (["check", "unet_same", "--labels", "x.png"], "--labels go with --image"),
    "resume_from_nowhere": (["bench", "--resume"], "name it with --results"),
    "no_such_image": (["check", "unet_same", "--image", "no.png"], "no.png: cannot be read (No such file"),
    "no_such_weights": (["check", "unet_same", "--weights", "no.safetensors"], "no.safetensors: cannot be read"),
    "no_such_report": (["report", "no.json"], "no.json: cannot be read (No such file"),
    "no_such_device": (
        ["check", "unet_same", "--device", "abacus"],
        "error: no device is named 'abacus'; take one of cpu, cuda, or the second GPU as cuda:1",
    ),
    "no_such_gpu": (["compare", "--device", "cuda:x"], "error: no device is named 'cuda:x'; take one of cpu"),
}


@pytest.mark.needs_backends("pytorch", "flax_nnx")
@pytest.mark.parametrize(("arguments", "message"), MISTYPED.values(), ids=MISTYPED)
def test_what_was_mistyped_is_told(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError("Unable to allocate 447. GiB"), "(Unable to allocate 447. GiB)"), (MemoryError(), "(no more is to")],
)
def test_running_out_of_memory_is_told(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, error: MemoryError, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("parity.random_batch", fail)
    line = refused("check", "unet_same", "--backends", "numpy_reference,pytorch")
    assert f"out of memory {said}" in line and "take a smaller --size" in line


SPECS = {
    "broken_toml": ("name = [", "is not TOML"),
    "no_text": (b"\xff\xfe\x00", "is not TOML"),
    "empty": ("", "key name is missing"),
    "unknown_key": ("colour = 1\n", "unknown key colour; remove it"),
    "ill_typed": ('in_channels = "three"\n', "in_channels: got 'three', expected a whole number greater than 0"),
    "no_widths": ("widths = []\n", "widths: got []"),
    "odd_widths": (
        "widths = [8, 9]\n",
        "up.width: got 'half', expected another one as encoder.1.block.1.activation has 9 channels",
    ),
    "negative_widths": ("widths = [-8]\n", "widths.0: got -8"),
}


@pytest.mark.parametrize("command", ["show", "check", "bench", "compare"])
@pytest.mark.parametrize(("change", "message"), SPECS.values(), ids=SPECS)
def test_spec_files_are_checked(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, change: str | bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.toml"
    key = change.partition(" ")[0] if isinstance(change, str) and change.endswith("\n") else None
    lines = (ZOO / "unet_same.toml").read_text().splitlines(keepends=True)
    kept = "".join(line for line in lines if key and not line.startswith(f"{key} "))
    path.write_bytes(change if isinstance(change, bytes) else (change + kept).encode())
    line = refused(command, path)
    assert f"{path}: " in line and message in line
    assert list(tmp_path.iterdir()) == [path]


def image_file(folder: Path, image: np.ndarray, name: str = "image.npy") -> Path:
    np.save(folder / name, image)
    return folder / name


IMAGES = {
    "nan": (np.full((32, 32, 3), np.nan), "holds nan at (0, 0, 0), expected finite values"),
    "grey_for_colour": (np.zeros((32, 32)), "is grey, 1 channel, and unet_same takes colour, 3 channels"),
    "five_channels": (np.zeros((32, 32, 5)), "is 5 channels, and unet_same takes colour, 3 channels"),
    "too_small": (np.zeros((15, 32, 3)), "too small; expected at least 16"),
    "no_image": (np.zeros(3), "has shape (3,), expected (H, W) or (H, W, C)"),
}


@pytest.mark.parametrize(("image", "message"), IMAGES.values(), ids=IMAGES)
def test_images_are_checked(refused: Refused, tmp_path: Path, image: np.ndarray, message: str) -> None:
    assert message in refused("check", "unet_same", "--image", image_file(tmp_path, image))


def test_colour_for_grey_names_the_networks_that_fit(refused: Refused, tmp_path: Path) -> None:
    line = refused("check", "unet_paper", "--image", image_file(tmp_path, np.zeros((300, 300, 3))))
    assert "image.npy: is colour, 3 channels, and unet_paper takes grey, 1 channel" in line
    fitting = [name for name in spec_names() if (load_spec(name).dimensions, load_spec(name).in_channels) == (2, 3)]
    assert set(fitting) > {"unet_bn_crop", "unet_same"}
    assert f"or check {', '.join(fitting)}" in line


@pytest.mark.parametrize("cut", [0, 5, 100], ids=["empty", "a_few_bytes", "half"])
def test_truncated_images_are_refused(refused: Refused, tmp_path: Path, cut: int) -> None:
    Image.new("RGB", (64, 64), (10, 20, 30)).save(tmp_path / "whole.png")
    path = tmp_path / "cut.png"
    path.write_bytes((tmp_path / "whole.png").read_bytes()[:cut])
    assert "cut.png: is" in (line := refused("check", "unet_same", "--image", path))
    assert "expected an image in PNG, JPEG, TIFF or NPY" in line


LABELS = {
    "out_of_range": (np.full((32, 32), 10), "labels run from 10 to 10, expected 0 to 9"),
    "negative": (np.full((32, 32), -1), "labels run from -1 to -1, expected 0 to 9"),
    "another_size": (np.zeros((32, 31), int), "has shape (32, 31), expected (32, 32), the size of its image"),
    "floats": (np.zeros((32, 32)), "holds float64 values, expected bool, uint8"),
}


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(("labels", "message"), LABELS.values(), ids=LABELS)
def test_labels_are_checked(refused: Refused, tmp_path: Path, labels: np.ndarray, message: str) -> None:
    image = image_file(tmp_path, np.zeros((32, 32, 3)))
    path = image_file(tmp_path, labels, "labels.npy")
    arguments = ["--narrow", "16", "--backends", "pytorch"]
    assert message in refused("check", "unet_same", "--image", image, "--labels", path, *arguments)


def test_every_image_needs_its_labels(refused: Refused, tmp_path: Path) -> None:
    image = image_file(tmp_path, np.zeros((32, 32, 3)))
    line = refused("check", "unet_same", "--image", image, "--image", image, "--labels", image)
    assert "got 1 --labels for 2 --image" in line


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    spec = load_spec("unet_same").narrow(16)
    save_weights(tmp_path / "weights.safetensors", initial_weights(spec), spec)
    return tmp_path / "weights.safetensors"


def test_weights_of_another_spec_are_refused(refused: Refused, weights_file: Path) -> None:
    line = refused("check", "unet_bn_same", "--narrow", "16", "--weights", weights_file)
    assert "holds weights of another spec (unet_same of widths [4, 8, 16, 32, 64])" in line


def test_weights_of_another_width_are_refused(refused: Refused, weights_file: Path) -> None:
    assert "expected unet_same of widths [64, 128" in refused("check", "unet_same", "--weights", weights_file)


def test_weights_go_with_one_spec(refused: Refused, weights_file: Path) -> None:
    expected = f"--weights belongs to one spec, and {len(spec_names())} were given"
    assert expected in refused("check", "all", "--weights", weights_file)


DAMAGES = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "no_safetensors": lambda whole: b"weights" * 100,
    "nan": lambda whole: whole[:-8] + np.array([np.nan]).tobytes(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_weights_are_refused(refused: Refused, weights_file: Path, damage: Callable[[bytes], bytes]) -> None:
    weights_file.write_bytes(damage(weights_file.read_bytes()))
    line = refused("check", "unet_same", "--narrow", "16", "--weights", weights_file)
    assert str(weights_file) in line
    assert "no whole safetensors file" in line or "head.weight has nan at (9, 3, 0, 0)" in line


COMMANDS = {
    "list": ["list"],
    "doctor": ["doctor"],
    "show": ["show", "unet_same"],
    "check": ["check", "unet_same"],
    "bench": ["bench"],
    "compare": ["compare"],
    "report": ["report", "x"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("where", ["no/such/folder/out.json", "."], ids=["missing_folder", "a_folder"])
def test_unwritable_json_is_refused_before_any_work(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{where}: cannot be written" in refused(*arguments, "--json", where)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_report_is_refused(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "report.md"
    assert f"{path}: cannot be written" in refused("report", "x.json", "--output", path)


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_output_that_is_a_file_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file: cannot be made (File exists)" in refused("compare", "--output", tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(refused: Refused, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in refused("list", "--json", tmp_path / "list.json")


@pytest.mark.parametrize("command", ["check", "compare", "bench"])
def test_backend_that_is_not_installed_says_what_to_install(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    line = refused(command, "unet_same", "--backends", "pytorch")
    assert "backend pytorch needs a_module_that_is_not_here, not installed here; pip install 'tandem[torch]'" in line


REPORTS = {
    "no_json": ("{", "is not JSON"),
    "a_list": ("[]", "holds neither a check nor loss curves nor a benchmark record"),
    "something_else": ('{"a": 1}', "holds no benchmark record"),
    "half_a_check": ('{"checks": [{}]}', "equal"),
    "checks_of_no_kind": ('{"checks": 3}', "holds no list of checks, curves and records"),
}


@pytest.mark.parametrize(("text", "message"), REPORTS.values(), ids=REPORTS)
def test_files_that_hold_no_result_are_refused(refused: Refused, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "result.json").write_text(text)
    line = refused("report", tmp_path / "result.json", "--output", tmp_path / "report.md")
    assert "result.json: " in line and message in line
    assert not (tmp_path / "report.md").exists()


def test_folder_without_results_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "holds no JSON file; expected what check, curves, bench, scale or" in refused("report", tmp_path)


@pytest.mark.needs_backends("pytorch")
def test_results_that_cannot_be_written_are_told_before_anything_is_timed(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem.commands.bench.subprocess.run", lambda *_, **__: pytest.fail("timed"))
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"{path}: cannot be written" in refused("bench", "--device", "cpu", "--results", path)


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("is_asked", [False, True], ids=["without --json", "with --json"])
def test_bench_names_no_file_that_is_gone_when_it_ends(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked: bool
) -> None:
    commands: list[list[str]] = []

    def ran(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("tandem.commands.bench.subprocess.run", ran)
    run("bench", "--device", "cpu", *(["--json", tmp_path / "all.json"] if is_asked else []))
    assert any(word.startswith("--benchmark-json") for word in commands[0]) is is_asked


@pytest.mark.needs_backends("pytorch")
def test_a_gpu_that_is_not_there_is_told(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.machine.gpus", lambda: ())
    for device in ("cuda", "cuda:0"):
        assert f"no device is named '{device}'; take one of cpu" in refused("bench", "--device", device)
