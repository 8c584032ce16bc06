"""`tandem report`: Markdown from the files that `check`, `bench` and `compare` wrote."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import check_one_machine
from shared_specs.files import check_writable, write_atomically

from ..console import Output, say_note
from ..report import load, to_markdown


def run(
    paths: Sequence[str], output_path: str | None = None, json_path: str | None = None, across_machines: bool = False
) -> int:
    """Write the report to a file, or to stdout; the answer is in the report, so that the exit code is 0."""
    output = Output(json_path, paths)
    if output_path is not None:
        check_writable(output_path, paths)
    findings = load(paths)
    if not across_machines:
        check_one_machine([record.machine for record in findings.records])
    page = to_markdown(findings)
    if output_path is not None:
        write_atomically(Path(output_path), page.encode())
        say_note(f"the report is in {output_path}")
    elif output.for_people:
        sys.stdout.write(page)
    output.write(
        "report",
        {
            "checks": [check.model_dump(mode="json") for check in findings.checks],
            "records": [record.to_dict() for record in findings.records],
        },
    )
    return 0
