"""The processes that time several replicas: in each rank the worker of any cell, and in the parent one that asks all.

A window begins with a step that is not timed: in it all ranks exchange their gradients, so that none begins before the
others are there. Each rank then takes the same steps by its own clock and waits for the last one. The longest time of
any rank is the window's: a step is done when all are.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast

import numpy as np

import backends
from backends.contract import Backend, Execution, Model
from backends.replicas import ReplicaFailure, ReplicaGroup
from backends.replicas.model import parts

from . import fingerprint, introspection, protocol
from .cell import Cell
from .environment import worker_environment
from .process import WorkerFailure
from .records import Ranks, Startup, Status
from .worker import Worker, awaited, settle

SERVER = f"{__name__}:ReplicaWorker"

CORES = "TANDEM_CORES"
"""In the environment of a rank: how many of its cores it keeps to."""


class RankWorker(Worker):
    """The worker of a cell, for one rank's part of the batch.

    Args:
        began_at, imported_at: when this rank began to import the framework, and had done it, by `time.monotonic`.
    """

    def __init__(
        self,
        backend: Backend,
        execution: Execution,
        rank: int,
        replicas: int,
        began_at: float,
        imported_at: float,
    ):
        self.backend, self.execution, self.rank, self.replicas = backend, execution, rank, replicas
        self.began_at, self.imported_at = began_at, imported_at

    def start(self, cell: dict[str, Any], spawned_at: float) -> protocol.Answer:
        """As of any worker. What came before is told apart: import, and joining the others until all were there."""
        answer = super().start(cell, spawned_at)
        startup = answer["startup"]
        asked_at = spawned_at + startup["start_s"]
        startup["start_s"] = self.began_at - spawned_at
        startup["import_s"] += self.imported_at - self.began_at
        startup["join_s"] = asked_at - self.imported_at
        return answer

    def _telemetry(self) -> None:
        """None: what one GPU says of itself is not what the step took."""

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.cell.batch_arrays()
        return parts(images, labels, self.replicas)[self.rank]

    def _backend(self) -> Backend:
        return self.backend

    def _build(self, backend: Backend) -> Model:
        execution = replace(self.cell.execution, device=self.execution.device)
        return backend.build_replica(self.cell.network, execution, self.cell.recipe)

    def window(self, steps: int) -> protocol.Answer:
        """As of any worker, after a step that brings the ranks together."""
        first = self.step()
        self.wait([awaited(first)])
        return super().window(steps)


class ReplicaWorker:
    """What a rank answers; all ranks are asked the same, in the same order."""

    def __init__(self, backend: str, device: str, rank: int, replicas: int):
        if CORES in os.environ:
            introspection.keep_to_cores(int(os.environ[CORES]))
        began_at = time.monotonic()
        self.backend = backends.get(backend)
        imported_at = time.monotonic()
        execution = self.backend.join_replicas(rank, replicas, Execution(device))
        self.worker = RankWorker(self.backend, execution, rank, replicas, began_at, imported_at)

    def leave(self) -> None:
        """The last question."""
        self.backend.leave_replicas()

    def timed(self, command: str, arguments: Mapping[str, Any]) -> protocol.Answer:
        """What the worker answers to a question of `benchmarks.protocol`."""
        handlers: dict[str, Callable[..., protocol.Answer]] = self.worker.handlers()
        return handlers[command](**arguments)


class GroupWorker:
    """All ranks of a cell as one worker, with the questions of `benchmarks.process.WorkerProcess`.

    Args:
        time_limit_s: for the whole life of the group; then all of it is ended, and the failure names the rank.
        memory_limit_bytes: of the resident memory of all ranks; where it is passed, likewise.
    """

    def __init__(self, cell: Cell, time_limit_s: float, memory_limit_bytes: int | None = None):
        self.cell, self.time_limit_s = cell, time_limit_s
        self.ranks = Ranks()
        environment = worker_environment(cell) | ({CORES: str(cell.cores)} if cell.cores is not None else {})
        self.spawned_at = time.monotonic()
        kind = Execution(cell.device).device_kind
        self._group = ReplicaGroup(
            cell.backend, cell.replicas, kind, time_limit_s, SERVER, environment, memory_limit_bytes
        )

    def ask(self, command: str, **arguments: Any) -> protocol.Answer:
        """Ask all ranks; times are the longest of any of them, memory the most, all else is rank 0's.

        How a rank came to its first step is told of the one that was ready last. The fingerprint that is judged is
        rank 0's, so that none may have trained otherwise.

        Raises:
            WorkerFailure: naming the rank that failed.
        """
        if command == "warm_up":
            return settle(lambda steps: max(self._windows(steps)), **arguments)
        if command == "watched_window":
            seconds = self._windows(arguments["steps"])
            self.ranks = self.ranks.model_copy(update={"window_s": (*self.ranks.window_s, tuple(seconds))})
            return {"seconds": max(seconds), "steps": arguments["steps"]}
        answers = self._all(command, arguments)
        if command == "start":
            check_alike(self.cell, [answer["fingerprint"] for answer in answers])
            return answers[0] | {"startup": last_to_be_ready([answer["startup"] for answer in answers])}
        if command == "steps":
            slowest = [max(times) for times in zip(*(answer["latencies_s"] for answer in answers), strict=True)]
            return {"latencies_s": slowest}
        if command == "finish":
            return self._finished(answers)
        return answers[0]

    def _windows(self, steps: int) -> list[float]:
        return [answer["seconds"] for answer in self._all("watched_window", {"steps": steps})]

    def _finished(self, answers: list[protocol.Answer]) -> protocol.Answer:
        memory = [answer["peak_memory_bytes"] for answer in answers]
        device_memory = [m for answer in answers if (m := answer["peak_device_memory_bytes"]) is not None]
        cores = [count for answer in answers if (count := answer["threads"].get("usable_cores")) is not None]
        self.ranks = self.ranks.model_copy(
            update={
                "peak_memory_bytes": tuple(memory),
                "peak_device_memory_bytes": tuple(device_memory),
                "usable_cores": tuple(cores),
            }
        )
        return answers[0] | {
            "peak_memory_bytes": max(memory),
            "peak_device_memory_bytes": max(device_memory, default=None),
            "finite_at_end": all(answer["finite_at_end"] for answer in answers),
            "recompilations": max(answer["recompilations"] for answer in answers),
            "ranks": self.ranks,
        }

    def _all(self, command: str, arguments: Mapping[str, Any]) -> list[protocol.Answer]:
        left_s = self.spawned_at + self.time_limit_s - time.monotonic()
        with _as_worker_failure():
            return self._group.ask("timed", time_limit_s=max(left_s, 0.001), command=command, arguments=dict(arguments))

    def __enter__(self) -> Self:
        with _as_worker_failure():
            self._group.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.__exit__(kind, error, traceback)


def check_alike(cell: Cell, fingerprints: Sequence[Mapping[str, Sequence[float]]]) -> None:
    """Raises WorkerFailure where a rank has other weights, or global statistics, than rank 0 after the same steps."""
    shared = [each for each in cell.network.tensors if each.trainable or cell.recipe.batch_statistics == "global"]
    first, *others = fingerprints
    for tensor in shared:
        name = fingerprint.after_training(tensor.name)
        for rank, other in enumerate(others, start=1):
            if not np.array_equal(first[name], other[name], equal_nan=True):
                raise WorkerFailure(
                    "not_comparable",
                    f"rank {rank} of {len(fingerprints)} replicas of {cell.backend} has another {name} than rank 0; "
                    f"run `tandem check --replicas {len(fingerprints)}` to find the first difference",
                )


def last_to_be_ready(startups: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The way of the rank that the others waited for. It is one rank's, so that its parts add up to what it took."""
    return max(startups, key=lambda startup: Startup(**startup).ready_s)


@contextlib.contextmanager
def _as_worker_failure() -> Iterator[None]:
    try:
        yield
    except ReplicaFailure as failure:
        raise WorkerFailure(cast(Status, failure.status), str(failure)) from failure
