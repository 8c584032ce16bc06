"""`tandem curves`: do the loss curves of all backends stay within what rounding alone does to them?"""

from __future__ import annotations

from dataclasses import replace

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


def run(
    request: check.Request,
    steps: int = STEPS,
    judge: str = parity.compare.REFERENCE,
    json_path: str | None = None,
) -> int:
    """Train, judge, print, and return 0 where every curve stays within the envelope, 1 where one leaves it.

    Args:
        request: as that of a check, of one spec and one precision, without probes, weights and replicas.
        steps: of training.
        judge: the backend whose float64 is the reference.
        json_path: where the losses go.
    """
    output = Output(json_path, [*request.specs, *request.images, *request.labels])
    chosen = plan(request, judge)
    (job,) = chosen.jobs
    if not request.images:
        say_note(f"no --image was given: all are trained on {job.batch.origin}")
    check.describe(job, chosen, output)
    with progress(f"{job.spec.name}, {chosen.executions[0].precision}") as tell:
        curves = train_curves(
            job.spec,
            chosen.backends,
            chosen.executions[0],
            chosen.recipe,
            chosen.seed,
            job.batch,
            steps,
            judge,
            job.divisor,
            tell,
        )
    show(curves, output)
    output.write("curves", {"within": curves.within, "curves": [curves.to_dict()]})
    return 0 if curves.within else 1


def plan(request: check.Request, judge: str) -> check.Plan:
    """As `check.plan`, with labels that can be learned. Raises TandemError."""
    (name,) = request.specs
    spec = load_spec(name)
    precisions = check.chosen_precisions(request) or []
    if len(precisions) != 1:
        raise TandemError(f"got the precision {','.join(request.precisions or ())!r}, expected one; run one for each")
    selections.choose("backend", [judge], parity.curves.registry.names())
    _, divisor = selections.narrowed(spec, request.narrow, NARROW)
    size = request.size or (default_size(spec) if request.images else None)
    chosen = check.plan(replace(request, precisions=precisions, narrow=divisor, size=size))
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
