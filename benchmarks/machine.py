"""The machine that was timed, asked without loading a framework."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backends.devices import usable_core_count
from shared_specs import TandemError

NVIDIA_SMI_LIMIT_S = 15.0
"""A driver in trouble never answers."""


class Gpu(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    memory_bytes: int
    driver: str


class Machine(BaseModel):
    """What a reader needs in order to doubt a time. No host name: records are made to be published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    logical_cores: int
    usable_cores: int  # of this process: affinity counts
    memory_bytes: Annotated[int, Field(ge=0, lt=2**63)]
    system: str
    python: str
    gpus: tuple[Gpu, ...] = ()

    @property
    def kind(self) -> Machine:
        """What it has in common with others of its type, whose memory differs by some MiB: here it has a usual size.

        That is the next of ... 48, 56, 64, 80, 96, 112, 128 ... GiB, four from each power of two to the next.
        """
        gpus = tuple(gpu.model_copy(update={"memory_bytes": _usual_size(gpu.memory_bytes)}) for gpu in self.gpus)
        return self.model_copy(update={"memory_bytes": _usual_size(self.memory_bytes), "gpus": gpus})

    def label(self, device: str) -> str:
        """A folder name for this device: `nvidia-h200`, or `intel-xeon-platinum-8370c-2-cores`."""
        if device.startswith("cuda") and self.gpus:
            number = device.partition(":")[2]
            index = int(number) if number.isdecimal() and len(number) < 10 else 0  # a file may name any device
            return _slug(self.gpus[min(index, len(self.gpus) - 1)].name)
        return _slug(f"{self.cpu} {self.usable_cores} cores")


def check_one_machine(machines: Sequence[Machine]) -> None:
    """Refuse to put times of different machines side by side. Raises TandemError, naming what differs."""
    for other in machines[1:]:
        if apart := differences(machines[0], other):
            raise TandemError(
                f"these times are of different machines ({apart}); take those of one, or give --across-machines"
            )


def differences(one: Machine, other: Machine) -> str:
    """What two machines differ in, in one line; empty where they are of one kind."""
    pairs = zip(one.kind.model_dump().items(), other.kind.model_dump().values(), strict=True)
    return "; ".join(f"{name}: {value} and {theirs}" for (name, value), theirs in pairs if value != theirs)


@cache
def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_name(),
        logical_cores=os.cpu_count() or 1,
        usable_cores=usable_core_count(),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        gpus=gpus(),
    )


def default_device() -> str:
    """ "cuda" where there is an NVIDIA GPU that this process may use, else "cpu"."""
    return "cuda" if "cuda" in devices() else "cpu"


def devices() -> list[str]:
    """What a cell may have as its device here: "cpu", and "cuda", "cuda:0" ... where there are NVIDIA GPUs."""
    count = usable_gpus(len(gpus()))
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{index}" for index in range(count))]


def usable_gpus(count: int) -> int:
    """How many of the GPUs of a machine this process may use.

    NVML and nvidia-smi count all of them, frameworks those that CUDA_VISIBLE_DEVICES lists, up to the first that there
    is not. https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html

    Args:
        count: how many there are.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not count:
        return count

    def is_there(entry: str) -> bool:
        return int(entry) < count if entry.isdecimal() else entry.startswith(("GPU-", "MIG-"))

    return len(list(takewhile(is_there, (entry.strip() for entry in visible.split(",")))))


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs by NVML, or by nvidia-smi where nvidia-ml-py is not installed; none without a driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return _gpus_by_command()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(
                name=_text(pynvml.nvmlDeviceGetName(handle)),
                memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                driver=driver,
            )
            for handle in handles
        )
    except pynvml.NVMLError:
        return _gpus_by_command()
    finally:
        pynvml.nvmlShutdown()


def _gpus_by_command() -> tuple[Gpu, ...]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_LIMIT_S, check=True).stdout
        rows = [[field.strip() for field in line.split(",")] for line in answer.splitlines() if line.strip()]
        return tuple(Gpu(name=name, memory_bytes=int(mib) * 2**20, driver=driver) for name, mib, driver in rows)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        found = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return found.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _usual_size(memory_bytes: int) -> int:
    """Memory rounded up to quarters of a power of two, as modules have it, of which firmware and kernel keep some.

    Between two such sizes there has to be a boundary. It lies 3% above the lower one, where few machines are: most
    show some percent less than a size, and some a little more.
    """
    most = memory_bytes * 100 // 103
    step = 2 ** max(0, most.bit_length() - 3)
    return -(-most // step) * step


def _slug(text: str) -> str:
    words = re.sub(r"\((r|tm)\)|\bcpu\b|@.*?ghz|processor", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")
