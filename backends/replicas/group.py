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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from shared_specs import Recipe, UNetSpec
from shared_specs.errors import one_line

from ..execution import Execution
from ..processes import free_memory_limit_bytes
from .calls import Answer, Arrived, Rank, Reception, ask_all
from .failures import GRACE_S, ReplicaFailure, out_of_memory, ranks_among, signal_that_ended, too_late
from .model import GroupModel
from .starts import ADDRESS, FOLDER, KEY, port_was_taken, starts

ROOT = Path(__file__).parent.parent.parent

TIME_LIMIT_S = 600.0
"""For the answer to one question; the first step compiles."""

LOOK_EVERY_S = 0.1

__all__ = ["ReplicaFailure", "ReplicaGroup"]

LONG_PATH = 80
"""Letters of a folder for temporary files that leave no room for the name of a socket."""


class ReplicaGroup:
    """The ranks of a group. It is a context: they are started where it is entered, and ended where it is left.

    Start it in a thread that outlives it: on Linux its processes die with the thread that started them.

    Args:
        backend: by name.
        replicas: how many.
        device: the kind of device of which each has one: "cpu" or "cuda".
        time_limit_s: for the start, and for the answer to a question, unless it has another one.
        server: "module:Class" of what answers the questions, `backends.replicas.rank.Replica` or a class made of it.
        environment: what the processes have beside the environment of this one.
        memory_limit_bytes: of the resident memory of all ranks together, by default most of what is free now. Where it
            is passed the group is ended as out of memory, before the kernel ends it or something else.

    Raises:
        ReplicaFailure: on entering, where a rank does not start in time, or cannot join the others.
    """

    def __init__(
        self,
        backend: str,
        replicas: int,
        device: str = "cpu",
        time_limit_s: float = TIME_LIMIT_S,
        server: str = "backends.replicas.rank:Replica",
        environment: Mapping[str, str] | None = None,
        memory_limit_bytes: int | None = None,
    ):
        self.backend, self.replicas, self.device = backend, replicas, device
        self.time_limit_s, self.server, self.environment = time_limit_s, server, dict(environment or {})
        self.memory_limit_bytes = memory_limit_bytes or free_memory_limit_bytes()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ranks: dict[int, Rank] = {}
        self._talks: list[threading.Thread] = []

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self.time_limit_s
        try:
            self._start(deadline)
        except ReplicaFailure as failure:
            if not port_was_taken(str(failure)):
                raise
            self._start(deadline)  # somebody took the port between our look at it and its use: on another one, once
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None and self._ranks:
                self._exchange("finish", "finish", [{}] * self.replicas, GRACE_S)
        except ReplicaFailure:
            pass  # they are ended in any case
        finally:
            self._end()

    @property
    def pids(self) -> list[int]:
        """The processes of the ranks, in order."""
        return [self._ranks[rank].process.pid for rank in range(self.replicas)]

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
            arguments: those that are the same for all; where a `method` or `command` is among them, errors name it.

        Returns:
            The answers by rank.

        Raises:
            ReplicaFailure: naming the rank; all processes of the group are ended then.
        """
        asked = [{"question": question, **arguments, **own} for own in of_rank or [{}] * self.replicas]
        what = str(arguments.get("method") or arguments.get("command") or question)
        return self._exchange("ask", what, asked, time_limit_s or self.time_limit_s)

    # ------------------------------------------------------------------------------------------------ start and end

    def _start(self, deadline: float) -> None:
        # Of this user alone. The name of a socket has at most 107 letters.
        where = None if len(tempfile.gettempdir()) < LONG_PATH else "/tmp"
        self._folder = Path(tempfile.mkdtemp(prefix="tandem-", dir=where))
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end)
        try:
            reception = Reception(self._folder, self.replicas)
            self._talks = reception.threads
            with contextlib.closing(reception):
                self._launch(reception)
                self._accept(reception, deadline)
            self._exchange("start", "start", [{}] * self.replicas, self.time_limit_s, deadline)
        except BaseException:
            self._end()
            raise

    def _launch(self, reception: Reception) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        shared = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            ADDRESS: reception.address,
            KEY: reception.key.hex(),
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

    def _accept(self, reception: Reception, deadline: float) -> None:
        """Wait for every rank to call."""
        while len(self._ranks) < self.replicas:
            rank = reception.next(LOOK_EVERY_S)
            if rank is not None:
                self._ranks[rank.number] = rank
            elif ended := [number for number, process in enumerate(self._processes) if process.poll() is not None]:
                number = ended[0] if len(self._processes) == self.replicas else None  # torchrun's do not say
                who = "a rank" if number is None else f"rank {number}"
                raise ReplicaFailure("failed", number, f"{who} of {self._name} did not start: {self._last_words()}")
            elif time.monotonic() > deadline:
                found = ranks_among(self._processes)
                silent = {number: found.get(number) for number in range(self.replicas) if number not in self._ranks}
                raise too_late(self._name, "start", silent, self.time_limit_s, self._folder)

    def _end(self) -> None:
        """Kill every process of the group, and what it started."""
        processes = [rank.process for rank in self._ranks.values()]
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
        for rank in self._ranks.values():
            rank.line.close()
        self._processes, self._ranks, self._talks = [], {}, []
        self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------ questions and answers

    def _exchange(
        self,
        command: str,
        what: str,
        arguments: Sequence[Mapping[str, Any]],
        time_limit_s: float,
        deadline: float | None = None,
    ) -> list[Any]:
        """Send one message to each rank, and wait for the answers of all. A failure ends the group.

        Args:
            what: is asked, in an error's words.
            deadline: of the clock `time.monotonic`, where the limit has begun before.
        """
        if not self._ranks:
            raise ReplicaFailure("failed", None, f"{self._name} are not running")
        arrived: Arrived = queue.SimpleQueue()
        ranks = [self._ranks[number] for number in range(self.replicas)]
        self._talks = ask_all(ranks, [(command, dict(own)) for own in arguments], arrived)
        try:
            answers = self._answers(what, arrived, time_limit_s, deadline or time.monotonic() + time_limit_s)
        except ReplicaFailure:
            self._end()
            raise
        self._talks = []
        return [answer["value"] for _, answer in sorted(answers.items())]

    def _answers(self, what: str, arrived: Arrived, time_limit_s: float, deadline: float) -> dict[int, Answer]:
        """What each rank says. Raises ReplicaFailure where one fails, or all of them take too long or too much."""
        answers: dict[int, Answer] = {}
        while len(answers) < self.replicas:
            processes = {number: rank.process for number, rank in self._ranks.items()}
            if failure := out_of_memory(self._name, what, processes, self.memory_limit_bytes):
                raise failure
            try:
                number, answer = arrived.get(timeout=max(0.0, min(LOOK_EVERY_S, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                silent = {number: process for number, process in processes.items() if number not in answers}
                raise too_late(self._name, what, silent, time_limit_s, self._folder) from None
            if answer is None or answer["status"] != "ok":
                raise self._failure(what, {number: answer}, self.replicas - len(answers), arrived)
            answers[number] = answer
        return answers

    def _failure(self, what: str, bad: dict[int, Answer | None], missing: int, arrived: Arrived) -> ReplicaFailure:
        """Which rank failed, and of what. Where one ends, others fail because of it, and may say so sooner."""
        deadline, first = time.monotonic() + GRACE_S, min(bad)
        while None not in bad.values() and len(bad) < missing:
            try:
                number, bad[number] = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
        ended = [number for number, answer in bad.items() if answer is None]
        if ended:
            return self._death(what, ended[0])
        answer = bad[first]
        assert answer is not None
        return ReplicaFailure(answer["status"], first, f"rank {first} of {self._name}: {answer['message']}")

    def _death(self, what: str, rank: int) -> ReplicaFailure:
        """How a rank ended, as whoever started it knows."""
        where = f"rank {rank} of {self._name}"
        name = signal_that_ended(self._ranks[rank].process.pid, self._processes, self._all_words)
        if name is not None:
            hint = "; the kernel does this where memory runs out" if name == "SIGKILL" else ""
            return ReplicaFailure("killed", rank, f"{where} was killed by {name} during {what!r}{hint}")
        return ReplicaFailure("failed", rank, f"{where} ended during {what!r}: {self._last_words()}")

    @property
    def _name(self) -> str:
        return f"{self.replicas} replicas of {self.backend}"

    def _all_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def _last_words(self) -> str:
        """The end of what the processes wrote, in one line."""
        return one_line(self._all_words()[-600:]) or "it wrote nothing"
