"""One rank of a group of replicas: `python -m backends.replicas.rank BACKEND DEVICE SERVER`, started by `group.py`.

It connects to its parent, joins the others by the engine of its framework, and answers questions until the parent is
gone. Rank and number of replicas are in the environment as RANK and WORLD_SIZE, where torchrun puts them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends import Execution, Model, StepResult
from shared_specs import Recipe, UNetSpec

from ..processes import describe, die_with_parent, usable_cores
from .failures import rank_file
from .starts import ADDRESS, FOLDER, KEY, WHERE


class Replica:
    """What a rank answers: each public method is a question, which all ranks are asked, each about its own images."""

    def __init__(self, backend: str, device: str, rank: int, replicas: int):
        self.rank, self.replicas = rank, replicas
        self.backend = backends.get(backend)
        self.execution = self.backend.join_replicas(rank, replicas, Execution(device))
        self.model: Model
        self.last: StepResult
        self.step: Callable[[], Any]

    def build(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> None:
        """Build the network, with the seeded initial weights."""
        self.model = self.backend.build_replica(spec, replace(execution, device=self.execution.device), recipe)

    def call(self, method: str, arguments: tuple[Any, ...] = ()) -> Any:
        """What a method of the model returns; of the other ranks nobody asks."""
        found = getattr(self.model, method)(*arguments)
        return found if self.rank == 0 else None

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.last = self.model.loss_and_gradients(images, labels)
        return self._said()

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.last = self.model.train_step(images, labels)
        return self._said()

    def _said(self) -> StepResult:
        """The gradients are the same on every rank, which `digests` shows: the first one's will do."""
        return self.last if self.rank == 0 else replace(self.last, gradients={})

    def statistics(self) -> dict[str, np.ndarray]:
        """The normalisation state of this rank."""
        return {
            tensor.name: self.model.read_tensor(tensor.name)
            for tensor in self.model.spec.tensors
            if not tensor.trainable
        }

    def digests(self) -> dict[str, dict[str, str]]:
        """Of the last step's gradients, and of weights, statistics and optimizer state: what tells any two apart."""
        weights = self.model.weights()
        trained = {tensor.name for tensor in self.model.spec.tensors if tensor.trainable}
        held = {
            "gradients": self.last.gradients,
            "weights": {name: values for name, values in weights.items() if name in trained},
            "statistics": {name: values for name, values in weights.items() if name not in trained},
            "optimizer state": self.model.optimizer_state(),
        }
        return {what: {name: _digest(values) for name, values in found.items()} for what, found in held.items()}

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray) -> None:
        """Make the program that is timed, on this rank's part of the batch, and call it once."""
        self.step = self.model.program(phase, images, labels)
        self.window(1)

    def outputs(self) -> dict[str, np.ndarray]:
        """Run the program once more; what it gives."""
        found = self.model.fetch(self.step())
        return found if self.rank == 0 else {}

    def window(self, steps: int) -> float:
        """The seconds that `steps` steps take, enqueued one after the other, with one synchronisation at the end."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.model.synchronize()
        return time.perf_counter() - start

    def leave(self) -> None:
        """The last question."""
        self.backend.leave_replicas()

    def versions(self) -> dict[str, str]:
        return self.backend.versions()


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def take_share_of_cores(rank: int, replicas: int) -> None:
    """Keep to this rank's own cores (Linux), where there are as many as ranks: else each would use all of them."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = usable_cores()
    share = len(cores) // replicas
    if share:
        os.sched_setaffinity(0, cores[rank * share : (rank + 1) * share])


def main(backend: str, device: str, server: str) -> None:
    die_with_parent()
    rank, replicas = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    key = bytes.fromhex(os.environ.pop(KEY))
    place = open(rank_file(Path(os.environ[FOLDER]), rank), "w")  # noqa: SIM115 (as long as the process)
    faulthandler.register(WHERE, place, all_threads=False)
    with Client(os.environ[ADDRESS], "AF_UNIX", authkey=key) as connection, contextlib.suppress(EOFError, OSError):
        connection.send((rank, os.getpid()))
        if device == "cpu":
            take_share_of_cores(rank, replicas)
        answers: dict[str, Callable[..., Any]] = {}

        def start() -> None:
            module, _, name = server.partition(":")
            served = getattr(importlib.import_module(module), name)(backend, device, rank, replicas)
            answers["ask"] = lambda question, **arguments: getattr(served, question)(**arguments)
            answers["finish"] = served.leave

        answers["start"] = start
        command, arguments = connection.recv()
        while True:
            connection.send(_answer(answers[command], arguments))
            if command == "finish":
                break
            command, arguments = connection.recv()
    os._exit(0)  # a framework that waits for the others at exit would wait for the dead, too


def _answer(question: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"status": "ok", "value": question(**arguments)}
    except Exception as error:
        return describe(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
