"""Findings as one Markdown page: the answer first, then why it can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Record
from benchmarks.verdict import compare

from ...console import version
from ..findings import Findings
from ..provenance import facts, flags
from .against import against
from .answer import answer, scenarios
from .markup import plain, shown
from .parity import curves, parity
from .scaling import over_devices, over_sizes
from .timing import timing, tunings


def to_markdown(findings: Findings) -> str:
    """The whole page."""
    comparisons = compare(findings.records)
    sections = [
        "# Tandem report",
        answer(findings, comparisons),
        against(findings),
        scenarios(findings.records),
        parity(findings.checks),
        curves(findings.curves),
        timing(comparisons),
        over_sizes(findings.records),
        over_devices(findings.records),
        tunings(findings.records),
        _provenance(findings.records),
        f"Written by tandem {version()}.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _provenance(records: Sequence[Record]) -> str:
    if not records:
        return ""
    told = facts(records) | {f"Precision flags of {name}": values for name, values in flags(records).items()}
    lines = [f"- {plain(name)}: {', '.join(map(shown, values))}" for name, values in told.items()]
    return "\n\n".join(["## Where these numbers come from", "\n".join(lines)])
