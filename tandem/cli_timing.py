"""The commands that time."""

from __future__ import annotations

from dataclasses import replace

import typer

from . import options
from . import options_of_timing as timing


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(compare)
    app.command()(bench)
    app.command()(scale)


def compare(
    specs: options.OptionalSpecs = None,
    backends: timing.Backends = None,
    phase: timing.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: timing.Precisions = None,
    tuning: timing.Tunings = None,
    device: timing.Device = None,
    replicates: timing.Replicates = 3,
    output: timing.Folder = None,
    json: options.Json = None,
    replicas: options.NoReplicas = None,
) -> None:
    """The main job: are the builds the same network, and which is faster here?

    Checks, times and reports. SPEC is unet_bn_same by default. If the builds differ, nothing is timed and the exit
    code is 1. After Ctrl-C, the command that is printed goes on where this one stopped.

    The check is on a small input, with narrow widths unless --narrow says how wide. What is timed, at the sizes asked
    for or such as suit this machine, has to pass a gate first, on its own input.
    """
    from .commands import bench, compare, replica_plans

    replica_plans.check_one_device("compare", specs or (), replicas)
    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, replicates)
    raise typer.Exit(compare.run(request, output, json))


def bench(
    specs: options.OptionalSpecs = None,
    backends: timing.Backends = None,
    phase: timing.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: timing.Precisions = None,
    tuning: timing.Tunings = None,
    device: timing.Device = None,
    replicates: timing.Replicates = 3,
    results: timing.Results = None,
    resume: timing.Resume = False,
    json: options.Json = None,
    cluster: timing.Cluster = None,
    slurm: timing.SlurmOptions = None,
    cluster_folder: timing.ClusterFolder = None,
    columns: timing.Columns = None,
    replicas: options.NoReplicas = None,
) -> None:
    """Time the backends with the pytest-benchmark suites.

    Exit code 1 if a cell could not be timed.

    Without SPEC and options: on a GPU the five classic U-Nets at real sizes, on a CPU unet_bn_same small.

    With --cluster each process is a job; its record is merged into --results when it ends.

    Its --json is that of pytest-benchmark, with our records in it; on a cluster it is our own.
    """
    from .commands import bench, bench_on_cluster, replica_plans

    replica_plans.check_one_device("bench", specs or (), replicas)
    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, replicates)
    on = bench_on_cluster.Where(cluster, slurm or (), cluster_folder, columns or ())
    if on.asked_for:
        raise typer.Exit(bench_on_cluster.run(request, on, results, resume, json))
    raise typer.Exit(bench.run(request, results, resume, json))


def scale(
    axis: timing.Axis,
    specs: options.OptionalSpecs = None,
    most: timing.Most = None,
    backends: timing.Backends = None,
    phase: timing.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: timing.Precisions = None,
    tuning: timing.Tunings = None,
    device: timing.Device = None,
    replicates: timing.GroupReplicates = None,
    batch_statistics: timing.ScaledStatistics = None,
    results: timing.Results = None,
    json: options.Json = None,
) -> None:
    """How a step grows with the batch or the size, up to where memory ends, or with replicas over devices.

    SPEC is unet_bn_same by default, the phase forward. Each point is one fresh process. With AXIS replicas the phase is
    train_step, and each point is some groups of processes, one for each device.
    """
    from .commands import bench, scale, scale_replicas

    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, 1)
    if scale.is_over_replicas(axis):
        request = replace(request, replicates=replicates or bench.Request.replicates)
        raise typer.Exit(scale_replicas.run(request, most, batch_statistics, results, json))
    scale.check_not_given(axis, {"--replicates": replicates, "--batch-statistics": batch_statistics})
    raise typer.Exit(scale.run(request, axis, most, results, json))
