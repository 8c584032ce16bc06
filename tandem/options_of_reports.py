"""The arguments and options of `tandem report`."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import one_of
from .option_shapes import OUTPUT, option, switch

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="JSON files, or folders that compare or bench wrote.")]
AcrossMachines = Annotated[
    bool, switch("--across-machines", help="Allow records of different machines, which are not comparable.")
]
ReportFile = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="FILE",
        help="report.html or report.md; by default stdout.",
        panel=OUTPUT,
    ),
]
ReportFormat = Annotated[
    str | None,
    option(
        "--format",
        metavar="F",
        help="html or markdown; else as FILE is called, and Markdown on stdout.",
        panel=OUTPUT,
        complete=one_of(lambda: ("html", "markdown")),
    ),
]
Against = Annotated[
    list[str] | None,
    option("--against", metavar="FILE", help="Compare with this run, for regressions; repeatable."),
]
