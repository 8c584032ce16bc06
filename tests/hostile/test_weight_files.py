"""Weights that are damaged or made to harm: refused in a line that names the file, nothing run, nothing written.

What single formats refuse for what they hold is in `tests/backends/test_*_checkpoints.py`; here files lie about their
size, want to run code, or are damaged at every place in turn.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import TandemError, UNetSpec, initial_weights, load_weights, save_weights

from .limits import limited

Weights = dict[str, np.ndarray]
Read = Callable[[Path], Weights]

GENEROUS_S = 120
"""A fence against what never ends, not a measure of speed."""


@pytest.fixture(scope="module")
def network() -> UNetSpec:
    """Two levels of two channels: small files, every place of which can be damaged in turn."""
    from ..conftest import small_variant

    return small_variant(widths=[2, 2], up__width="same")


@pytest.fixture
def weights(network: UNetSpec) -> Weights:
    return initial_weights(network, dtype=np.float32)


def refused(read: Callable[[], object], path: Path, more_bytes: int = 2**28) -> str:
    """The one line with which a file is refused, in little time and memory."""
    with limited(GENEROUS_S, more_bytes), pytest.raises(TandemError) as error:
        read()
    message = str(error.value)
    assert message.startswith(f"{path}"), message
    assert message.isprintable() and len(message) < 5_000
    return message


def assert_refused_or_the_same(
    read: Callable[[], Weights], path: Path, weights: Weights, more_bytes: int = 2**28
) -> bool:
    """Whether the file was refused. A damage that changes a value and is not noticed fails the test."""
    try:
        with limited(GENEROUS_S, more_bytes):
            found = read()
    except TandemError as error:
        told = str(error)
        assert told.startswith(f"{path}") and told.isprintable(), told
        return True
    assert {name: values.tobytes() for name, values in found.items()} == {
        name: values.tobytes() for name, values in weights.items()
    }
    return False


def flipped(content: bytes, bits: range) -> Iterator[bytes]:
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def around(places: list[int], end: int) -> list[int]:
    return sorted({cut for place in places for cut in (place - 1, place, place + 1) if 0 <= cut < end})


# ----------------------------------------------------------------------------------------------------- safetensors


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


# --------------------------------------------------------------------------------------------------------- PyTorch


@pytest.fixture
def torch_file(network: UNetSpec, weights: Weights, tmp_path: Path) -> Path:
    path = tmp_path / "x.pt"
    checkpoints.get("pytorch").write(path, network, weights)
    return path


@pytest.fixture
def read(network: UNetSpec) -> Read:
    """The canonical weights in a file of torch.save."""
    torch_format = checkpoints.get("pytorch")

    def weights_in(path: Path) -> Weights:
        found = torch_format.to_canonical(network, torch_format.read(path).tensors)
        return {name: np.array(values) for name, values in found.items()}  # as the file is to change

    return weights_in


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("step", [1999, pytest.param(47, marks=pytest.mark.full)], ids=["some", "many"])
def test_a_flipped_bit_anywhere_in_a_file_of_torch_is_noticed(
    step: int, torch_file: Path, weights: Weights, read: Read
) -> None:
    content = torch_file.read_bytes()
    refusals = 0
    for damaged in flipped(content, range(0, 8 * len(content), step)):
        torch_file.write_bytes(damaged)
        refusals += assert_refused_or_the_same(lambda: read(torch_file), torch_file, weights)
    assert refusals > 0


@pytest.mark.needs_backends("pytorch")
def test_a_file_of_torch_cut_off_at_any_record_is_refused(torch_file: Path, read: Read) -> None:
    content = torch_file.read_bytes()
    with zipfile.ZipFile(torch_file) as archive:
        records = [record.header_offset for record in archive.infolist()]
        directory = archive.start_dir
    for cut in around([0, 4, *records[::5], records[-1], directory, len(content) - 22], len(content)):
        torch_file.write_bytes(content[:cut])
        refused(lambda: read(torch_file), torch_file)


def with_pickle(path: Path, content: bytes) -> None:
    """A file of torch.save with another pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/version", "3\n")


def tuples_in_tuples(depth: int) -> bytes:
    """Each tuple holds the one before it twice; the keys of a dictionary are hashed."""
    pairs = b"".join(b"h%ch%c\x86q%cK\x01" % (level, level, level + 1) for level in range(depth))
    return b"\x80\x02}()q\x00K\x01" + pairs + b"u."


HUGE = b"J\xff\xff\xff\x7f"

LIES: dict[str, tuple[bytes, str]] = {
    "tuples_that_double": (tuples_in_tuples(60), "holds a tuple of more than 1000 tuples"),
    "tuples_without_end": (b"\x80\x02}()" + b"\x85" * 1_000_000 + b"K\x01u.", "holds a tuple of more than 1000 tuples"),
    "lists_without_end": (b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "holds a list"),
    "two_gigabytes_of_nothing": (b"\x80\x02}X\x01\0\0\0acbuiltins\nbytearray\n" + HUGE + b"\x85Rs.", "a bytearray"),
    "text_encoded_again_and_again": (
        b"\x80\x02}X\x01\0\0\0ac_codecs\nencode\nX\x01\0\0\0bX\x03\0\0\0hex\x86Rs.",
        "encodes what is encoded",
    ),
    "a_text_that_is_not_there": (b"\x80\x02}X\xff\xff\xff\x7fas.", "is no whole file of torch.save"),
    "a_place_far_away": (b"\x80\x02}r\xff\xff\xff\x7f.", "holds no state dict"),
    "a_storage_of_its_own": (b"\x80\x02}X\x01\0\0\0actorch\nFloatStorage\n" + HUGE + b"\x85Rs.", ""),
    "a_record_that_is_not_there": (b"\x80\x02}X\x01\0\0\0a(X\x07\0\0\0storagectorch\nFloatStorage\nX\x05\0\0\0"
                                   b"../..X\x03\0\0\0cpu" + HUGE + b"tQs.", "is no whole file of torch.save"),
}  # fmt: skip


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(("content", "message"), LIES.values(), ids=LIES)
def test_pickles_that_never_end_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with_pickle(path, content)
    assert message in refused(lambda: checkpoints.get("pytorch").read(path), path)
    assert list(tmp_path.iterdir()) == [path]


