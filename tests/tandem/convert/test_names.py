"""`tandem convert`: whose names a checkpoint has, and how they differ from those of the spec."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from backends import checkpoints
from shared_specs import UNetSpec, initial_weights, load_spec, load_weights
from shared_specs.catalog import ZOO
from shared_specs.keymap import from_canonical

from .files import ARGUMENTS, NAME, NARROW, assert_same, original, saved

Run = Callable[..., Result]
Refused = Callable[..., str]

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


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
    saved(here / "x.pt", {f"core.{name}": values for name, values in state.items()})
    line = refused("convert", "x.pt", "out.safetensors", *ARGUMENTS)
    assert "x.pt: the names are none of pytorch_unet_transposed's: not canonical (missing encoder.0.block.0" in line
    assert "; not pytorch_unet (missing " in line
    saved(here / "x.pt", {f"module.{name}": values for name, values in state.items()} | {"y": torch.ones(1)})
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
