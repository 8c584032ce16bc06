"""Files of torch.save: as training loops write them, damaged, and hostile."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from backends.torch_files import LEGACY
from shared_specs import UNetSpec, WeightsError, initial_weights

from .checkpoint_files import bits


@pytest.fixture
def network(variant: Callable[..., UNetSpec]) -> UNetSpec:
    return variant()


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
    "under_a_key_of_its_own": (
        lambda state: {"unet": state, "epoch": 3, "optimizer": {"state": {0: state}, "param_groups": []}},
        ("taken from 'unet', leaving epoch, optimizer",),
    ),
    "beside_hyper_parameters": (
        lambda state: {"state_dict": state, "hyper_parameters": {"root": Path("x"), "args": Namespace(rate=0.1)}},
        ("taken from 'state_dict', leaving hyper_parameters",),
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


@pytest.mark.needs_backends("pytorch")
def test_configurations_are_neither_imported_nor_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ModuleType("omegaconf.dictconfig")
    made = type("DictConfig", (), {"__module__": home.__name__, "__setstate__": lambda *_: pytest.fail("made")})
    monkeypatch.setattr(home, "DictConfig", made, raising=False)
    modules = {"omegaconf": ModuleType("omegaconf"), home.__name__: home}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    config = made()
    config.kind = dict
    path = saved_by_torch(tmp_path / "x.ckpt", {"state_dict": state_dict(), "hyper_parameters": config})
    for name in modules:
        monkeypatch.delitem(sys.modules, name)
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
    "two_state_dicts_under_keys_of_their_own": (
        lambda path: saved_by_torch(path, {"params": state_dict(), "params_ema": state_dict()}),
        "several state dicts (params, params_ema); save one of them alone: torch.save(torch.load(FILE)['params'], OUT)",
    ),
    "arrays": (
        lambda path: saved_by_torch(path, {"a": np.arange(3.0)}),
        "holds NumPy arrays or other objects, and no tensors; save module.state_dict()",
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
