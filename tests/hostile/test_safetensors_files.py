"""Files of safetensors that are damaged or lie about what they hold: refused in a line that names the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from shared_specs import UNetSpec, load_weights, save_weights

from .damage import Weights, around, assert_refused_or_the_same, flipped, refused


def header_length(content: bytes) -> int:
    return 8 + struct.unpack("<Q", content[:8])[0]


@pytest.mark.parametrize("step", [97, pytest.param(5, marks=pytest.mark.full)], ids=["some", "many"])
def test_a_flipped_bit_in_the_header_is_noticed(step: int, network: UNetSpec, weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_weights(path, weights, network)
    content = path.read_bytes()
    outcomes = []
    for damaged in flipped(content, range(0, 8 * header_length(content), step)):
        path.write_bytes(damaged)
        outcomes.append(assert_refused_or_the_same(lambda: load_weights(path, network), path, weights))
    assert sum(outcomes) > len(outcomes) / 4  # most of the header is the spec, in words that the tensors do not need


def test_a_file_cut_off_at_any_boundary_is_refused(network: UNetSpec, weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_weights(path, weights, network)
    content = path.read_bytes()
    start = header_length(content)
    entries = json.loads(content[8:start])
    ends = [start + entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    for cut in around([0, 8, start, *ends], len(content)):
        path.write_bytes(content[:cut])
        assert "is no whole safetensors file" in refused(lambda: load_weights(path, network), path)


def entry(kind: str = "F32", shape: Any = (2,), offsets: tuple[int, int] = (0, 8)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


TWICE = ",".join(f'"head.bias":{json.dumps(entry(*values))}' for values in ((), ("F16", (4,))))

HEADERS: dict[str, tuple[Any, str]] = {
    "gigabytes_that_are_not_there": ({"a": entry(shape=(10**9,), offsets=(0, 4 * 10**9))}, "no whole safetensors file"),
    "more_than_there_are_addresses": ({"a": entry(shape=(2**62, 4))}, "no whole safetensors file"),
    "nothing_times_everything": ({"a": entry(shape=(0, 2**62), offsets=(0, 0))}, "no whole safetensors file"),
    "a_negative_side": ({"a": entry(shape=(-2,))}, "no whole safetensors file"),
    "more_axes_than_numpy_has": ({"a": entry(shape=(1,) * 100, offsets=(0, 4))}, "no whole safetensors file"),
    "offsets_that_overlap": ({"a": entry(), "b": entry()}, "no whole safetensors file"),
    "offsets_in_reverse": ({"a": entry(offsets=(8, 0))}, "no whole safetensors file"),
    "a_name_twice": (f"{{{TWICE}}}", "names 'head.bias' twice"),
    "a_header_longer_than_the_file": (b"\xff" * 7 + b"\x00", "no whole safetensors file"),
    "tables_in_tables": ('{"a":' * 10_000, "no whole safetensors file"),
    "a_path_for_a_name": ({"../../../../tmp/evil": entry()}, "unexpected ../../../../tmp/evil"),
    "a_name_that_turns_the_terminal_red": ({"\x1b[31mred\n": entry()}, "unexpected  [31mred "),
    "whole_numbers": ({"head.bias": entry("I32")}, "holds head.bias as I32; save it as one of float64"),
    "words_for_numbers": ({"__metadata__": {"spec_fingerprint": 7}, "a": entry()}, "no whole safetensors file"),
    "a_spec_that_is_no_spec": (
        {"__metadata__": {"spec": "[" * 9_999, "spec_fingerprint": "\n"}, "a": entry()},
        "holds weights of another spec (one that the file does not name)",
    ),
}


@pytest.mark.parametrize(("header", "message"), HEADERS.values(), ids=HEADERS)
def test_headers_that_lie_are_refused(header: Any, message: str, network: UNetSpec, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    if isinstance(header, bytes):
        path.write_bytes(header)
    else:
        text = (header if isinstance(header, str) else json.dumps(header)).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert message in refused(lambda: load_weights(path, network), path)
    assert list(tmp_path.iterdir()) == [path]
