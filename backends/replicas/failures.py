"""A rank that did not answer: which one it was, how it ended, or where it hangs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from shared_specs import TandemError
from shared_specs.errors import one_line

from .starts import WHERE

GRACE_S = 2.0
"""How long the others have to say a last word where one has failed."""


class ReplicaFailure(TandemError):
    """A rank that did not answer.

    Attributes:
        status: "killed", "timed_out", "out_of_memory" or "failed", that of the record which this becomes.
        rank: which one, as far as that can be told: the first that ended, or is stopped, or said what failed.
    """

    def __init__(self, status: str, rank: int | None, message: str):
        super().__init__(message)
        self.status, self.rank = status, rank


def signal_that_ended(pid: int, started: Sequence[subprocess.Popen[bytes]], words: Callable[[], str]) -> str | None:
    """The name of the signal that ended a process, or None where it was none.

    Args:
        pid: of a rank, which has ended.
        started: the processes that this one started: the ranks, or one that started them.
        words: all that they have written. torchrun says there how a rank of its own ended, before it ends itself.
    """
    deadline = time.monotonic() + 5 * GRACE_S
    own = [process for process in started if process.pid == pid]
    for process in own or started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(max(0.0, deadline - time.monotonic()))
            if own:
                return signal.Signals(-code).name if code < 0 else None
    said = words()
    return next((name.name for name in signal.Signals if f"({name.name}) received by PID {pid}" in said), None)


def is_stopped(process: psutil.Process) -> bool:
    """Whether somebody has stopped it, as with SIGSTOP."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def place_of(process: psutil.Process, path: Path) -> str:
    """The line that a rank is at, which it writes to its file when asked, also where it waits for others."""
    with contextlib.suppress(psutil.Error, OSError):
        process.send_signal(WHERE)
        for _ in range(10):
            time.sleep(0.1)
            frames = [line for line in path.read_text().splitlines() if line.startswith("  File")]
            if frames:
                return f"is at {one_line(frames[0])}"
    return "does not say where it is"
