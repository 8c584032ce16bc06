"""Help: every command in its panel, with examples that can be typed."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from tandem import help_texts
from tandem.cli import app

from .conftest import Run

GROUP: Any = get_command(app)
NAMES = list(GROUP.commands)
EXAMPLES = [(name, typed, words) for name, examples in help_texts.EXAMPLES.items() for typed, words in examples]


def test_commands_come_in_the_order_of_the_panels(run: Run) -> None:
    text = run("--help").stdout
    listed = [name for panel in help_texts.COMMANDS.values() for name in panel if name in NAMES]
    assert sorted(listed) == sorted(NAMES)
    places = [re.search(rf"^│ {name} ", text, re.MULTILINE) for name in listed]
    assert all(places)
    starts = [place.start() for place in places if place is not None]
    assert starts == sorted(starts)
    assert all(f"─ {panel} ─" in text for panel in help_texts.COMMANDS) and "─ Commands ─" not in text
    assert "First steps" in text and "$ tandem doctor" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_and_no_line_is_wrapped(run: Run, name: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in run(name, "--help").stdout.splitlines()]
    shown = [line for line in lines if line.startswith(f"$ tandem {name}")]
    assert len(shown) == len(help_texts.EXAMPLES[name]) >= 2
    assert lines[lines.index("Examples") + 1 :][: len(shown)] == shown
    for line, (typed, words) in zip(shown, help_texts.EXAMPLES[name], strict=True):
        assert line.startswith(f"$ {typed}") and line.endswith(f"  # {words}" if words else typed)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_shows_no_types_of_python(run: Run, name: str) -> None:
    text = run(*filter(None, [name]), "--help").stdout
    assert "--help" in text and not re.search(r"<\w+>|list\[", text)


def test_the_first_steps_are_a_line_each(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in run("--help").stdout.splitlines()]
    steps = re.sub(r"\[/?\w+\]", "", help_texts.FIRST_STEPS).splitlines()
    assert len(steps) == 4 and lines[lines.index("First steps") :][: len(steps)] == steps


@pytest.mark.parametrize(("name", "typed"), [(name, typed) for name, typed, _ in EXAMPLES])
def test_examples_are_understood(name: str, typed: str) -> None:
    program, command, *arguments = shlex.split(typed)
    assert (program, command) == ("tandem", name)
    context = GROUP.commands[name].make_context(name, arguments, resilient_parsing=False)
    assert context.params


def test_paragraphs_are_left_for_the_terminal_to_wrap() -> None:
    assert help_texts.unwrapped("one\ntwo\n\nthree\nfour") == "one two\n\nthree four"


def test_a_command_that_is_not_listed_comes_last() -> None:
    assert help_texts.in_order(["new", "report", "doctor"]) == ["doctor", "report", "new"]
    assert help_texts.panel_of("new") is None


NEXT_COMMANDS = {
    "unknown_spec": (["show", "unet_papr"], "`tandem list` shows all"),
    "no_spec": (["check"], "`tandem list` shows the networks"),
    "no_gpu": (["bench", "--device", "abacus"], "`tandem doctor` says what works here"),
    "no_such_option": (["list", "--bogus"], "see tandem list --help"),
}


@pytest.mark.parametrize(("arguments", "hint"), NEXT_COMMANDS.values(), ids=NEXT_COMMANDS)
def test_errors_name_the_next_command(refused: Any, arguments: list[str], hint: str) -> None:
    assert hint in refused(*arguments)
