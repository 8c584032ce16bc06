"""Several replicas of a network that train together, each in a process of its own: the parent's side.

The processes are started as a user of the framework would start them: PyTorch's by torchrun, JAX's one by one with the
address of their coordinator. Each runs `rank.py`. What they compute together goes by the engine of the
framework; questions and answers go through a socket of this process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from shared_specs import Recipe, UNetSpec
from shared_specs.errors import one_line

from ..execution import Execution
from .failures import GRACE_S, ReplicaFailure, is_stopped, place_of, signal_that_ended
from .model import GroupModel
from .starts import ADDRESS, FOLDER, KEY, port_was_taken, starts

ROOT = Path(__file__).parent.parent.parent

TIME_LIMIT_S = 600.0
"""For the answer to one question; the first step compiles."""

LOOK_EVERY_S = 0.1

__all__ = ["ReplicaFailure", "ReplicaGroup"]

LONG_PATH = 80
"""Letters of a folder for temporary files that leave no room for the name of a socket."""

Answer = dict[str, Any]


class ReplicaGroup:
    """The ranks of a group. It is a context: they are started where it is entered, and ended where it is left.

    Start it in a thread that outlives it: on Linux its processes die with the thread that started them.

    Args:
        backend: by name.
        replicas: how many.
        device: the kind of device of which each has one: "cpu" or "cuda".
        time_limit_s: for the answer to a question, unless it has another one.
        server: "module:Class" of what answers the questions, `backends.replicas.rank.Replica` or a class made of it.
        environment: what the processes have beside the environment of this one.

    Raises:
        ReplicaFailure: on entering, where a rank does not start, or cannot join the others.
    """

    def __init__(
        self,
        backend: str,
        replicas: int,
        device: str = "cpu",
        time_limit_s: float = TIME_LIMIT_S,
        server: str = "backends.replicas.rank:Replica",
        environment: Mapping[str, str] | None = None,
    ):
        self.backend, self.replicas, self.device = backend, replicas, device
        self.time_limit_s, self.server, self.environment = time_limit_s, server, dict(environment or {})
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ranks: dict[int, tuple[Connection, psutil.Process]] = {}
        self._talks: list[threading.Thread] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except ReplicaFailure as failure:
            if not port_was_taken(str(failure)):
                raise
            self._start()  # somebody took the port between our look at it and its use: on another one, once
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None and self._ranks:
                self._exchange("finish", [{}] * self.replicas, GRACE_S)
        except ReplicaFailure:
            pass  # they are ended in any case
        finally:
            self._end()

    @property
    def pids(self) -> list[int]:
        """The processes of the ranks, in order."""
        return [self._ranks[rank][1].pid for rank in range(self.replicas)]

    def build(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> GroupModel:
        """Replicas of a network, as one model. It takes the place of what was built before."""
        return GroupModel(self, spec, execution, recipe)

    def ask(
        self,
        question: str,
        of_rank: Sequence[Mapping[str, Any]] | None = None,
        time_limit_s: float | None = None,
        **arguments: Any,
    ) -> list[Any]:
        """Ask every rank the same question, and wait for all answers.

        Args:
            question: a method of the server.
            of_rank: arguments that differ from rank to rank.
            time_limit_s: for all of it, that of the group where it is None.
            arguments: those that are the same for all.

        Returns:
            The answers by rank.

        Raises:
            ReplicaFailure: naming the rank; all processes of the group are ended then.
        """
        asked = [{"question": question, **arguments, **own} for own in of_rank or [{}] * self.replicas]
        return self._exchange("ask", asked, time_limit_s or self.time_limit_s)

    # ------------------------------------------------------------------------------------------------ start and end

    def _start(self) -> None:
        # Of this user alone. The name of a socket has at most 107 letters.
        where = None if len(tempfile.gettempdir()) < LONG_PATH else "/tmp"
        self._folder = Path(tempfile.mkdtemp(prefix="tandem-", dir=where))
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end)
        key = os.urandom(32)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(self._folder / "socket"))
                server.listen(self.replicas)
                self._launch(key)
                self._accept(server, key)
            self._exchange("start", [{}] * self.replicas, self.time_limit_s)
        except BaseException:
            self._end()
            raise

    def _launch(self, key: bytes) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        shared = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            ADDRESS: str(self._folder / "socket"),
            KEY: key.hex(),
            FOLDER: str(self._folder),
            "TMPDIR": str(self._folder),  # where torchrun leaves its logs
        }
        for start in starts(self.backend, self.device, self.replicas, self.server):
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, *start.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    start_new_session=True,
                    env=shared | start.environment | self.environment,
                )
            )

    def _accept(self, server: socket.socket, key: bytes) -> None:
        """Wait for every rank to call."""
        deadline = time.monotonic() + self.time_limit_s
        while len(self._ranks) < self.replicas:
            if connection.wait([server], LOOK_EVERY_S):
                called = Connection(server.accept()[0].detach())
                with contextlib.suppress(EOFError, OSError, psutil.Error):  # it died on the way: seen below
                    connection.deliver_challenge(called, key)
                    connection.answer_challenge(called, key)
                    rank, pid = called.recv()
                    self._ranks[rank] = called, psutil.Process(pid)
            elif any(process.poll() is not None for process in self._processes):
                raise ReplicaFailure("failed", None, f"a rank of {self._name} did not start: {self._last_words()}")
            elif time.monotonic() > deadline:
                late = min(set(range(self.replicas)) - set(self._ranks))
                raise self._too_late("start", {late}, self.time_limit_s)

    def _end(self) -> None:
        """Kill every process of the group, and what it started."""
        processes = [process for _, process in self._ranks.values()]
        for started in self._processes:
            with contextlib.suppress(psutil.Error):
                found = psutil.Process(started.pid)
                processes += [found, *found.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.Error):  # it is gone
                process.kill()
        for started in self._processes:
            started.wait()
        psutil.wait_procs(processes, timeout=GRACE_S)
        for talk in self._talks:
            talk.join(GRACE_S)  # its rank is dead: it ends with the connection
        self._talks.clear()
        for called, _ in self._ranks.values():
            called.close()
        self._processes, self._ranks = [], {}
        self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------ questions and answers

    def _exchange(self, command: str, arguments: Sequence[Mapping[str, Any]], time_limit_s: float) -> list[Any]:
        """Send one message to each rank, and wait for the answers of all. A failure ends the group."""
        if not self._ranks:
            raise ReplicaFailure("failed", None, f"{self._name} are not running")
        what = str(arguments[0].get("question", command))
        arrived: queue.SimpleQueue[tuple[int, Answer | None]] = queue.SimpleQueue()
        for rank, (called, _) in self._ranks.items():
            # In threads, since what a stopped rank does not read would stop this process, too.
            message = (command, dict(arguments[rank]))
            talk = threading.Thread(target=_talk, args=(rank, called, message, arrived), daemon=True)
            self._talks.append(talk)
            talk.start()
        answers: dict[int, Answer | None] = {}
        deadline = time.monotonic() + time_limit_s
        while len(answers) < self.replicas and all(answer and answer["status"] == "ok" for answer in answers.values()):
            try:
                rank, answer = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                failure = self._too_late(what, set(self._ranks) - set(answers), time_limit_s)
                self._end()
                raise failure from None
            answers[rank] = answer
        if not all(answer and answer["status"] == "ok" for answer in answers.values()):
            failure = self._failure(what, answers, arrived)
            self._end()
            raise failure
        self._talks.clear()
        return [answer["value"] for _, answer in sorted(answers.items()) if answer]

    def _failure(self, what: str, answers: dict[int, Answer | None], arrived: queue.SimpleQueue) -> ReplicaFailure:
        """Which rank failed, and of what. Where one ends, others fail because of it, and may say so sooner."""
        deadline = time.monotonic() + GRACE_S
        while not any(answer is None for answer in answers.values()) and len(answers) < self.replicas:
            try:
                rank, answer = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            answers[rank] = answer
        ended = [rank for rank, answer in answers.items() if answer is None]
        if ended:
            return self._death(what, ended[0])
        rank, answer = next((rank, answer) for rank, answer in answers.items() if answer and answer["status"] != "ok")
        return ReplicaFailure(answer["status"], rank, f"rank {rank} of {self._name}: {answer['message']}")

    def _death(self, what: str, rank: int) -> ReplicaFailure:
        """How a rank ended, as whoever started it knows."""
        where = f"rank {rank} of {self._name}"
        name = signal_that_ended(self._ranks[rank][1].pid, self._processes, self._all_words)
        if name is not None:
            hint = "; the kernel does this where memory runs out" if name == "SIGKILL" else ""
            return ReplicaFailure("killed", rank, f"{where} was killed by {name} during {what!r}{hint}")
        return ReplicaFailure("failed", rank, f"{where} ended during {what!r}: {self._last_words()}")

    def _too_late(self, what: str, silent: set[int], time_limit_s: float) -> ReplicaFailure:
        """Which rank hangs. The others wait for it and are silent, too."""
        processes = {rank: self._ranks[rank][1] for rank in sorted(silent) if rank in self._ranks}
        stopped = [rank for rank, process in processes.items() if is_stopped(process)]
        rank = stopped[0] if stopped else min(silent)
        why = "its process is stopped"
        if not stopped:
            places = (f"rank {r} {place_of(process, self._folder / f'rank-{r}')}" for r, process in processes.items())
            why = "; ".join(places) or "it has not called"
        late = f"rank {rank} of {self._name} gave no answer to {what!r} within {time_limit_s:g} s"
        return ReplicaFailure("timed_out", rank, f"{late} ({why}); all of them were ended")

    @property
    def _name(self) -> str:
        return f"{self.replicas} replicas of {self.backend}"

    def _all_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def _last_words(self) -> str:
        """The end of what the processes wrote, in one line."""
        return one_line(self._all_words()[-600:]) or "it wrote nothing"


def _talk(rank: int, called: Connection, message: Any, arrived: queue.SimpleQueue) -> None:
    """Ask one rank; None stands for one that has closed its end."""
    try:
        called.send(message)
        arrived.put((rank, called.recv()))
    except (EOFError, OSError):
        arrived.put((rank, None))
