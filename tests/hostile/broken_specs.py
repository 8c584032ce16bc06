"""Spec files that are wrong: right ones with bytes, lines and values spoiled.

A file may come out whole after all: nobody can tell without reading it, so the tests count what was refused.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from shared_specs import UNetSpec, spec_names
from shared_specs.catalog import ZOO
from shared_specs.toml import to_toml

from ..strategies import spec_values
from ..toml_text import document, toml

REAL = {name: (ZOO / f"{name}.toml").read_text(encoding="utf-8") for name in spec_names()}

HUGE = (10**9, 10**6, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 65_536, 65_537)

HOSTILE_VALUES: tuple[Any, ...] = (
    *HUGE,
    *(-1, 0, 1, 2, 3, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), True, False),
    *("", "half", "skip", "\x00", "a\nb", "\x1b[31mred", "​", "‮evil", "é" * 300, "../../etc/passwd", "|`<b>"),
    *([], {}, [[]], [{}], [1, "a", None], [2] * 17, [10**9] * 16, [10**9, 3], [1] * 500, [[[[1]]]], {"kind": {}}),
    *({"kind": "batch"}, {"kind": "none"}, {"kind": ["batch"]}, {"kind": 10**9}, {"": 1}, {"a\nb": {"c\x1b": 1}}),
)

PATTERNS = (
    *("{i}", "{i}{j}{k}" * 8, "(a+)+$", "*" * 50, "**", "{", "}{", "{{i}}", "{i+99999}", "{0i}", "{9-i}.*", "*.{i}"),
    *("encoder.{i}.*", "decoder.{i-1}.up.*", "a.*", ".*", "\n", "{i}" * 60, "{i}1" * 40, "x{i}x{i}*", "{" * 199, ""),
)
"""Sides of key maps, some of which a search that tries everything would never end on."""


@st.composite
def broken_specs(draw: st.DrawFn) -> bytes:
    """The content of a spec file with one to three things wrong."""
    text = draw(originals())
    if draw(st.booleans()):
        values = tomllib.loads(text)
        for _ in range(draw(st.integers(1, 3))):
            draw(st.sampled_from(SPOIL_VALUES))(draw, values)
        text = document(values)
    else:
        for _ in range(draw(st.integers(1, 3))):
            text = draw(st.sampled_from(SPOIL_LINES))(draw, text)
    content = text.encode("utf-8", "surrogatepass")
    return spoil_bytes(draw, content) if draw(st.integers(0, 3)) == 0 else content


@st.composite
def originals(draw: st.DrawFn) -> str:
    """A right spec file: one of the zoo, or a random network's."""
    if draw(st.integers(0, 3)):
        return REAL[draw(st.sampled_from(sorted(REAL)))]
    values = draw(spec_values(draw(st.sampled_from([2, 3])), draw(st.integers(1, 3))))
    return to_toml(UNetSpec.model_validate(values))


# ------------------------------------------------------------------------------------------------------------ bytes


def spoil_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    start = draw(st.integers(0, len(content)))
    stop = min(len(content), start + draw(st.sampled_from([1, 1, 2, 50, 5_000])))
    within, before, after = content[start:stop], content[:start], content[stop:]
    match draw(st.sampled_from(["flip", "drop", "repeat", "insert", "cut"])):
        case "flip":
            mask = draw(st.integers(1, 255))
            return before + bytes(byte ^ mask for byte in within) + after
        case "drop":
            return before + after
        case "repeat":
            return before + within * draw(st.sampled_from([2, 3, 50])) + after
        case "insert":
            return before + draw(st.binary(min_size=1, max_size=8)) + content[start:]
        case _:
            return before


# ------------------------------------------------------------------------------------------------------------ lines


def _lines(change: Callable[[st.DrawFn, list[str], int], None]) -> Callable[[st.DrawFn, str], str]:
    def spoil(draw: st.DrawFn, text: str) -> str:
        lines = text.splitlines() or [""]
        change(draw, lines, draw(st.integers(0, len(lines) - 1)))
        return "\n".join(lines)

    return spoil


def _drop(draw: st.DrawFn, lines: list[str], at: int) -> None:
    del lines[at : at + draw(st.integers(1, 5))]


def _repeat(draw: st.DrawFn, lines: list[str], at: int) -> None:
    lines.insert(draw(st.integers(0, len(lines))), lines[at])


def _swap(draw: st.DrawFn, lines: list[str], at: int) -> None:
    other = draw(st.integers(0, len(lines) - 1))
    lines[at], lines[other] = lines[other], lines[at]


def _value(draw: st.DrawFn, lines: list[str], at: int) -> None:
    key = lines[at].partition("=")[0].rstrip() or "key"
    lines[at] = f"{key} = {toml(draw(st.sampled_from(HOSTILE_VALUES)))}"


