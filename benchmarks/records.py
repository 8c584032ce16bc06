"""What is written down of one cell and replicate: enough to doubt it, in one JSON file, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from shared_specs import TandemError
from shared_specs.files import write_atomically
from shared_specs.problems import describe, shorten

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


class RecordError(TandemError):
    """A file that holds no record, or one of another version."""


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Part(BaseModel):
    # JSON has no infinity, and a fingerprint of NaN lies infinitely far away.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Window(Part):
    """`steps` steps enqueued one after the other, one synchronisation at the end."""

    steps: Annotated[int, Field(gt=0, lt=2**63)]
    seconds: Seconds
    gpu: GpuWindow | None = None


class Startup(Part):
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


class WarmUp(Part):
    """The steps before the first window, and whether their times had settled."""

    steps: Count
    seconds: float
    stable: bool
    step_s: float


class Gate(Part):
    """How far the fingerprint of the timed program lies from the reference, in noise floors.

    Attributes:
        reference: the backend whose float64 values and floors judged it.
    """

    comparable: bool
    distance: float
    quantity: str
    limit: float
    reference: str = "numpy_reference"


class Ceilings(Part):
    """What this machine reached in the same run and precision: the fastest product or convolution, and copy."""

    flops_per_s: Rate
    bytes_per_s: Rate
    loads: dict[str, float] = {}

    def floor_s(self, flops: int, bytes_moved: int) -> float:
        """The least time of a step that does this work (the roofline of Williams et al. 2009, CACM 52(4))."""
        return max(flops / self.flops_per_s, bytes_moved / self.bytes_per_s)


class Ranks(Part):
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


class Record(Part):
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
        commit: of the code that ran, with "+changes" where the working tree differed from it.
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
    knobs: dict[str, str] = {}
    compilations: Count | None = None
    recompilations: Count | None = None
    graph_breaks: Count | None = None
    other_work_percent: float | None = None
    ceilings: Ceilings | None = None
    threads: dict[str, int] = {}
    versions: dict[str, str] = {}
    flags: dict[str, str] = {}
    environment: dict[str, str] = {}
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

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, values: Any) -> Any:
        """Figures that follow from the raw times stand in the file for readers; they are computed again."""
        return {k: v for k, v in values.items() if k not in COMPUTED} if isinstance(values, dict) else values

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for pytest-benchmark's extra_info."""
        return json.loads(self.model_dump_json())


COMPUTED = ("step_s", "images_per_s", "flops_per_s", "percent_of_floor", "energy_per_image_j")


def check_folder(folder: Path) -> None:
    """Fail before anything is measured where `save_record` could not write here; makes nothing. Raises TandemError."""
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise TandemError(f"{folder}: cannot be written; name a writable folder for the results")


STARTED_AT_S = time.time()
"""When this process began: a record that another process has written since then is of a run beside this one."""

_OURS: set[Path] = set()
"""What this process has written, and may measure again."""


def save_record(record: Record, folder: Path, column: str = "") -> Path:
    """Write one record to its own file in a folder, which is made if need be. Raises TandemError.

    It takes the place of what an earlier run measured, and stands beside what a run at the same time measures.

    Args:
        column: goes into the file's name, where records of one cell from several machines or commits are kept.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TandemError(f"{folder}: cannot be made ({error.strerror}); name a writable folder") from error
    with _locked(folder):
        name = record.file_name.removesuffix(".json") + (f"-{column}" if column else "")
        path, number = folder / f"{name}.json", 1
        while path not in _OURS and path.exists() and path.stat().st_mtime > STARTED_AT_S:
            number += 1
            path = folder / f"{name}-{number}.json"
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
    _OURS.add(path)
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. The system takes the lock from a process that ends; some network folders have none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Read records from files and folders; a file written by --benchmark-json gives all that it holds.

    Raises:
        RecordError: where a file cannot be read, is malformed, or is of another version.
    """
    chosen = [paths] if isinstance(paths, str | Path) else list(paths)
    records: list[Record] = []
    for path in map(Path, chosen):
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            records += _load_file(file)
    return records


def _load_file(path: Path) -> list[Record]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); expected a benchmark record") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: is not JSON; expected a benchmark record, measure it again") from error
    if isinstance(values, dict) and isinstance(values.get("benchmarks"), list):
        extras = [entry.get("extra_info") if isinstance(entry, dict) else None for entry in values["benchmarks"]]
        entries = [extra.get("record") for extra in extras if isinstance(extra, dict)]
        untimed = values.get("not_timed", [])
        entries += untimed if isinstance(untimed, list) else [untimed]
        return [_parse(entry, path) for entry in entries if entry is not None]
    return [_parse(values, path)]


def _parse(values: Any, path: Path) -> Record:
    if not isinstance(values, dict) or "schema_version" not in values:
        raise RecordError(f"{path}: holds no benchmark record; name files that the benchmarks wrote")
    if values["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: is of record version {shorten(values['schema_version'])}, expected {SCHEMA_VERSION}; "
            "read it with the release that wrote it, or measure again"
        )
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        raise RecordError(f"{path}: {describe(error, values)}") from error
