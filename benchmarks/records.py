"""What is written down of one cell and replicate: enough to doubt it."""

from __future__ import annotations

import statistics
from typing import Annotated, Literal

from pydantic import Field, computed_field

from shared_specs.json_model import JsonModel

from .cell import Cell
from .gpu_telemetry import GpuWindow, energy_per_image_j
from .machine import Machine

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning. New fields have defaults, so that older records still load."""

Status = Literal["ok", "not_comparable", "broken", "failed", "out_of_memory", "killed", "timed_out", "unsupported"]
"""A measurement is "broken" that is faster than the machine can be. What a backend cannot do at all is "unsupported",
and no failure."""

FINE = ("ok", "unsupported")
"""Nothing went wrong."""

FINAL = ("ok", "not_comparable", "out_of_memory", "unsupported")
"""What another run of the same commit would give again; a resumed run does not repeat these."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Window(JsonModel):
    """`steps` steps enqueued one after the other, one synchronisation at the end."""

    steps: Annotated[int, Field(gt=0, lt=2**63)]
    seconds: Seconds
    gpu: GpuWindow | None = None


class Startup(JsonModel):
    """The way to the first step, in seconds: interpreter, import, joining, build, putting on the device, first call.

    Replicas join each other, and wait for the last one; `join_s` is 0 where there is one device.

    Compilation lies in the program or in the first call, as the framework has it; `trace_s` and `compile_s` say how
    much of those two it was, tracing being the way from Python to the compiler's own form.
    """

    start_s: float
    import_s: float
    build_s: float
    program_s: float
    first_call_s: float
    trace_s: float = 0.0
    compile_s: float = 0.0
    join_s: float = 0.0

    @property
    def time_to_first_step_s(self) -> float:
        return self.ready_s + self.join_s + self.first_call_s

    @property
    def ready_s(self) -> float:
        """Without joining and the first call, in which replicas wait for each other."""
        return self.start_s + self.import_s + self.build_s + self.program_s


class WarmUp(JsonModel):
    """The steps before the first window, and whether their times had settled."""

    steps: Count
    seconds: float
    stable: bool
    step_s: float


class Gate(JsonModel):
    """How far the fingerprint of the timed program lies from the reference, in noise floors.

    Attributes:
        reference: the backend whose float64 values and floors judged it.
    """

    comparable: bool
    distance: float
    quantity: str
    limit: float
    reference: str = "numpy_reference"


class Ceilings(JsonModel):
    """What this machine reached in the same run and precision: the fastest product or convolution, and copy."""

    flops_per_s: Rate
    bytes_per_s: Rate
    loads: dict[str, float] = Field(default_factory=dict)

    def floor_s(self, flops: int, bytes_moved: int) -> float:
        """The least time of a step that does this work (the roofline of Williams et al. 2009, CACM 52(4))."""
        return max(flops / self.flops_per_s, bytes_moved / self.bytes_per_s)


class Ranks(JsonModel):
    """What the ranks of a group of replicas say each, in their order; the record's own figures follow from these.

    Attributes:
        window_s: of each window, the seconds by rank; the longest is the window's.
        peak_memory_bytes: of each process.
        peak_device_memory_bytes: of each GPU; empty on a CPU.
        usable_cores: of each process.
    """

    window_s: tuple[tuple[Seconds, ...], ...] = ()
    peak_memory_bytes: tuple[Count, ...] = ()
    peak_device_memory_bytes: tuple[Count, ...] = ()
    usable_cores: tuple[Count, ...] = ()


