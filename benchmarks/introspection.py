"""What the frameworks in this process say of themselves. Only those that are loaded are asked; none is imported."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from pathlib import Path

from backends.processes import usable_cores

PREFIXES = (
    "CUDA",
    "CUDNN",
    "CUBLAS",
    "GLIBC",
    "GOMP",
    "JAX",
    "KMP",
    "MALLOC",
    "MKL",
    "NCCL",
    "NPROC",
    "NVIDIA_TF32",
    "OMP",
    "ONEDNN",
)
PREFIXES += ("OPENBLAS", "ORT", "PJRT", "PYTORCH", "TORCH", "XLA")
"""Of the environment, only what can change a time is recorded."""

FOLDERS = re.compile(r"(?<![^\s:=])/(?:[^\s:/]+/)*")
"""The folders of the absolute paths in a value."""


def environment() -> dict[str, str]:
    """What can change a time. Paths come without their folders, which are of no use to whom a record is shown."""
    known = {name: value for name, value in os.environ.items() if name.startswith((*PREFIXES, "LD_PRELOAD"))}
    return {name: FOLDERS.sub("", value) for name, value in known.items()}


MAPPED_FILES = Path("/proc/self/maps")
"""Every library that this process has loaded (Linux)."""


def loaded_versions() -> dict[str, str]:
    """The version of cuDNN as it was loaded, whichever framework did; none without it.

    JAX does not say it, and may have loaded another one than PyTorch has.
    """
    try:
        paths = ["/" + line.partition("/")[2] for line in MAPPED_FILES.read_text().splitlines()]
    except OSError:
        return {}
    for path in paths:
        if path.rpartition("/")[2].startswith("libcudnn.so"):
            with contextlib.suppress(OSError, AttributeError):  # it has been replaced on disk meanwhile
                ask = ctypes.CDLL(path).cudnnGetVersion
                ask.restype = ctypes.c_size_t
                return {"cudnn": str(ask())}
    return {}


XLA_POOL = "XLAEigen"
"""In the names of the threads on which XLA computes on a CPU. It tells of their number in no other way."""


def threads() -> dict[str, int]:
    """How many threads each pool has, and how many this process runs; those of XLA are counted by name (Linux)."""
    counts = {"process": _status_field("Threads") or 0}
    torch = sys.modules.get("torch")
    if torch is not None:
        counts |= {"torch": torch.get_num_threads(), "torch_interop": torch.get_num_interop_threads()}
    if "jax" in sys.modules and (pool := sum(XLA_POOL in name for name in _thread_names())):
        counts["xla"] = pool
    if hasattr(os, "sched_getaffinity"):
        counts["usable_cores"] = len(os.sched_getaffinity(0))
    return counts


def flags() -> dict[str, str]:
    """The switches that change precision or algorithms, as they stand for the whole process."""
    found: dict[str, str] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        for engine in ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv"):
            library, _, operation = engine.partition(".")
            precision = getattr(getattr(getattr(torch.backends, library), operation), "fp32_precision", "unknown")
            found[f"torch.backends.{engine}.fp32_precision"] = str(precision)
        found["torch.backends.cudnn.benchmark"] = str(torch.backends.cudnn.benchmark)
        found["torch.backends.cudnn.deterministic"] = str(torch.backends.cudnn.deterministic)
        found["torch.backends.mkldnn.enabled"] = str(torch.backends.mkldnn.enabled)
    jax = sys.modules.get("jax")
    if jax is not None:
        for name in ("jax_default_matmul_precision", "jax_enable_x64", "jax_platforms", "jax_compilation_cache_dir"):
            found[name] = str(getattr(jax.config, name, "unknown"))
        found["jax.default_backend"] = jax.default_backend()
    return found


def memory_bytes() -> int:
    """The resident memory of this process now, in bytes (0 where the system does not say)."""
    return 1024 * (_status_field("VmRSS") or 0)


def peak_memory_bytes() -> int:
    """The largest resident memory that this process has had, in bytes.

    Linux hands `ru_maxrss` on from the parent through fork and exec, so that a worker of a large parent would
    start with the parent's peak; VmHWM belongs to the process alone.
    """
    peak = _status_field("VmHWM")
    if peak is not None:
        return 1024 * peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_device_memory_bytes(device: str) -> int | None:
    """The most that the framework's allocator gave out on a GPU, in bytes; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    index = int(device.partition(":")[2] or 0)
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if jax is not None:
        return (jax.local_devices(backend="gpu")[index].memory_stats() or {}).get("peak_bytes_in_use")
    return torch.cuda.max_memory_allocated(index) if torch is not None else None


def keep_to_cores(cores: int) -> None:
    """Keep this process to the first so many of the cores it may use (Linux); call it before threads are started."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable_cores()[:cores])


def _thread_names() -> list[str]:
    """Of this process's threads, as Linux keeps them; none where the system does not say."""
    names = []
    for name in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            names.append(name.read_text().strip())
    return names


def _status_field(name: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None
