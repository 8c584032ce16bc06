"""The command line. Nothing heavy is imported here, so that `tandem --help` is quick: each command imports its own.

Exit codes: 0 is yes or done, 1 a difference was found, 2 bad input, 130 interrupted, 141 nobody reads on.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from . import cli_networks, cli_parity, cli_timing, options, options_of_reports
from .console import version
from .help_texts import FIRST_STEPS
from .shell import INTERRUPTED, Commands

app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=FIRST_STEPS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tandem {version()}")
        raise typer.Exit


@app.callback()
def tandem(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The same network in every framework: proven equal, timed fairly."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for group in (cli_networks, cli_parity, cli_timing):
    group.register(app)


@app.command()
def report(
    files: options_of_reports.Files,
    output: options_of_reports.ReportFile = None,
    format: options_of_reports.ReportFormat = None,
    against: options_of_reports.Against = None,
    across_machines: options_of_reports.AcrossMachines = False,
    json: options.Json = None,
) -> None:
    """One page from the files that check, curves, bench, scale and compare wrote: which backend, for what, and why."""
    from .commands import report

    raise typer.Exit(report.run(files, output, json, across_machines, format, against or ()))


def main() -> None:
    """The `tandem` script and `python -m tandem`."""
    try:
        app(prog_name="tandem")
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            # Ended here and now: XLA that was interrupted at compiling crashes where Python takes it down in order.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
