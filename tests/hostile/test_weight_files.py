"""Folders of Orbax that are damaged or made to harm, and links and pipes in the place of weights: refused in a line.

What single formats refuse for what they hold is in `tests/backends/test_*_checkpoints.py`; here and in
`test_safetensors_files.py` and `test_torch_files.py` files lie about their size, want to run code, or are damaged at
every place in turn.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import UNetSpec, initial_weights

from .damage import Weights, assert_refused_or_the_same, flipped, refused

pytestmark = pytest.mark.usefixtures("torch_loaded")

# --------------------------------------------------------------------------------------------------- Orbax's folders


@pytest.mark.needs_backends("flax_nnx")
def test_orbax_arrays_that_no_folder_could_hold_are_refused(tmp_path: Path) -> None:
    """In zarr a text file says the shape. Where memory ends, TensorStore ends the process."""
    import orbax.checkpoint as ocp

    path = tmp_path / "x"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(path, {"a": {"value": np.ones((2, 3), np.float32)}})
    assert checkpoints.get("flax_nnx").read(path).tensors["a"].shape == (2, 3)
    (shape,) = path.glob("a*/.zarray")
    values = json.loads(shape.read_text()) | {"shape": [2 * 10**9, 10**9], "chunks": [1, 1]}
    shape.write_text(json.dumps(values))
    told = refused(lambda: checkpoints.get("flax_nnx").read(path), path, more_bytes=2**31)
    assert "says that it holds 8,000,000,000,000,000,000 bytes" in told


@pytest.mark.needs_backends("flax_nnx")
def test_a_folder_of_orbax_damaged_in_any_file_is_noticed(network: UNetSpec, weights: Weights, tmp_path: Path) -> None:
    """One that says no more than the others, such as when it was written, may be lost."""
    flax_format, whole, path = checkpoints.get("flax_nnx"), tmp_path / "whole", tmp_path / "x"
    flax_format.write(whole, network, weights)

    def read() -> Weights:
        return flax_format.to_canonical(network, flax_format.read(path).tensors)

    refusals = 0
    for file in sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file()):
        content = (whole / file).read_bytes()
        for damaged in (
            b"",
            content[: len(content) // 2],
            *flipped(content, range(4 * len(content), 8 * len(content), 2**20)),
        ):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(whole, path)
            (path / file).write_bytes(damaged)
            refusals += assert_refused_or_the_same(read, path, weights, more_bytes=2**31)
    assert refusals >= 6


# ------------------------------------------------------------------------------------------------- links and pipes


@pytest.mark.parametrize("name", ["x.safetensors", pytest.param("x.pt", marks=pytest.mark.needs_backends("pytorch"))])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    module = checkpoints.get("canonical" if name.endswith("s") else "pytorch")
    told = refused(lambda: module.read(tmp_path / name), tmp_path / name)
    assert "is no regular file" in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_not_waited_for_at_a_glance(tmp_path: Path) -> None:
    """Which is before any framework is there."""
    os.mkfifo(tmp_path / "x.pt")
    assert "is no regular file" in refused(lambda: checkpoints.look("pytorch", tmp_path / "x.pt"), tmp_path / "x.pt")


FORMATS = {"canonical": "x.safetensors", "pytorch": "x.pt", "flax_nnx": "x"}


@pytest.mark.parametrize(
    "format_name",
    [pytest.param(name, marks=pytest.mark.needs_backends(checkpoints.BACKENDS[name])) for name in FORMATS],
)
def test_links_are_followed_both_ways(format_name: str, network: UNetSpec, weights: Weights, tmp_path: Path) -> None:
    """What a link leads to is read, and what is written through one takes the place of what it leads to."""
    module, (elsewhere, link) = checkpoints.get(format_name), (tmp_path / "elsewhere", tmp_path / FORMATS[format_name])
    elsewhere.mkdir()
    link.symlink_to(elsewhere / link.name)
    for seed in (0, 1):
        written = initial_weights(network, seed, np.float32)
        module.write(link, network, written)
        assert link.is_symlink() and (elsewhere / link.name).exists() and not (elsewhere / link.name).is_symlink()
        for path in (link, elsewhere / link.name):
            found = module.to_canonical(network, module.read(path).tensors)
            assert {name: values.tobytes() for name, values in found.items()} == {
                name: values.tobytes() for name, values in written.items()
            }
    assert sorted(path.name for path in (*tmp_path.iterdir(), *elsewhere.iterdir())) == sorted(
        ["elsewhere", link.name, link.name]
    )


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("target", ["x.pt", "nowhere"], ids=["itself", "nothing"])
def test_a_link_to_nothing_is_told(target: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.symlink_to(target)
    assert "cannot be read" in refused(lambda: checkpoints.get("pytorch").read(path), path)
