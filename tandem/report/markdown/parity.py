"""Parity in Markdown: the distances of each check, and the loss curves."""

from __future__ import annotations

from collections.abc import Sequence

from parity.envelope import Curves

from ...left_out import NOT_COMPARED, not_compared, takes_no_part
from ...units import NOTHING, floors, is_idle, share
from ..findings import Check
from ..provenance import Code
from .markup import plain, table


def parity(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    parts = [
        "## Parity",
        "The largest distance of each probe in noise floors, the root mean square of what rounding alone does to the "
        "quantity.",
    ]
    for check in checks:
        narrow = f"widths divided by {check.narrow}" if check.narrow and check.narrow > 1 else "full width"
        shape = "x".join(map(str, check.batch.shape))
        parts.append(
            f"**{plain(check.title)}: "
            f"{'equal' if check.equal else 'DIFFERENT'}** (at most {check.limit:g} is equal; {narrow}; input {shape}, "
            f"{plain(check.batch.origin)})"
        )
        head = ["probe", *(" vs ".join(pair) for pair in check.pairs), "farthest quantity"]
        parts.append(table(head, [_parity_row(check, probe) for probe in check.probes], right=range(1, len(head) - 1)))
        parts += [plain(f"{said}.") for said in not_compared(check.not_compared, check.pairs)]
    return "\n\n".join(parts)


def _parity_row(check: Check, probe: str) -> list[str]:
    worst = [(pair, check.farthest(probe, pair)) for pair in check.pairs]
    farthest = check.farthest(probe)
    quantity = Code(farthest.quantity) if farthest and farthest.floors > 0 else ""
    idle = is_idle(probe, [m.quantity for m in check.measurements if m.probe == probe])
    cells = [
        NOT_COMPARED
        if takes_no_part(check.not_compared, probe, pair)
        else NOTHING
        if m is None or (idle and not m.floors)
        else floors(m.floors)
        for pair, m in worst
    ]
    return [probe, *cells, quantity]


def curves(records: Sequence[Curves]) -> str:
    """What is said of loss curves, a table for each record."""
    parts = ["## Loss curves"] if records else []
    for record in records:
        execution = f"{record.execution.precision}, {record.execution.device}"
        parts.append(
            f"### {plain(f'{record.name}, {execution}, {record.steps} steps of {record.recipe.optimizer.kind}')}"
        )
        parts.append(plain(f"{record.sentence} Trained on {record.batch.origin}."))
        losses = {curve.backend: curve.losses for curve in record.curves}
        rows = [
            (f"{record.judge}, float64", *map("{:.6f}".format, (record.reference[0], record.reference[-1])), "", "")
        ]
        for said in record.judged:
            first, last = losses[said.backend][0], losses[said.backend][-1]
            rows.append((said.backend, f"{first:.6f}", f"{last:.6f}", share(said.farthest), str(said.left_at or "")))
        head = ("backend", "first loss", "last loss", "farthest, share of what is allowed", "left at step")
        parts.append(table(head, rows, right=range(1, 5)))
    return "\n\n".join(parts)