def _insert(draw: st.DrawFn, lines: list[str], at: int) -> None:
    lines.insert(at, draw(st.sampled_from(ODD_LINES)))


ODD_LINES = (
    *("[norm]", "[[norm]]", "[[override]]", "[override]", "[checkpoint]", "[checkpoint.keys]", "[a.b.c.d.e.f]"),
    *("part = 'encoder'", "levels = [1000000]", "colour = 1", "= 1", "key =", "[[[", '"', "'''", "\ufeff", "\x00"),
    *("a" + ".a" * 2_000 + " = 1", "widths = " + "[" * 2_000, "x = " + "9" * 5_000, "y = 0x" + "f" * 5_000),
    *("z = " + "{a=" * 500 + "1" + "}" * 500, "#" * 40_000, "in_channels = 1979-05-27T07:32:00Z", "name = 'ünet'"),
)

SPOIL_LINES = tuple(map(_lines, (_drop, _repeat, _swap, _value, _insert)))


# ----------------------------------------------------------------------------------------------------------- values


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value within a table."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def _container(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        values = values[key]
    return values


def _replace(draw: st.DrawFn, values: dict[str, Any]) -> None:
    if places := _places(values):
        place = draw(st.sampled_from(places))
        _container(values, place)[place[-1]] = copy.deepcopy(draw(st.sampled_from(HOSTILE_VALUES)))


def _remove(draw: st.DrawFn, values: dict[str, Any]) -> None:
    if places := _places(values):
        place = draw(st.sampled_from(places))
        del _container(values, place)[place[-1]]


def _exchange(draw: st.DrawFn, values: dict[str, Any]) -> None:
    """Put the value of one key under another."""
    if places := _places(values):
        one, other = draw(st.sampled_from(places)), draw(st.sampled_from(places))
        value = copy.deepcopy(_container(values, one)[one[-1]])
        _container(values, other)[other[-1]] = value


def _unknown(draw: st.DrawFn, values: dict[str, Any]) -> None:
    tables = [(), *(place for place in _places(values) if isinstance(_container(values, (*place, 0)), dict))]
    table = _container(values, (*draw(st.sampled_from(tables)), 0))
    table[draw(st.sampled_from(["kind", "colour", "levels", "\n", "kernel", "é", "x" * 500]))] = 1


def _deep(draw: st.DrawFn, values: dict[str, Any]) -> None:
    nested: Any = 1
    for _ in range(draw(st.sampled_from([3, 30, 90, 300]))):
        nested = {"block": nested} if draw(st.booleans()) else [nested]
    values[draw(st.sampled_from(["norm", "up", "override", "deep_supervision"]))] = nested


def _override(draw: st.DrawFn, values: dict[str, Any]) -> None:
    override: dict[str, Any] = {"part": draw(st.sampled_from(["encoder", "decoder", "head", 3]))}
    override["levels"] = draw(st.sampled_from([[0], [0, 0], [15], [16], [-1], [10**6], [], "all", list(range(16))]))
    for table in draw(st.lists(st.sampled_from(["block", "conv", "norm", "down", "up", "merge", "residual"]))):
        of_spec = values.get(table)
        keys = sorted(of_spec) if isinstance(of_spec, dict) and of_spec else ["kind"]
        override[table] = {draw(st.sampled_from(keys)): copy.deepcopy(draw(st.sampled_from(HOSTILE_VALUES)))}
    values["override"] = [override] * draw(st.sampled_from([1, 2, 64, 65]))


def _checkpoint(draw: st.DrawFn, values: dict[str, Any]) -> None:
    sides = st.sampled_from(PATTERNS) | st.text(max_size=20)
    maps = st.dictionaries(sides, sides, max_size=4)
    values["checkpoint"] = {
        "scheme": draw(st.sampled_from(["original", "canonical", "", "a b", "\n"])),
        "keys": draw(maps),
        "aliases": draw(maps),
        "ignore": draw(st.lists(sides, max_size=3)),
    }


def _large(draw: st.DrawFn, values: dict[str, Any]) -> None:
    """As much as the schema lets through, or a little more."""
    levels = draw(st.integers(14, 17))
    values["widths"] = [draw(st.sampled_from([1, 2, 64, 65_536]))] * levels
    for key in ("middle_widths", "decoder_widths", "decoder_middle_widths"):
        values.pop(key, None)
    if isinstance(values.get("block"), dict):
        values["block"]["convolutions"] = draw(st.sampled_from([1, 2, 63, 64, 65]))
    if isinstance(values.get("conv"), dict):
        values["conv"]["padding"] = draw(st.sampled_from([0, 1, 2]))
    values["nested"] = draw(st.booleans())
    values["override"] = []


SPOIL_VALUES = (_replace, _replace, _remove, _exchange, _unknown, _deep, _override, _checkpoint, _large)
