"""Every broken spec is refused in one line that names the file, the key, what it got and what it takes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_specs import SpecError, UNetSpec, load_spec
from shared_specs.catalog import ZOO
from shared_specs.resampling_tables import CHOICES
from shared_specs.schema import LARGEST_FILE_BYTES

ZOO_VALUES = tomllib.loads((ZOO / "unet_bn_crop.toml").read_text(encoding="utf-8"))
TABLES = [key for key, value in ZOO_VALUES.items() if isinstance(value, dict)]
PAPER = (ZOO / "unet_paper.toml").read_bytes()
KEYS = [
    key
    for table, value in ZOO_VALUES.items()
    for key in ([f"{table}.{leaf}" for leaf in value] if isinstance(value, dict) else [table])
]


def refusal(path: Path) -> str:
    """The message with which a file is refused, the path that it starts with removed."""
    with pytest.raises(SpecError) as error:
        UNetSpec.from_toml(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


BAD_VALUES: dict[str, list[tuple[Any, str, str]]] = {  # key: (value, got, expected)
    "name": [
        ("", "''", "letters, digits, dots, - and _, a letter or digit first"),
        ("a\nb", r"'a\nb'", "letters, digits, dots, - and _, a letter or digit first"),
        ("../up", "'../up'", "letters, digits, dots, - and _, a letter or digit first"),
        ("a" * 101, "'aaaa", "at most 100 characters"),
        (7, "7", "text"),
    ],
    "title": [(1, "1", "text")],
    "in_channels": [
        (0, "0", "greater than 0"),
        (-3, "-3", "greater than 0"),
        (10**9, "1000000000", "less than or equal to 65536"),
        (3.0, "3.0", "a whole number"),
        ("3", "'3'", "a whole number"),
        (True, "True", "a whole number"),
    ],
    "widths": [
        ([], "[]", "at least 1 item"),
        ([2] * 17, "[2, 2, 2", "at most 16 items"),
        (64, "64", "a list"),
    ],
    "block": [(3, "3", "a table")],
    "block.convolutions": [(-1, "-1", "greater than or equal to 0"), (10**6, "1000000", "less than or equal to 64")],
    "block.order": [
        ("conv", "'conv'", "a list"),
        (["conv", "activation"], "['conv', 'activation']", "each of activation, conv, norm once"),
        (["conv", "norm", "norm"], "['conv', 'norm', 'norm']", "each of activation, conv, norm once"),
    ],
    "conv.kernel": [
        (0, "0", "greater than 0"),
        (3.0, "3.0", "a whole number"),
        (True, "True", "a whole number"),
        ("3", "'3'", "a whole number"),
        ([3], "[3]", "one number or 2 as dimensions is 2"),
        ([3, 3, 3], "[3, 3, 3]", "one number or 2 as dimensions is 2"),
    ],
    "conv.stride": [(2, "2", "1 at decoder level 0; take an override for the encoder")],
    "conv.dilation": [(0, "0", "greater than 0")],
    "conv.padding": [(-1, "-1", "greater than or equal to 0"), ("same", "'same'", "a whole number")],
    "conv.padding_mode": [("constant", "'constant'", "'zeros', 'reflect', 'replicate' or 'circular'")],
    "conv.bias": [(1, "1", "true or false"), ("true", "'true'", "true or false")],
    "norm": [("batch", "'batch'", "a table")],
    "norm.kind": [
        ("weight", "'weight'", "'none', 'batch', 'instance', 'group', 'layer'"),
        (3, "'3'", "'none', 'batch', 'instance', 'group', 'layer'"),
        ("k" * 10_000, "'kkkk", "'none', 'batch'"),
    ],
    "norm.epsilon": [
        (0.0, "0.0", "greater than 0"),
        (float("nan"), "nan", "a finite number"),
        (float("inf"), "inf", "a finite number"),
        (10**400, "1000", "a number"),
        (True, "True", "a number"),
    ],
    "norm.momentum": [(1.5, "1.5", "less than or equal to 1"), (0, "0", "greater than 0")],
    "norm.running_variance": [("both", "'both'", "'unbiased' or 'biased'")],
    "activation.kind": [("swish", "'swish'", "'relu', 'leaky_relu', 'prelu', 'elu', 'gelu', 'silu'")],
    "down.kind": [("avg_pool", "'avg_pool'", "'none', 'max_pool', 'average_pool', 'conv'")],
    "down.padding": [(2, "2", "at most half of the kernel 2"), ([0, 2], "[0, 2]", "at most half of the kernel 2")],
    "down.rounding": [("ceil", "'ceil'", "'floor'")],
    "up.kind": [
        ("bilinear", "'bilinear'", "'none', 'transposed_conv', 'nearest', 'linear', 'pixel_shuffle'"),
    ],
    "up.padding": [(2, "2", "less than half of kernel + stride = 4")],
    "up.output_padding": [(2, "2", "less than the stride 2"), ([0, 3], "[0, 3]", "less than the stride 2")],
    "up.width": [("double", "'double'", "'half', 'same', 'skip' or 'decoder'")],
    "merge.kind": [("add", "'add'", "'concatenate', 'sum' or 'none'")],
    "merge.order": [(["skip", "skip"], "['skip', 'skip']", '"skip" and "upsampled", once each')],
    "merge.size_mismatch": [("resize", "'resize'", "'error', 'crop_skip', 'pad_upsampled' or 'resize_upsampled'")],
    "merge.odd_difference": [
        ("up", "'up'", "'half_to_even', 'floor' or 'all_after'"),
        (None, "none", "'half_to_even', 'floor' or 'all_after' as size_mismatch is 'crop_skip'"),
    ],
    "merge.padding_mode": [("zeros", "'zeros'", "none as size_mismatch is 'crop_skip'")],
    "merge.resize": [("nearest", "'nearest'", "none as size_mismatch is 'crop_skip'")],
    "head.kernel": [(0, "0", "greater than 0")],
    "dimensions": [(1, "1", "2 or 3"), (4, "4", "2 or 3")],
}
CASES = [
    pytest.param(key, *case, id=f"{key}-{str(case[0])[:12]!a}") for key, cases in BAD_VALUES.items() for case in cases
]


@pytest.mark.parametrize(("key", "value", "got", "expected"), CASES)
def test_bad_value_is_refused(key: str, value: Any, got: str, expected: str, spec_file: Callable[..., Path]) -> None:
    message = refusal(spec_file({key: value}, base="unet_bn_crop"))
    assert message.startswith(f"{key}: got {got}")
    assert f"expected {expected}" in message


@pytest.mark.parametrize("table", ["", *[f"{table}." for table in TABLES]])
def test_unknown_key_is_refused(table: str, spec_file: Callable[..., Path]) -> None:
    message = refusal(spec_file({f"{table}colour": 1}, base="unet_bn_crop"))
    assert message == f"unknown key {table}colour; remove it"


MISSPELT = {
    "conv.kernal": ("conv.kernel", "kernel"),
    "norm.epsilonn": ("norm.epsilon", "epsilon"),
    "up.stide": ("up.stride", "stride"),
    "merge.size_missmatch": ("merge.size_mismatch", "size_mismatch"),
    "inchannels": ("in_channels", "in_channels"),
    "heads": ("head", "head"),
}


@pytest.mark.parametrize(("key", "right", "meant"), [(key, *value) for key, value in MISSPELT.items()], ids=MISSPELT)
def test_a_misspelt_key_names_what_was_meant_and_nothing_else(
    key: str, right: str, meant: str, spec_file: Callable[..., Path]
) -> None:
    value: Any = ZOO_VALUES
    for part in right.split("."):
        value = value[part]
    message = refusal(spec_file({right: None, key: value}, base="unet_bn_crop"))
    assert message == f"unknown key {key}; did you mean {meant}?"


def test_a_misspelt_kind_names_what_was_meant(spec_file: Callable[..., Path]) -> None:
    message = refusal(spec_file({"norm.kind": "bacth"}, base="unet_bn_crop"))
    assert message.endswith("'layer'; did you mean 'batch'?")


TAKES = {
    "widths": "a list of whole numbers greater than 0",
    "dimensions": "2 or 3",
    "conv": "a table with kernel, stride, padding, padding_mode, dilation, bias",
    "conv.kernel": "a whole number greater than 0 or a list of whole numbers greater than 0",
    "conv.padding": "a whole number of at least 0 or a list of whole numbers of at least 0",
    "conv.padding_mode": "'zeros', 'reflect', 'replicate' or 'circular'",
    "conv.bias": "true or false",
    "norm": "a table whose kind is 'none', 'batch', 'instance', 'group' or 'layer'",
    "norm.kind": "'none', 'batch', 'instance', 'group' or 'layer'",
    "norm.momentum": "a number greater than 0 and at most 1",
    "block.convolutions": "a whole number from 0 to 64",
    "block.order": "a list of 'conv', 'norm', 'activation' or 'dropout'",
    "title": "text",
}


@pytest.mark.parametrize(("key", "takes"), TAKES.items(), ids=TAKES)
def test_a_missing_key_says_what_it_takes(key: str, takes: str, spec_file: Callable[..., Path]) -> None:
    assert refusal(spec_file({key: None}, base="unet_bn_crop")) == f"key {key} is missing; add it, {takes}"


WRONG_TYPES: list[Any] = [{"a": 1}, [[1]], "word", 2.5, -7, True, ["word"]]


@pytest.mark.parametrize("key", [*KEYS, "nested", "citation", "decoder_widths", "checkpoint", "override", "residual"])
@pytest.mark.parametrize("value", WRONG_TYPES, ids=str)
def test_no_word_of_the_library_is_said(key: str, value: Any, spec_file: Callable[..., Path]) -> None:
    try:
        UNetSpec.from_toml(spec_file({key: value}, base="unet_bn_crop"))
    except SpecError as error:
        words = re.sub(r"'[^']*'", "", str(error))  # what was typed
        assert not re.search(r"valid|tuple|boolean|integer|string|instance of|dictionary|pydantic", words)


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("merge.")] + TABLES)
def test_missing_key_is_refused(key: str, spec_file: Callable[..., Path]) -> None:
    message = refusal(spec_file({key: None}, base="unet_bn_crop"))
    assert message.startswith(MISSING.get(key, f"key {key} is missing; add it, "))


MISSING = {"head": "out_channels: got 10, expected the 64 of decoder.0.block.1.activation as there is no head"}


@pytest.mark.parametrize("key", ["order", "size_mismatch", "odd_difference"])
def test_what_the_kind_of_merge_needs_is_missed(key: str, spec_file: Callable[..., Path]) -> None:
    message = refusal(spec_file({f"merge.{key}": None}, base="unet_bn_crop"))
    assert message.startswith(f"merge.{key}: got none, expected {CHOICES[key]} as ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"widths": [8, 9]},
            "up.width: got 'half', expected another one as encoder.1.block.1.activation has 9 channels",
        ),
        ({"widths": [8, 0]}, "widths.1: got 0, expected greater than 0"),
        (
            {"norm": {"kind": "group", "groups": 48, "epsilon": 1e-5}},
            "norm.groups: got 48, expected a divisor of the 64 channels of encoder.0.block.0.norm",
        ),
        (
            {"norm": {"kind": "group", "groups": 8}},
            "key norm.epsilon is missing; add it, a number greater than 0",
        ),
        (
            {"norm": {"kind": "none"}},
            "block.order: got ['conv', 'norm', 'activation'], expected each of activation, conv once "
            "as norm.kind is 'none'",
        ),
        (
            {"merge.odd_difference": "floor"},
            "merge.odd_difference: got 'floor', expected none as size_mismatch is 'error'",
        ),
        (
            {"conv.kernel": 65_536},
            "widths: got a network of 13,476,439,146,548,042 parameters, expected at most 10,000,000,000; "
            "take smaller widths or kernels",
        ),
        ({"conv.kernel": 0, "conv.tiles": 1}, "conv.kernel: got 0, expected greater than 0; "
         "unknown key conv.tiles; remove it"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
def test_values_that_do_not_go_together(changes: dict, message: str, spec_file: Callable[..., Path]) -> None:
    assert refusal(spec_file(changes)) == message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name = ", "is not TOML"),
        (b"\x00\x01", "is not TOML"),
        ("name = 'é'".encode("latin-1"), "is not TOML"),
        (b"in_channels = " + b"9" * 5_000, "is not TOML"),
        (b"widths = " + b"[" * 5_000, "is not TOML"),
        (PAPER.replace(b"in_channels = 1", b"in_channels = 0x" + b"f" * 5_000), "in_channels: got an unprintable int"),
        (b"name" + b".a" * 3_000 + b" = 1", ", expected text"),
        (
            b"k" * 10_000 + b" = 1\n" + PAPER,
            "unknown key " + "k" * 57 + "...; remove it",
        ),
        (b"\n".join(b"k%d = 1" % i for i in range(1_000)), "and 1004 more"),
        (b"#" * (LARGEST_FILE_BYTES + 1), f"is larger than {LARGEST_FILE_BYTES} bytes; expected a spec file in TOML"),
    ],
    ids=["half", "binary", "latin1", "decimal", "lists", "hexadecimal", "dotted", "long_key", "many_keys", "large"],
)
def test_hostile_file_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    path.write_bytes(content)
    message = refusal(path)
    assert reason in message
    assert len(message) < 2_000


def test_what_is_not_toml_says_why(tmp_path: Path) -> None:
    path = tmp_path / "half.toml"
    path.write_text("name = ")
    with pytest.raises(tomllib.TOMLDecodeError) as reason:
        tomllib.loads("name = ")
    assert refusal(path) == f"is not TOML ({reason.value}); mend the file there"


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "largest.toml"
    path.write_bytes(PAPER + b"#" * (LARGEST_FILE_BYTES - len(PAPER)))
    assert UNetSpec.from_toml(path) == load_spec("unet_paper")


@pytest.mark.parametrize(("name", "reason"), [(".", "Is a directory"), ("absent.toml", "No such file")])
def test_unreadable_file_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / name).startswith(f"cannot be read ({reason}")


JSON_LIKE = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["kind", "batch", "conv"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from(KEYS + TABLES), JSON_LIKE, min_size=1, max_size=3))
def test_broken_specs_raise_nothing_but_spec_error(changes: dict[str, Any], spec_file: Callable[..., Path]) -> None:
    whole_tables_last = dict(sorted(changes.items(), key=lambda item: "." not in item[0]))
    path = spec_file(whole_tables_last, base="unet_bn_crop")
    try:
        spec = UNetSpec.from_toml(path)
    except SpecError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - most, not all, of these are broken
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert spec.parameter_count > 0


@given(content=st.binary(max_size=200))
def test_garbage_raises_nothing_but_spec_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(content)
    assert refusal(path)


def test_specs_are_values(spec_name: str) -> None:
    path = ZOO / f"{spec_name}.toml"
    spec, again = UNetSpec.from_toml(path), UNetSpec.from_toml(path)
    assert spec.layers  # cached on one of the two: no part of the value
    assert spec == again
    assert hash(spec) == hash(again)
    with pytest.raises(ValueError, match="frozen"):
        spec.in_channels = 4


def test_narrow_divides_the_widths_and_nothing_else(spec_name: str) -> None:
    spec = load_spec(spec_name)
    narrow = spec.narrow(8)
    assert narrow.widths == (8, 16, 32, 64, 128)
    assert narrow.model_copy(update={"widths": spec.widths}) == spec
    assert spec.narrow(1) == spec
    assert spec.widths == (64, 128, 256, 512, 1024)


@pytest.mark.parametrize("divisor", [0, -2, 3, 128])
def test_narrow_refuses_a_divisor_that_does_not_fit(divisor: int) -> None:
    with pytest.raises(SpecError, match=rf"\[64, 128, 256, 512, 1024\] cannot all be divided by {divisor};"):
        load_spec("unet_paper").narrow(divisor)


def test_narrow_refuses_what_the_narrow_spec_cannot_be(changed_spec: Callable[..., UNetSpec]) -> None:
    spec = changed_spec({"norm": {"kind": "group", "groups": 16, "epsilon": 1e-5}})
    with pytest.raises(SpecError, match=r"unet_bn_same narrow by 8: norm.groups: got 16, expected a divisor of the 8"):
        spec.narrow(8)
