"""Parity: are the builds the same network?"""

from __future__ import annotations

from ...left_out import NOT_COMPARED, not_compared, takes_no_part
from ...units import NOTHING, floors
from ..findings import Check, Findings
from .heatmap import distance, heatmap, networks
from .markup import Html, bullets, details, element, join, paragraph, section
from .tables import Number, table


def parity(findings: Findings) -> Html:
    """The verdict of each check, a heat map of each network, and the same as tables."""
    if not findings.checks:
        return Html("")
    what = paragraph(
        "Each cell is the largest distance of a probe between two backends, in noise floors: the root mean square of "
        "what rounding alone does to the quantity. Its colour is the distance as a share of the limit."
    )
    figures = [heatmap(checks) for checks in networks(findings.checks)]
    tables = details("The same as tables, with the quantity that is farthest", *map(_check, findings.checks))
    said = dict.fromkeys(
        f"{said}." for check in findings.checks for said in not_compared(check.not_compared, check.pairs)
    )
    left_out = bullets(said) if said else ""
    return section("parity", "Parity", bullets(map(_verdict, findings.checks)), left_out, what, *figures, tables)


def _verdict(check: Check) -> Html:
    narrow = f"widths divided by {check.narrow}" if check.narrow and check.narrow > 1 else "full width"
    shape = "x".join(map(str, check.batch.shape))
    answer = element("strong", "equal" if check.equal else "DIFFERENT", class_="good" if check.equal else "bad")
    rest = f" (at most {check.limit:g} floors; {narrow}; input {shape}, {check.batch.origin})"
    return join([f"{check.title}: ", answer, rest], "")


def _check(check: Check) -> Html:
    head = ["probe", *(" vs ".join(pair) for pair in check.pairs), "farthest quantity"]
    rows = [_row(check, probe) for probe in check.probes]
    return table(f"Distances of {check.title}, in noise floors", head, rows, range(1, len(head) - 1))


def _row(check: Check, probe: str) -> list[object]:
    farthest = check.farthest(probe)
    quantity = element("code", farthest.quantity) if farthest and farthest.floors > 0 else ""
    cells: list[object] = []
    for pair in check.pairs:
        apart = distance(check, probe, pair)
        nothing = NOT_COMPARED if takes_no_part(check.not_compared, probe, pair) else NOTHING
        cells.append(nothing if apart is None else Number.of(apart, floors(apart)))
    return [probe, *cells, quantity]
