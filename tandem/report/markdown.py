"""Findings as one Markdown page: the answer first, then why it can be believed."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence

from benchmarks.device_scaling import device_scalings
from benchmarks.levers import levers
from benchmarks.records import Record
from benchmarks.verdict import Comparison, compare
from parity.envelope import Curves
from shared_specs.errors import one_line, printable

from ..console import version
from ..left_out import NOT_COMPARED, not_compared, takes_no_part, unsupported
from ..units import NOTHING, counted, floors, is_idle, milliseconds, share, sized
from . import devices
from .changes import beside, changes
from .findings import Check, Findings
from .provenance import Code, facts
from .runs import Change, compare_runs
from .scenarios import Verdict, verdicts
from .sentences import gates_sentence, parity_sentence

SPECIAL = re.compile(r"[\\`*\[\]<>&|~#!$@]|(?<![^\W_])_|_(?![^\W_])|(?<=:)/(?=/)|(?<=www)\.", re.IGNORECASE)
"""What Markdown, or GitHub's kind of it, would read as more than text; an underscore within a word is none of it."""


def plain(text: str) -> str:
    """Text from a file as Markdown that shows it, whatever it is, on one line: no markup, no links, no HTML."""
    return SPECIAL.sub(r"\\\g<0>", one_line(printable(text)))


def code(text: str) -> str:
    """The same in a fixed-width font, which takes everything as it stands but these signs."""
    shown = one_line(printable(text))
    return plain(text) if not shown or set(shown) & set("`\\|") else f"`{shown}`"


