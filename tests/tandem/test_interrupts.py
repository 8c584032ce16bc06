"""Ctrl-C in `tandem compare`, at every stage: what was done is kept, and the command that goes on is printed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import Record
from tandem.commands import compare

from .conftest import Run
from .test_compare import SMALL


def interrupt(*arguments: object, **named: object) -> list[Record]:
    raise KeyboardInterrupt


@pytest.mark.needs_backends("pytorch")
def test_interrupt_at_timing_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compare, "run_cells", interrupt)
    monkeypatch.setattr(compare.check.parity, "PROBES", ("structure",))
    folder = tmp_path / "a folder"
    result = run("compare", *SMALL, "--output", folder, "--json", tmp_path / "all.json")
    assert result.exit_code == 130
    *_, kept, command, last = result.stderr.splitlines()
    assert kept.startswith("note: 2 of 2 checks, 0 of 1 references, 0 of 1 ceilings and 0 of 3 processes are done; ")
    assert f"; checks and processes are kept in {folder}, " in kept  # a reference and a ceiling are made again
    assert command == (
        f"  tandem compare unet_same --backends pytorch --phase forward --size 32 --narrow 16 --output '{folder}' "
        f"--json {tmp_path}/all.json"
    )
    assert last == "error: interrupted; no file is half-written"
    assert len(json.loads((folder / "check.json").read_text())["checks"]) == 2


@pytest.mark.usefixtures("interrupts_heard")
@pytest.mark.needs_backends("pytorch")
def test_an_interrupt_that_a_library_makes_another_error_of_says_it_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def swallow(*arguments: object, **named: object) -> list[Record]:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise RuntimeError("something else") from None
        return []

    monkeypatch.setattr(compare, "run_cells", swallow)
    monkeypatch.setattr(compare.check.parity, "PROBES", ("structure",))
    result = run("compare", *SMALL, "--output", tmp_path)
    assert result.exit_code == 130
    assert (
        f"  tandem compare unet_same --backends pytorch --phase forward --size 32 --narrow 16 --output {tmp_path}"
        in (result.stderr.splitlines())
    )


@pytest.mark.needs_backends("pytorch")
def test_interrupt_at_the_second_check_keeps_the_first(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    real = compare.check.parity.check

    def check(spec: Any, **how: Any) -> Any:
        made.append(how["execution"].precision)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(spec, **how)

    monkeypatch.setattr(compare.check.parity, "check", check)
    monkeypatch.setattr(compare, "run_cells", interrupt)
    monkeypatch.setattr(compare.check.parity, "PROBES", ("structure",))
    result = run("compare", *SMALL, "--output", tmp_path)
    assert result.exit_code == 130
    assert "note: 1 of 2 checks, " in result.stderr
    (kept,) = json.loads((tmp_path / "check.json").read_text())["checks"]
    assert kept["execution"]["precision"] == "float64"

    assert run("compare", *SMALL, "--output", tmp_path).exit_code == 130  # at timing now
    assert made == ["float64", "float32", "float32"]
    assert len(json.loads((tmp_path / "check.json").read_text())["checks"]) == 2
