"""Checkpoint files: every bit of them, as frameworks and training loops write them, damaged, and hostile."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from backends.torch_files import LEGACY
from shared_specs import TandemError, UNetSpec, WeightsError, initial_weights

Variant = Callable[..., UNetSpec]

NAMES = {"canonical": "weights.safetensors", "pytorch": "weights.pt", "flax_nnx": "weights", "flax_linen": "weights"}

FORMATS = [
    pytest.param(name, marks=pytest.mark.needs_backends(checkpoints.BACKENDS[name])) for name in checkpoints.FORMATS
]

NETWORKS: dict[str, dict[str, Any]] = {
    "2d": {"up__width": "half"},
    "3d": {"dimensions": 3},
    "prelu_without_norm": {
        "norm": {"kind": "none"},
        "block__order": ["conv", "activation"],
        "activation": {"kind": "prelu", "slopes": "per_channel"},
    },
    "dropout": {"dropout": {"rate": 0.1}, "block__order": ["conv", "norm", "dropout", "activation"]},
}


@pytest.fixture
def format_module(format_name: str) -> ModuleType:
    return checkpoints.get(format_name)


@pytest.fixture
def path(format_name: str, tmp_path: Path) -> Path:
    return tmp_path / NAMES[format_name]


@pytest.fixture
def network(variant: Variant) -> UNetSpec:
    return variant()


def odd_weights(spec: UNetSpec, dtype: type[np.floating]) -> dict[str, np.ndarray]:
    """Weights with values that a detour through another dtype would change."""
    weights = initial_weights(spec, dtype=dtype)
    limits = np.finfo(dtype)
    odd = [-0.0, limits.smallest_subnormal, limits.max, limits.min, 1 + limits.eps]
    weights[spec.tensors[0].name].ravel()[: len(odd)] = odd
    return weights


def bits(weights: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (values.dtype.name, values.shape, values.tobytes()) for name, values in weights.items()}


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("format_name", FORMATS)
def test_every_bit_comes_back(
    format_module: ModuleType, path: Path, variant: Variant, changes: dict[str, Any], dtype: type[np.floating]
) -> None:
    spec = variant(**changes)
    weights = odd_weights(spec, dtype)
    format_module.write(path, spec, weights)
    found = format_module.read(path)
    assert bits(format_module.to_canonical(spec, found.tensors)) == bits(weights)
    assert found.remarks == ()
    assert format_module.is_checkpoint(path)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_is_written_replaces_what_was_there(format_module: ModuleType, path: Path, network: UNetSpec) -> None:
    for seed in (0, 1):
        weights = initial_weights(network, seed, np.float32)
        format_module.write(path, network, weights)
        read = format_module.to_canonical(network, format_module.read(path).tensors)
        assert bits(read) == bits(weights)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("format_name", FORMATS)
def test_weights_of_another_network_are_refused_and_nothing_is_touched(
    format_module: ModuleType, path: Path, network: UNetSpec
) -> None:
    weights = initial_weights(network)
    format_module.write(path, network, weights)
    before = bits(format_module.read(path).tensors)
    first, *_, last = weights
    del weights[first]
    weights[last] = weights[last] * np.nan
    with pytest.raises(WeightsError, match=rf"(?s){last} has nan.*missing {first}"):
        format_module.write(path, network, weights)
    assert bits(format_module.read(path).tensors) == before
    assert [child.name for child in path.parent.iterdir()] == [path.name]


WRITERS = {
    "canonical": "shared_specs.weights.save_file",
    "pytorch": "torch.save",
    "flax_nnx": "orbax.checkpoint.Checkpointer.save",
    "flax_linen": "orbax.checkpoint.Checkpointer.save",
}


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    format_module: ModuleType, format_name: str, path: Path, network: UNetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    format_module.write(path, network, initial_weights(network))
    before = bits(format_module.read(path).tensors)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(WRITERS[format_name], fail)
        with pytest.raises(TandemError, match=r"weights\S*: cannot be written \(No space left on device\)"):
            format_module.write(path, network, initial_weights(network, seed=1))
    assert bits(format_module.read(path).tensors) == before
    assert [child.name for child in path.parent.iterdir()] == [path.name]


# --------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.needs_backends("pytorch")
def test_pytorch_loads_the_state_dict_strictly(tmp_path: Path, network: UNetSpec) -> None:
    import torch

    from backends import pytorch

    weights = initial_weights(network, dtype=np.float32)
    checkpoints.get("pytorch").write(tmp_path / "unet.pt", network, weights)
    module, state = pytorch.UNet(network), torch.load(tmp_path / "unet.pt")
    assert list(state) == list(module.state_dict())
    module.load_state_dict(state)
    assert bits(pytorch.read_weights(module, network)) == bits(weights)


def saved_by_torch(path: Path, content: Any, **options: Any) -> Path:
    import torch

    torch.save(content, path, **options)
    return path


def state_dict() -> dict[str, Any]:
    import torch

    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


WRAPPED: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]]] = {
    "alone": (lambda state: state, ()),
    "state_dict": (
        lambda state: {"state_dict": state, "epoch": 3, "score": np.float64(0.9), "losses": np.arange(3.0)},
        ("taken from 'state_dict', leaving epoch, score, losses",),
    ),
    "model": (lambda state: {"model": state}, ("taken from 'model'",)),
    "model_state_dict": (lambda state: {"model_state_dict": state}, ("taken from 'model_state_dict'",)),
    "net": (lambda state: {"net": state, "optimizer": {}}, ("taken from 'net', leaving optimizer",)),
    "two_wrappers": (
        lambda state: {"model": {"state_dict": state}},
        ("taken from 'model'", "taken from 'state_dict'"),
    ),
    "beside_a_tensor": (
        lambda state: {"epoch": 3, "best_loss": state["a.bias"], "state_dict": state},
        ("taken from 'state_dict', leaving epoch, best_loss",),
    ),
    "beside_what_is_no_tensor": (
        lambda state: state | {"mask_values": [0, 1], "version": np.float32(2)},
        ("no tensor and left out: mask_values, version",),
    ),
}


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(("wrap", "remarks"), WRAPPED.values(), ids=WRAPPED)
def test_wrappers_are_taken_off_and_told(
    tmp_path: Path, wrap: Callable[[dict[str, Any]], Any], remarks: tuple[str, ...], is_zip: bool
) -> None:
    state = state_dict()
    path = saved_by_torch(tmp_path / "x.pt", wrap(state), _use_new_zipfile_serialization=is_zip)
    found = checkpoints.get("pytorch").read(path)
    assert bits(found.tensors) == bits({name: values.numpy() for name, values in state.items()})
    assert found.remarks == remarks
    assert checkpoints.get("pytorch").is_checkpoint(path)


@pytest.mark.needs_backends("pytorch")
def test_bfloat16_is_widened_exactly_and_told(tmp_path: Path) -> None:
    import torch

    values = torch.tensor([1.1, -0.0, 3e38, 1e-40]).bfloat16()
    found = checkpoints.get("pytorch").read(saved_by_torch(tmp_path / "x.pt", {"a": values, "b": torch.ones(1)}))
    assert found.tensors["a"].dtype == np.float32
    assert torch.equal(torch.from_numpy(found.tensors["a"]).bfloat16().view(torch.int16), values.view(torch.int16))
    assert found.remarks == ("bfloat16 became float32, which holds every value of it exactly: a",)


class Hostile:
    """Pickled, it asks whoever opens it to make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda state, bad: state | {"a": bad}, lambda state, bad: {"model": state, "n": bad}])