def global_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def payloads(made: Path) -> dict[str, bytes]:
    """Pickles that make a folder when they are opened by `pickle.load`, by every operation that calls something."""
    path, start = text(str(made)), b"\x80\x02"
    mkdir, code = global_of("os", "mkdir"), text(f"__import__('os').mkdir({str(made)!r})")
    return {
        "reduce": start + mkdir + path + b"\x85R.",
        "object": start + b"(" + mkdir + path + b"o.",
        "instance": start + b"(" + path + b"ios\nmkdir\n.",
        "eval": start + global_of("builtins", "eval") + code + b"\x85R.",
        "exec": start + global_of("builtins", "exec") + code + b"\x85R.",
        "stack_global": b"\x80\x04" + text("os") + text("mkdir") + b"\x93" + path + b"\x85R.",
        "in_a_list": start + b"]" + mkdir + path + b"\x85Ra.",
        "as_a_key": start + b"}" + mkdir + path + b"\x85RK\x01s.",
        "by_a_state": start + global_of("collections", "OrderedDict") + b")R" + mkdir + path + b"\x85Rb.",
        "partial": start + global_of("functools", "partial") + mkdir + path + b"\x86R)R.",
        "through_torch": start + global_of("torch._utils", "_rebuild_parameter") + mkdir + path + b"\x85R\x85R.",
    }


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("how", payloads(Path("x")))
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "bare"])
def test_no_pickle_runs_code(how: str, is_zip: bool, tmp_path: Path) -> None:
    path, made = tmp_path / "x.pt", tmp_path / "made"
    content = payloads(made)[how]
    with_pickle(path, content) if is_zip else path.write_bytes(content)
    refused(lambda: checkpoints.get("pytorch").read(path), path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_payloads_would_run_code(tmp_path: Path) -> None:
    """What keeps a folder from being made is not that the pickles are broken."""
    import pickle

    for how in payloads(tmp_path):
        made = tmp_path / how
        try:
            pickle.loads(payloads(made)[how])
        except Exception as error:  # most make something that fits nowhere
            assert made.is_dir(), f"{how}: {error}"  # noqa: PT017
        assert made.is_dir(), how


def zip_bomb(path: Path) -> None:
    import torch

    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/9", bytes(20_000_000))


def zip_of_overlaps(path: Path) -> None:
    """Many names for one record: what is stored once is unpacked for each of them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", bytes(2**20))
        first = archive.infolist()[1]
        for number in range(1, 2_000):
            copy = zipfile.ZipInfo(f"x/data/{number}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size = copy.compress_size = first.file_size
            archive.filelist.append(copy)
        archive._didModify = True  # type: ignore[attr-defined]


def two_of_one_name(path: Path) -> None:
    import warnings

    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for content in (b"\x80\x02}.", b"\x80\x02]."):
            archive.writestr("x/data.pkl", content)


def expanded(path: Path) -> None:
    import torch

    torch.save({"head.bias": torch.ones(1, dtype=torch.bfloat16).expand(10**6, 10**6)}, path)


def huge_and_legacy(path: Path) -> None:
    import torch

    torch.save({"a": torch.ones(6)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b"cpuq\x06K\x06") == 1
    path.write_bytes(content.replace(b"cpuq\x06K\x06", b"cpuq\x06" + HUGE))


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "zip_bomb": (zip_bomb, "unpacks to 20,"),
    "zip_of_overlaps": (zip_of_overlaps, "unpacks to 2,097,152,004 bytes, more than its own"),
    "two_records_of_one_name": (two_of_one_name, "holds two records of one name"),
    "a_terabyte_in_two_bytes": (expanded, "holds head.bias, larger than what is stored"),
    "a_storage_of_eight_gigabytes": (huge_and_legacy, "is no whole file of torch.save"),
}


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(("make", "message"), BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_before_they_are_unpacked(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    make(path)
    assert message in refused(lambda: checkpoints.get("pytorch").read(path), path)


@pytest.mark.needs_backends("pytorch")
def test_what_is_no_number_and_names_that_are_paths_are_refused(
    network: UNetSpec, weights: Weights, read: Read, tmp_path: Path
) -> None:
    import torch

    from shared_specs.weights import check_weights

    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    state["head.bias"][1] = float("nan")
    state["head.weight"][0, 1] = float("inf")
    state["../../x\n"] = torch.ones(1)
    path = tmp_path / "x.pt"
    torch.save(state, path)
    told = refused(lambda: check_weights(network, read(path), str(path)), path)
    for problem in ("head.bias has nan at (1,)", "head.weight has inf at (0, 1, 0, 0)", "unexpected ../../x "):
        assert problem in told


# ------------------------------------------------------------------------------------------------------------ Flax


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
    format_name = "canonical" if name.endswith("s") else "pytorch"
    told = refused(lambda: checkpoints.get(format_name).read(tmp_path / name), tmp_path / name)
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
