"""How many devices this machine has for replicas. Loads no framework."""

from __future__ import annotations

import os


def usable_core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def too_few_for(replicas: int, device_kind: str, found: int) -> str | None:
    """Why so many replicas cannot be, in a sentence, or None: each takes a device of its own, on a CPU a core.

    Args:
        replicas: how many were asked for.
        device_kind: "cpu" or "cuda".
        found: how many cores, or devices, there are.
    """
    if replicas <= found:
        return None
    device = "core" if device_kind == "cpu" else f"{device_kind} device"
    instead = f"take {found} replicas" + (" or fewer" if found > 2 else "")
    if found < 2:
        instead = f"take a machine with more {device}s" + ("" if device_kind == "cpu" else ", or --device cpu")
    has = f"{found} {device}{'' if found == 1 else 's'}"
    return f"got {replicas} replicas, each of which takes one {device}, and this machine has {has}; {instead}"
