"""The patterns of a key map: text with numbers that are computed from each other, and the rest of a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise


@dataclass(frozen=True)
class Pattern:
    """One side: literal text, numbers as (factor, name, offset), and None for the rest of the name."""

    parts: tuple[str | tuple[int, str, int] | None, ...]
    expression: re.Pattern[str]

    @property
    def numbers(self) -> set[str]:
        return {part[1] for part in self.parts if isinstance(part, tuple)}

    @property
    def has_rest(self) -> bool:
        return None in self.parts

    def match(self, name: str) -> tuple[dict[str, int], str] | None:
        """The numbers and the rest of a name that fits, else None."""
        found = self.expression.fullmatch(name)
        if found is None:
            return None
        texts, values, rest = iter(found.groups()), dict[str, int](), ""
        for part in self.parts:
            if isinstance(part, tuple):
                factor, number, offset = part
                value, remainder = divmod(int(next(texts)) - offset, factor)
                if remainder or value < 0 or values.setdefault(number, value) != value:
                    return None
            elif part is None:
                rest = next(texts)
        return values, rest

    def fill(self, values: Mapping[str, int], rest: str) -> str | None:
        """The name with these numbers, or None where one would be negative."""
        texts: list[str] = []
        for part in self.parts:
            if isinstance(part, tuple):
                value = part[0] * values[part[1]] + part[2]
                if value < 0:
                    return None
                texts.append(str(value))
            else:
                texts.append(rest if part is None else part)
        return "".join(texts)


NUMBER = re.compile(
    r"(?P<factor>[1-9]\d?)?(?P<name>[a-z]\w*)(?P<offset>[+-]\d{1,4})?|(?P<minuend>\d{1,4})-(?P<subtrahend>[a-z]\w*)"
)


MOST_OPEN_ENDS = 2
"""Of the numbers in a pattern, those of which the text alone does not tell where they end."""


@cache
def pattern(text: str) -> Pattern:
    """Read one side. Raises ValueError, saying what it cannot read."""
    parts: list[str | tuple[int, str, int] | None] = []
    expression = ""
    for piece in re.split(r"(\{[^{}]*\}|\*)", text):
        if piece == "*":
            parts.append(None)
            expression += "(.+)"
        elif piece.startswith("{") and piece.endswith("}"):
            number = NUMBER.fullmatch(piece[1:-1])
            if number is None:
                raise ValueError(
                    f"got {piece} in {text!r}, expected for instance {{i}}, {{i+1}}, {{i-1}}, {{2i}} or {{4-i}}"
                )
            if number["name"]:
                parts.append((int(number["factor"] or 1), number["name"], int(number["offset"] or 0)))
            else:
                parts.append((-1, number["subtrahend"], int(number["minuend"])))
            expression += "(0|[1-9][0-9]{0,5})"
        elif piece:
            if "{" in piece or "}" in piece:
                raise ValueError(f"got {text!r}, expected braces in pairs")
            parts.append(piece)
            expression += re.escape(piece)
    if None in parts[:-1]:
        raise ValueError(f"got {text!r}, expected * at the end alone")
    # Elsewhere a number ends where the digits do. Here a search may have to try every length, all of them together.
    open_ends = [a for a, b in pairwise(parts) if isinstance(a, tuple) and (isinstance(b, tuple) or _is_digit(b))]
    if len(open_ends) > MOST_OPEN_ENDS:
        raise ValueError(
            f"got {text!r}, expected at most {MOST_OPEN_ENDS} numbers with a digit or a number right after them"
        )
    return Pattern(tuple(parts), re.compile(expression))


def _is_digit(part: str | None) -> bool:
    return part is not None and part[0].isdecimal()


def translated(name: str, source: str, target: str) -> str | None:
    """A name that fits one pattern, in the words of the other."""
    found = pattern(source).match(name)
    return None if found is None else pattern(target).fill(*found)
