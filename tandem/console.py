"""Where words go: results to stdout; notices, progress and errors to stderr; JSON to a file or alone to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WIDTH_OF_A_FILE = 120
"""Columns of tables that go to a file or a pipe, where nobody can widen the window."""


def console(stderr: bool = False) -> Console:
    """A console that prints text as it is: what looks like markup in a path or a list stays."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    made = Console(file=stream, markup=False, highlight=False, emoji=False)
    made.on_broken_pipe = _let_through
    if not made.is_terminal:
        made.width = max(made.width, WIDTH_OF_A_FILE)
    return made


def _let_through() -> None:
    """Leave a BrokenPipeError to the command line: rich would exit with 1, which means a difference here."""
    raise


def say_error(message: str) -> None:
    """One red line on stderr."""
    _line("error: ", message, "bold red")


def say_note(message: str) -> None:
    """One line on stderr for what the user did not ask for and should know."""
    _line("note: ", message, "yellow")


def say_command(command: str) -> None:
    """A command to type, on a line of its own on stderr, which is never broken."""
    _line("  ", command, "bold", soft_wrap=True)


def say_progress(message: str) -> None:
    """One line on stderr for what is done next, where no terminal shows a spinner."""
    _line("progress: ", message, "dim")


def _line(label: str, message: str, style: str, soft_wrap: bool = False) -> None:
    """One line, which a terminal breaks between words."""
    from rich.text import Text

    shown = "".join(letter if letter.isprintable() else " " for letter in " ".join(message.split()))
    screen = console(stderr=True)
    screen.print(Text.assemble((label, style), shown), soft_wrap=soft_wrap or not screen.is_terminal)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr with the seconds passed; where that is no terminal, a line for each step that is new.

    Yields what tells it the present step.
    """
    screen = console(stderr=True)
    if not screen.is_terminal:
        said: set[str] = set()

        def say(step: str) -> None:
            if step not in said:
                said.add(step)
                say_progress(f"{title}: {step}")

        yield say
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda step: bar.update(task, description=f"{title}: {step}")


ASCII_HEAD = "    \n    \n -- \n    \n    \n    \n    \n    \n"
"""rich's SIMPLE_HEAD, for streams that take ASCII alone."""


def plain_table(
    title: str,
    *columns: str,
    right: tuple[str, ...] = (),
    wrap: tuple[str, ...] = (),
    cut: tuple[str, ...] = (),
) -> Table:
    """An empty table in the one style of all commands.

    Args:
        right: the columns that are aligned right. wrap: those that may wrap. cut: those that may be cut off.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold") if title else None
    table = Table(
        title=heading,
        title_justify="left",
        box=box.SIMPLE_HEAD if console().encoding.startswith("utf") else box.Box(ASCII_HEAD, ascii=True),
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for column in columns:
        justify = "right" if column in right else "left"
        overflow = "ellipsis" if column in cut else "fold"
        table.add_column(column, justify=justify, no_wrap=column not in wrap, overflow=overflow)
    return table


def cut_to_fit(table: Table) -> Table:
    """The same table, with the columns that may be cut off as wide as the others leave room for."""
    screen = console()
    cut = [column for column in table.columns if column.overflow == "ellipsis"]
    for column in cut:
        column.max_width = 1
        others = screen.measure(table, options=screen.options.update(max_width=1000)).maximum - 1
        column.max_width = max(LEAST_CUT, screen.width - others)
    return table


LEAST_CUT = 12
"""Columns of a column that may be cut off, however narrow the terminal is."""


def _width(screen: Console, item: RenderableType) -> int:
    """The width at which nothing of a table is cut off: a terminal that is narrower wraps its lines."""
    from rich.table import Table

    if not isinstance(item, Table):
        return screen.width
    if any(not column.no_wrap or column.overflow == "ellipsis" for column in item.columns):
        return screen.width
    return max(screen.width, screen.measure(item, options=screen.options.update(max_width=1000)).maximum)


class Output:
    """What a command gives: tables for people, and with `--json FILE` the same for programs.

    With `--json -` stdout holds the JSON alone and nothing else is printed there.

    Args:
        inputs: files that the command reads, and therefore never writes.

    Raises:
        TandemError: at once, before any work, where the file could not be written.
    """

    def __init__(self, json_path: str | None = None, inputs: Iterable[str] = ()):
        self.json_path = json_path
        self.for_people = json_path != "-"
        if json_path is not None and json_path != "-":
            from shared_specs.files import check_writable

            check_writable(json_path, inputs)

    def fits(self, table: Table) -> bool:
        """Whether a table is no wider than the terminal; a file or a pipe takes any width."""
        screen = console()
        return not screen.is_terminal or _width(screen, table) <= screen.width

    @property
    def width(self) -> int:
        """The columns that there are to print on."""
        return console().width

    def print(self, *items: RenderableType, style: str | None = None) -> None:
        """Print for people; long lines of plain text are left to the terminal to wrap at words."""
        if not self.for_people:
            return
        for item in items:
            screen = console()
            screen.width = _width(screen, item)
            screen.print(item, style=style)

    def print_command(self, command: str) -> None:
        """A command to type, on a line of its own, which is never broken."""
        if self.for_people:
            console().print(f"    {command}", soft_wrap=True)

    def write(self, command: str, content: dict[str, Any]) -> None:
        """Write the JSON that was asked for, whole or not at all.

        Args:
            command: the name of its model in `tandem.documents`.
            content: the model's keys, but for those that every document has.

        Raises:
            TandemError: where it cannot be written.
        """
        if self.json_path is None:
            return
        from .documents import document

        made = document(command, version(), content)
        if self.json_path == "-":
            sys.stdout.write(made.to_json(ascii_only=not console().encoding.startswith("utf")))
            return
        from shared_specs.files import write_atomically

        write_atomically(Path(self.json_path), made.to_json().encode())


def to_json(content: Any) -> str:
    """JSON that every reader takes: Infinity and NaN, which JSON has not, become strings."""
    return json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _strict(item) for key, item in value.items()}
        case list() | tuple():
            return [_strict(item) for item in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return repr(value)
        case _:
            return value


@cache
def version() -> str:
    """The installed version, or that of the checkout."""
    import tomllib
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("tandem")
    except PackageNotFoundError:
        project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
        return f"{project['version']} (checkout)"
