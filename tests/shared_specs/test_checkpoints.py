"""Safetensors files as they come, labels for deeper heads, and pickles that are not to be opened; no framework."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared_specs import UNetSpec, WeightsError, initial_weights, load_spec
from shared_specs.checkpoints import is_checkpoint, listed, read, to_canonical, widening, write
from shared_specs.pickles import ADVICE, MOST_TUPLES, problem_of
from shared_specs.supervision import labels_of_heads, nearest

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


class TestDeeperHeads:
    def test_labels_are_those_of_the_nearest_pixel(self) -> None:
        labels = np.arange(24).reshape(1, 4, 6)
        assert np.array_equal(nearest(labels, (2, 3)), labels[:, ::2, ::2])
        assert np.array_equal(nearest(labels, (2, 4)), labels[:, ::2, [0, 1, 3, 4]])
        assert np.array_equal(nearest(labels, (4, 6)), labels)
        assert nearest(np.arange(3).reshape(1, 3, 1), (6, 1)).ravel().tolist() == [0, 0, 1, 1, 2, 2]

    def test_each_head_has_labels_of_its_own_size_the_final_one_those_given(
        self, changed_spec: Callable[..., UNetSpec]
    ) -> None:
        deep = {"levels": [1, 2], "weights": [1.0, 0.5, 0.25]}
        spec = changed_spec({"widths": [4, 8, 8, 8], "deep_supervision": deep})
        labels = np.arange(2 * 16 * 24).reshape(2, 16, 24)
        final, *deeper = labels_of_heads(spec, (2, 3, 16, 24), labels)
        assert final is labels
        assert [other.shape for other in deeper] == [(2, 8, 12), (2, 4, 6)]
        assert np.array_equal(deeper[1], labels[:, ::4, ::4])

    def test_a_network_with_one_head_has_its_labels(self) -> None:
        labels = np.zeros((1, 16, 16), int)
        (alone,) = labels_of_heads(load_spec("unet_same").narrow(16), (1, 1, 16, 16), labels)
        assert alone is labels


def tuples(depth: int, width: int = 2) -> Any:
    """A tuple of one tuple `width` times, which has the next one as often, and so on."""
    value: Any = ()
    for _ in range(depth):
        value = (value,) * width
    return value


def bare(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


STATE = pickle.dumps({"a": (1, 2, (3,)), "b": [("x", ())] * 50})
TOO_MANY = f"holds a tuple of more than {MOST_TUPLES} tuples{ADVICE}"
HARMFUL = {
    "tuples": (pickle.dumps(tuples(12), 2), TOO_MANY),
    "tuples, memo of protocol 4": (pickle.dumps(tuples(12), 4), TOO_MANY),
    "tuples, protocol 0": (pickle.dumps(tuples(12), 0), TOO_MANY),
    "wide tuples": (pickle.dumps(tuples(3, 40), 2), TOO_MANY),
    "bytearray": (b"c__builtin__\nbytearray\n(K\x10tR.", f"holds a bytearray of any size{ADVICE}"),
    "encoded bytes": (
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x09\x00\x00\x00bz2_codectR.",
        f"encodes what is encoded{ADVICE}",
    ),
}


class TestPickles:
    @pytest.mark.parametrize(("content", "problem"), HARMFUL.values(), ids=HARMFUL)
    def test_what_would_never_end_is_told(self, content: bytes, problem: str, tmp_path: Path) -> None:
        assert problem_of(bare(tmp_path / "x.pt", content), is_zip=False) == problem
        members = {"x/version": content, "x/data/0": content, "x/data.pkl": STATE}
        assert problem_of(zipped(tmp_path / "sound.zip", members), is_zip=True) is None
        assert problem_of(zipped(tmp_path / "one.zip", {"x/data.pkl": content}), is_zip=True) == problem
        assert problem_of(zipped(tmp_path / "two.zip", members | {"y/data.pkl": content}), is_zip=True) == problem

    @pytest.mark.parametrize("before", range(5))
    def test_the_old_format_is_a_row_of_pickles(self, before: int, tmp_path: Path) -> None:
        row = STATE * before + pickle.dumps(tuples(12), 2)
        assert problem_of(bare(tmp_path / "x.pt", row), is_zip=False) == TOO_MANY

    def test_after_the_fifth_come_the_values_of_tensors(self, tmp_path: Path) -> None:
        row = STATE * 5 + pickle.dumps(tuples(12), 2)
        assert problem_of(bare(tmp_path / "x.pt", row), is_zip=False) is None

    @pytest.mark.parametrize("protocol", range(6))
    def test_what_people_save_is_let_through(self, protocol: int, tmp_path: Path) -> None:
        value = {
            "a": (1, (2.5, None), [True, b"x", {"k": ()}]),
            "same": [("x", "y")] * 40,
            "deep": tuples(8),
            "set": {"utf-8", "bytearray", "encode"},
            "long": "l" * 3_000,
        }
        path = bare(tmp_path / "x.pt", pickle.dumps(value, protocol) * 2)
        assert problem_of(path, is_zip=False) is None

    @pytest.mark.parametrize(
        ("value", "problem"),
        [(tuples(8), None), (tuples(9), TOO_MANY), (((),) * 999, None), (((),) * 1000, TOO_MANY)],
        ids=["511", "1023", "1000", "1001"],
    )
    def test_a_thousand_tuples_are_enough(self, value: Any, problem: str | None, tmp_path: Path) -> None:
        assert problem_of(bare(tmp_path / "x.pt", pickle.dumps(value, 2)), is_zip=False) == problem

    @pytest.mark.parametrize("content", [b"", b"no pickle", STATE[:-5], b"\x80\x02h\x07."], ids=range(4))
    def test_what_is_no_pickle_is_left_to_the_loader(self, content: bytes, tmp_path: Path) -> None:
        assert problem_of(bare(tmp_path / "x.pt", content), is_zip=False) is None
