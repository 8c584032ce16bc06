"""What a key of a TOML table takes, in plain words, and which keys a table has: read from the schema itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

Node = Mapping[str, Any]
"""A part of a JSON schema, as pydantic writes it."""

LARGEST = 65_536
"""The bound that only a slip of the pen crosses, which is not worth a word."""

PLAIN = {"integer": "whole number", "number": "number", "string": "text", "object": "table", "array": "list"}
BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "of at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
}


class Expectations:
    """What a table takes at each place.

    Args:
        model: the table.
    """

    def __init__(self, model: type[BaseModel]):
        self.root: Node = _schema(model)

    def at(self, location: Sequence[str | int]) -> Node | None:
        """The part of the schema at pydantic's `loc` of a problem; None where the schema knows no such place."""
        node: Node = self.root
        for key in location:
            node = self._within(node)
            choices = self._choices(node)
            if isinstance(key, int):
                lists = [choice for choice in [node, *choices] if "items" in choice]
                if not lists:
                    return None
                node = lists[0]["items"]
            elif key in node.get("discriminator", {}).get("mapping", {}):  # the tag of a union
                node = {"$ref": node["discriminator"]["mapping"][key]}
            elif key in node.get("properties", {}):
                node = node["properties"][key]
            elif not choices:  # of a union whose members have no tables, the tag says nothing more
                return None
        return self._within(node)

    def keys(self, location: Sequence[str | int]) -> list[str]:
        """The keys of the table at a place; none where it is no table, or takes any keys."""
        return list((self.at(location) or {}).get("properties", ()))

    def words(self, location: Sequence[str | int]) -> str:
        """What a place takes; "" where that is not known."""
        node = self.at(location)
        return "" if node is None else self._words(node)

    def _within(self, node: Node) -> Node:
        """The part that a reference stands for, and that is not "or nothing"."""
        while "$ref" in node:
            node = self.root["$defs"][node["$ref"].rpartition("/")[2]]
        choices = self._choices(node)
        return self._within(choices[0]) if len(choices) == 1 else node

    def _choices(self, node: Node) -> list[Node]:
        return [choice for choice in node.get("oneOf", node.get("anyOf", ())) if choice.get("type") != "null"]

    def _words(self, node: Node) -> str:
        node = self._within(node)
        if "discriminator" in node:
            kinds = [repr(kind) for kind in self._kinds(node)]
            return f"a table whose {node['discriminator']['propertyName']} is {either(kinds)}"
        if choices := self._choices(node):
            return either(dict.fromkeys(map(self._words, choices)))
        if "enum" in node or "const" in node:
            return either([repr(value) for value in node.get("enum", [node.get("const")])])
        match node.get("type"):
            case "boolean":
                return "true or false"
            case "array":
                return f"a list of {self._plural(node['items'])}"
            case "string":
                return "text"
            case "object" if "required" in node:
                return f"a table with {', '.join(node['required'])}"
            case str(kind):
                return f"a {PLAIN[kind]}{_bounds(node)}"
            case _:
                return ""

    def _plural(self, node: Node) -> str:
        node = self._within(node)
        kind = node.get("type")
        return f"{PLAIN[kind]}s{_bounds(node)}" if kind in PLAIN and "enum" not in node else self._words(node)

    def _kinds(self, node: Node) -> list[str]:
        """In the order in which the tables stand in the schema."""
        tables = {target: tag for tag, target in node["discriminator"]["mapping"].items()}
        return [tables[choice["$ref"]] for choice in node["oneOf"]]


@cache
def _schema(model: type[BaseModel]) -> Node:
    return model.model_json_schema()


def _bounds(node: Node) -> str:
    if "minimum" in node and node.get("maximum", LARGEST) != LARGEST:
        return f" from {node['minimum']:g} to {node['maximum']:g}"
    parts = [f"{words} {node[key]:g}" for key, words in BOUNDS.items() if node.get(key, LARGEST) != LARGEST]
    return f" {' and '.join(parts)}" if parts else ""


def either(words: Iterable[str]) -> str:
    """One, or "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """The nearest of the known words; "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=most)
    return either(near) if near else ""