def to_markdown(findings: Findings) -> str:
    """The whole page."""
    comparisons = compare(findings.records)
    sections = [
        "# Tandem report",
        _answer(findings, comparisons),
        _against(findings),
        _scenarios(findings.records),
        _parity(findings.checks),
        _curves(findings.curves),
        _timing(comparisons),
        _devices(findings.records),
        _levers(findings.records),
        _provenance(findings.records),
        f"Written by tandem {version()}.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _curves(records: Sequence[Curves]) -> str:
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


def _answer(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    said = [parity_sentence(findings.checks), gates_sentence(findings.records)]
    lines = [f"- **Parity.** {' '.join(map(plain, filter(None, said)))}"]
    lines += [f"- **{plain(comparison.title)}.** {plain(comparison.sentence)}." for comparison in comparisons]
    lines += [f"- **Beware.** {plain(remark)}" for remark in dict.fromkeys(findings.remarks)]
    return "\n".join(lines)


def _scenarios(records: Sequence[Record]) -> str:
    if not records:
        return ""
    lines = [line for verdict in verdicts(records) for line in _scenario(verdict, records)]
    return "\n\n".join(["## Which backend for what", "\n".join(lines)])


def _scenario(verdict: Verdict, records: Sequence[Record]) -> list[str]:
    name, choice = verdict.scenario.name, plain(verdict.choice)
    if not verdict.settings:
        return [f"- **{name}: not measured.** {code(verdict.command)} measures it."]
    lines = [f"- **{name}: {choice}.**" + (f" {plain(verdict.choices)}." if choice == "it depends" else "")]
    for setting in verdict.settings:
        lines.append(f"  - {plain(f'{setting.label}: {setting.headline.sentence}')}.")
        lines += [f"    - {plain(said)}." for said in [*beside(setting, records), *changes(setting, records)]]
    return lines


def _against(findings: Findings) -> str:
    if not findings.against:
        return ""
    runs = compare_runs(findings.records, findings.against)
    parts = ["## Compared with another run", f"{plain(f'{runs.sentence}. They differ in: {runs.apart}')}."]
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
        f"{factor[1]:.2f} to {factor[2]:.2f}" if factor else "",
        f"{change.became}: {change.why}" if change.why else change.became,
    )


def _parity(checks: Sequence[Check]) -> str:
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
            f"**{plain(f'{check.spec.name}, {check.execution.precision}, {check.execution.device}')}: "
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


TIMING_COLUMNS = ("phase", "backend", "ms a step", "processes", "images/s", "FLOP/s", "start", "memory", "gate")


def timing_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row a backend: median over processes and their range, throughput, time to the first step, peak memory.

    The gate is the distance of the timed program's fingerprint from the reference in noise floors. A backend that was
    not timed has the reason in place of a time.
    """
    rows = []
    for backend in dict.fromkeys(record.cell.backend for record in comparison.records):
        records = [record for record in comparison.records if record.cell.backend == backend]
        times = comparison.step_s.get(backend)
        gates = [record.gate.distance for record in records if record.gate]
        gate = floors(max(gates)) if gates else ""
        if not times:
            rows.append((comparison.phase, backend, records[0].status.replace("_", " "), "", "", "", "", "", gate))
            continue
        step_s = statistics.median(times)
        memory = [m for r in records if (m := r.peak_device_memory_bytes or r.peak_memory_bytes) is not None]
        starts = [start.time_to_first_step_s for record in records if (start := record.cold_startup)]
        rows.append(
            (
                comparison.phase,
                backend,
                milliseconds(step_s),
                f"{milliseconds(min(times))} to {milliseconds(max(times))}",
                f"{records[0].cell.batch / step_s:.1f}",
                counted(records[0].flops / step_s),
                f"{statistics.median(starts):.1f} s" if starts else "",
                sized(max(memory)) if memory else "",
                gate,
            )
        )
    return rows


DETAIL_COLUMNS = ("phase", "backend", "latency", "90th", "% of the floor", "trace", "compile", "again", "energy")


def detail_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """What is no throughput: single steps, nearness to what the machine can do, compilation, joules for an image."""
    rows = []
    for backend in comparison.step_s:
        records = [r for r in comparison.records if r.cell.backend == backend and r.step_s is not None]
        latencies = [latency for record in records if (latency := record.latency_ms)]
        rows.append(
            (
                comparison.phase,
                backend,
                _median([latency["median"] for latency in latencies], "{:.1f} ms"),
                _median([latency["p90"] for latency in latencies], "{:.1f} ms"),
                _median([share for r in records if (share := r.percent_of_floor) is not None], "{:.0f}"),
                _median([start.trace_s for r in records if (start := r.cold_startup) and r.compilations], "{:.1f} s"),
                _median([start.compile_s for r in records if (start := r.cold_startup) and r.compilations], "{:.1f} s"),
                _median([r.recompilations for r in records if r.recompilations is not None], "{:.0f}"),
                _median([joules for r in records if (joules := r.energy_per_image_j) is not None], "{:.2f} J"),
            )
        )
    return rows


def _median(values: Sequence[float], form: str) -> str:
    return form.format(statistics.median(values)) if values else ""


def _devices(records: Sequence[Record]) -> str:
    """Scaling over devices, a table for each backend and tuning."""
    parts = []
    for found in device_scalings(records):
        rows = list(map(devices.row, found.points))
        parts += [f"**{plain(found.title)}**", plain(devices.sentence(found)), table(devices.HEAD, rows, range(2, 8))]
    return "\n\n".join(["## Scaling over devices", plain(devices.SAID), *parts]) if parts else ""


def _levers(records: Sequence[Record]) -> str:
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
                f"{arm.ratio:.2f}",
                f"{arm.low:.2f} to {arm.high:.2f}",
            )
            for arm in found.arms
        ]
        parts += [f"**{plain(f'{found.title} {found.phase}')}**", table(head, rows, right=range(2, 5))]
    return "\n\n".join(["## What tuning brings", *parts]) if parts else ""


def _timing(comparisons: Sequence[Comparison]) -> str:
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


def _provenance(records: Sequence[Record]) -> str:
    if not records:
        return ""
    lines = [f"- {name}: {', '.join(map(_shown, values))}" for name, values in facts(records).items()]
    return "\n\n".join(["## Where these numbers come from", "\n".join(lines)])


def _shown(text: str) -> str:
    return code(text) if isinstance(text, Code) else plain(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A Markdown table, padded so that it also reads well as text; `right` are the columns aligned on the right."""
    cells = [[_shown(cell) for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]
    to_right = set(right)
    rule = ["-" * (width - 1) + ":" if i in to_right else "-" * width for i, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in to_right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
