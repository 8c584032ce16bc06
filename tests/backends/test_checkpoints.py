"""Checkpoint files: every bit of them in every format, whole or not at all; and those of safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import TandemError, UNetSpec, WeightsError, initial_weights

from .checkpoint_files import NETWORKS, bits

Variant = Callable[..., UNetSpec]

NAMES = {"canonical": "weights.safetensors", "pytorch": "weights.pt", "flax_nnx": "weights", "flax_linen": "weights"}

FORMATS = [
    pytest.param(name, marks=pytest.mark.needs_backends(checkpoints.BACKENDS[name])) for name in checkpoints.FORMATS
]


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
