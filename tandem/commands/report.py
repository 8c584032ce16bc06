"""`tandem report`: one page from the files that `check`, `bench`, `scale` and `compare` wrote."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import check_one_machine
from shared_specs import TandemError
from shared_specs.files import check_writable, write_atomically

from ..console import Output, say_note
from ..report import Findings, html, load, to_markdown
from ..report.runs import are_two_runs, check_one_run

FORMATS = ("html", "markdown")


def run(
    paths: Sequence[str],
    output_path: str | None = None,
    json_path: str | None = None,
    across_machines: bool = False,
    format_name: str | None = None,
    against: Sequence[str] = (),
) -> int:
    """Write the report to a file, or to stdout; the answer is in the report, so that the exit code is 0."""
    output = Output(json_path, [*paths, *against])
    chosen = choose_format(format_name, output_path)
    if chosen == "html":
        html.check_installed()
        if output_path is None and output.for_people and sys.stdout.isatty():
            raise TandemError("--format html is a page for a browser; name a file for it, for instance -o report.html")
    if output_path is not None:
        check_writable(output_path, [*paths, *against])
    findings = read(paths, against)
    if findings.against:
        check_one_run(findings.records, ", ".join(paths))
        check_one_run(findings.against, ", ".join(against) or "what it is compared with")
    if not across_machines:
        check_one_machine([record.machine for record in (*findings.records, *findings.against)])
    page = html.to_html(findings) if chosen == "html" else to_markdown(findings)
    if output_path is not None:
        write_atomically(Path(output_path), page.encode())
        say_note(f"the report is in {output_path}")
    elif output.for_people:
        sys.stdout.write(page)
    output.write("report", findings.to_dict())
    return 0


def choose_format(name: str | None, output_path: str | None) -> str:
    """What was asked for, else what the file's name says, else Markdown. Raises TandemError."""
    if name is not None:
        if name not in FORMATS:
            raise TandemError(f"no format is named {name!r}; take one of {', '.join(FORMATS)}")
        return name
    suffix = "" if output_path is None else Path(output_path).suffix.lower()
    if suffix in (".html", ".htm"):
        return "html"
    if suffix in (".pdf", ".json", ".tex", ".docx", ".png", ".svg"):
        raise TandemError(
            f"{output_path}: a report is no {suffix} file; name it report.html, which a browser prints, or report.md"
        )
    return "markdown"


def read(paths: Sequence[str], against: Sequence[str] = ()) -> Findings:
    """What the files hold together; of two that are two runs of the same cells, the second compared with the first."""
    if against:
        findings = load(paths)
        findings.against = load(against).records
        if not findings.against:
            raise TandemError(
                f"{against[0]}: holds no benchmark record to compare with; name what bench or compare wrote"
            )
        return findings
    if len(paths) == 2:
        before, after = (load([path]) for path in paths)
        if are_two_runs(after.records, before.records):
            after.against = before.records
            say_note(f"{paths[1]} is compared with {paths[0]}, another run of the same cells")
            return after
    return load(paths)
