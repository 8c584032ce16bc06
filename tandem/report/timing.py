"""The figures of one comparison as rows of a table, in the terminal and in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.verdict import Comparison

from ..units import counted, floors, milliseconds, sized

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
                f"{milliseconds(min(times))} to {milliseconds(max(times))}" if len(times) > 1 else "one",
                f"{records[0].cell.batch / step_s:.1f}",
                counted(records[0].flops / step_s),
                f"{statistics.median(starts):.1f} s" if starts else "",
                sized(max(memory)) if memory else "",
                gate,
            )
        )
    return rows


DETAIL_COLUMNS = ("phase", "backend", "latency", "IQR", "90th", "% of the floor", "trace", "compile", "again", "energy")


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
                _median([latency["iqr"] for latency in latencies], "{:.1f} ms"),
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
