"""Runs of the conformance suite in this process, which has the frameworks already."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from backends import registry

SUITE = str(Path(__file__).parent.parent / "backends" / "conformance")


def conform(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of `pytest` for the suite with these arguments."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([SUITE, "-q", "-s", "-p", "no:cacheprovider", *arguments])
    return int(code), said.getvalue()


def forget() -> None:
    """Let the registry look for entry points again."""
    for known in (registry._targets, registry._declared, registry.capabilities, registry.get):
        known.cache_clear()
