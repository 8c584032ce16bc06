"""`tandem check`: are the builds the same network?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import parity
from backends import Execution
from backends.contract import PRECISIONS
from parity.compare import REFERENCE
from shared_specs import Recipe, ShapeError, TandemError, UNetSpec, load_spec, load_weights, spec_names
from shared_specs.shapes import output_shape

from .. import selections
from ..console import Output, progress, say_note
from ..gpu_memory import sparing_the_gpu
from ..images import LABEL_DTYPES, read_images
from ..verdict_tables import difference_report, measurement_table, verdict_table
from . import refusals, replica_plans

EVERYWHERE = ("float64", "float32", "bfloat16")
"""The precisions that every framework has on every device; "all" means these, and tf32 on a GPU."""


@dataclass(frozen=True)
class Request:
    """What `tandem check` or `curves` was asked for, as typed; None and empty stand for what nobody asked for."""

    specs: Sequence[str]
    backends: Sequence[str] | None = None
    precisions: Sequence[str] | None = None
    tuning: str = "default"
    probes: Sequence[str] | None = None
    optimizer: str = "sgd"
    seed: int = 0
    narrow: int | None = None
    images: Sequence[str] = ()
    labels: Sequence[str] = ()
    size: str | None = None
    batch: int | None = None
    weights: str | None = None
    device: str = "cpu"
    replicas: int = 1
    batch_statistics: str | None = None


@dataclass(frozen=True)
class Job:
    """One network with its input, ready to be checked."""

    spec: UNetSpec
    divisor: int
    batch: parity.Batch
    weights: dict[str, np.ndarray] | None


@dataclass(frozen=True)
class Plan:
    """All that was asked for, found to be possible before any of it runs."""

    jobs: list[Job]
    backends: list[str]
    executions: list[Execution]
    probes: list[str]
    recipe: Recipe
    seed: int
    replicas: int = 1
    batch_statistics: Sequence[str] = ()


def run(request: Request, json_path: str | None = None, verbose: bool = False) -> int:
    """Check, print, and return 0 where all is equal, 1 where a difference was found."""
    output = Output(json_path, [*request.specs, *request.images, *request.labels, *filter(None, [request.weights])])
    with sparing_the_gpu():
        checks = _run(plan(request), output, verbose)
    equal = all(check["equal"] for check in checks)
    output.print(summary(checks), style="bold green" if equal else "bold red")
    output.write("check", {"equal": equal, "checks": checks})
    return 0 if equal else 1


def _run(chosen: Plan, output: Output, verbose: bool) -> list[dict[str, Any]]:
    """Every check of a plan, each printed as soon as it is there."""
    checks = []
    for job in chosen.jobs:
        describe(job, chosen, output)
        for execution in chosen.executions:
            for part in replica_plans.by_batch_statistics(job, execution, chosen):
                with progress(f"{job.spec.name}, {execution.precision}") as tell:
                    verdict = check(job, execution, part, tell)
                checks.append(keys(verdict, job))
                show(verdict, output, verbose)
    return checks


def plan(request: Request) -> Plan:
    """Find out, before any work, whether all that was asked for can be done.

    Raises:
        TandemError: with one line on the first thing that cannot.
    """
    if not request.specs:
        raise TandemError("got no spec, expected a name or a path, or all; `tandem list` lists the names")
    probes = replica_plans.probes(request)
    precisions = chosen_precisions(request)
    recipe = Recipe.named(request.optimizer)
    specs = selections.specs(request.specs)
    names, left_out = selections.backend_names(request.backends)
    if names == [REFERENCE]:
        raise TandemError(
            f"nothing to compare with {REFERENCE}; name a backend, or install tandem[torch] or tandem[flax]"
        )
    for reason in left_out:
        say_note(reason)
    candidates = [name for name in names if name != REFERENCE]
    refusals.check_named(request.device, request.tuning, candidates)
    if request.weights and len(specs) > 1:
        raise TandemError(f"--weights belongs to one spec, and {len(specs)} were given; name one")
    jobs = [_job(spec, request) for spec in specs]
    executions = [Execution(request.device, precision, request.tuning) for precision in precisions or EVERYWHERE[:1]]
    for execution in executions:
        refusals.check_executable(candidates, execution)
        refusals.check_probes(candidates, execution, probes)
    kinds = replica_plans.kinds(request)
    chosen = Plan(jobs, names, executions, probes, recipe, request.seed, request.replicas, kinds)
    replica_plans.check(chosen)
    return chosen


def chosen_precisions(request: Request) -> list[str] | None:
    """Those that were asked for; "all" means those of the device. Raises TandemError."""
    if request.device == "cpu" and "tf32" in selections.split(request.precisions):
        raise TandemError("tf32 is a precision of NVIDIA GPUs; on a CPU take float32 or bfloat16")
    return selections.choose("precision", request.precisions, PRECISIONS if request.device != "cpu" else EVERYWHERE)


def _job(spec: UNetSpec, request: Request) -> Job:
    # A checkpoint comes at the width that it was trained with.
    if request.narrow is None and not request.weights:
        spec, divisor = selections.narrowed_to_check(spec)
    else:
        spec, divisor = selections.narrowed(spec, request.narrow, default=1)
    weights = load_weights(request.weights, spec) if request.weights else None
    return Job(spec, divisor, _batch(spec, request), weights)


def _batch(spec: UNetSpec, request: Request) -> parity.Batch:
    size = selections.size(request.size)
    if not request.images:
        if request.labels:
            raise TandemError("--labels go with --image, and no image was given")
        count = 2 * request.replicas if request.batch is None else request.batch
        return parity.random_batch(spec, request.seed, count, size)
    if request.batch is not None:
        raise TandemError("--batch is for random images; with --image the batch is all the images given")
    images = read_images(request.images, say_note)
    for path, image in zip(request.images, images, strict=True):
        _check_channels(spec, path, image)
    batch = parity.image_batch(spec, images, request.seed, size)
    return _with_labels(spec, batch, images, request.labels) if request.labels else batch


def _check_channels(spec: UNetSpec, path: str, image: np.ndarray) -> None:
    if image.ndim not in (spec.dimensions, spec.dimensions + 1):
        return  # no image of this network at all, which `image_batch` says
    channels = image.shape[-1] if image.ndim > spec.dimensions else 1
    if channels == spec.in_channels:
        return
    kinds = {1: "grey, 1 channel", 3: "colour, 3 channels"}
    got, wants = (kinds.get(count, f"{count} channels") for count in (channels, spec.in_channels))
    zoo = map(load_spec, spec_names())
    fitting = [other.name for other in zoo if (other.dimensions, other.in_channels) == (spec.dimensions, channels)]
    instead = f", or check {', '.join(fitting)}" if fitting else ""
    raise ShapeError(f"{path}: is {got}, and {spec.name} takes {wants}; convert the image{instead}")


def _with_labels(
    spec: UNetSpec, batch: parity.Batch, images: Sequence[np.ndarray], paths: Sequence[str]
) -> parity.Batch:
    """The batch with labels of the images' sizes from files, cropped about the centre to the logits."""
    if len(paths) != len(images):
        raise ShapeError(f"got {len(paths)} --labels for {len(images)} --image, expected one for each, in order")
    cropped, size = batch.images.shape[2:], output_shape(spec, batch.images.shape)[2:]
    kept = []
    for path, labels, image in zip(paths, read_images(paths, say_note, LABEL_DTYPES), images, strict=True):
        expected = image.shape[: spec.dimensions]
        if labels.shape != expected:
            raise ShapeError(f"{path}: has shape {labels.shape}, expected {expected}, the size of its image")
        low, high = labels.min(), labels.max()
        if low < 0 or high >= spec.classes:
            raise ShapeError(
                f"{path}: labels run from {low} to {high}, expected 0 to {spec.classes - 1}, the classes of {spec.name}"
            )
        starts = [(a - b) // 2 + (b - c) // 2 for a, b, c in zip(labels.shape, cropped, size, strict=True)]
        window = tuple(slice(start, start + side) for start, side in zip(starts, size, strict=True))
        kept.append(labels[window].astype(np.int64))
    origin = batch.origin.rpartition(";")[0] + "; labels from files"
    return replace(batch, labels=np.stack(kept), origin=origin)


def check(job: Job, execution: Execution, chosen: Plan, tell: Callable[[str], None]) -> parity.Verdict:
    """Run one check; `tell` is called with what is done next."""
    return parity.check(
        job.spec,
        backends=chosen.backends,
        execution=execution,
        probes=chosen.probes,
        recipe=chosen.recipe,
        seed=chosen.seed,
        batch=job.batch,
        weights=job.weights,
        on_progress=tell,
        replicas=chosen.replicas,
    )


def keys(verdict: parity.Verdict, job: Job) -> dict[str, Any]:
    """A verdict's keys in the JSON."""
    return {"narrow": job.divisor, **json.loads(verdict.to_json()), "spec": verdict.spec}


def describe(job: Job, chosen: Plan, output: Output) -> None:
    """Say what is checked, and at which width."""
    hint = "; --full-width for all of it" if job.divisor > 1 else ""
    shape = "x".join(map(str, job.batch.images.shape))
    recipe = chosen.recipe.optimizer.kind
    output.print(f"{job.spec.name}: {selections.width_in_words(job.spec, job.divisor)}{hint}", style="bold")
    output.print(f"Input {shape}: {job.batch.origin}; optimizer {recipe}; {chosen.executions[0].device}", style="dim")


def show(verdict: parity.Verdict, output: Output, verbose: bool = False) -> None:
    """Print one verdict."""
    output.print(verdict_table(verdict))
    if verbose:
        output.print(measurement_table("Every quantity", list(verdict.measurements)))
    if verdict.differences:
        output.print(difference_report(verdict, every=verbose))


def summary(checks: Sequence[dict[str, Any]]) -> str:
    """One line for all checks."""
    for said, unlike in (
        ("Different", [check for check in checks if not check["equal"] and check["measurements"]]),
        ("Nothing was compared", [check for check in checks if not check["measurements"]]),
    ):
        if unlike:
            named = [f"{check['spec'].name} in {check['execution']['precision']}" for check in unlike]
            return f"{said}: {', '.join(named)}."
    builds = _compared(checks)
    what = f"{builds} are" if len(checks) == 1 else f"in all {len(checks)} checks {builds} are"
    replicas = checks[0]["replicas"]
    together = f", and so are {replicas} replicas that train together" if replicas > 1 else ""
    return f"Equal: {what} the same network{together}, to within the noise of rounding."


def _compared(checks: Sequence[dict[str, Any]]) -> str:
    """ "the builds", or those of them that were compared, where one was in no probe of a check."""
    for check in checks:
        compared = list(dict.fromkeys(m[side] for m in check["measurements"] for side in ("reference", "candidate")))
        if set(check["models"]) - set(compared):
            return f"{', '.join(compared[:-1])} and {compared[-1]}"
    return "the builds"
