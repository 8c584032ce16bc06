"""`tandem curves`: do the loss curves of all backends stay within what rounding alone does to them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import parity
from parity.batches import brightness_classes, telling_size
from parity.curves import STEPS, train_curves, untrained
from parity.envelope import PARTED, Curves
from shared_specs import TandemError, UNetSpec, load_spec
from shared_specs.shapes import size_label

from .. import selections
from ..console import Output, plain_table, progress, say_note
from ..units import share
from . import check

NARROW = 16
"""By how much the widths are divided unless told otherwise: nine runs of hundreds of steps in about a minute."""

SIZE = {2: (64, 80), 3: (16, 24, 32)}
"""Of the part of an image that is trained on unless told otherwise, or the telling size where that is larger."""


@dataclass(frozen=True)
class Request:
    """What `tandem curves` was asked for, as typed."""

    spec: str
    backends: Sequence[str] | None = None
    precision: str = "float32"
    tuning: str = "default"
    optimizer: str = "sgd"
    steps: int = STEPS
    seed: int = 0
    narrow: int | None = None
    images: Sequence[str] = ()
    labels: Sequence[str] = ()
    size: str | None = None
    batch: int | None = None
    device: str = "cpu"
    judge: str = parity.compare.REFERENCE


def run(request: Request, json_path: str | None = None) -> int:
    """Train, judge, print, and return 0 where every curve stays within the envelope, 1 where one leaves it."""
    output = Output(json_path, [request.spec, *request.images, *request.labels])
    chosen = plan(request)
    (job,) = chosen.jobs
    if not request.images:
        say_note(f"no --image was given: all are trained on {job.batch.origin}")
    check.describe(job, chosen, output)
    with progress(f"{job.spec.name}, {request.precision}") as tell:
        curves = train_curves(
            job.spec,
            chosen.backends,
            chosen.executions[0],
            chosen.recipe,
            request.seed,
            job.batch,
            request.steps,
            request.judge,
            job.divisor,
            tell,
        )
    show(curves, output)
    output.write("curves", {"within": curves.within, "curves": [curves.to_dict()]})
    return 0 if curves.within else 1


def plan(request: Request) -> check.Plan:
    """As `check.plan`, for one spec and precision, with labels that can be learned. Raises TandemError."""
    spec = load_spec(request.spec)
    precision = selections.choose("precision", [request.precision], check.known_precisions(request.device)) or []
    if len(precision) != 1:
        raise TandemError(f"got the precision {request.precision!r}, expected one; run one command for each")
    selections.choose("backend", [request.judge], parity.curves.registry.names())
    _, divisor = selections.narrowed(spec, request.narrow, NARROW)
    asked = check.Request(
        specs=[request.spec],
        backends=request.backends,
        precisions=precision,
        tuning=request.tuning,
        optimizer=request.optimizer,
        seed=request.seed,
        narrow=divisor,
        images=request.images,
        labels=request.labels,
        size=request.size or (default_size(spec) if request.images else None),
        batch=request.batch,
        device=request.device,
    )
    chosen = check.plan(asked)
    untrained([name for name in chosen.backends if name != parity.compare.REFERENCE], chosen.executions[0])
    (job,) = chosen.jobs
    batch = job.batch if request.labels else brightness_classes(job.spec, job.batch)
    return replace(chosen, jobs=[replace(job, batch=batch)])


def default_size(spec: UNetSpec) -> str:
    """How much of an image is trained on, as it could have been typed."""
    sides = zip(SIZE[spec.dimensions], telling_size(spec), strict=True)
    return size_label(tuple(max(usual, telling) for usual, telling in sides))


def show(curves: Curves, output: Output) -> None:
    """A row for each backend, and what that amounts to in a sentence."""
    title = f"{curves.name}, {curves.execution.precision}, {curves.steps} steps"
    columns = ("backend", "first loss", "last loss", "farthest", "at step", "left at step")
    table = plain_table(title, *columns, right=columns[1:])
    runs = {curves.judge + ", float64": curves.reference} | {curve.backend: curve.losses for curve in curves.curves}
    judged = {said.backend: said for said in curves.judged}
    for name, losses in runs.items():
        said = judged.get(name)
        cells = ["", "", ""]
        if said is not None:
            cells = [share(said.farthest), str(said.farthest_at), str(said.left_at or "")]
        table.add_row(name, f"{losses[0]:.6f}", f"{losses[-1]:.6f}", *cells)
    output.print(table)
    last = abs(curves.reference[-1])
    parted = curves.envelope[-1] / last if last else 0.0
    output.print(
        "Farthest is the distance from the reference as a share of what is allowed; 1 is the limit.", style="dim"
    )
    output.print(f"Re-runs under rounding noise alone have parted by {parted:.1e} of the loss at the end.", style="dim")
    if curves.parted_at is not None:
        output.print(
            f"From step {curves.parted_at} on they differ by more than {PARTED:.0%} of the loss; a curve is then "
            "outside only where it is farther away than the loss was high.",
            style="dim",
        )
    output.print(curves.sentence, style="bold green" if curves.within else "bold red")
