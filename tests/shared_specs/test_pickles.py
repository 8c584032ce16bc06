"""Pickles that are not to be opened, as their reader would never end; and that all others are let through."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from shared_specs.pickles import ADVICE, MOST_TUPLES, problem_of


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
ENCODED = f"encodes what is encoded{ADVICE}"


def encoding(codec: str) -> bytes:
    """Of "a", by a codec with this name."""
    text = b"".join(b"X" + len(text).to_bytes(4, "little") + text.encode() for text in ("a", codec))
    return b"c_codecs\nencode\n(" + text + b"tR."


HARMFUL = {
    "tuples": (pickle.dumps(tuples(12), 2), TOO_MANY),
    "tuples, memo of protocol 4": (pickle.dumps(tuples(12), 4), TOO_MANY),
    "tuples, protocol 0": (pickle.dumps(tuples(12), 0), TOO_MANY),
    "wide tuples": (pickle.dumps(tuples(3, 40), 2), TOO_MANY),
    "bytearray": (b"c__builtin__\nbytearray\n(K\x10tR.", f"holds a bytearray of any size{ADVICE}"),
    "tuples, memo of four bytes": (pickle.dumps([[str(n) for n in range(300)], tuples(12)], 2), TOO_MANY),
    "tuples, one place of the memo": (b"\x80\x02)q\x05" + b"h\x05h\x05\x86q\x05" * 12 + b".", TOO_MANY),
    "tuples before a list": (pickle.dumps((tuples(8), tuples(8), 0, [1, 2]), 2), TOO_MANY),
    "encoded bytes": (encoding("bz2_codec"), ENCODED),
    "encoded bytes, the codec's name drawn out": (encoding(40 * "-" + "bz2" + 40 * "-" + "codec"), ENCODED),
}


@pytest.mark.parametrize(("content", "problem"), HARMFUL.values(), ids=HARMFUL)
def test_what_would_never_end_is_told(content: bytes, problem: str, tmp_path: Path) -> None:
    assert problem_of(bare(tmp_path / "x.pt", content), is_zip=False) == problem
    members = {"x/version": content, "x/data/0": content, "x/data.pkl": STATE}
    assert problem_of(zipped(tmp_path / "sound.zip", members), is_zip=True) is None
    assert problem_of(zipped(tmp_path / "one.zip", {"x/data.pkl": content}), is_zip=True) == problem
    assert problem_of(zipped(tmp_path / "two.zip", members | {"y/data.pkl": content}), is_zip=True) == problem


@pytest.mark.parametrize("before", range(5))
def test_the_old_format_is_a_row_of_pickles(before: int, tmp_path: Path) -> None:
    row = STATE * before + pickle.dumps(tuples(12), 2)
    assert problem_of(bare(tmp_path / "x.pt", row), is_zip=False) == TOO_MANY


def test_after_the_fifth_come_the_values_of_tensors(tmp_path: Path) -> None:
    row = STATE * 5 + pickle.dumps(tuples(12), 2)
    assert problem_of(bare(tmp_path / "x.pt", row), is_zip=False) is None


@pytest.mark.parametrize("protocol", range(6))
def test_what_people_save_is_let_through(protocol: int, tmp_path: Path) -> None:
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
    [
        (tuples(8), None),
        (tuples(9), TOO_MANY),
        (((),) * 999, None),
        (((),) * 1000, TOO_MANY),
        ((0,) * 2000, None),
        (tuple([tuples(8)] for _ in range(4)), None),
    ],
    ids=["511", "1023", "1000", "1001", "of numbers", "in lists, which have no hash"],
)
def test_a_thousand_tuples_are_enough(value: Any, problem: str | None, tmp_path: Path) -> None:
    assert problem_of(bare(tmp_path / "x.pt", pickle.dumps(value, 2)), is_zip=False) == problem


@pytest.mark.parametrize("content", [b"", b"no pickle", STATE[:-5], b"\x80\x02h\x07."], ids=range(4))
def test_what_is_no_pickle_is_left_to_the_loader(content: bytes, tmp_path: Path) -> None:
    assert problem_of(bare(tmp_path / "x.pt", content), is_zip=False) is None
