"""The shell's side of every command: exit codes, interrupts, readers that stop reading, and errors in one line."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from . import help_texts, interrupts
from .console import say_error
from .encoding import make_printable

INTERRUPTED, BROKEN_PIPE = 130, 141
"""128 and the number of the signal, as shells have it."""

HALTED = "interrupted; no file is half-written"


class Commands(TyperGroup):
    """The commands, with every error that a user can cause told in one line and exit code 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit; both the script and tests come through here."""
        make_printable()
        with interrupts.noticed() as interrupted:
            try:
                code = super().main(*args, **extra | {"standalone_mode": False})
            except Exception as error:
                say_error(HALTED if interrupted.is_set() else _message(error))
                code = INTERRUPTED if interrupted.is_set() else 2
        sys.exit(code)

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order of the help."""
        return help_texts.in_order(super().list_commands(ctx))

    def get_params(self, ctx: Any) -> Any:
        """The options that stand before a command."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, with its panel and its examples."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types([*command.params, command.get_help_option(ctx)])
            command.rich_help_panel = help_texts.panel_of(cmd_name)
            command.epilog = command.epilog or help_texts.epilog(cmd_name)
            command.help = help_texts.unwrapped(command.help)
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command, before typer has its own way with signals."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            say_error(HALTED)
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and error.errno != errno.ENOSPC:
                raise
            if error.errno == errno.ENOSPC:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                say_error(f"the output could not be written ({error.strerror}); write to a device with room")
                raise typer.Exit(2) from None
            # the reader has seen enough: `tandem list | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None


def _without_types(parameters: list[Any]) -> list[Any]:
    """The same, of which the help does not show Python's types beside a flag or an argument: <bool>, <list[str]>."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or parameter.metavar is None:
            parameter.display_type_rich = lambda ctx: None
    return parameters


def _message(error: Exception) -> str:
    """What to print for bad input; any other error is a bug and keeps its traceback."""
    from shared_specs.errors import TandemError

    if isinstance(error, TandemError):
        return str(error)
    if isinstance(error, MemoryError):
        said = str(error) or "no more is to be had"
        return (
            f"out of memory ({said}); take a smaller --size or --batch, or a larger --narrow; "
            "`tandem scale batch SPEC` finds the largest that fits"
        )
    describe = getattr(error, "format_message", None)
    if describe is None:
        raise error
    # Typer's own: an unknown command or option, a missing argument.
    context, said = getattr(error, "ctx", None), describe().rstrip(".")
    zoo = "`tandem list` shows the networks; " if said == "Missing argument 'SPEC'" else ""
    return f"{said}; {zoo}see {context.command_path if context else 'tandem'} --help"
