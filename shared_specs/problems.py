"""What pydantic found wrong with a TOML table, told in one line and in the file's own words."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from .errors import one_line
from .expectations import Expectations, did_you_mean

MOST_PROBLEMS = 10
"""How many problems one message lists; a file with more is mended from the top."""

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "model": "a table",
    "model_attributes": "a table",
    "int_from_float": "a whole number",
}
"""Pydantic's names of types, in the words of a TOML file."""

PATTERNS = {"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "letters, digits, dots, - and _, a letter or digit first"}


def describe(error: ValidationError, values: Any, prefix: str = "", model: type[BaseModel] | None = None) -> str:
    """One line for all that pydantic found wrong: the key (after `prefix`), what it got and what it takes.

    Args:
        error: as pydantic raised it.
        values: the table.
        prefix: what stands before the keys.
        model: what the table was to be, from which misspelt keys are guessed.
    """
    expected = None if model is None else Expectations(model)
    problems, meant = error.errors(), dict[tuple[Any, ...], str]()
    for problem in problems:
        if problem["type"] == "extra_forbidden" and expected is not None:
            *place, key = problem["loc"]
            near = did_you_mean(str(key), expected.keys(place))
            meant |= {(*place, key): near} if near else {}
    misspelt = [(*place[:-1], near) for place, near in meant.items()]
    problems = [p for p in problems if not (p["type"] == "missing" and p["loc"] in misspelt)]
    lists = {p["loc"][:-1] for p in problems}  # whose wrong items pydantic does not count
    problems = [p for p in problems if not (p["type"] == "too_short" and p["loc"] in lists)]
    parts = [_describe(problem, values, prefix, expected, meant) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        parts.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return one_line("; ".join(parts))


def _describe(
    problem: Any, values: Any, prefix: str, expected: Expectations | None, meant: dict[tuple[Any, ...], str]
) -> str:
    location, kind, context = problem["loc"], problem["type"], problem.get("ctx")
    key = prefix + in_file([str(part) for part in location], values)
    words = "" if expected is None else expected.words(location)
    match kind:
        case "extra_forbidden":
            return f"unknown key {key}; {f'did you mean {meant[location]}?' if location in meant else 'remove it'}"
        case "missing":
            return f"key {key} is missing; add it{words and f', {words}'}"
        case "union_tag_invalid":
            near = did_you_mean(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
            hint = f"; did you mean {near!r}?" if near else ""
            return f"{key}.kind: got {shorten(context['tag'])}, expected {context['expected_tags']}{hint}"
        case "union_tag_not_found":
            return f"key {key}.kind is missing; add it{words and ', ' + words.removeprefix('a table whose kind is ')}"
        case "value_error":  # raised by a validator of ours, whose message starts with a key
            return ".".join(filter(None, [key, str(context["error"])]))
        case "string_pattern_mismatch":
            takes = PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
        case _ if kind.removesuffix("_type") in TYPES:
            takes = words or TYPES[kind.removesuffix("_type")]
        case _:
            takes = re.sub(r"^\w+ should (be |have )?|, not \d+$| after validation(?=,|$)", "", problem["msg"])
    return f"{key}: got {shorten(problem['input'])}, expected {takes}"


def in_file(keys: list[str], values: Any) -> str:
    """The dotted key as the file has it.

    Pydantic puts the tag of a union in between, as in `norm.batch.epsilon` and `conv.kernel.axes.1`.
    """
    shown = []
    for key in keys:
        if isinstance(values, dict) and key == values.get("kind") and key not in values:
            continue
        if values is not None and not isinstance(values, dict) and not key.isdigit():
            continue
        shown.append(key if len(key) <= 60 else f"{key[:57]}...")
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list | tuple) and key.isdigit() and int(key) < len(values):
            values = values[int(key)]
        else:
            values = None
    return ".".join(shown)


def shorten(value: Any) -> str:
    """A value as an error message shows it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a table in a table in a table ...
        text = f"an unprintable {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
