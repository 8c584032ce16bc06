"""Streams that cannot hold every letter get plain ones of the same width, and JSON stays whole."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tandem.cli import app
from tandem.encoding import look_alike


def run(encoding: str, *arguments: str) -> str:
    result = CliRunner(charset=encoding).invoke(app, list(arguments), prog_name="tandem")
    assert result.exit_code == 0, result.exception
    return result.stdout_bytes.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_drawings_and_tables_keep_their_columns(encoding: str) -> None:
    plain, full = run(encoding, "show", "unet_paper"), run("utf-8", "show", "unet_paper")
    assert "?" not in plain
    assert "0  64x568x568 ------------ crop to 392x392, concatenate ------------> 64x388x388" in plain
    assert [len(line.rstrip()) for line in plain.splitlines()] == [len(line.rstrip()) for line in full.splitlines()]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_on_stdout_says_the_same_in_every_encoding(encoding: str) -> None:
    assert json.loads(run(encoding, "list", "--json", "-")) == json.loads(run("utf-8", "list", "--json", "-"))


def test_help_is_printed_in_ascii() -> None:
    assert "+- Start here" in run("ascii", "--help")


@pytest.mark.parametrize(("letter", "plain"), [("─", "-"), ("▶", ">"), ("é", "e"), ("Č", "C"), ("²", "2"), ("画", "?")])
def test_look_alikes(letter: str, plain: str) -> None:
    assert look_alike(letter) == plain
