"""`tandem compare --json`, and what `bench`, `scale` and `report` write."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from benchmarks.records import Record
from parity.envelope import Curves
from tandem.report import Check

from .base import Document, Part
from .checks import Checked


class Compared(Part):
    """What the records say of one setting: the sentence that was printed, and its numbers."""

    title: str
    phase: str
    outcome: Literal["faster", "tie", "undecided", "not_comparable", "not_timed"]
    sentence: str
    step_s: dict[str, tuple[float, ...]]
    """By backend, the seconds of a step in each process."""
    threads: str | None = None
    """One sentence where backends computed with different numbers of threads, and why; else null."""


class Reports(Part):
    """Where the report is."""

    markdown: str
    html: str | None
    """Null where plotly is not installed."""


class CompareDocument(Document):
    """Whether the builds are the same network, and which is faster here."""

    command: Literal["compare"]
    equal: bool
    folder: str
    reports: Reports
    remarks: tuple[str, ...]
    """What to beware of, such as other work on the machine."""
    comparisons: tuple[Compared, ...]
    checks: tuple[Checked, ...]
    records: tuple[Record, ...]
    """One for each process that was timed, and for each cell that its backend cannot do."""


class Point(Record):
    """A record of a sweep."""

    ns_per_pixel: float | None
    """Nanoseconds of a step for one input pixel."""


class Swept(Part):
    """One backend along the axis."""

    largest: int | None
    """The largest batch, or side in pixels, that was timed."""
    ended: str | None
    """The status of the record at which it ended; null where `--most` stopped it."""
    records: tuple[Point, ...]
    """Records with one key more, `ns_per_pixel`: the nanoseconds of a step for one input pixel."""


class ScaleDocument(Document):
    """How a step grows."""

    command: Literal["scale"]
    axis: Literal["batch", "size"]
    sweeps: tuple[Swept, ...]
    threads: tuple[str, ...] = ()
    """Where backends computed with different numbers of threads, in sentences."""


class Efficiency(Part):
    """Which part of the work of more devices is left: t1 / (k tk) in strong scaling, t1 / tk in weak scaling."""

    value: float
    low: float
    """Of its 95% interval over groups of processes."""
    high: float | Literal["Infinity"]


class DevicePoint(Part):
    """One number of devices."""

    mode: Literal["strong", "weak"]
    """Whether the batch of all devices is fixed, or that of each."""
    replicas: int
    where: str
    """Such as `2 processes of 1 core each`."""
    batch: int
    """Of all devices together."""
    step_s: tuple[float, ...]
    """Of each group of processes, the seconds of a step; empty where none was timed."""
    efficiency: Efficiency | None
    """Null for one device, and where it could not be told."""
    memory_bytes: tuple[int, ...]
    """The peak of each device, or of each process on a CPU, by rank."""


class OverDevices(Part):
    """One backend and tuning over devices."""

    title: str
    batch_statistics: Literal["global", "per_replica"]
    points: tuple[DevicePoint, ...]


class ScaleReplicasDocument(Document):
    """How a training step scales over devices; `tandem report` reads it."""

    command: Literal["scale_replicas"]
    scalings: tuple[OverDevices, ...]
    lacking: dict[str, str]
    """By backend and tuning, why it was left out."""
    records: tuple[Record, ...]


class ReportDocument(Document):
    """What a report was made of; `tandem report` reads it again."""

    command: Literal["report"]
    checks: tuple[Check, ...]
    """Of each verdict, the keys that a report shows."""
    records: tuple[Record, ...]
    remarks: tuple[str, ...] = ()
    against: tuple[Record, ...] = ()
    """Those of an earlier run or of another machine, with which `records` are compared."""
    curves: tuple[Curves, ...] = ()
    """Loss curves."""


class ExtraInfo(Part):
    """What Tandem adds to a benchmark of pytest-benchmark."""

    model_config = ConfigDict(extra="allow")

    record: Record


class Benchmark(Part):
    """One benchmark of pytest-benchmark; its other keys are explained there."""

    model_config = ConfigDict(extra="allow")

    name: str
    fullname: str
    group: str | None
    stats: dict[str, Any]
    extra_info: ExtraInfo


class BenchDocument(Part):
    """pytest-benchmark's own format, whose version is its own; a cell's record is in its `extra_info`."""

    model_config = ConfigDict(extra="allow")

    machine_info: dict[str, Any]
    commit_info: dict[str, Any]
    benchmarks: tuple[Benchmark, ...]
    not_timed: tuple[Record, ...] = ()
    """Records of cells without a time, with the reason: those that failed, and what a backend cannot do."""
    resumed: tuple[Record, ...] = ()
    """Records that an earlier run had left in `--results`, with `--resume`."""
    datetime: str
    version: str


class BenchClusterDocument(Document):
    """What the jobs of `bench --cluster` came to; `tandem report` reads it."""

    command: Literal["bench_cluster"]
    cluster: Literal["slurm", "local"]
    comparisons: tuple[Compared, ...]
    records: tuple[Record, ...]
    """One for each job that was merged, in the order of submission."""
    refused: dict[str, str]
    """By cell and replicate, why a job's record was not merged."""
