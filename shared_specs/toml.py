"""A spec as the text of a TOML file, to be read again by `UNetSpec.from_toml`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .schema import UNetSpec


def to_toml(spec: UNetSpec) -> str:
    """The spec, with what it says about checkpoints; what is absent or at its default is left out."""
    values = spec.model_dump(mode="json", exclude_defaults=True)  # what may be absent is None by default
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if not _is_table(value)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", *table(key, value, inline=key != "checkpoint")]
        elif _is_table(value):
            for each in value:
                lines += ["", *table(key, each, array=True)]
    return "\n".join(lines) + "\n"


def table(name: str, values: Mapping[str, Any], array: bool = False, inline: bool = True) -> list[str]:
    """The lines of one table; those within it are written on one line each, or as tables of their own."""
    lines = [f"[[{name}]]" if array else f"[{name}]"]
    below = [key for key, value in values.items() if isinstance(value, Mapping) and not inline]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items() if key not in below]
    for key in below:
        lines += ["", *table(f"{name}.{_key(key)}", values[key])]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(item, Mapping) for item in value))


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML takes no bare DEL
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
        case _:
            return repr(value)
