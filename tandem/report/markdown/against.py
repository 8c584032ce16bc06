"""Compared with another run, in Markdown."""

from __future__ import annotations

import statistics

from benchmarks.verdict import bounds

from ...units import milliseconds
from ..findings import Findings
from ..runs import Change, compare_runs
from .markup import plain, table


def against(findings: Findings) -> str:
    if not findings.against:
        return ""
    runs = compare_runs(findings.records, findings.against)
    said = [f"{runs.sentence}. {runs.apart}", runs.busy, runs.unpaired]
    parts = ["## Compared with another run", " ".join(f"{plain(each)}." for each in said if each)]
    rows = [_change(change) for change in runs.changes]
    if rows:
        head = ("cell", "backend", "tuning", "ms before", "ms after", "times as long", "95% interval", "became")
        parts.append(table(head, rows, right=range(3, 7)))
    return "\n\n".join(parts)


def _change(change: Change) -> tuple[str, ...]:
    cell, factor = change.record.cell, change.factor
    before, after = [milliseconds(statistics.median(s)) if s else "" for s in (change.before_s, change.after_s)]
    return (
        f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device} {cell.phase}",
        cell.backend,
        cell.tuning,
        before,
        after,
        f"{factor[0]:.2f}" if factor else "",
        bounds(*factor[1:]) if factor else "",
        change.words,
    )
