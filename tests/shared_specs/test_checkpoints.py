"""Safetensors files as they come, and names in lists; no framework."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared_specs import WeightsError, initial_weights, load_spec
from shared_specs.checkpoints import is_checkpoint, listed, read, to_canonical, widening, write

FEW = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True, False]), "c": np.array(7, np.int64)}


def safetensors(path: Path, entries: dict[str, tuple[str, list[int], bytes]], **metadata: str) -> Path:
    """A file written byte by byte: of each tensor its type, its shape and its bytes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    content = b""
    for name, (kind, shape, values) in entries.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(content), len(content) + len(values)]}
        content += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


class TestSafetensors:
    def test_every_tensor_comes_as_it_is(self, tmp_path: Path) -> None:
        save_file(FEW, path := tmp_path / "x.safetensors", metadata={"format": "np"})
        found = read(path)
        assert found.tensors.keys() == FEW.keys()
        for name, values in FEW.items():
            assert found.tensors[name].dtype == values.dtype
            assert np.array_equal(found.tensors[name], values)
        assert (found.remarks, found.metadata) == ((), {"format": "np"})

    def test_a_file_may_say_nothing_of_itself(self, tmp_path: Path) -> None:
        save_file(FEW, path := tmp_path / "x.safetensors")
        assert read(path).metadata == {}

    def test_bfloat16_is_the_upper_half_of_float32(self, tmp_path: Path) -> None:
        values = np.array([[1.0, -2.5, 3.0e38], [0.0, np.inf, 2.0**-126]], np.float32)
        upper = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        one = np.float32(0.5).tobytes()
        entries = {"wide": ("F32", [1], one), "narrow": ("BF16", [2, 3], upper)}
        found = read(safetensors(tmp_path / "x.safetensors", entries))
        assert sorted(found.tensors) == ["narrow", "wide"]
        assert found.tensors["narrow"].dtype == np.float32
        truncated = (values.view(np.uint32) >> 16 << 16).view(np.float32)
        np.testing.assert_array_equal(found.tensors["narrow"], truncated)
        assert found.tensors["wide"] == 0.5
        assert found.remarks == ("bfloat16 became float32, which holds every value of it exactly: narrow",)

    def test_what_numpy_has_no_type_for_is_refused(self, tmp_path: Path) -> None:
        entries = {name: ("F8_E4M3", [1], b"\0") for name in "abcd"} | {"e": ("F32", [1], b"\0" * 4)}
        path = safetensors(tmp_path / "x.safetensors", entries)
        with pytest.raises(WeightsError) as error:
            read(path)
        told, _, advice = str(error.value).partition("; ")
        assert told == f"{path}: holds a as F8_E4M3, b as F8_E4M3, c as F8_E4M3 and 1 more"
        assert advice == "save it as one of float64, float32, float16"

    def test_a_glance_tells_a_file_of_this_format(self, tmp_path: Path) -> None:
        save_file(FEW, path := tmp_path / "x.bin")
        assert is_checkpoint(path)
        other = tmp_path / "x.safetensors"
        assert not is_checkpoint(other)
        other.write_bytes(b"weights" * 100)
        assert not is_checkpoint(other)

    def test_canonical_weights_are_written_with_their_spec(self, tmp_path: Path) -> None:
        spec = load_spec("unet_same").narrow(16)
        weights = initial_weights(spec, 3, np.float32)
        write(path := tmp_path / "x.safetensors", spec, weights)
        found = read(path)
        assert all(np.array_equal(found.tensors[name], values) for name, values in weights.items())
        assert found.metadata["spec_fingerprint"] == spec.fingerprint
        with pytest.raises(WeightsError, match=r"missing head\.bias"):
            write(path, spec, {name: values for name, values in weights.items() if name != "head.bias"})


def test_counters_of_batches_are_left_out_and_nothing_else() -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    weights = initial_weights(spec)
    counters = {tensor.name.replace("running_mean", "num_batches_tracked") for tensor in spec.tensors}
    more = {name: np.zeros(1) for name in counters - weights.keys()} | {"else.num_batches_tracked": np.zeros(1)}
    found = to_canonical(spec, weights | more)
    assert list(found) == [*weights, "else.num_batches_tracked"]


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [
        (["a"], 3, "a"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (["a", "b", "c"], 1, "a and 2 more"),
        (["x" * 200], 3, "x" * 200),
        (["x" * 201], 3, "x" * 197 + "..."),
    ],
)
def test_names_are_listed_up_to_some(names: list[str], most: int, text: str) -> None:
    assert listed(names, most) == text


def test_three_names_are_listed_where_nothing_else_is_said() -> None:
    assert listed(list("abcd")) == "a, b, c and 1 more"
    assert widening(list("abcd")).endswith("exactly: a, b, c and 1 more")
