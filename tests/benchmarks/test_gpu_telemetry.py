"""GPU telemetry against a fake NVML, whose names are compared with those of the real one."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_telemetry import (
    THROTTLE_REASONS,
    GpuReading,
    GpuTelemetry,
    GpuWindow,
    energy_per_image_j,
    telemetry,
)
from benchmarks.records import Window
from benchmarks.worker import Worker


class FakeNvml:
    """Three equal GPUs; a handle is the GPU's index, by which all that it tells differs."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self) -> None:
        self.energy_mj, self.reasons = 1_000, 0
        self.names = ["NVIDIA H200"] * 3
        self.uuids = ["GPU-aaaa-1111", "GPU-aabb-2222", "GPU-cccc-3333"]

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return self.uuids[handle]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return self.energy_mj

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 350_000

    def nvmlDeviceGetTemperatureV(self, handle: int, sensor: int) -> int:
        return [40, 41, 42][handle] + sensor

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 50

    def nvmlDeviceGetClockInfo(self, handle: int, type: int) -> int:
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 3201}[type]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self.reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return THROTTLE_REASONS["sync_boost"]

    def refuse(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        """Let these raise, as where a GPU does not support them."""

        def raises(*_: object) -> None:
            raise self.NVMLError("Not Supported")

        for name in names:
            assert hasattr(self, name)
            monkeypatch.setattr(self, name, raises)


NAMES = sorted(name for name in vars(FakeNvml) if name.lower().startswith("nvml"))

FIELDS = {
    "energy_mj": ["nvmlDeviceGetTotalEnergyConsumption"],
    "power_mw": ["nvmlDeviceGetPowerUsage"],
    "temperature_c": ["nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"],
    "throttle_reasons": ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"],
}


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return fake


def opened(device: str = "cuda") -> GpuTelemetry:
    found = telemetry(device)
    assert found is not None
    return found


def window(energy_j: float | None) -> GpuWindow:
    return GpuWindow(energy_j=energy_j, temperature_c=60, sm_clock_mhz=1980, memory_clock_mhz=3201, throttle_reasons=())


def test_a_reading_has_every_quantity(nvml: FakeNvml) -> None:
    expected = GpuReading(
        energy_mj=1_000,
        power_mw=350_000,
        temperature_c=40,
        sm_clock_mhz=1980,
        memory_clock_mhz=3201,
        throttle_reasons=(),
    )
    assert opened().read() == expected


@pytest.mark.parametrize(
    ("after_mj", "energy_j"), [(3_500, 2.5), (1_000, None), (10, None)], ids=["moved", "too coarse", "reset"]
)
def test_energy_is_the_difference_of_the_counters_in_joules(
    nvml: FakeNvml, after_mj: int, energy_j: float | None
) -> None:
    gpu = opened()
    before = gpu.read()
    nvml.energy_mj = after_mj
    assert gpu.between(before, gpu.read()).energy_j == energy_j


@pytest.mark.parametrize("when", ["before", "after"])
def test_energy_is_unknown_without_a_counter(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    gpu = opened()
    known = gpu.read()
    nvml.refuse(monkeypatch, "nvmlDeviceGetTotalEnergyConsumption")
    nvml.energy_mj = 2_000
    unknown = gpu.read()
    seen = gpu.between(unknown, known) if when == "before" else gpu.between(known, unknown)
    assert (seen.energy_j, seen.temperature_c, seen.sm_clock_mhz, seen.memory_clock_mhz) == (None, 40, 1980, 3201)


@pytest.mark.parametrize(
    ("mask", "names"),
    [(0x1 | 0x2, ()), (0x4 | 0x1, ("sw_power_cap",)), (0x1FF, tuple(THROTTLE_REASONS))],
    ids=["idle and applications clocks", "power cap", "all"],
)
def test_throttle_reasons_are_named(nvml: FakeNvml, mask: int, names: tuple[str, ...]) -> None:
    nvml.reasons = mask
    assert opened().read().throttle_reasons == names


def test_a_window_has_the_reasons_from_before_and_after(nvml: FakeNvml) -> None:
    gpu = opened()
    nvml.reasons = 0x40 | 0x4
    before = gpu.read()
    nvml.reasons = 0x8 | 0x4
    assert gpu.between(before, gpu.read()).throttle_reasons == ("sw_power_cap", "hw_slowdown", "hw_thermal_slowdown")


@pytest.mark.parametrize("field", FIELDS)
def test_an_unsupported_query_leaves_that_field_alone_unknown(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    gpu = opened()
    whole = gpu.read()
    nvml.refuse(monkeypatch, *FIELDS[field])
    assert gpu.read() == whole.model_copy(update={field: None})


def test_one_unsupported_clock_leaves_the_other(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def sm_alone(handle: int, type: int) -> int:
        if type != nvml.NVML_CLOCK_SM:
            raise nvml.NVMLError("Not Supported")
        return 1980

    monkeypatch.setattr(nvml, "nvmlDeviceGetClockInfo", sm_alone)
    reading = opened().read()
    assert (reading.sm_clock_mhz, reading.memory_clock_mhz) == (1980, None)


def test_unknown_reasons_are_not_called_none(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = opened()
    before = gpu.read()
    nvml.refuse(monkeypatch, *FIELDS["throttle_reasons"])
    assert gpu.between(before, gpu.read()).throttle_reasons is None


@pytest.mark.parametrize("old", ["driver", "nvidia-ml-py"])
def test_older_versions_are_asked_by_their_names(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    new_names = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons")
    if old == "driver":
        nvml.refuse(monkeypatch, *new_names)
    else:
        for name in new_names:
            monkeypatch.delattr(FakeNvml, name)
    reading = opened().read()
    assert (reading.temperature_c, reading.throttle_reasons) == (50, ("sync_boost",))


@pytest.mark.parametrize(
    ("visible", "device", "temperature_c"),
    [
        (None, "cuda", 40),
        (None, "cuda:2", 42),
        (None, "cuda:3", None),
        ("2,0", "cuda", 42),
        ("2, 0", "cuda:1", 40),
        ("2,0", "cuda:2", None),
        ("0,-1,1", "cuda:1", None),
        ("GPU-cccc-3333,GPU-aaaa-1111", "cuda", 42),
        ("GPU-cccc-3333,GPU-aaaa-1111", "cuda:1", 40),
        ("GPU-aab", "cuda", 41),
        ("GPU-aa", "cuda", None),
        ("GPU-dddd", "cuda", None),
        ("MIG-GPU-aaaa-1111/1/0", "cuda", None),
        ("9", "cuda", None),
        ("", "cuda", None),
        ("-1", "cuda", None),
    ],
)
def test_devices_are_numbered_as_frameworks_number_them(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, temperature_c: int | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = telemetry(device)
    assert (found and found.read().temperature_c) == temperature_c


@pytest.mark.parametrize(
    ("order", "visible", "temperature_c"),
    [(None, "1", None), ("FASTEST_FIRST", "1", None), ("PCI_BUS_ID", "1", 41), (None, "GPU-aabb", 41)],
)
def test_an_index_among_unlike_gpus_is_believed_only_in_the_order_of_the_bus(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, order: str | None, visible: str, temperature_c: int | None
) -> None:
    nvml.names[2] = "NVIDIA T4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    found = telemetry("cuda")
    assert (found and found.read().temperature_c) == temperature_c


def test_without_a_driver_there_is_none(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.refuse(monkeypatch, "nvmlInit")
    assert telemetry("cuda") is None


def test_without_nvidia_ml_py_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert telemetry("cuda") is None


def test_a_timed_window_is_read_before_and_after_and_not_within(nvml: FakeNvml) -> None:
    asked: list[str] = []

    class Telemetry(GpuTelemetry):
        def read(self) -> GpuReading:
            asked.append("NVML")
            nvml.energy_mj += 1_000
            return super().read()

    class Model:
        def synchronize(self) -> None:
            asked.append("synchronize")

    worker = Worker()
    worker.telemetry, worker.model = Telemetry("cuda"), Model()  # type: ignore[assignment]
    worker.step = lambda: asked.append("step") or {}
    timed = Window.model_validate(worker.watched_window(2))
    assert asked == ["NVML", "step", "step", "synchronize", "NVML"]
    assert timed.steps == 2 and timed.gpu is not None and timed.gpu.energy_j == 1.0
    assert None not in (timed.gpu.temperature_c, timed.gpu.sm_clock_mhz, timed.gpu.memory_clock_mhz)
    assert timed.gpu.throttle_reasons == ()
    worker.telemetry = None
    assert Window.model_validate(worker.watched_window(2)).gpu is None


def test_for_a_cpu_nvml_is_not_even_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    with pytest.raises(AssertionError, match="imported"):
        telemetry("cuda")
    assert telemetry("cpu") is None


@pytest.mark.parametrize(
    ("energies_j", "images", "expected"),
    [([2.0, 4.0], 12, 0.5), ([2.0, None], 12, None), ([], 12, None), ([2.0], 0, None), ([None], 12, None)],
    ids=["summed", "one unknown", "no windows", "no images", "all unknown"],
)
def test_energy_per_image(energies_j: list[float | None], images: int, expected: float | None) -> None:
    assert energy_per_image_j([window(energy_j) for energy_j in energies_j], images) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_real_nvml_has_what_the_fake_has(name: str) -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed; it comes with the extra `cuda`")
    theirs, ours = getattr(real, name), getattr(FakeNvml(), name)
    if name == "NVMLError":
        assert issubclass(theirs, Exception)
    elif callable(ours):
        inspect.signature(theirs).bind(*inspect.signature(ours).parameters)
    else:
        assert theirs == ours


@pytest.mark.parametrize("name", THROTTLE_REASONS)
def test_the_real_nvml_has_these_bits(name: str) -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed; it comes with the extra `cuda`")
    assert getattr(real, "nvmlClocksEventReason" + name.title().replace("_", "")) == THROTTLE_REASONS[name]
