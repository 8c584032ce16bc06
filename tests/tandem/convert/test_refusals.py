"""`tandem convert`: what cannot be done is told in one line, and nothing is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from shared_specs import UNetSpec, initial_weights, load_spec, save_weights

from .files import ARGUMENTS, NAME, original, saved

Run = Callable[..., Result]
Refused = Callable[..., str]

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


REFUSED = {
    "no_such_file": (["no.pt", "out.pt"], "no.pt: cannot be read (No such file or directory); expected a checkpoint"),
    "no_format_of_in": (
        ["notes.txt", "out.pt"],
        "notes.txt: has no suffix that tells its format; expected .safetensors",
    ),
    "msgpack": (["notes.msgpack", "out.pt"], "notes.msgpack: is of flax.serialization, which is not read; make a fold"),
    "numpy": (["notes.npz", "out.pt"], "notes.npz: is of NumPy, which is not read; make a safetensors file of it: "),
    "pickle": (["notes.pkl", "out.pt"], "notes.pkl: is a pickle, a program that is not run; save the weights where "),
    "no_format_of_out": (["original.pth", "out.npz"], "out.npz: has no suffix that tells a format; name one with --to"),
    "every_format_is_told": (
        ["original.pth", "out.npz"],
        "a folder for an Orbax checkpoint of the Flax NNX module or an Orbax checkpoint of the Flax Linen module",
    ),
    "all_formats": (["original.pth", "out", "--to", "all"], "got the format 'all', expected one of canonical"),
    "no_such_format": (["original.pth", "out", "--to", "torch"], "no format is named 'torch'; take one of canonical"),
    "another_suffix": (
        ["original.pth", "out.pt", "--to", "canonical"],
        "--to canonical does not write .pt files; expected .safet",
    ),
    "another_suffix_of_linen": (
        ["original.pth", "out.pt", "--to", "flax_linen"],
        "flax_linen does not write .pt files; expected a folder for an Orbax checkpoint of the Flax Linen module",
    ),
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
    for suffix in ("txt", "pt", "safetensors", "msgpack", "npz", "pkl"):
        Path(f"notes.{suffix}").write_text("notes")
    (files / "folder").mkdir()
    (files / "folder.pt").mkdir()
    shutil.copytree("flax", "folder/flax/d") if arguments[0] == "folder/flax" else Path("folder/notes").touch()
    spec = load_spec(NAME).narrow(16)
    save_weights("wide.safetensors", initial_weights(spec, dtype=np.float32), spec)
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    line = refused("convert", *arguments, *ARGUMENTS)
    assert message in line
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before


@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "weights", "x.pkl"])
def test_a_file_of_torch_is_known_by_its_content_under_any_name(
    run: Run, here: Path, network: UNetSpec, weights: dict[str, np.ndarray], name: str
) -> None:
    saved(here / name, {"state_dict": original(network, weights), "epoch": 3})
    assert run("convert", name, "out.safetensors", *ARGUMENTS, "--no-check").exit_code == 0


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


def test_a_missing_framework_says_what_to_install(
    refused: Refused, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.registry import REQUIREMENTS

    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    line = refused("convert", "canonical.safetensors", "out.pt", *ARGUMENTS)
    assert "backend pytorch needs a_module_that_is_not_here, not installed here; pip install 'tandem[torch]'" in line
    line = refused("convert", "original.pth", "out.safetensors", *ARGUMENTS)
    assert "pip install 'tandem[torch]'" in line
