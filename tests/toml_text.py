"""Any values as TOML, right or wrong ones; `shared_specs.toml` writes specs alone."""

from __future__ import annotations

import json
from typing import Any


def toml(value: Any) -> str:
    """A value in TOML, tables inline; floats as Python writes them, `nan` and `inf` included."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool() | str():
            return json.dumps(value)
        case _:
            return repr(value)


def document(values: dict[str, Any]) -> str:
    """A file of these keys, a line each."""
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in values.items())
