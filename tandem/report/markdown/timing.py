"""Times in Markdown: of each backend, and of each tuning beside a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.levers import levers
from benchmarks.records import Record
from benchmarks.verdict import Comparison, bounds

from ...left_out import unsupported
from ...units import milliseconds
from ..timing import DETAIL_COLUMNS, TIMING_COLUMNS, detail_rows, timing_rows
from .markup import plain, table


def timing(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    parts = [
        "## Time",
        "Median over fresh processes of the time of a pipelined step, and the range of their medians. The gate is the "
        "distance in noise floors of the very program that was timed from the reference; without a pass there is no "
        "time. The start is the way to the first step, imports and compilation included. "
        "Memory is the peak of the process, or of the device where it has its own. The second table has single "
        "synchronised steps, the percentage of the floor max(FLOPs / rate, bytes / rate) with both rates measured in "
        "the same run, the seconds of tracing and compiling, how often was compiled again, and energy where measured.",
    ]
    for title in dict.fromkeys(comparison.title for comparison in comparisons):
        rows = [row for comparison in comparisons if comparison.title == title for row in timing_rows(comparison)]
        parts += [f"**{plain(title)}**", table(TIMING_COLUMNS, rows, right=range(2, len(TIMING_COLUMNS)))]
        records = [r for comparison in comparisons if comparison.title == title for r in comparison.records]
        parts += [plain(f"{said}.") for said in unsupported(records)]
        details = [row for comparison in comparisons if comparison.title == title for row in detail_rows(comparison)]
        if details:
            parts.append(table(DETAIL_COLUMNS, details, right=range(2, len(DETAIL_COLUMNS))))
    return "\n\n".join(parts)


def tunings(records: Sequence[Record]) -> str:
    """All arms against one baseline, where there is more than one tuning or a peer."""
    parts = []
    for found in levers(records):
        if len({arm.tuning for arm in found.arms}) < 2 and not any(arm.another_network for arm in found.arms):
            continue
        head = ("backend", "tuning", "ms a step", f"times {' '.join(found.baseline)}", "95% interval")
        rows = [
            (
                arm.backend + (" (another network)" if arm.another_network else ""),
                arm.tuning,
                milliseconds(arm.median_s),
                *(
                    ("the baseline", "")
                    if (arm.backend, arm.tuning) == found.baseline
                    else (f"{arm.ratio:.2f}", bounds(arm.low, arm.high))
                ),
            )
            for arm in found.arms
        ]
        parts += [f"**{plain(f'{found.title} {found.phase}')}**", table(head, rows, right=range(2, 5))]
    return "\n\n".join(["## What tuning brings", *parts]) if parts else ""
