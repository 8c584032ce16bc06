"""The environment in which a worker starts. It is the same for every backend of a comparison."""

from __future__ import annotations

import os

from .cell import Cell
from .machine import this_machine

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Memory comes in huge pages where the kernel allows it (glibc 2.35): a step's maps are then not faulted in 4 KiB at a
time. https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html"""

CPU_DEVICES = "--xla_force_host_platform_device_count"
"""How many devices XLA makes of the cores; a tuning that splits the batch gives each of them a part."""


COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
"""Nothing that an earlier process compiled is taken from disk: the second replicate starts as the first one did."""


def worker_environment(cell: Cell) -> dict[str, str]:
    """What a worker has beside the environment of its parent: no caches, and on a CPU, tuned, huge pages and devices.

    A setting that the user has made stays.
    """
    added = {name: value for name, value in COLD.items() if name not in os.environ}
    if cell.cores is not None:
        added["OMP_NUM_THREADS"] = str(cell.cores)
    if cell.tuning != "tuned" or cell.device != "cpu":
        return added
    added |= huge_pages()
    if not cell.is_alone:  # one device is one process
        return added
    if CPU_DEVICES not in os.environ.get("XLA_FLAGS", ""):
        devices = f"{CPU_DEVICES}={this_machine().usable_cores}"
        added["XLA_FLAGS"] = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), devices]))
    return added


def huge_pages() -> dict[str, str]:
    """The environment that asks for them, where the user has not."""
    if HUGE_PAGES.partition("=")[0] not in os.environ.get("GLIBC_TUNABLES", ""):
        return {"GLIBC_TUNABLES": ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES"), HUGE_PAGES]))}
    return {}
