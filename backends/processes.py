"""What processes that Tandem starts have in common: how they end with their parent, what they say of an error,
which cores they have, and how much memory they may take."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

from shared_specs import TandemError
from shared_specs.errors import one_line

PR_SET_PDEATHSIG = 1  # prctl(2)

OUT_OF_MEMORY = ("out of memory", "out_of_memory", "resource_exhausted", "can't allocate memory", "unable to allocate")
"""How PyTorch, XLA, PyTorch's CPU allocator and NumPy say it; their exceptions share no type."""

FREE_MEMORY_SHARE = 0.9
"""Of the memory that is free: what would take more is told before it is begun, and is a record, no casualty."""


def free_memory_limit_bytes() -> int:
    """What a process that is started now, and all that it starts, may take of memory."""
    return int(FREE_MEMORY_SHARE * psutil.virtual_memory().available)


def die_with_parent() -> None:
    """Ask the kernel to kill this process with its parent (Linux). Elsewhere the end of a pipe has to say it."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def describe(error: Exception) -> dict[str, Any]:
    """An exception as an answer: the status of the record that it becomes, and one line."""
    text = one_line(str(error))
    is_ours = isinstance(error, TandemError)
    message = text if is_ours else f"{type(error).__name__}: {text}"
    memory = isinstance(error, MemoryError) or any(words in message.lower() for words in OUT_OF_MEMORY)
    return {"status": "out_of_memory" if memory and not is_ours else "failed", "message": message[:2000]}


def usable_cores() -> list[int]:
    """The cores that this process may use (Linux), those of one processor and one physical core beside each other.

    Usually core i and core i + N/2 are two threads of one: a share of the first half would get all real cores.
    """
    return sorted(os.sched_getaffinity(0), key=lambda core: (*_place(core), core))


def _place(core: int) -> tuple[int, int]:
    """(processor, physical core), as Linux says it; (0, number) where it does not."""
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        package, physical = ((topology / name).read_text() for name in ("physical_package_id", "core_id"))
        return int(package), int(physical)
    except (OSError, ValueError):
        return 0, core
