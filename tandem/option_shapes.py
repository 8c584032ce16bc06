"""The shapes that options have: one that takes text, and one that takes a whole number and says so in our words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

INPUT = "Input"
RUN = "How it is run"
OUTPUT = "What is written"
CLUSTER = "On a cluster"
"""The panels of a command's help."""

LARGEST = 2**31 - 1
"""Of counts: beyond, no array has so many elements a side, and frameworks count in 32 bits."""

Complete = Callable[[str], list[str]]


def option(*names: str, metavar: str, help: str, panel: str | None = None, complete: Complete | None = None) -> Any:
    """An option that takes text, which the command itself reads; no text at all is refused.

    Args:
        names: such as "--output", "-o".
        panel: of the help.
        complete: what the tab key offers.
    """
    return typer.Option(
        *names, metavar=metavar, help=help, rich_help_panel=panel, autocompletion=complete, parser=text(names[0])
    )


def number(
    name: str, help: str, panel: str | None = None, metavar: str = "N", least: int = 1, most: int = LARGEST
) -> Any:
    """An option that takes a whole number."""
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=panel, parser=whole_number(name, least, most))


def switch(*names: str, help: str, panel: str | None = None) -> Any:
    """An option that takes nothing."""
    return typer.Option(*names, help=help, rich_help_panel=panel)


def text(name: str) -> Callable[[str], str]:
    """What reads the value of an option, and raises TandemError where there is none, as where a variable is empty."""

    def read(given: str) -> str:
        if not given.strip():
            raise _refusal(f"{name}: got nothing; give it a value, or leave it out")
        return given

    return read


def whole_number(name: str, least: int = 1, most: int = LARGEST) -> Callable[[str | int], int]:
    """What reads the value of an option, and raises TandemError where it is no such number."""

    def read(text: str | int) -> int:
        match = re.fullmatch(r"[+-]?\d{1,40}", str(text).strip())
        value = int(match[0]) if match else None
        if value is None or value < least:
            raise _refusal(f"{name}: got {str(text)!r}, expected a whole number, at least {least}")
        if value > most:
            raise _refusal(f"{name}: got {value}, expected at most {most}")
        return value

    return read


def _refusal(message: str) -> Exception:
    from shared_specs.errors import TandemError  # here, since `tandem --help` should be quick

    return TandemError(message)
