"""Parity: are the builds the same network?"""

from __future__ import annotations

from ...units import NOTHING, floors, is_idle
from ..findings import Check, Findings
from .markup import Html, element, join, paragraph, section
from .tables import Number, table


def parity(findings: Findings) -> Html:
    """A table for each check: the largest distance of each probe and pair, in noise floors."""
    if not findings.checks:
        return Html("")
    what = paragraph(
        "The largest distance of each probe in noise floors, the root mean square of what rounding alone does to the "
        "quantity."
    )
    return section("parity", "Parity", what, *map(_check, findings.checks))


def _check(check: Check) -> Html:
    narrow = f"widths divided by {check.narrow}" if check.narrow and check.narrow > 1 else "full width"
    shape = "x".join(map(str, check.batch.shape))
    name = f"{check.spec.name}, {check.execution.precision}, {check.execution.device}"
    verdict = "equal" if check.equal else "DIFFERENT"
    rest = f" (at most {check.limit:g} is equal; {narrow}; input {shape}, {check.batch.origin})"
    head = ["probe", *(" vs ".join(pair) for pair in check.pairs), "farthest quantity"]
    rows = [_row(check, probe) for probe in check.probes]
    title = element("h3", f"{name}: ", element("strong", verdict, class_="good" if check.equal else "bad"))
    return join([title, paragraph(rest.strip()), table(f"Distances of {name}", head, rows, range(1, len(head) - 1))])


def _row(check: Check, probe: str) -> list[object]:
    farthest = check.farthest(probe)
    quantity = element("code", farthest.quantity) if farthest and farthest.floors > 0 else ""
    idle = is_idle(probe, [m.quantity for m in check.measurements if m.probe == probe])
    cells: list[object] = []
    for pair in check.pairs:
        worst = check.farthest(probe, pair)
        shown = worst is not None and not (idle and not worst.floors)
        cells.append(Number.of(worst.floors, floors(worst.floors)) if worst and shown else NOTHING)
    return [probe, *cells, quantity]
