"""`tandem adopt` as a user meets it: what it says, what it writes, and what it refuses in one line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

import parity
from backends.trace import TraceError
from parity.adoption.differences import Difference, told
from parity.adoption.nearest import branches_of
from shared_specs import load_spec, load_weights
from shared_specs.keymap import original_keys

pytestmark = pytest.mark.needs_backends("pytorch")

Run = Callable[..., Result]
Refused = Callable[..., str]

OWN = "tests.own_networks"


def test_adopts_and_writes_what_is_needed(run: Run, tmp_path: Path) -> None:
    folder, found = tmp_path / "new" / "adopted", tmp_path / "found.json"
    result = run("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "--output", folder, "--json", found)
    assert result.exit_code == 0, result.output
    assert "Equal: your module is adopted" in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["keymap.toml", "spec.toml", "weights.safetensors"]
    assert "the weights are those that the factory made" in result.stderr
    again = run("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "--output", folder)
    assert again.exit_code == 2
    assert "holds spec.toml, keymap.toml, weights.safetensors of an earlier run, which stay" in again.stderr
    spec = load_spec(folder / "spec.toml")
    weights = load_weights(folder / "weights.safetensors", spec)
    assert original_keys(spec)["decoder.0.block.1.conv.weight"] == "conv2.double_conv.3.weight"
    assert weights["head.weight"].dtype == np.float32
    content = json.loads(found.read_text())
    assert content["equal"]
    assert content["files"]["spec"] == str(folder / "spec.toml")
    assert content["keys"]["head.bias"] == "outc.bias"


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_two_lines_of_python_load_the_flax_model(run: Run, tmp_path: Path) -> None:
    import torch

    from tests.own_networks import Sequentials

    torch.manual_seed(1)
    module = Sequentials().eval()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "mine.pth")
    arguments = ("--checkpoint", tmp_path / "mine.pth", "--backends", "pytorch", "--output", tmp_path / "out")
    result = run("adopt", f"{OWN}:Sequentials", *arguments)
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.partition("The Flax model")[2].splitlines()[1:]]
    names: dict = {}
    exec("\n".join(lines), names)
    images = np.random.default_rng(0).normal(size=(1, 1, 16, 24)).astype(np.float32)
    names["model"].eval()
    logits = np.asarray(names["model"](images.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        assert np.abs(logits - module(torch.from_numpy(images)).numpy()).max() < 1e-5


def test_module_that_is_another_network_is_told_apart(run: Run, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    run("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "-o", tmp_path)
    spec.write_text(spec.read_text().replace("epsilon = 1e-05", "epsilon = 0.001"))
    before = (tmp_path / "weights.safetensors").read_bytes()
    result = run("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "--spec", spec, "-o", tmp_path / "no")
    assert result.exit_code == 1
    assert "First: encoder.0.block.0.norm, in your module batch_norm (inc.double_conv.1)" in result.stdout
    assert "epsilon 1e-05 instead of 0.001" in result.stdout
    assert not (tmp_path / "no").exists()
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_module_that_is_there_already_and_a_shape(run: Run) -> None:
    result = run("adopt", f"{OWN}:present", "--backends", "pytorch", "--input-shape", "2x1x21x26")
    assert result.exit_code == 0, result.output
    assert "Nothing was written; --output DIR writes" in result.stdout


def test_no_spec_is_said_with_the_reason(run: Run) -> None:
    result = run("adopt", f"{OWN}:Residual")
    assert result.exit_code == 1
    assert "no spec could be inferred" in result.stdout
    assert "a residual block, which is not plain" in result.stdout


MODULES = {
    "softmax": ("return self.b(self.a(x).relu()).softmax(1)", "Return the logits, and take their softmax outside of"),
    "sub": ("return self.b(self.a(x - x.mean()).relu())", "Prepare the images outside of the module, where sub is no"),
    "within": ("return self.b(self.a(x).cumsum(2))", "No spec says it either: replace cumsum by what a spec has."),
    "beside": (
        "return self.b(self.a(x) + x.repeat(1, 4, 1, 1)[:, :, 1:-1, 1:-1])",
        "No spec says it either: replace repeat by what a spec has.",
    ),
    "residual": (
        "y = self.a(x).relu(); return self.b(y + self.c(y).relu())",
        "Give the spec that it is to be with --spec; of the zoo, ",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_advice_fits_what_stands_in_the_way(run: Run, tmp_path: Path, monkeypatch, case: str) -> None:
    forward, advice = MODULES[case]
    name = f"net_of_{case}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 4, 3, padding=1)\n"
        f"    def forward(self, x):\n        {forward}\n"
    )
    monkeypatch.chdir(tmp_path)
    result = run("adopt", f"{name}:Net", "--json", "out.json")
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert advice in said
    assert ("--spec" in said) == (case == "residual")
    named = json.loads(Path("out.json").read_text())["nearest"]
    assert len(named) == (2 if case == "residual" else 0)
    assert "".join(result.stdout.split()).endswith(f"{named[0]}.tomlandchangeit." if named else ".")
    assert all(name in said and case in branches_of(load_spec(name)) for name in named)


def test_module_that_takes_none_of_the_sizes_asks_for_a_shape(refused: Refused) -> None:
    line = refused("adopt", f"{OWN}:Refuses")
    assert line.endswith("expected images that it takes, or their shape, with --input-shape N,C,H,W")
    with pytest.raises(TraceError) as raised:
        parity.adopt(importlib.import_module(OWN).Refuses())
    assert "--" not in str(raised.value)


def test_a_setting_that_is_another_everywhere_is_told_once(run: Run, tmp_path: Path) -> None:
    assert run("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "-o", tmp_path / "own").exit_code == 0
    spec = tmp_path / "own" / "spec.toml"
    spec.write_text(
        spec.read_text().replace("epsilon = 1e-05", "epsilon = 0.001").replace("momentum = 0.1", "momentum = 0.2")
    )
    arguments = ("adopt", f"{OWN}:Sequentials", "--backends", "pytorch", "--spec", spec)
    text = " ".join(run(*arguments).stdout.split())
    count = len([layer for layer in load_spec(spec).layers if layer.kind == "batch_norm"])
    assert text.count("epsilon 1e-05 instead of 0.001") == text.count("momentum 0.1 instead of 0.2") == 1
    assert text.count(f"and the same at {count - 1} more, the last of them decoder.0.block.1.norm") == 2
    assert "First difference" not in text and "--verbose prints every one" in text
    text = " ".join(run(*arguments, "--verbose").stdout.split())
    assert text.count("epsilon 1e-05 instead of 0.001") == count
    assert "First difference" in text


def test_many_unlike_differences_are_cut_and_counted() -> None:
    all_of_them = [Difference(f"layer.{n}", "", "width", str(n), "3") for n in range(20)]
    lines = told(all_of_them)
    assert lines[0] == str(all_of_them[0]) and len(lines) == 9
    assert lines[-1] == "and 12 more differences"
    assert told(all_of_them, every=True) == list(map(str, all_of_them))


def test_a_map_that_is_resized_to_the_skip_leaves_nothing_to_assume(run: Run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "resizes.py").write_text(
        "import torch\nfrom torch import nn\nimport torch.nn.functional as F\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)\n"
        "        self.c, self.d = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 2, 1)\n"
        "    def forward(self, x):\n        skip = self.a(x).relu()\n"
        "        x = self.b(F.max_pool2d(skip, 2)).relu()\n        x = F.interpolate(x, size=skip.shape[2:])\n"
        "        return self.d(self.c(torch.cat([skip, x], 1)).relu())\n"
    )
    monkeypatch.chdir(tmp_path)
    result = run("adopt", "resizes:Net", "--backends", "pytorch", "--json", "out.json")
    assert result.exit_code == 0, result.output
    document = json.loads(Path("out.json").read_text())
    assert document["spec"]["up"]["scale"] == "skip"
    assert document["assumed"] == []


def test_json_stands_alone_on_stdout_though_the_module_prints(run: Run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "talks.py").write_text("print('hello')\nfrom tests.own_networks import Residual\n")
    monkeypatch.chdir(tmp_path)
    result = run("adopt", "talks:Residual", "--json", "-")
    assert json.loads(result.stdout)["reason"]
    assert "hello" in result.stderr


BAD = {
    "no_colon": ([OWN], f"got '{OWN}', expected PACKAGE.MODULE:FACTORY"),
    "no_module_named_so": (["no_such_package.net:UNet"], "no module named 'no_such_package' can be imported from"),
    "no_attribute": ([f"{OWN}:Sequentialz"], "tests.own_networks has no 'Sequentialz'; did you mean Sequentials"),
    "factory_raises": ([f"{OWN}:raises"], "calling it without arguments raises RuntimeError: no weights here"),
    "factory_needs_arguments": ([f"{OWN}:Block"], "raises TypeError: Block.__init__() missing 3 required"),
    "no_torch_module": ([f"{OWN}:no_module"], "tests.own_networks:no_module: got 'int', expected a torch.nn.Module"),
    "more_than_images": ([f"{OWN}:Timed"], "Timed.forward takes x, time, expected images alone; wrap it in a module"),
    "not_callable": ([f"{OWN}:STYLES"], "is 'dict', expected a class or function that makes a module"),
    "fails": ([f"{OWN}:Refuses", "--input-shape", "1,1,8,8"], "fails on images 1x1x8x8 (ValueError: I will not)"),
    "wrong_channels": ([f"{OWN}:Functional", "--input-shape", "1,3,32,32"], "fails on images 1x3x32x32 (RuntimeError"),
    "shape_in_words": ([f"{OWN}:Functional", "--input-shape", "big"], "--input-shape: got 'big', expected N,C,H,W"),
    "shape_of_nothing": ([f"{OWN}:Functional", "--input-shape", "1,0,8,8"], "expected N,C,H,W or N,C,D,H,W"),
    "spec_typo": ([f"{OWN}:Functional", "--spec", "unet_bn_sam"], "the nearest are unet_bn_same"),
    "other_dimensions": ([f"{OWN}:Strided", "--spec", "unet_paper"], "is in 2 dimensions and the module in 3"),
    "no_checkpoint": ([f"{OWN}:Functional", "--checkpoint", "no.pth"], "no.pth: cannot be read (No such file"),
    "no_backend": ([f"{OWN}:Functional", "--backends", "torch"], "no backend is named 'torch'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(refused: Refused, case: str) -> None:
    arguments, words = BAD[case]
    assert words in refused("adopt", *arguments)


def test_checkpoint_of_another_network_is_one_line(refused: Refused, tmp_path: Path) -> None:
    import torch

    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    line = refused("adopt", f"{OWN}:Residual", "--checkpoint", tmp_path / "other.pth")
    assert "other.pth: is no checkpoint of Residual: missing a.weight, a.bias, b.weight and 1 more; " in line
    assert "; unexpected conv.weight; give that of the module as it is made" in line
    state = {"a.weight": torch.zeros(4, 3, 3, 3), "a.bias": torch.zeros(4), "b.bias": torch.zeros(4)}
    torch.save(state | {"b.weight": torch.zeros(4, 4, 3, 3)}, tmp_path / "other.pth")
    line = refused("adopt", f"{OWN}:Residual", "--checkpoint", tmp_path / "other.pth")
    assert "is no checkpoint of Residual: of another shape a.weight; give" in line


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_prefix_of_a_checkpoint_is_taken_off_and_said(run: Run, tmp_path: Path, prefix: str) -> None:
    import torch

    from tests.own_networks import Residual

    state = {prefix + key: tensor for key, tensor in Residual().state_dict().items()}
    torch.save(state, tmp_path / "mine.pth")
    result = run("adopt", f"{OWN}:Residual", "--checkpoint", tmp_path / "mine.pth")
    assert result.exit_code == 1, result.output
    assert f"taken off every name: '{prefix}'" in " ".join(result.stderr.split())


def test_module_that_cannot_be_imported_is_one_line(refused: Refused, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "broken_net.py").write_text("raise OSError('disk on fire')")
    monkeypatch.chdir(tmp_path)
    assert "importing broken_net raises OSError: disk on fire" in refused("adopt", "broken_net:UNet")


def test_folder_that_is_a_file_is_one_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "new"):
        assert "name another with --output" in refused("adopt", f"{OWN}:Functional", "-o", folder)


def test_refused_module_leaves_no_folder(refused: Refused, tmp_path: Path) -> None:
    refused("adopt", f"{OWN}:Refuses", "--input-shape", "1,1,8,8", "-o", tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_key_map_can_hold_are_written(run: Run, tmp_path: Path) -> None:
    result = run("adopt", f"{OWN}:_Large", "--backends", "pytorch", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    checkpoint = load_spec(tmp_path / "out" / "spec.toml").checkpoint
    assert checkpoint is not None
    assert checkpoint.scheme == "own_Large"
    assert checkpoint.ignore == ("*num_batches_tracked", "conv1.unused", "unused.*")


def test_names_that_no_key_map_can_hold_are_one_line(refused: Refused, tmp_path: Path) -> None:
    line = refused("adopt", f"{OWN}:Braces", "--backends", "pytorch", "-o", tmp_path / "out")
    assert "no key map can be written" in line
    assert "{b}" in line
    assert not (tmp_path / "out").exists()
