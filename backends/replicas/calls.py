"""How the ranks of a group call their parent and are asked: over a socket of this user, with a secret of both."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError, connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from ..processes import describe

Answer = dict[str, Any]


@dataclass(frozen=True)
class Rank:
    """A rank that has called: its number, the line to it, and its process."""

    number: int
    line: Connection
    process: psutil.Process


class Reception:
    """Where ranks call. Each is greeted in a thread, so that one that is stopped amid it holds up nobody.

    Args:
        folder: of this user alone. The name of a socket has at most 107 letters.
        replicas: how many will call.
    """

    def __init__(self, folder: Path, replicas: int):
        self.key, self.address = os.urandom(32), str(folder / "socket")
        self.threads: list[threading.Thread] = []
        self._known: queue.SimpleQueue[Rank] = queue.SimpleQueue()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.address)
        self._server.listen(replicas)

    def next(self, timeout_s: float) -> Rank | None:
        """A rank that has called and shown that it knows the secret; None where there is none within the time."""
        if connection.wait([self._server], timeout_s):
            line = Connection(self._server.accept()[0].detach())
            self.threads.append(threading.Thread(target=self._greet, args=(line,), daemon=True))
            self.threads[-1].start()
        with contextlib.suppress(queue.Empty):
            return self._known.get_nowait()
        return None

    def _greet(self, line: Connection) -> None:
        """Ends with the process that has called, if not before."""
        try:
            connection.deliver_challenge(line, self.key)
            connection.answer_challenge(line, self.key)
            number, pid = line.recv()
            self._known.put(Rank(number, line, psutil.Process(pid)))
        except (EOFError, OSError, AuthenticationError, psutil.Error):
            line.close()  # it died on the way, or is none of ours: whoever waits for the rank sees it missing

    def close(self) -> None:
        """Take no more calls, and hang up on whom nobody has asked for."""
        self._server.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._known.get_nowait().line.close()


Arrived = queue.SimpleQueue[tuple[int, Answer | None]]
"""Answers by rank; None stands for a rank that has closed its end."""


def ask_all(ranks: Sequence[Rank], messages: Sequence[Any], arrived: Arrived) -> list[threading.Thread]:
    """Send each rank its message, and let its answer arrive.

    In threads, since what a stopped rank does not read would stop this process, too. Each ends with its rank.
    """
    threads = [
        threading.Thread(target=_ask, args=(rank, message, arrived), daemon=True)
        for rank, message in zip(ranks, messages, strict=True)
    ]
    for thread in threads:
        thread.start()
    return threads


def _ask(rank: Rank, message: Any, arrived: Arrived) -> None:
    try:
        rank.line.send(message)
        arrived.put((rank.number, rank.line.recv()))
    except (EOFError, OSError):
        arrived.put((rank.number, None))
    except Exception as error:  # here, as where memory does not suffice for a copy of the message: nobody has hung
        arrived.put((rank.number, describe(error)))
