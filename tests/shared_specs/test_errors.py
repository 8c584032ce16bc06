"""What a user is told fits on one line, and does nothing to the terminal."""

from __future__ import annotations

import pytest

from shared_specs.errors import SpecError, TandemError, one_line, printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        ("Größe 1", "Größe 1"),
        ("two\nlines,\ta tab", "two lines, a tab"),
        ("\x1b[31mred", " [31mred"),
        ("\u202eturned", " turned"),
        ("\ud800", " "),  # as in a name that is no UTF-8
    ],
)
def test_what_cannot_be_seen_becomes_a_space(text: str, seen: str) -> None:
    assert printable(text) == seen
    assert str(TandemError(text)) == str(SpecError(text)) == seen


def test_an_error_may_say_nothing_or_be_made_of_another() -> None:
    assert str(TandemError()) == ""
    assert str(TandemError(ValueError("one\nother"))) == "one other"


def test_lines_are_folded_into_one() -> None:
    assert one_line("  two\n\n   lines \t of text\n") == "two lines of text"
