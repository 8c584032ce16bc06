"""`tandem convert`: there and back to the last bit, the verdict, the names of the original, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from backends import checkpoints
from shared_specs import UNetSpec, initial_weights, load_spec, load_weights, save_weights
from shared_specs.catalog import ZOO
from shared_specs.keymap import from_canonical
from tandem.commands.convert import identical

Run = Callable[..., Result]
Refused = Callable[..., str]

NAME, NARROW = "pytorch_unet_transposed", 32
ARGUMENTS = ("--spec", NAME, "--narrow", NARROW)

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


@pytest.fixture(scope="module")
def network() -> UNetSpec:
    return load_spec(NAME).narrow(NARROW)


@pytest.fixture(scope="module")
def weights(network: UNetSpec) -> dict[str, np.ndarray]:
    return initial_weights(network, dtype=np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def original(spec: UNetSpec, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """A state dict as the original implementation's module has it."""
    import torch

    state = {name: torch.from_numpy(values.copy()) for name, values in from_canonical(spec, weights).items()}
    counters = {name.replace("running_var", "num_batches_tracked") for name in state if name.endswith("running_var")}
    return state | {name: torch.tensor(7) for name in sorted(counters)}


def saved(path: Path, content: Any) -> Path:
    import torch

    torch.save(content, path)
    return path


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not identical(found[name], expected[name])] == []


CHAINS = {
    "2d": (NAME, NARROW),
    "3d": ("nnunet_plain_3d", 16),
    "residual": ("monai_unet", 16),
    "attention": ("monai_attention_unet", 8),
}


@pytest.mark.parametrize(("name", "narrow"), CHAINS.values(), ids=CHAINS)
def test_there_and_back_nothing_changes(run: Run, here: Path, name: str, narrow: int) -> None:
    spec = load_spec(name).narrow(narrow)
    assert spec.checkpoint is not None
    weights = initial_weights(spec, dtype=np.float32)
    weights[spec.tensors[0].name].ravel()[:2] = -0.0, 1e-44
    saved(here / "original.pth", {"model": original(spec, weights), "epoch": 9})
    chain = ["original.pth", "1.pt", "2.safetensors", "3", "4.safetensors", "5", "6.pt"]
    for source, target in zip(chain, chain[1:], strict=False):
        names = ["--scheme-out", spec.checkpoint.scheme] if target == chain[-1] else []
        result = run("convert", source, target, "--spec", name, "--narrow", narrow, "--no-check", *names)
        assert result.exit_code == 0, result.output
        assert result.stderr.splitlines() == [
            f"progress: {name}: reading {source}",
            f"progress: {name}: writing {target}",
        ]
    for path in ("2.safetensors", "4.safetensors"):
        assert_same(load_weights(path, spec), weights)
    assert_same(checkpoints.get("pytorch").read(Path("6.pt")).tensors, from_canonical(spec, weights))
    assert sorted(os.listdir()) == sorted(chain)


PAIRS = [
    ("original.pth", "out", "pytorch and flax_nnx"),
    ("canonical.safetensors", "out.pt", "numpy_reference and pytorch"),
    ("flax", "out.safetensors", "flax_nnx and numpy_reference"),
]


@pytest.fixture
def files(here: Path, network: UNetSpec, weights: dict[str, np.ndarray]) -> Path:
    saved(here / "original.pth", original(network, weights))
    checkpoints.get("canonical").write(here / "canonical.safetensors", network, weights)
    checkpoints.get("flax_nnx").write(here / "flax", network, weights)
    return here


@pytest.mark.parametrize(("source", "target", "pair"), PAIRS, ids=[pair[2].replace(" ", "_") for pair in PAIRS])
def test_the_result_is_read_back_and_proven(
    run: Run, files: Path, network: UNetSpec, source: str, target: str, pair: str
) -> None:
    result = run("convert", source, target, *ARGUMENTS, "--json", "out.json")
    assert result.exit_code == 0, result.output
    stages = [line.removeprefix(f"progress: {NAME}: ") for line in result.stderr.splitlines()]
    assert stages[:3] == [f"reading {source}", f"writing {target}", f"reading {target} back"]
    assert {"activations: reference", "activations: candidate", "activations: noise floor"} <= set(stages)
    assert len(stages) == len(set(stages))
    said = " ".join(result.stdout.split())
    assert f"Equal: read back, all {len(network.tensors)} tensors are the source's to the last bit, and" in said
    assert f"{pair} compute the same in float64" in said
    document = json.loads(Path("out.json").read_text())
    assert document["command"] == "convert"
    assert document["target"]["path"] == target
    assert document["dtypes"] == {"float32": len(network.tensors)}
    assert document["check"]["equal"] and document["check"]["changed"] == []
    probes = {entry["probe"] for entry in document["check"]["verdict"]["measurements"]}
    assert probes == {"forward", "activations"}


