"""What becomes of a rank that fails: which one it was, how it ended, where it hangs, what memory it holds."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from shared_specs import TandemError
from shared_specs.errors import one_line

from .starts import LAUNCH_MODULE, RANK_MODULE, WHERE

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


def too_late(
    group: str, what: str, silent: Mapping[int, psutil.Process | None], limit_s: float, folder: Path
) -> ReplicaFailure:
    """The failure of a group of which some gave no answer in time. One hangs; the others wait for it.

    Args:
        group: what it is called.
        what: the question.
        silent: the ranks without an answer; None for one whose process is not known.
        folder: where each rank writes down where it is.
    """
    known = {rank: process for rank, process in sorted(silent.items()) if process is not None}
    stopped = [rank for rank, process in known.items() if is_stopped(process)]
    rank, why = (stopped or [min(silent)])[0], "its process is stopped"
    if not stopped:
        places = [f"rank {number} {place_of(process, rank_file(folder, number))}" for number, process in known.items()]
        why = "; ".join(places) or "it was not started"
    late = f"rank {rank} of {group} gave no answer to {what!r} within {round(limit_s, 1):g} s"
    return ReplicaFailure("timed_out", rank, f"{late} ({why}); all of them were ended")


def out_of_memory(
    group: str, what: str, ranks: Mapping[int, psutil.Process], limit_bytes: int
) -> ReplicaFailure | None:
    """The failure of a group that holds more memory than it may, which names the rank that holds most; or None."""
    held: dict[int, int] = {}
    shared: list[int] = []
    for rank, process in ranks.items():
        with contextlib.suppress(psutil.Error):  # it has just ended, which is told elsewhere
            memory = process.memory_info()
            shared.append(getattr(memory, "shared", 0))
            held[rank] = memory.rss
    # What processes share, such as a framework's libraries, is there once, and in the figure of each.
    if sum(held.values()) - sum(shared) + max(shared, default=0) <= limit_bytes:
        return None
    rank = max(held, key=lambda number: held[number])
    most, limit = (f"{count / 2**30:.1f} GiB" for count in (held[rank], limit_bytes))
    message = f"rank {rank} of {group} held {most}, and all of them more than the {limit} that were free, during"
    return ReplicaFailure("out_of_memory", rank, f"{message} {what!r}")


def ranks_among(started: Iterable[subprocess.Popen[bytes]]) -> dict[int, psutil.Process]:
    """The ranks among these processes and those that they have started, also where they have not called yet."""
    found: dict[int, psutil.Process] = {}
    for each in started:
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(each.pid)
            for process in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.Error, KeyError, ValueError):
                    words = process.cmdline()
                    if RANK_MODULE in words and LAUNCH_MODULE not in words:
                        found.setdefault(int(process.environ()["RANK"]), process)
    return found


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


def rank_file(folder: Path, rank: int) -> Path:
    """Where a rank writes down where it is when it is asked."""
    return folder / f"rank-{rank}"


def place_of(process: psutil.Process, path: Path) -> str:
    """The line that a rank is at, which it writes to its file when asked, also where it waits for others."""
    with contextlib.suppress(psutil.Error, OSError):
        if not path.exists():  # one that does not know the signal yet would die of it
            return "has not begun"
        process.send_signal(WHERE)
        for _ in range(10):
            time.sleep(0.1)
            frames = [line for line in path.read_text().splitlines() if line.startswith("  File")]
            if frames:
                return f"is at {one_line(frames[0])}"
    return "does not say where it is"
