"""`tandem convert`: there and back to the last bit, and a verdict that finds what is not as it was."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
