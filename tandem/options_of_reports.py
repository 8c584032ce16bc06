"""The arguments and options of `tandem report`."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import one_of
from .options import OUTPUT

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="JSON files, or folders that compare or bench wrote.")]
AcrossMachines = Annotated[
    bool, typer.Option("--across-machines", help="Allow records of different machines, which are not comparable.")
]
ReportFile = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="report.html or report.md; by default stdout.",
        rich_help_panel=OUTPUT,
    ),
]
ReportFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F",
        help="html or markdown; else as FILE is called, and Markdown on stdout.",
        rich_help_panel=OUTPUT,
        autocompletion=one_of(lambda: ("html", "markdown")),
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="FILE", help="Compare with this run, for regressions; repeatable."),
]
