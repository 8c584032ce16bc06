"""The display over a run: on a terminal at its foot, in a pipe one line for each part."""

from __future__ import annotations

import pytest
from rich.console import Console

from tandem import run_display
from tandem.estimate import Part
from tandem.run_display import RunDisplay

PARTS = [Part("check", "unet_same, float64"), Part("process", "pytorch forward"), Part("process", "flax_nnx forward")]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_screen(stderr: bool = False) -> Console:
        return Console(stderr=stderr, force_terminal=True, width=80)

    monkeypatch.setattr(run_display, "console", on_screen)


def test_a_pipe_gets_one_line_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(PARTS) as display:
        display.start(PARTS[0])
        display.advance("forward: pytorch", 0.5)
        with display.aside():
            print("a result")
        display.finish(PARTS[0])
        display.start(PARTS[1])
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert err.splitlines() == [
        "progress: check 1 of 1: unet_same, float64",
        "progress: process 1 of 2: pytorch forward",
    ]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_the_step_the_counts_and_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(PARTS) as display:
        display.start(PARTS[0])
        display.advance("forward: pytorch", 0.5)
        assert display._live is not None
        display._live.refresh()
    out, err = capsys.readouterr()
    assert out == ""
    assert "check 1 of 1: unet_same, float64, forward: pytorch" in err
    assert "checks 0/1 | processes 0/2" in err
    assert "0:00 elapsed, time left not known yet" in err


@pytest.mark.usefixtures("terminal")
def test_results_are_printed_while_the_display_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(PARTS) as display:
        with display.aside():
            assert display._live is None
            print("a result")
        assert display._live is not None
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.usefixtures("terminal")
def test_what_is_printed_meanwhile_stays_on_its_own_stream(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(PARTS):
        print("somebody else's words")
    out, err = capsys.readouterr()
    assert out == "somebody else's words\n" and "words" not in err


@pytest.mark.usefixtures("terminal")
def test_an_interrupt_leaves_a_clean_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    display = RunDisplay(PARTS)
    with pytest.raises(KeyboardInterrupt), display:
        raise KeyboardInterrupt
    assert display._live is None
    assert capsys.readouterr().err.rstrip().endswith("\x1b[?25h\r\x1b[1A\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K")


def test_the_summary_names_what_there_is_of_each_kind() -> None:
    display = RunDisplay(PARTS)
    display.finish(PARTS[0])
    assert display.summary() == "1 of 1 checks and 0 of 2 processes"