class Record(JsonModel):
    """One cell, timed or not, in one process.

    Attributes:
        status: "ok"; "not_comparable" where the gate refused it; "unsupported" where the backend cannot do it, with
            what it lacks as `message`; or how it failed, with `message`.
        flops: analytic, of one step (`shared_specs.cost`).
        bytes_moved: likewise, and the fewest possible.
        windows: raw pipelined times.
        latencies_s: raw times of single synchronised steps.
        another_network: what a peer is; it has no gate, and FLOPs and bytes are those of the spec, not its own.
        knobs: what the tuning turned.
        compilations: programs compiled up to the first step.
        recompilations: programs compiled since.
        other_work_percent: of the cores, kept busy by others just before the process started.
        commit: of the code that ran, with "+changes" and a digest of the sources where the working tree differed from
            it; without the digest where they were written to meanwhile.
        ranks: where replicas were timed; memory is then that of the rank that took most, startup of the one
            that the others waited for, all else rank 0's.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    cell: Cell
    replicate: Count
    status: Status
    message: str = ""
    gate: Gate | None = None
    windows: tuple[Window, ...] = ()
    latencies_s: tuple[Seconds, ...] = ()
    startup: Startup | None = None
    warm_up: WarmUp | None = None
    memory_after_import_bytes: Count | None = None
    peak_memory_bytes: Count | None = None
    peak_device_memory_bytes: Count | None = None
    finite_at_end: bool | None = None
    another_network: str = ""
    knobs: dict[str, str] = Field(default_factory=dict)
    compilations: Count | None = None
    recompilations: Count | None = None
    graph_breaks: Count | None = None
    other_work_percent: float | None = None
    ceilings: Ceilings | None = None
    threads: dict[str, int] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    flags: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    spec_fingerprint: str
    parameter_count: Count
    flops: Count
    bytes_moved: Count
    machine: Machine
    commit: str | None = None
    command: str = ""
    started_at: str = ""
    ranks: Ranks | None = None

    @computed_field
    @property
    def step_s(self) -> float | None:
        """Median over windows of the seconds a step took; None where nothing may be reported."""
        if self.status != "ok" or not self.windows:
            return None
        found = statistics.median(window.seconds / window.steps for window in self.windows)
        return found if found > 0 else None  # so few seconds, in a file of any origin, that their quotient is none

    @computed_field
    @property
    def images_per_s(self) -> float | None:
        return self.cell.batch / self.step_s if self.step_s else None

    @computed_field
    @property
    def flops_per_s(self) -> float | None:
        return self.flops / self.step_s if self.step_s and not self.another_network else None

    @computed_field
    @property
    def percent_of_floor(self) -> float | None:
        """How near the step comes to the least time that its work takes here; 100 is as fast as it gets."""
        if self.step_s is None or self.ceilings is None or self.another_network:
            return None
        return 100 * self.ceilings.floor_s(self.flops, self.bytes_moved) / self.step_s

    @computed_field
    @property
    def energy_per_image_j(self) -> float | None:
        """Joules of the whole GPU for one image of a step; None where it has no counter."""
        windows = [window.gpu for window in self.windows if window.gpu is not None]
        if self.status != "ok" or len(windows) < len(self.windows):
            return None
        return energy_per_image_j(windows, self.cell.batch * sum(window.steps for window in self.windows))

    @property
    def cold_startup(self) -> Startup | None:
        """The way to the first step; None where JAX took from disk what an earlier process had compiled."""
        cache = self.flags.get("jax_compilation_cache_dir", "None")
        is_off = self.environment.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("false", "0", "off", "no")
        return self.startup if cache == "None" or is_off else None

    @property
    def latency_ms(self) -> dict[str, float] | None:
        """Of single synchronised steps: median, interquartile range and 90th percentile."""
        if self.status != "ok" or len(self.latencies_s) < 2:
            return None
        low, middle, high = statistics.quantiles(self.latencies_s, n=4, method="inclusive")
        p90 = statistics.quantiles(self.latencies_s, n=10, method="inclusive")[-1]
        return {"median": 1e3 * middle, "iqr": 1e3 * (high - low), "p90": 1e3 * p90}

    @property
    def file_name(self) -> str:
        return f"{self.cell.id}-{self.cell.digest}-r{self.replicate}.json"

    @property
    def sentence(self) -> str:
        """One line for a person: the time, or why there is none."""
        if self.status == "unsupported":
            return f"{self.cell.id}: unsupported: {self.cell.backend} {self.message}"
        who = f"{self.cell.id} (process {self.replicate})"
        if self.step_s is not None:
            return f"{who}: {1e3 * self.step_s:.2f} ms a step, {self.images_per_s:.1f} images/s"
        if self.status == "not_comparable" and self.gate is not None and not self.gate.comparable:
            return (
                f"{who}: not comparable: {self.gate.quantity} lies {self.gate.distance:.3g} noise floors from the "
                f"reference, at most {self.gate.limit:g} allowed; run `tandem check` to find the first difference"
            )
        return f"{who}: {self.status.replace('_', ' ')}: {self.message}"
