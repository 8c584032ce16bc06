"""Files that are damaged at one place after the other, and what is asked of those who read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared_specs import TandemError

from .limits import limited

Weights = dict[str, np.ndarray]

GENEROUS_S = 120
"""A fence against what never ends, not a measure of speed."""


def refused(read: Callable[[], object], path: Path, more_bytes: int = 2**28) -> str:
    """The one line with which a file is refused, in little time and memory."""
    with limited(GENEROUS_S, more_bytes), pytest.raises(TandemError) as error:
        read()
    message = str(error.value)
    assert message.startswith(f"{path}"), message
    assert message.isprintable() and len(message) < 5_000
    return message


def assert_refused_or_the_same(
    read: Callable[[], Weights], path: Path, weights: Weights, more_bytes: int = 2**28
) -> bool:
    """Whether the file was refused. A damage that changes a value and is not noticed fails the test."""
    try:
        with limited(GENEROUS_S, more_bytes):
            found = read()
    except TandemError as error:
        told = str(error)
        assert told.startswith(f"{path}") and told.isprintable(), told
        return True
    assert {name: values.tobytes() for name, values in found.items()} == {
        name: values.tobytes() for name, values in weights.items()
    }
    return False


def flipped(content: bytes, bits: range) -> Iterator[bytes]:
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def around(places: list[int], end: int) -> list[int]:
    return sorted({cut for place in places for cut in (place - 1, place, place + 1) if 0 <= cut < end})
