"""Write the results from the records under benchmarks/results: `python -m docs.results`.

The README has the headlines, one line for each pair that may be compared; docs/results.md has every cell, and what was
aimed at beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.levers import Levers, levers
from benchmarks.machine import check_one_machine
from benchmarks.record_files import RecordError, load_records
from benchmarks.records import Record
from benchmarks.verdict import Comparison, Ratio, compare, ratio
from shared_specs.files import write_atomically

from .tables import replace, row, table
from .targets import cpu_table, gpu_table, own_records, share

ROOT = Path(__file__).parent.parent
README, PAGE, RESULTS = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "benchmarks" / "results"

PAIR = ("pytorch", "flax_nnx")


def main() -> None:
    for path, tables in generated().items():
        page = path.read_text(encoding="utf-8")
        for name, text in tables.items():
            page = replace(page, name, text)
        write_atomically(path, page.encode())


def generated() -> dict[Path, dict[str, str]]:
    """By page, and by the name of its markers, what the records say."""
    measured = {device.name: load_records(device) for device in devices(RESULTS)}
    on_cpus = [f"`{name}`:\n\n{found}" for name, records in measured.items() if (found := cpu_table(records))]
    targets = {
        "targets of a CPU": "\n\n".join(on_cpus) or "None of these cells has been measured.",
        "targets of a GPU": gpu_table([record for records in measured.values() for record in records]),
    }
    return {
        README: {"results": results(RESULTS, headline_table)},
        PAGE: {"results": results(RESULTS, device_table), **targets},
    }


def devices(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def results(folder: Path, tables: Callable[[Sequence[Record]], str]) -> str:
    """One table for each device that has a folder of records."""
    parts = []
    for device in devices(folder):
        records = load_records(device)
        if not records:
            continue
        check_one_machine([record.machine for record in records])
        commits = {record.commit for record in records}
        if len(commits) > 1:
            raise RecordError(f"{device}: holds records of {len(commits)} commits; measure all of them at one")
        parts += [_provenance(device, records), tables(records)]
    return "\n\n".join(parts) or "Nothing has been measured yet."


def headline_table(records: Sequence[Record]) -> str:
    """PyTorch against Flax, wherever both were timed with the same tuning and precision."""
    heads = ["network, batch", "phase", "tuning", "faster", "95% interval", "PyTorch, ms", "Flax, ms"]
    found = [_headline(each) for each in compare(records) if set(PAIR) <= each.step_s.keys()]
    return table(heads, found, right=3)


def _headline(comparison: Comparison) -> str:
    cell = comparison.records[0].cell
    times = [comparison.step_s[name] for name in PAIR]
    found = ratio(PAIR[0], times[0], PAIR[1], times[1])
    return row(
        f"{cell.spec_label} {cell.shape_label} {cell.precision} {cell.device}",
        comparison.phase,
        cell.tuning,
        _faster(found) + (", on a busy machine" if comparison.busy else ""),
        f"{found.low:.2f} to {found.high:.2f}",
        *(f"{1e3 * statistics.median(each):.1f}" for each in times),
    )


def _faster(found: Ratio) -> str:
    names = {"pytorch": "PyTorch", "flax_nnx": "Flax"}
    if not found.decided:
        return "too few processes"
    return "a tie" if found.tie else f"{names[found.faster]}, {found.ratio:.2f} times"


def device_table(records: Sequence[Record]) -> str:
    heads = ["network, batch, phase", "backend", "tuning", "ms a step", "times the baseline", "95% interval"]
    heads += ["images/s", "% of the floor"]
    lines = [line for found in levers(records) for line in _rows(found, records)]
    unsettled = sum(record.warm_up is not None and not record.warm_up.stable for record in records)
    said = f"\n\nThe steps of {unsettled} of {len(records)} processes had not settled when their warm-up ended."
    return table(heads, lines, right=5) + (said if unsettled else "")


def _rows(found: Levers, records: Sequence[Record]) -> list[str]:
    lines = []
    for arm in found.arms:
        own, of_floor = own_records(arm, found.phase, records), share(arm, found.phase, records)
        is_baseline = (arm.backend, arm.tuning) == found.baseline
        lines.append(
            row(
                f"{found.title} {found.phase}",
                arm.backend + (" (another network)" if arm.another_network else ""),
                arm.tuning,
                f"{1e3 * arm.median_s:.1f}",
                "the baseline" if is_baseline else f"{arm.ratio:.2f}",
                "" if is_baseline else f"{arm.low:.2f} to {arm.high:.2f}",
                f"{own[0].cell.batch / arm.median_s:.1f}",
                "" if of_floor is None else f"{of_floor:.0f}",
            )
        )
    return lines


def _provenance(device: Path, records: Sequence[Record]) -> str:
    machine, dates = records[0].machine, sorted(record.started_at[:10] for record in records)
    on_gpu = records[0].cell.device != "cpu"
    where = machine.gpus[0].name if on_gpu else f"{machine.cpu}, {machine.usable_cores} cores"
    commit = (records[0].commit or "not known")[:12]
    return (
        f"**{where}**, {dates[0]}, commit {commit}; {len(records)} processes, whose raw records and "
        f"command are in `benchmarks/results/{device.name}/`:"
    )


if __name__ == "__main__":
    main()
