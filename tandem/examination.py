"""Backends examined for `tandem doctor`, each in processes of its own, all at once and within a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import backends
from shared_specs.errors import one_line

ROOT = Path(__file__).parent.parent

TIME_LIMIT_S = 18.0
"""For all of it."""

MOST_CRASHES = 3
"""After so many a backend is given up."""


NOT_TRIED = "not tried, as no time was left; run `tandem doctor` again"


class Examination:
    """One backend: what its processes said, and what became of them."""

    def __init__(self, name: str, deadline: float):
        self.name, self.deadline = name, deadline
        self.versions: dict[str, str] = {}
        self.devices: list[str] = []
        self.tunings: list[str] = []
        self.phases: list[str] = []
        self.note = ""
        self.trials: list[dict[str, Any]] = []
        self._planned: list[tuple[str, str]] = []
        self.problem = backends.missing(name) or ""
        self._process: subprocess.Popen[bytes] | None = None
        self._over, self._starting = False, threading.Lock()

    @property
    def works(self) -> bool:
        """Whether it computes in some precision."""
        return any(trial["works"] for trial in self.trials)

    def command(self, done: Sequence[str]) -> list[str]:
        """What is started to try all but what is done."""
        return [sys.executable, "-m", "tandem.trial", self.name, *done]

    def run(self) -> None:
        """Start a process, and another one where it has crashed, until all is tried or the time is over."""
        for _ in range(MOST_CRASHES if not self.problem else 0):
            if not self._ask_once():
                return

    def _ask_once(self) -> bool:
        """One process; whether it crashed in a trial, after which there may be more to try."""
        done = [f"{trial['device']}/{trial['precision']}" for trial in self.trials]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with tempfile.TemporaryFile() as said:
            with self._starting:
                if self._over:
                    return False
                self._process = subprocess.Popen(
                    self.command(done),
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
                )
            answers, in_time = self._answers(self._process)
            said.seek(0)
            last_words = one_line(said.read().decode(errors="replace")[-300:])
        trying = self._read(answers)
        code = self._process.returncode
        if not in_time:
            self._give_up(trying, f"no answer within {TIME_LIMIT_S:g} s, stopped; run `tandem doctor` again")
            tried = [[trial["device"], trial["precision"]] for trial in self.trials]
            for device, precision in self._planned:
                if [device, precision] not in tried:
                    self._give_up({"device": device, "precision": precision}, NOT_TRIED)
            return False
        if code == 0:
            return False
        self._give_up(trying, f"{ending(code)}{f': {last_words}' if last_words else ''}")
        return trying is not None

    def _answers(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
        """All that the process writes, and whether it ended in time."""
        try:
            return process.communicate(timeout=max(0.1, self.deadline - time.monotonic()))[0], True
        except subprocess.TimeoutExpired:
            self.stop()
            return process.communicate()[0], False

    def stop(self) -> None:
        """End the process, and what it started; none is started after it."""
        with self._starting:
            self._over = True
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, answers: bytes) -> dict[str, str] | None:
        """Take in what was said; what was being tried when it ended, if anything."""
        trying = None
        for line in answers.decode(errors="replace").splitlines():
            if not line.endswith("}"):  # the last one may be cut off
                break
            values = json.loads(line)
            trying = values.get("trying")
            if "tried" in values:
                self.trials.append(values["tried"])
            if "versions" in values:
                self.versions, self.devices, self.tunings = (values[k] for k in ("versions", "devices", "tunings"))
                self.phases, self.note = values.get("phases", []), values.get("note", "")
                self._planned = values["planned"]
            self.problem = values.get("problem", self.problem)
        return trying

    def _give_up(self, trying: dict[str, str] | None, problem: str) -> None:
        if trying is None:
            self.problem = problem
        else:
            self.trials.append({**trying, "works": False, "problem": problem, "seconds": None})


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"crashed: the process was killed by {signal.Signals(-code).name}"
    return f"crashed: the process ended with exit code {code}"


def examine(names: Sequence[str], time_limit_s: float = TIME_LIMIT_S) -> list[Examination]:
    """Examine backends side by side. Ends within the limit, also where a framework hangs."""
    examinations = [Examination(name, time.monotonic() + time_limit_s) for name in names]
    threads = [threading.Thread(target=examination.run, daemon=True) for examination in examinations]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(time_limit_s + 2)
    finally:
        for examination in examinations:
            examination.stop()
    return examinations
