"""What NVML says of a GPU around a timed window: energy, clocks, temperature, and whether it was slowed down.

Asked before and after a window, never within: a query takes up to milliseconds. All of it is of the whole GPU, so
that whatever else runs there is counted too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from pydantic import BaseModel, ConfigDict

THROTTLE_REASONS = {
    "sw_power_cap": 0x004,
    "hw_slowdown": 0x008,
    "sync_boost": 0x010,
    "sw_thermal_slowdown": 0x020,
    "hw_thermal_slowdown": 0x040,
    "hw_power_brake_slowdown": 0x080,
    "display_clock_setting": 0x100,
}
"""The bits of NVML's mask. It also has "GPU idle" and "applications clocks setting", which slow down no work that was
meant to be faster. Numbers, since NVML renamed its constants (ThrottleReason to EventReason) and kept their values."""


class GpuReading(BaseModel):
    """One look at a GPU; None for what it, or its driver, does not tell.

    Attributes:
        energy_mj: since the driver was loaded. The counter moves in steps, on some GPUs tens of milliseconds apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy_mj: int | None
    power_mw: int | None
    temperature_c: int | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    throttle_reasons: tuple[str, ...] | None


class GpuWindow(BaseModel):
    """What became of one timed window; None for what is not known.

    Attributes:
        energy_j: drawn within; None also where the counter did not move, being coarser than the window.
        temperature_c, sm_clock_mhz, memory_clock_mhz: just after it.
        throttle_reasons: just before or just after it; one that came and went within is not seen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy_j: float | None
    temperature_c: int | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    throttle_reasons: tuple[str, ...] | None


class GpuTelemetry:
    """NVML, opened for one device. It stays open until the process ends, which for a worker is soon.

    Args:
        device: by the name that frameworks have for it, such as "cuda" or "cuda:1".

    Raises:
        ImportError: where nvidia-ml-py is not installed.
        pynvml.NVMLError: where there is no driver.
        LookupError: where it cannot be told which GPU the device is.
    """

    def __init__(self, device: str) -> None:
        import pynvml  # pyright: ignore[reportMissingImports]

        self._nvml: Any = pynvml
        self._nvml.nvmlInit()
        self._handle = _handle(self._nvml, device)

    def read(self) -> GpuReading:
        nvml = self._nvml
        # The second name of two is for drivers and versions of nvidia-ml-py that do not have the first.
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        return GpuReading(
            energy_mj=self._ask("nvmlDeviceGetTotalEnergyConsumption"),
            power_mw=self._ask("nvmlDeviceGetPowerUsage"),
            temperature_c=self._ask(
                "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", of=nvml.NVML_TEMPERATURE_GPU
            ),
            sm_clock_mhz=self._ask("nvmlDeviceGetClockInfo", of=nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", of=nvml.NVML_CLOCK_MEM),
            throttle_reasons=None
            if reasons is None
            else tuple(name for name, bit in THROTTLE_REASONS.items() if reasons & bit),
        )

    @staticmethod
    def between(before: GpuReading, after: GpuReading) -> GpuWindow:
        return GpuWindow(
            energy_j=_energy_j(before.energy_mj, after.energy_mj),
            temperature_c=after.temperature_c,
            sm_clock_mhz=after.sm_clock_mhz,
            memory_clock_mhz=after.memory_clock_mhz,
            throttle_reasons=None
            if before.throttle_reasons is None or after.throttle_reasons is None
            else tuple(name for name in THROTTLE_REASONS if name in before.throttle_reasons + after.throttle_reasons),
        )

    def _ask(self, *names: str, of: int | None = None) -> int | None:
        """The answer of the first of these queries that gives one."""
        for name in names:
            query = getattr(self._nvml, name, None)
            if query is None:
                continue
            try:
                return query(self._handle) if of is None else query(self._handle, of)
            except self._nvml.NVMLError:  # not supported by this GPU, not known to this driver, or not allowed
                continue
        return None


def telemetry(device: str) -> GpuTelemetry | None:
    """Telemetry of a device; None for a CPU, without nvidia-ml-py or a driver, or where the GPU cannot be told."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        return GpuTelemetry(device)
    except (pynvml.NVMLError, LookupError):
        return None


def energy_per_image_j(windows: Sequence[GpuWindow], images: int) -> float | None:
    """Joules an image.

    Args:
        windows: of which the energy is summed.
        images: of all these windows together.

    Returns:
        None where the energy of any window is not known, or where there are no windows or images.
    """
    energies_j = [window.energy_j for window in windows if window.energy_j is not None]
    if not energies_j or len(energies_j) < len(windows) or not images:
        return None
    return sum(energies_j) / images


def _energy_j(before_mj: int | None, after_mj: int | None) -> float | None:
    # A counter that went back was reset: the driver was loaded again.
    if before_mj is None or after_mj is None or after_mj <= before_mj:
        return None
    return (after_mj - before_mj) / 1000


def _handle(nvml: Any, device: str) -> Any:
    """NVML's handle of a framework's device.

    CUDA_VISIBLE_DEVICES renumbers the devices of frameworks, which count only those listed and in that order, by index
    or by (the beginning of) a UUID. NVML takes no notice of it and counts all GPUs, so "cuda:0" may be NVML's third.
    See https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    entry = _visible_entry(int(device.partition(":")[2] or 0))
    if not entry.isdecimal():
        found = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(entry)]
        if len(found) != 1:
            raise LookupError(f"{device}: {len(found)} GPUs have a UUID that begins with {entry}")
        return found[0]
    # NVML orders GPUs by PCI bus, CUDA by default the fastest first. Between equal ones that is the same order; where
    # they differ, the index says nothing, and no energy is better than that of another GPU.
    by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not by_bus and len({_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}) > 1:
        raise LookupError(f"{device}: GPUs differ and CUDA_DEVICE_ORDER is not PCI_BUS_ID")
    return handles[int(entry)]


def _visible_entry(ordinal: int) -> str:
    """The index or UUID by which CUDA_VISIBLE_DEVICES names the device of this ordinal."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(ordinal)
    entries = [entry.strip() for entry in visible.split(",")]
    # CUDA ignores what stands after the first invalid entry, such as -1. Parts of a GPU ("MIG-...") have no counters.
    return list(takewhile(lambda entry: entry.isdecimal() or entry.startswith("GPU-"), entries))[ordinal]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
