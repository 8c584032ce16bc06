"""Folders of Orbax: as training loops of Flax write them, and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from backends.orbax_folders import folder_of_arrays
from shared_specs import UNetSpec, WeightsError, initial_weights

from .checkpoint_files import NETWORKS, bits

Variant = Callable[..., UNetSpec]


@pytest.fixture
def network(variant: Variant) -> UNetSpec:
    return variant()


@pytest.fixture
def module(network: UNetSpec) -> Any:
    from flax import nnx

    from backends import flax_nnx

    made = flax_nnx.UNet(network, rngs=nnx.Rngs(0))
    flax_nnx.load_weights(made, network, initial_weights(network, dtype=np.float32))
    return made


def saved_by_orbax(path: Path, tree: Any) -> Path:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return path


def as_state(module: Any) -> Any:
    from flax import nnx

    return nnx.state(module)


def as_pure_dict(module: Any) -> Any:
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(module))


SAVED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "state": (as_state, ()),
    "pure_dict": (as_pure_dict, ()),
    "in_a_training_state": (
        lambda module: {"model": as_state(module), "step": 3},
        ("taken from 'model', leaving step",),
    ),
}


@pytest.mark.needs_backends("flax_nnx")
@pytest.mark.parametrize(("tree", "remarks"), SAVED.values(), ids=SAVED)
def test_what_users_save_is_read(
    tmp_path: Path, network: UNetSpec, module: Any, tree: Callable[[Any], Any], remarks: tuple[str, ...]
) -> None:
    flax_format = checkpoints.get("flax_nnx")
    found = flax_format.read(saved_by_orbax(tmp_path / "x", tree(module)))
    expected = initial_weights(network, dtype=np.float32)
    assert bits(flax_format.to_canonical(network, found.tensors)) == bits(expected)
    assert found.remarks == remarks


@pytest.mark.needs_backends("flax_nnx")
@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
def test_orbax_restores_what_is_written(tmp_path: Path, variant: Variant, changes: dict[str, Any]) -> None:
    import jax
    import orbax.checkpoint as ocp
    from flax import nnx

    from backends import flax_nnx

    spec = variant(**changes)
    weights = initial_weights(spec, dtype=np.float32)
    checkpoints.get("flax_nnx").write(tmp_path / "x", spec, weights)
    module = flax_nnx.UNet(spec, rngs=nnx.Rngs(7))
    with ocp.StandardCheckpointer() as checkpointer:
        nnx.update(module, checkpointer.restore(tmp_path / "x", nnx.state(module)))
    assert bits(flax_nnx.read_weights(module, spec)) == bits(weights)
    keys = [jax.random.key_data(key[...]).tolist() for _, key in nnx.to_flat_state(nnx.state(module, nnx.RngKey))]
    assert len({tuple(key) for key in keys}) == len(keys) == sum(layer.kind == "dropout" for layer in spec.layers)


@pytest.mark.needs_backends("flax_nnx")
def test_a_checkpoint_manager_keeps_steps(tmp_path: Path, network: UNetSpec, module: Any) -> None:
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path / "x") as manager:
        for step in (9, 10):
            manager.save(step, args=ocp.args.StandardSave(as_state(module)))
    flax_format = checkpoints.get("flax_nnx")
    with pytest.raises(WeightsError, match=rf"x: holds 9, 10; name one of them, for instance {tmp_path}/x/10"):
        flax_format.read(tmp_path / "x")
    shutil.rmtree(tmp_path / "x" / "9")
    assert bits(flax_format.read(tmp_path / "x").tensors) == bits(flax_format.read(tmp_path / "x" / "10").tensors)
    found = flax_format.read(tmp_path / "x" / "10")
    assert found.remarks == ("taken from the item 'default'",)
    expected = initial_weights(network, dtype=np.float32)
    assert bits(flax_format.to_canonical(network, found.tensors)) == bits(expected)


@pytest.mark.needs_backends("flax_nnx")
def test_bfloat16_in_orbax_is_widened_and_told(tmp_path: Path) -> None:
    import jax.numpy as jnp

    found = checkpoints.get("flax_nnx").read(saved_by_orbax(tmp_path / "x", {"a": jnp.ones(2, jnp.bfloat16) * 1.1}))
    assert found.tensors["a"].tolist() == [1.1015625, 1.1015625]
    assert found.remarks == ("bfloat16 became float32, which holds every value of it exactly: a",)


@pytest.mark.needs_backends("flax_nnx")
def test_what_the_module_has_no_place_for_keeps_a_name(network: UNetSpec) -> None:
    flax_format = checkpoints.get("flax_nnx")
    values = np.zeros((3, 3))
    found = flax_format.to_canonical(network, {"encoder.0.block.0.conv.kernel": values, "head.weight": values})
    assert list(found) == ["encoder.0.block.0.conv.weight", "head.weight of the Flax state"]
    assert found["encoder.0.block.0.conv.weight"] is values


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_metadata": (lambda folder: (folder / "_METADATA").unlink(), "is no Orbax checkpoint (it holds no _METADATA)"),
    "broken_metadata": (lambda folder: (folder / "_METADATA").write_text("{"), "is no whole Orbax checkpoint"),
    "metadata_of_nothing": (lambda folder: (folder / "_METADATA").write_text("[]"), "is no whole Orbax checkpoint"),
    "no_arrays": (lambda folder: [f.unlink() for f in folder.rglob("d/*")], "is no whole Orbax checkpoint"),
    "truncated_arrays": (
        lambda folder: [f.write_bytes(f.read_bytes()[:20]) for f in folder.rglob("d/*")],
        "is no whole Orbax checkpoint",
    ),
}


@pytest.mark.needs_backends("flax_nnx")
@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_orbax_folders_are_refused_in_one_line(
    tmp_path: Path, network: UNetSpec, damage: Callable[[Path], object], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    flax_format = checkpoints.get("flax_nnx")
    flax_format.write(tmp_path / "x", network, initial_weights(network))
    damage(tmp_path / "x")
    with pytest.raises(WeightsError) as raised:
        flax_format.read(tmp_path / "x")
    assert str(raised.value).startswith(f"{tmp_path / 'x'}: {message}")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_another_library_is_refused_with_the_file_to_name(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError) as raised:
        folder_of_arrays(tmp_path)
    assert str(raised.value).endswith(f"; name a file in it, for instance {tmp_path}/model.safetensors")


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.needs_backends("flax_nnx")
@pytest.mark.parametrize("content", [[], ["a/b.txt"], ["photograph.png"]], ids=["empty", "folders", "files"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / "x" / name).parent.mkdir(parents=True)
        (tmp_path / "x" / name).touch()
    (tmp_path / "x").mkdir(exist_ok=True)
    with pytest.raises(WeightsError, match="is no Orbax checkpoint"):
        checkpoints.get("flax_nnx").read(tmp_path / "x")
    assert not checkpoints.get("flax_nnx").is_checkpoint(tmp_path / "x")
    assert len(everything_in(tmp_path)) == 1 + sum(len(Path(name).parts) for name in content)
