"""The command line. Nothing heavy is imported here, so that `tandem --help` is quick: each command imports its own.

Exit codes: 0 is yes or done, 1 a difference was found, 2 bad input, 130 interrupted, 141 nobody reads on.
"""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .console import version
from .shell import Commands

app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tandem {version()}")
        raise typer.Exit


@app.callback()
def tandem(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The same network in every framework: proven equal, timed fairly."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(sources: options.Sources = False, json: options.Json = None) -> None:
    """The networks of the zoo and the backends that are here."""
    from .commands import zoo

    raise typer.Exit(zoo.run(json, sources))


@app.command()
def show(
    spec: options.Spec,
    size: options.Size = None,
    narrow: options.Narrow = None,
    batch: options.Batch = None,
    json: options.Json = None,
) -> None:
    """The layer table: output shapes, parameters, FLOPs and memory."""
    from .commands import show

    raise typer.Exit(show.run(spec, size, narrow, batch or 1, json))


@app.command()
def check(
    specs: options.Specs,
    backends: options.Backends = None,
    precision: options.Precisions = None,
    probe: options.Probes = None,
    image: options.Images = None,
    labels: options.Labels = None,
    size: options.Size = None,
    batch: options.Batch = None,
    weights: options.Weights = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    seed: options.Seed = 0,
    optimizer: options.Optimizer = "sgd",
    device: options.Device = "cpu",
    tuning: options.Tuning = "default",
    verbose: options.Verbose = False,
    json: options.Json = None,
) -> None:
    """Are the builds the same network? Exit code 0 if equal, 1 if a difference was found.

    Widths are divided by 8, in large networks by up to 32, unless --narrow, --full-width or --weights is given.
    """
    from .commands import check

    request = check.Request(
        specs=specs,
        backends=backends,
        precisions=precision,
        tuning=tuning,
        probes=probe,
        optimizer=optimizer,
        seed=seed,
        narrow=options.divisor(narrow, full_width),
        images=image or (),
        labels=labels or (),
        size=size,
        batch=batch,
        weights=weights,
        device=device,
    )
    raise typer.Exit(check.run(request, json, verbose))


@app.command()
def curves(
    spec: options.Spec,
    backends: options.Backends = None,
    precision: options.TrainedPrecision = "float32",
    image: options.Images = None,
    labels: options.Labels = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    seed: options.Seed = 0,
    steps: options.Steps = 300,
    optimizer: options.Optimizer = "sgd",
    device: options.Device = "cpu",
    tuning: options.Tuning = "default",
    judge: options.Judge = "numpy_reference",
    output: options.Record = None,
) -> None:
    """Trains every backend for some hundred steps. Exit code 1 if a loss curve leaves the envelope of rounding.

    Widths are divided by 16 where they can be, unless --narrow or --full-width is given.
    """
    from .commands import curves

    request = curves.Request(
        spec=spec,
        backends=backends,
        precision=precision,
        tuning=tuning,
        optimizer=optimizer,
        steps=steps,
        seed=seed,
        narrow=options.divisor(narrow, full_width),
        images=image or (),
        labels=labels or (),
        size=size,
        batch=batch,
        device=device,
        judge=judge,
    )
    raise typer.Exit(curves.run(request, output))


@app.command()
def bench(
    specs: options.OptionalSpecs = None,
    backends: options.Backends = None,
    phase: options.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: options.TimedPrecisions = None,
    tuning: options.Tunings = None,
    device: options.OptionalDevice = None,
    replicates: options.Replicates = 3,
    results: options.Results = None,
    resume: options.Resume = False,
    json: options.Json = None,
) -> None:
    """Time the backends with the pytest-benchmark suites. Exit code 1 if a cell could not be timed.

    Without SPEC and options: on a GPU the whole zoo at real sizes, on a CPU unet_bn_same small.
    """
    from .commands import bench

    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, replicates)
    raise typer.Exit(bench.run(request, results, resume, json))


