"""The patterns of key maps: the arithmetic of their numbers, and what is no pattern."""

from __future__ import annotations

import pytest

from shared_specs.patterns import pattern, translated


@pytest.mark.parametrize(
    ("left", "right", "name", "key"),
    [
        ("a.{i}.*", "b.{i}.*", "b.3.weight", "a.3.weight"),
        ("a.{i}.*", "b.{i+2}.*", "b.12.weight", "a.10.weight"),
        ("a.{i}.*", "b.{i-1}.*", "b.0.weight", "a.1.weight"),
        ("a.{i}.*", "b.{5-i}.*", "b.1.weight", "a.4.weight"),
        ("a.{i}.*", "b.{2i+1}.*", "b.7.weight", "a.3.weight"),
        ("a_{i}_{4-i}.*", "b.{i}.*", "b.1.weight", "a_1_3.weight"),
        ("a{i}.x{j}.*", "b.{j}.{i}.*", "b.1.2.norm.weight", "a2.x1.norm.weight"),
        ("a{i}.a{i}.*", "b.{i}.*", "b.7.bias", "a7.a7.bias"),
        ("weight", "b.weight", "b.weight", "weight"),
        ("a.*", "b.{i}.*", "b.x.weight", None),  # no number
        ("a.{i}.*", "b.{i+2}.*", "b.1.weight", None),  # would be -1
        ("a.{i}.*", "b.{5-i}.*", "b.6.weight", None),
        ("a.{i}.*", "b.{2i+1}.*", "b.4.weight", None),  # even
        ("a.{i}.*", "b.{i}.{i+1}.*", "b.1.3.weight", None),  # no such i
        ("a.{i}.*", "b.{i}.*", "b.03.weight", None),  # would come back as b.3
        ("a.{i}.*", "b.{i}.*", "bx3.weight", None),  # a dot is a dot
    ],
)
def test_arithmetic(left: str, right: str, name: str, key: str | None) -> None:
    assert translated(name, right, left) == key
    if key is not None and pattern(left).numbers == pattern(right).numbers:
        assert translated(key, left, right) == name


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("weight", "weight", ({}, "")),
        ("a{i}", "a0", ({"i": 0}, "")),
        ("a{i}*", "a12b", ({"i": 12}, "b")),  # as many digits as there are
        ("a{i}.*", "a999999.b", ({"i": 999_999}, "b")),
        ("a{i}.*", "a1000000.b", None),
        ("a{12i+34}", "a58", ({"i": 2}, "")),
        ("a{i-1000}", "a5", ({"i": 1005}, "")),
        ("a{1000-i}", "a5", ({"i": 995}, "")),
        ("a{long_name}{j}b", "a12b", ({"long_name": 1, "j": 2}, "")),
        ("a{i}2b{j}2c{i}", "a12b32c1", ({"i": 1, "j": 3}, "")),
        ("a.*", "a.", None),  # there is a rest where one is to be
        ("a", "ab", None),
    ],
)
def test_what_a_name_says(text: str, name: str, found: tuple[dict[str, int], str] | None) -> None:
    assert pattern(text).match(name) == found


@pytest.mark.parametrize(
    ("text", "numbers", "has_rest"),
    [
        ("a", set(), False),
        ("a.*", set(), True),
        ("{i}.{5-j}.{2i+1}", {"i", "j"}, False),
        ("{i}*", {"i"}, True),
        ("{a}.{b}.{c}.{d}", {"a", "b", "c", "d"}, False),  # each number ends at a dot
    ],
)
def test_what_a_pattern_has(text: str, numbers: set[str], has_rest: bool) -> None:
    assert (pattern(text).numbers, pattern(text).has_rest) == (numbers, has_rest)


NUMBER = "expected for instance {i}, {i+1}, {i-1}, {2i} or {4-i}"
ENDS = "expected at most 2 numbers with a digit or a number right after them"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        *((f"a.{piece}", f"got {piece} in 'a.{piece}', {NUMBER}") for piece in ("{}", "{i*2}", "{I}", "{0i}", "{1}")),
        *((text, f"got {text!r}, expected braces in pairs") for text in ("a.{i", "a.i}", "{{i}}")),
        *((text, f"got {text!r}, expected * at the end alone") for text in ("*.a", "a.*.b", "a.**")),
        *((text, f"got {text!r}, {ENDS}") for text in ("{a}{b}{c}{d}", "{i}1{i}1{i}1", "{a}{b}{c}1.*")),
    ],
)
def test_what_is_no_pattern(text: str, refused: str) -> None:
    with pytest.raises(ValueError, match="got") as error:
        pattern(text)
    assert str(error.value) == refused
