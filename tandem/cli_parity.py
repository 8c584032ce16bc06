"""The commands that prove: are two networks the same, and are their weights?"""

from __future__ import annotations

import typer

from . import options, options_of_weights


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(check)
    app.command()(curves)
    app.command()(adopt)
    app.command()(convert)


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
    replicas: options.Replicas = 1,
    batch_statistics: options.BatchStatistics = None,
    verbose: options.Verbose = False,
    json: options.Json = None,
) -> None:
    """Are the builds the same network?

    Exit code 0 if equal, 1 if a difference was found.

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
        replicas=replicas,
        batch_statistics=batch_statistics,
    )
    raise typer.Exit(check.run(request, json, verbose))


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
    """Do the loss curves stay together? Trains every backend for some hundred steps.

    Exit code 1 if a curve leaves the envelope of rounding.

    Widths are divided by 16 where they can be, unless --narrow or --full-width is given.
    """
    from .commands import check, curves

    request = check.Request(
        specs=[spec],
        backends=backends,
        precisions=[precision],
        tuning=tuning,
        optimizer=optimizer,
        seed=seed,
        narrow=options.divisor(narrow, full_width),
        images=image or (),
        labels=labels or (),
        size=size,
        batch=batch,
        device=device,
    )
    raise typer.Exit(curves.run(request, steps, judge, output))


def adopt(
    target: options_of_weights.Factory,
    spec: options_of_weights.OptionalSpec = None,
    checkpoint: options_of_weights.TheirCheckpoint = None,
    input_shape: options_of_weights.InputShape = None,
    output: options_of_weights.AdoptedFolder = None,
    backends: options.Backends = None,
    seed: options.Seed = 0,
    verbose: options.Verbose = False,
    json: options.Json = None,
) -> None:
    """Your own PyTorch network as a spec: traced, matched and proven.

    Exit code 1 if it is not the spec.

    This imports MODULE, from the current folder too, and runs its code, as no other command does.
    """
    from .commands import adopt

    request = adopt.Request(target, spec, checkpoint, input_shape, backends, seed, output)
    raise typer.Exit(adopt.run(request, json, verbose))


def convert(
    source: options_of_weights.Source,
    target: options_of_weights.Target,
    spec: options_of_weights.OneSpec,
    narrow: options.Narrow = None,
    scheme: options_of_weights.Scheme = None,
    to: options_of_weights.To = None,
    scheme_out: options_of_weights.SchemeOut = None,
    check: options_of_weights.CheckResult = True,
    json: options.Json = None,
) -> None:
    """Weights from one file to another: PyTorch, Flax, safetensors.

    Exit code 1 if what arrived is not what was sent.

    IN is a PyTorch state dict, a safetensors file or an Orbax folder. No code in it is ever run.

    OUT is read back, and its tensors and what its backend computes are compared with those of IN.
    """
    from .commands import convert

    request = convert.Request(source, target, spec, narrow, scheme, to, scheme_out, check)
    raise typer.Exit(convert.run(request, json))
