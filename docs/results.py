"""Write the results table of the README from the records under benchmarks/results: `python -m docs.results`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.levers import Levers, levers
from benchmarks.machine import check_one_machine
from benchmarks.records import Record, RecordError, load_records
from shared_specs.files import write_atomically

from .tables import replace, row, table

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    write_atomically(PAGE, replace(page, "results", results(RESULTS)).encode())


def results(folder: Path) -> str:
    """One table for each device that has a folder of records."""
    parts = []
    for device in sorted(path for path in folder.glob("*") if path.is_dir()):
        records = load_records(device)
        if not records:
            continue
        check_one_machine([record.machine for record in records])
        commits = {record.commit for record in records}
        if len(commits) > 1:
            raise RecordError(f"{device}: holds records of {len(commits)} commits; measure all of them at one")
        parts += [_provenance(device, records), device_table(records)]
    return "\n\n".join(parts) or "Nothing has been measured yet."


def device_table(records: Sequence[Record]) -> str:
    heads = ["network, batch, phase", "backend", "tuning", "ms a step", "times the baseline", "95% interval"]
    heads += ["images/s", "% of the floor"]
    lines = [line for found in levers(records) for line in _rows(found, records)]
    return table(heads, lines, right=5)


def _rows(found: Levers, records: Sequence[Record]) -> list[str]:
    lines = []
    for arm in found.arms:
        own = [
            record
            for record in records
            if (record.cell.backend, record.cell.tuning, record.cell.phase) == (arm.backend, arm.tuning, found.phase)
            and record.step_s in arm.step_s
        ]
        shares = [share for record in own if (share := record.percent_of_floor) is not None]
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
                f"{statistics.median(shares):.0f}" if shares else "",
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
