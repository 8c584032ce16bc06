"""What ranks answer in tests of a group: a server that joins no engine, and ways to fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from backends.replicas import ReplicaGroup

IDLE = "tests.backends.ranks:Idle"


def idle(replicas: int = 2, server: str = IDLE, time_limit_s: float = 20.0, **environment: str) -> ReplicaGroup:
    """Of the reference, which joins no engine: the server is one that needs none."""
    return ReplicaGroup("numpy_reference", replicas, "cpu", time_limit_s, server, environment)


class Idle:
    """Needs no framework, so that a group of it starts at once."""

    def __init__(self, backend: str, device: str, rank: int, replicas: int):
        self.rank, self.replicas = rank, replicas

    def place(self) -> tuple[int, int, list[int], str]:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return self.rank, self.replicas, cores, os.environ["OMP_NUM_THREADS"]

    def echo(self, value: Any) -> Any:
        return value

    def fail(self, rank: int) -> str:
        if rank == self.rank:
            raise ValueError("what\nwas wrong")
        return "well"

    def fail_and_die(self, failing: int, dying: int) -> None:
        """One dies, and another one says sooner that something is wrong: that the connection is lost, for instance."""
        if self.rank == failing:
            raise ConnectionError("connection closed by peer")
        if self.rank == dying:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)

    def leave_early(self, rank: int) -> None:
        if rank == self.rank:
            print("good bye", flush=True)
            os._exit(3)

    def sleep_on(self, rank: int, sign: str = "") -> None:
        if rank == self.rank:
            if sign:
                Path(sign).touch()
            time.sleep(600)

    def take(self, rank: int, megabytes: int, hold_s: float) -> int:
        """Hold memory for a while."""
        taken = np.ones(megabytes * 2**20 // 8) if rank == self.rank else np.empty(0)
        time.sleep(hold_s if rank == self.rank else 0)
        return taken.nbytes

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def exhaust(self) -> None:
        raise MemoryError("of this rank")

    def leave(self) -> None:
        pass


class LateForPort(Idle):
    """Says at the start that the port is taken, as often as the file has lines."""

    def __init__(self, backend: str, device: str, rank: int, replicas: int):
        super().__init__(backend, device, rank, replicas)
        path = Path(os.environ["TAKEN"])
        lines = path.read_text().splitlines()
        address = os.environ["JAX_COORDINATOR_ADDRESS"]
        if rank == 0 and len(lines) < int(os.environ["TIMES"]):
            path.write_text("\n".join([*lines, address]))
            raise RuntimeError(f"INTERNAL: Failed to add port to server: {address}")
