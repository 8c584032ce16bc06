"""What is said of parity in one sentence, on every page and in the terminal alike."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import beware
from benchmarks.records import Record
from benchmarks.verdict import Comparison, superseded

from ..units import floors
from .findings import Check, Findings


def parity_sentence(checks: Sequence[Check]) -> str:
    """Whether all is equal, and if not, what and where first."""
    different = [check for check in checks if not check.equal]
    if not checks:
        return "No parity check is among these files."
    if not different:
        named = ", ".join(dict.fromkeys(check.spec.name for check in checks))
        precisions = " and ".join(dict.fromkeys(check.execution.precision for check in checks))
        counts = dict.fromkeys(check.replicas for check in checks if check.replicas > 1)
        together = "".join(f", and so are {count} replicas that train together" for count in counts)
        return f"The builds of {named} are the same network: equal in {precisions}{together}."
    first = different[0].first_difference or {}
    where = f", first in {first.get('quantity')} (probe {first.get('probe')})" if first else ""
    return f"The builds of {different[0].spec.name} differ in {different[0].execution.precision}{where}."


def gates_sentence(records: Sequence[Record]) -> str:
    """How far the very programs that were timed lie from the reference."""
    gates = [record.gate for record in records if record.gate and record.gate.comparable and record.status == "ok"]
    if not gates:
        return ""
    farthest = max(gates, key=lambda gate: gate.distance / (gate.limit or 1.0))
    who = f"{len(gates)} timed programs passed their gate" if len(gates) > 1 else "1 timed program passed its gate"
    return f"{who}: at most {floors(farthest.distance)} noise floors from the reference, {farthest.limit:g} allowed."


def remarks(findings: Findings, comparisons: Sequence[Comparison]) -> list[str]:
    """What a reader should beware of, each once: what the files say, limits of the machine, several runs in one."""
    said = [*findings.remarks, *beware.remarks(comparison.records for comparison in comparisons)]
    if left_out := superseded(findings.records):
        earlier = "1 earlier process is" if left_out == 1 else f"{left_out} earlier processes are"
        said.append(
            f"Several runs of the same cells are among these files: {earlier} left out for later ones. "
            "Two runs are compared by --against."
        )
    return list(dict.fromkeys(said))