@app.command()
def scale(
    axis: options.Axis,
    specs: options.OptionalSpecs = None,
    most: options.Most = None,
    backends: options.Backends = None,
    phase: options.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: options.TimedPrecisions = None,
    tuning: options.Tunings = None,
    device: options.OptionalDevice = None,
    results: options.Results = None,
    json: options.Json = None,
) -> None:
    """How a step grows with the batch or the size, up to where memory ends, and the largest that fits.

    SPEC is unet_bn_same by default, the phase forward. Each point is one fresh process.
    """
    from .commands import bench, scale

    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, 1)
    raise typer.Exit(scale.run(request, axis, most, results, json))


@app.command()
def compare(
    specs: options.OptionalSpecs = None,
    backends: options.Backends = None,
    phase: options.Phases = None,
    size: options.Size = None,
    batch: options.Batch = None,
    narrow: options.Narrow = None,
    full_width: options.FullWidth = False,
    precision: options.TimedPrecisions = None,
    tuning: options.Tunings = None,
    device: options.OptionalDevice = None,
    replicates: options.Replicates = 3,
    output: options.Folder = None,
    json: options.Json = None,
) -> None:
    """Are the builds the same network, and which is faster here? Checks, times and reports.

    SPEC is unet_bn_same by default. If the builds differ, nothing is timed and the exit code is 1.
    """
    from .commands import bench, compare

    width = options.divisor(narrow, full_width)
    request = bench.Request(specs or (), backends, phase, precision, tuning, width, size, batch, device, replicates)
    raise typer.Exit(compare.run(request, output, json))


@app.command()
def convert(
    source: options.Source,
    target: options.Target,
    spec: options.OneSpec,
    narrow: options.Narrow = None,
    scheme: options.Scheme = None,
    to: options.To = None,
    scheme_out: options.SchemeOut = None,
    check: options.CheckResult = True,
    json: options.Json = None,
) -> None:
    """Weights from one file to another: PyTorch, Flax, safetensors. Exit code 1 if what arrived is not what was sent.

    IN is a PyTorch state dict, a safetensors file or an Orbax folder. No code in it is ever run.

    OUT is read back, and its tensors and what its backend computes are compared with those of IN.

    For instance:

    tandem convert unet.pth unet.safetensors --spec unet_bn_same

    tandem convert unet.pth unet_flax --spec my_net.toml

    tandem convert unet_flax unet.pt --spec my_net.toml --scheme-out original
    """
    from .commands import convert

    request = convert.Request(source, target, spec, narrow, scheme, to, scheme_out, check)
    raise typer.Exit(convert.run(request, json))


@app.command()
def report(
    files: options.Files,
    output: options.ReportFile = None,
    format: options.ReportFormat = None,
    against: options.Against = None,
    across_machines: options.AcrossMachines = False,
    json: options.Json = None,
) -> None:
    """One page from the files that check, bench, scale and compare wrote: which backend, for what, and why.

    For instance:

    tandem report out/unet_bn_same-2026-01-31-120000 -o report.html

    tandem report out/after --against out/before -o report.html
    """
    from .commands import report

    raise typer.Exit(report.run(files, output, json, across_machines, format, against or ()))


@app.command()
def adopt(
    target: options.Factory,
    spec: options.OptionalSpec = None,
    checkpoint: options.TheirCheckpoint = None,
    input_shape: options.InputShape = None,
    output: options.AdoptedFolder = None,
    backends: options.Backends = None,
    seed: options.Seed = 0,
    verbose: options.Verbose = False,
    json: options.Json = None,
) -> None:
    """Your own PyTorch network as a spec: traced, matched and proven. Exit code 1 if it is not the spec.

    This imports MODULE, from the current folder too, and runs its code, as no other command does.
    """
    from .commands import adopt

    request = adopt.Request(target, spec, checkpoint, input_shape, backends, seed, output)
    raise typer.Exit(adopt.run(request, json, verbose))


def main() -> None:
    """The `tandem` script and `python -m tandem`."""
    app(prog_name="tandem")
