"""The memory of a GPU, where this process is not the one that needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from parity.replicas import SPARING


@contextmanager
def sparing_the_gpu() -> Iterator[None]:
    """Keep JAX in this process from taking most of a GPU's memory, which workers and ranks are to have.

    JAX reads this when it first asks for devices, so enter it before a backend is asked anything.
    """
    before = {name: os.environ.get(name) for name in SPARING}
    for name, value in SPARING.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