@pytest.mark.needs_backends("flax_linen")
def test_nnx_to_linen_is_proven_and_linen_is_recognised(
    run: Run, files: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    result = run("convert", "flax", "linen", "--to", "flax_linen", *ARGUMENTS, "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert "flax_nnx and flax_linen compute the same in float64" in " ".join(result.stdout.split())
    document = json.loads(Path("out.json").read_text())
    assert document["target"]["format"] == "flax_linen" and document["check"]["equal"]
    result = run("convert", "linen", "back", *ARGUMENTS, "--no-check")
    assert result.exit_code == 0, result.output
    assert "Read  linen: an Orbax checkpoint of the Flax Linen module" in result.stdout
    nnx = checkpoints.get("flax_nnx")
    assert_same(nnx.to_canonical(network, nnx.read(Path("back")).tensors), weights)


@pytest.mark.needs_backends("flax_linen")
def test_neither_kind_of_flax_folder_replaces_the_other(refused: Refused, files: Path) -> None:
    line = refused("convert", "canonical.safetensors", "flax", "--to", "flax_linen", *ARGUMENTS)
    assert "flax: exists and is not an Orbax checkpoint of the Flax Linen module, so it is left as it is" in line


def test_a_3d_network_is_proven(run: Run, here: Path) -> None:
    text = (ZOO / "unet_bn_same.toml").read_text()
    text = re.sub(r"(?m)^widths = .*$", "widths = [4, 8]", text).replace("dimensions = 2", "dimensions = 3")
    (here / "net.toml").write_text(text)
    spec = load_spec("net.toml")
    checkpoints.get("pytorch").write(here / "x.pth", spec, initial_weights(spec, dtype=np.float32))
    result = run("convert", "x.pth", "x", "--spec", "net.toml")
    assert result.exit_code == 0, result.output
    assert "Equal: read back" in result.stdout


def test_one_wrong_bit_is_found(
    run: Run, files: Path, weights: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    canonical = checkpoints.get("canonical")
    write = canonical.write
    changed = dict(weights) | {"head.bias": np.nextafter(weights["head.bias"], np.float32(1))}
    monkeypatch.setattr(canonical, "write", lambda path, spec, _: write(path, spec, changed))
    result = run("convert", "original.pth", "out.safetensors", *ARGUMENTS)
    assert result.exit_code == 1
    assert "Different: read back, head.bias differ in bits from the source." in result.stdout
    assert "First difference in the activations probe: head" in result.stdout
    assert "Equal" not in result.stdout


def test_a_backend_that_computes_something_else_is_found(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.pytorch.model import PyTorchModel

    load = PyTorchModel.load_weights

    def load_wrongly(self: PyTorchModel, weights: Any) -> None:
        load(self, dict(weights) | {"head.bias": weights["head.bias"] + 1e-6})

    monkeypatch.setattr(PyTorchModel, "load_weights", load_wrongly)
    result = run("convert", "flax", "out.pt", *ARGUMENTS)
    assert result.exit_code == 1
    assert "First difference" in result.stdout and "Equal" not in result.stdout


def test_without_a_check_nothing_is_built(run: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.compare_models", lambda *_, **__: pytest.fail("compared"))
    result = run("convert", "flax", "out.safetensors", *ARGUMENTS, "--no-check", "--json", "-")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["check"] is None


# ----------------------------------------------------------------------------------------------------------- names


PREFIXES = {"": [], "module.": ["module."], "module._orig_mod.": ["module._orig_mod."], "model.": ["model."]}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_prefixes_are_taken_off_and_told(
    run: Run, here: Path, network: UNetSpec, weights: dict[str, np.ndarray], prefix: str, suffix: str
) -> None:
    state = {f"{prefix}{name}": values for name, values in original(network, weights).items()}
    if suffix == ".pt":
        saved(here / "x.pt", {"state_dict": state})
    else:
        from safetensors.torch import save_file

        save_file(state, here / "x.safetensors")
    result = run("convert", f"x{suffix}", "out.safetensors", *ARGUMENTS, "--no-check", "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert_same(load_weights("out.safetensors", network), weights)
    document = json.loads(Path("out.json").read_text())
    assert document["source"]["scheme"] == "pytorch_unet"
    assert [remark for remark in document["remarks"] if "every name" in remark] == (
        [f"taken off every name: {prefix!r}"] if prefix else []
    )
    assert not prefix or f"taken off every name: {prefix!r}" in result.stdout
    assert ("taken from 'state_dict'" in result.stdout) == (suffix == ".pt")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_prefix_that_is_part_of_the_original_names_stays(run: Run, here: Path, prefix: str) -> None:
    spec = load_spec("monai_unet").narrow(16)
    weights = initial_weights(spec, dtype=np.float32)
    state = {f"{prefix}{name}": values for name, values in original(spec, weights).items()}
    assert all(name.startswith(f"{prefix}model.") for name in state)
    saved(here / "x.pt", state)
    arguments = ("--spec", "monai_unet", "--narrow", 16, "--no-check")
    result = run("convert", "x.pt", "out.safetensors", *arguments)
    assert result.exit_code == 0, result.output
    assert_same(load_weights("out.safetensors", spec), weights)


@pytest.mark.parametrize("scheme", ["canonical", "pytorch_unet"])
def test_a_named_scheme_is_taken(
    run: Run, here: Path, network: UNetSpec, weights: dict[str, np.ndarray], scheme: str
) -> None:
    state = {"canonical": weights, "pytorch_unet": from_canonical(network, weights)}[scheme]
    import torch

    saved(here / "x.pt", {name: torch.from_numpy(values) for name, values in state.items()})
    arguments = ("--from", scheme, "--scheme-out", "pytorch_unet", "--no-check")
    assert run("convert", "x.pt", "out.pt", *ARGUMENTS, *arguments).exit_code == 0
    assert_same(checkpoints.get("pytorch").read(Path("out.pt")).tensors, from_canonical(network, weights))


def test_names_of_another_network_are_refused_with_how_they_differ(
    refused: Refused, here: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    import torch

    state = original(network, weights)
    state["outc.conv.scale"] = state.pop("outc.conv.weight")
    saved(here / "x.pt", {f"module.{name}": values for name, values in state.items()} | {"y": torch.ones(1)})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "x.pt: the names are none of pytorch_unet_transposed's: not canonical (missing encoder.0.block.0" in line
    assert "; not pytorch_unet (missing " in line
    saved(here / "x.pt", {f"module.{name}": values for name, values in state.items()})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "nearly weights of pytorch_unet_transposed (pytorch_unet names): missing outc.conv.weight; " in line
    assert "unexpected outc.conv.scale; rename, add or leave out these, or take the spec of this network" in line
    assert "none of" not in line
    assert os.listdir() == ["x.pt"]


def test_another_network_of_the_zoo_is_named_where_its_names_fit(refused: Refused, here: Path) -> None:
    spec = load_spec("monai_unet").narrow(16)
    saved(here / "x.pt", original(spec, initial_weights(spec, dtype=np.float32)))
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "; not pytorch_unet (missing " in line and "all names fit monai_unet: take that spec" in line
    spec = load_spec("pytorch_unet_bilinear").narrow(16)
    state = original(spec, initial_weights(spec, dtype=np.float32))
    saved(here / "x.pt", state | {"extra": state["outc.conv.bias"]})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "only 1 name differs from pytorch_unet_bilinear: take that spec" in line


@pytest.mark.parametrize("scheme", [None, "pytorch_unet"])
@pytest.mark.parametrize("narrow", [None, 16])
def test_a_forgotten_or_wrong_narrow_is_told_in_short(
    refused: Refused, files: Path, network: UNetSpec, scheme: str | None, narrow: int | None
) -> None:
    named = ["--from", scheme] if scheme else []
    given = ["--narrow", narrow] if narrow else []
    line = refused("convert", "original.pth", "out.safetensors", "--spec", NAME, *given, *named)
    wide = load_spec(NAME).narrow(narrow or 1)
    assert f"tensors have another shape than in {NAME} of widths {list(wide.widths)}: inc.double_conv.0.weight" in line
    assert f"; all of them fit widths {list(network.widths)}: give --narrow {NARROW}" in line
    assert len(line) < 600
    assert not Path("out.safetensors").exists()


def test_a_narrow_too_many_is_told(refused: Refused, here: Path) -> None:
    spec = load_spec("unet_same").narrow(1).narrow(16)
    path = here / "mine.toml"
    path.write_text((ZOO / "unet_same.toml").read_text().replace("[64, 128, 256, 512, 1024]", str(list(spec.widths))))
    checkpoints.get("pytorch").write(here / "x.pt", spec, initial_weights(spec))
    line = refused("convert", "x.pt", "out.safetensors", "--spec", path, "--narrow", 2)
    assert f"all of them fit widths {list(spec.widths)}: leave --narrow out" in line


def test_many_shapes_of_no_width_are_told_in_short_and_listed_where_the_scheme_is_named(
    refused: Refused, here: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    state = original(network, weights)
    biases = [name for name in state if name.endswith("bias")]
    saved(here / "x.pt", state | {name: state[name][:1] for name in biases})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert f"{biases[2]} is (1,)" in line and f"{biases[3]} is" not in line
    assert f"and {len(biases) - 3} more; take the spec of this network, or name the scheme with --from" in line
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS, "--from", "pytorch_unet")
    assert [name for name in biases if f"{name} is (1,)" not in line] == []


def test_a_named_scheme_is_refused_with_the_whole_list(
    refused: Refused, here: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    state = original(network, weights)
    state["scale"] = state.pop("outc.conv.weight")
    state["inc.double_conv.0.weight"] = state["inc.double_conv.0.weight"][:, :, 0]
    state["inc.double_conv.1.bias"] = state["inc.double_conv.1.bias"] * float("inf")
    saved(here / "x.pt", state)
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS, "--from", "pytorch_unet")
    for problem in (
        "missing outc.conv.weight",
        "unexpected scale",
        "inc.double_conv.0.weight is (2, 3, 3), expected (2, 3, 3, 3)",
        "inc.double_conv.1.bias has ",
    ):
        assert problem in line
    assert os.listdir() == ["x.pt"]


def test_an_alias_that_differs_is_refused(run: Run, refused: Refused, here: Path) -> None:
    name = "nnunet_plain_3d"
    spec = load_spec(name).narrow(16)
    state = original(spec, initial_weights(spec, dtype=np.float32))
    canonical = from_canonical(spec, initial_weights(spec, dtype=np.float32))
    assert len(canonical) > len(spec.tensors), "the network has no aliases any more: take another"
    arguments = ("--spec", name, "--narrow", 16, "--no-check")
    saved(here / "x.pt", state)
    assert run("convert", "x.pt", "out.safetensors", *arguments).exit_code == 0
    alias = next(key for key in state if key.endswith("all_modules.0.weight"))
    state[alias] = state[alias] + 1
    saved(here / "x.pt", state)
    assert f"{alias} differs from " in refused("convert", "x.pt", "out2.safetensors", *arguments)


# --------------------------------------------------------------------------------------------------------- refusals


REFUSED = {
    "no_such_file": (["no.pt", "out.pt"], "no.pt: cannot be read (No such file or directory); expected a checkpoint"),
    "no_format_of_in": (
        ["notes.txt", "out.pt"],
        "notes.txt: has no suffix that tells its format; expected .safetensors",
    ),
    "no_format_of_out": (["original.pth", "out.npz"], "out.npz: has no suffix that tells a format; name one with --to"),
    "no_such_format": (["original.pth", "out", "--to", "torch"], "no format is named 'torch'; take one of canonical"),
    "another_suffix": (["original.pth", "out.pt", "--to", "canonical"], "--to canonical does not write .pt files"),
    "no_such_scheme": (["original.pth", "out", "--from", "x"], "knows no scheme 'x'; take one of canonical, pytorch_u"),
    "no_such_scheme_out": (["original.pth", "o.pt", "--scheme-out", "x"], "knows no scheme 'x'"),
    "scheme_out_elsewhere": (["original.pth", "out", "--scheme-out", "pytorch_unet"], "goes with a PyTorch file"),
    "scheme_of_flax": (["flax", "out.pt", "--from", "pytorch_unet"], "is for files of the original"),
    "in_is_out": (["canonical.safetensors", "canonical.safetensors"], "would be overwritten; name another file"),
    "in_is_out_folder": (["flax", "flax"], "would be overwritten; name another folder"),
    "out_below_in": (["flax", "flax/d/x"], "would be overwritten; name another folder"),
    "out_above_in": (["folder/flax", "folder"], "would be overwritten; name another folder"),
    "out_is_something_else": (["flax", "notes.pt"], "notes.pt: exists and is not a PyTorch state dict, so it is left"),
    "out_is_no_safetensors": (["flax", "notes.safetensors"], "exists and is not canonical weights in safetensors"),
    "out_is_a_folder": (
        ["original.pth", "folder"],
        "exists and is not an Orbax checkpoint of the Flax NNX module",
    ),
    "out_is_a_file": (["original.pth", "notes.txt", "--to", "flax_nnx"], "notes.txt: exists and is not an Orbax"),
    "folder_for_a_file": (["flax", "folder.pt"], "folder.pt: cannot be written (it is no regular file)"),
    "out_nowhere": (["original.pth", "no/such/folder/x"], "no/such/folder/x: cannot be written"),
    "out_is_json": (["original.pth", "out.pt", "--json", "out.pt"], "out.pt: is named twice"),
    "json_nowhere": (["flax", "out.pt", "--json", "no/out.json"], "no/out.json: cannot be written"),
    "in_is_no_checkpoint": (["folder", "out.pt"], "folder: is no Orbax checkpoint"),
    "in_of_another_width": (
        ["wide.safetensors", "out.pt"],
        "holds weights of another spec (pytorch_unet_transposed of",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_touched(
    refused: Refused, files: Path, arguments: list[str], message: str
) -> None:
    for name in ("notes.txt", "notes.pt", "notes.safetensors"):
        Path(name).write_text("notes")
    (files / "folder").mkdir()
    (files / "folder.pt").mkdir()
    shutil.copytree("flax", "folder/flax/d") if arguments[0] == "folder/flax" else Path("folder/notes").touch()
    spec = load_spec(NAME).narrow(16)
    save_weights("wide.safetensors", initial_weights(spec, dtype=np.float32), spec)
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    line = refused("convert", *arguments, *ARGUMENTS)
    assert message in line
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made",)


def test_code_in_a_checkpoint_is_refused_in_one_line(
    refused: Refused, here: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    saved(here / "x.pt", {"model": original(network, weights), "hook": Hostile()})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "x.pt: holds objects of " in line and "nothing was run" in line
    assert os.listdir() == ["x.pt"]


def test_existing_checkpoints_of_the_kind_are_replaced(
    run: Run, files: Path, network: UNetSpec, weights: dict[str, np.ndarray]
) -> None:
    other = initial_weights(network, seed=1, dtype=np.float32)
    checkpoints.get("flax_nnx").write(files / "out", network, other)
    checkpoints.get("pytorch").write(files / "out.pt", network, other)
    for target in ("out", "out.pt"):
        result = run("convert", "canonical.safetensors", target, *ARGUMENTS, "--no-check")
        assert result.exit_code == 0
        assert "what was there before is replaced" in result.stdout
    for name, path in (("flax_nnx", "out"), ("pytorch", "out.pt")):
        found = checkpoints.get(name)
        assert_same(found.to_canonical(network, found.read(Path(path)).tensors), weights)


def test_a_missing_framework_says_what_to_install(
    refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.registry import REQUIREMENTS

    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    line = refused("convert", "canonical.safetensors", "out.pt", *ARGUMENTS)
    assert "backend pytorch needs a_module_that_is_not_here, not installed here; pip install 'tandem[torch]'" in line
    line = refused("convert", "original.pth", "out.safetensors", *ARGUMENTS)
    assert "pip install 'tandem[torch]'" in line
