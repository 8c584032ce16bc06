"""How the processes of a group are started: by torchrun, or one by one with the address of a coordinator."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import dataclass

from ..devices import usable_core_count

ADDRESS, KEY, FOLDER = "TANDEM_REPLICAS_ADDRESS", "TANDEM_REPLICAS_KEY", "TANDEM_REPLICAS_FOLDER"
"""The parent's socket, the secret by which both know each other, and where a rank writes where it is when asked."""

WHERE = signal.SIGUSR1
"""A rank that gets it writes down where it is, also while it waits for the others."""

RANK_MODULE, LAUNCH_MODULE = "backends.replicas.rank", "backends.replicas.launch"
"""What a rank runs, and what torchrun runs in, which starts ranks in turn."""

TORCHRUN = ("pytorch",)
"""Backends whose processes torchrun starts. Those of the others are given a coordinator's address."""

RENDEZVOUS = ("--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=127.0.0.1")
"""On this machine, on a port that torchrun finds."""


@dataclass(frozen=True)
class Start:
    """One process to start: the arguments of Python, and what it has beside the environment of its parent."""

    arguments: list[str]
    environment: dict[str, str]


def starts(backend: str, device: str, replicas: int, server: str) -> list[Start]:
    """The processes of a group; those that torchrun starts in turn are not among them."""
    shared: dict[str, str] = {}
    if device == "cpu":
        shared["OMP_NUM_THREADS"] = str(max(1, usable_core_count() // replicas))
        if sys.platform.startswith("linux"):
            shared["GLOO_SOCKET_IFNAME"] = "lo"  # else Gloo looks the machine's name up
    rank_module = ["-m", RANK_MODULE, backend, device, server]
    if backend in TORCHRUN:
        torchrun = [
            "-m",
            LAUNCH_MODULE,
            "torch.distributed.run",
            f"--nproc-per-node={replicas}",
            *RENDEZVOUS,
        ]
        return [Start([*torchrun, *rank_module], shared)]
    at = f"127.0.0.1:{free_port()}"
    shared |= {"JAX_COORDINATOR_ADDRESS": at, "JAX_COORDINATOR_BIND_ADDRESS": at, "WORLD_SIZE": str(replicas)}
    return [Start(rank_module, shared | {"RANK": str(rank)}) for rank in range(replicas)]


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def port_was_taken(message: str) -> bool:
    """Whether this is how a framework says that somebody uses the port."""
    words = ("address already in use", "failed to add port", "eaddrinuse", "no address added")
    return any(each in message.lower() for each in words)
