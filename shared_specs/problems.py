"""What pydantic found wrong with a TOML table, told in one line and in the file's own words."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from .errors import one_line

MOST_PROBLEMS = 10
"""How many problems one message lists; a file with more is mended from the top."""


def describe(error: ValidationError, values: Any, prefix: str = "") -> str:
    """One line for all that pydantic found wrong: the key (after `prefix`), what it got and what it takes."""
    problems = error.errors()
    parts = [_describe(problem, values, prefix) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        parts.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return one_line("; ".join(parts))


def _describe(problem: Any, values: Any, prefix: str) -> str:
    keys = [str(key) for key in problem["loc"]]
    key = prefix + in_file(keys, values)
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {key}; remove it"
        case "missing":
            return f"key {key} is missing; add it"
        case "union_tag_invalid":
            context = problem["ctx"]
            return f"{key}.kind: got {shorten(context['tag'])}, expected {context['expected_tags']}"
        case "union_tag_not_found":
            return f"key {key}.kind is missing; add it"
        case "value_error":  # raised by a validator of ours, whose message starts with a key
            return ".".join(filter(None, [key, str(problem["ctx"]["error"])]))
        case "model_type" | "model_attributes_type" | "dict_type":
            takes = "a table"
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
