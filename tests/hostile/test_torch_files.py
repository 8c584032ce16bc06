"""Files of torch.save that are damaged, lie about their size or want to run code: refused, and nothing is run."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import UNetSpec

from .damage import Weights, around, assert_refused_or_the_same, flipped, refused

pytestmark = pytest.mark.usefixtures("torch_loaded")

Read = Callable[[Path], Weights]


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