def test_code_in_a_file_is_not_run(tmp_path: Path, wrap: Callable[..., Any], is_zip: bool) -> None:
    made = tmp_path / "made"
    content = wrap(state_dict(), Hostile(made))
    path = saved_by_torch(tmp_path / "x.pt", content, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(WeightsError, match="and to open it would run code; nothing was run") as raised:
        checkpoints.get("pytorch").read(path)
    assert "mkdir" in str(raised.value) or not is_zip
    assert "\n" not in str(raised.value)
    assert not made.exists()


@pytest.mark.needs_backends("pytorch")
def test_a_bare_pickle_is_not_run(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "x.pt"
    path.write_bytes(pickle.dumps(Hostile(made)))
    with pytest.raises(WeightsError):
        checkpoints.get("pytorch").read(path)
    assert not made.exists()


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("attribute", ["scalar", "_reconstruct"])
def test_nothing_of_numpy_is_made_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    path = saved_by_torch(tmp_path / "x.pt", state_dict() | {"n": np.float64(1), "m": np.arange(3)})
    monkeypatch.setattr(f"numpy._core.multiarray.{attribute}", lambda *_: pytest.fail("made"))
    assert list(checkpoints.get("pytorch").read(path).tensors) == list(state_dict())


def whole_module(path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 2), path)


def torch_script(path: Path) -> None:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def zip_of(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def itself(path: Path) -> None:
    import torch

    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    torch.save(content, path)


def truncated(path: Path) -> None:
    whole = saved_by_torch(path, state_dict()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def truncated_legacy(path: Path) -> None:
    whole = saved_by_torch(path, state_dict(), _use_new_zipfile_serialization=False).read_bytes()
    path.write_bytes(whole[:-9])


def as_safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(3)}, path)


def bytes_lost(path: Path) -> None:
    """The whole list of contents is there, and the records that it tells of are not where it says."""
    content = saved_by_torch(path, state_dict() | {"more": state_dict()["a.weight"]}).read_bytes()
    path.write_bytes(content[:200] + content[300:])


def one_byte_changed(path: Path) -> None:
    content = bytearray(saved_by_torch(path, state_dict()).read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def sparse(path: Path) -> None:
    import torch

    torch.save({"a": torch.eye(2).to_sparse(), "b": torch.ones(2).to(torch.float8_e4m3fn), "c": torch.ones(1)}, path)


NOT_STATE_DICTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is no whole file of torch.save (it is empty)"),
    "a_few_bytes": (lambda path: path.write_bytes(b"abc"), "is no whole file of torch.save (it begins like none)"),
    "random_bytes": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(9_999)), "(it begins like none)"),
    "a_web_page": (lambda path: path.write_text("\n<!doctype html>"), "(it is a web page or XML; download the file"),
    "a_pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "a pointer of Git LFS"),
    "safetensors": (as_safetensors, "(it is a safetensors file; give it the suffix .safetensors)"),
    "truncated": (truncated, "is no whole file of torch.save (it is cut off or damaged: its list of contents"),
    "truncated_legacy": (truncated_legacy, "is no whole file of torch.save (it is cut off)"),
    "hardly_begun_legacy": (lambda path: path.write_bytes(LEGACY[:5]), "is no whole file of torch.save"),
    "one_byte_changed": (one_byte_changed, "whose checksum differs"),
    "a_zip_of_something_else": (lambda path: zip_of(path, "x", b"y"), "torch.save (it is a zip file of something else"),
    "a_zip_of_a_broken_pickle": (lambda path: zip_of(path, "archive/data.pkl", b"\x80\x02}q"), "no whole file"),
    "bytes_lost": (bytes_lost, "is no whole file of torch.save ("),
    "a_folder": (Path.mkdir, "cannot be read (Is a directory)"),
    "nothing": (lambda path: None, "cannot be read (No such file or directory)"),
    "a_list": (lambda path: saved_by_torch(path, [1, 2]), "holds a list, expected a state dict"),
    "numbers": (lambda path: saved_by_torch(path, {"epoch": 1}), "holds no state dict (its keys: 'epoch')"),
    "an_empty_dictionary": (lambda path: saved_by_torch(path, {}), "holds no state dict (its keys: nothing)"),
    "a_dictionary_in_itself": (itself, "holds no state dict (its keys: 'epoch', 'model')"),
    "two_state_dicts": (
        lambda path: saved_by_torch(path, {"model": state_dict(), "net": state_dict()}),
        "holds several state dicts (model, net); save one of them alone",
    ),
    "a_whole_module": (whole_module, "holds objects of "),
    "torch_script": (torch_script, "(it is TorchScript, a program; save module.state_dict() of the module)"),
    "tensors_that_numpy_has_not": (sparse, "holds a as sparse_coo, b as float8_e4m3fn; save plain tensors"),
}


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(("make", "message"), NOT_STATE_DICTS.values(), ids=NOT_STATE_DICTS)
def test_what_is_no_state_dict_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(WeightsError) as raised:
        checkpoints.get("pytorch").read(path)
    assert str(raised.value).startswith(f"{path}: ") and message in str(raised.value)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert not re.search(r"\(\d+\)|Error\b|Invalid argument|EOF|Pytorch|zip archive", str(raised.value))


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "cut_off": (b"PK\x03\x04" + b"x" * 99, "it is cut off or damaged"),
    "something_else": (b"weights", "it begins like none"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    "arguments",
    [["convert", "x.pth", "out.safetensors", "--spec", "unet_same"], ["adopt", "a.b:c", "--checkpoint", "x.pth"]],
    ids=["convert", "adopt"],
)
def test_what_is_broken_is_told_without_a_framework(
    tmp_path: Path, content: bytes, message: str, arguments: list[str]
) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    program = f"import sys; sys.argv[1:] = {arguments}\nimport tandem.cli\ntry: tandem.cli.main()\nfinally:"
    program += " assert not {'torch', 'jax'} & set(sys.modules), 'imported'"
    environment = os.environ | {"PYTHONPATH": str(Path(checkpoints.__file__).parent.parent)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: x.pth: is no whole file of torch.save ({message}")
    assert len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------ Flax


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
        for step in (1, 2):
            manager.save(step, args=ocp.args.StandardSave(as_state(module)))
    flax_format = checkpoints.get("flax_nnx")
    with pytest.raises(WeightsError, match=rf"x: holds 1, 2; name one of them, for instance {tmp_path}/x/2"):
        flax_format.read(tmp_path / "x")
    found = flax_format.read(tmp_path / "x" / "2")
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


# ----------------------------------------------------------------------------------------------------- safetensors


def safetensors_file(path: Path, **tensors: tuple[str, list[int], bytes]) -> Path:
    header, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_bfloat16_in_safetensors_is_widened_and_told(tmp_path: Path) -> None:
    upper = np.array([0x3F8D, 0x8000, 0x0001], np.uint16)
    whole = np.array([1.5, 2.5], np.float32)
    path = safetensors_file(
        tmp_path / "x.safetensors", a=("BF16", [3, 1], upper.tobytes()), b=("F32", [2], whole.tobytes())
    )
    found = checkpoints.get("canonical").read(path)
    assert list(found.tensors) == ["a", "b"]
    assert found.tensors["a"].tolist() == [[1.1015625], [-0.0], [2.0**-133]]
    assert found.tensors["b"].tolist() == [1.5, 2.5]
    assert found.remarks == ("bfloat16 became float32, which holds every value of it exactly: a",)


def test_what_numpy_has_no_type_for_is_refused(tmp_path: Path) -> None:
    path = safetensors_file(tmp_path / "x.safetensors", a=("F8_E4M3", [2], b"ab"))
    with pytest.raises(WeightsError, match="holds a as F8_E4M3; save it as one of float64, float32, float16"):
        checkpoints.get("canonical").read(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"weights" * 100], ids=["empty", "a_few_bytes", "something_else"])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x.safetensors: is no whole safetensors file"):
        checkpoints.get("canonical").read(path)
    assert not checkpoints.get("canonical").is_checkpoint(path)
