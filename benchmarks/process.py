"""The parent's end of the pipe: start a worker, ask it, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from shared_specs import TandemError
from shared_specs.errors import one_line

from .records import Status

ROOT = Path(__file__).parent.parent

LOOK_EVERY_S = 0.1


class WorkerFailure(TandemError):
    """A worker that did not answer. `status` is that of the record which this becomes."""

    def __init__(self, status: Status, message: str):
        super().__init__(message)
        self.status: Status = status


class WorkerProcess:
    """A fresh Python process in a session of its own, so that it and all it starts can be ended together.

    Args:
        time_limit_s: for its whole life; then it is killed and the next question raises WorkerFailure.
        module: what to run, a module that serves `benchmarks.protocol`.
        environment: what it has beside the environment of this process.
        memory_limit_bytes: of resident memory; where it is passed, the worker is ended as out of memory, before the
            kernel ends it or something else.
    """

    def __init__(
        self,
        time_limit_s: float,
        module: str = "benchmarks.worker",
        environment: Mapping[str, str] | None = None,
        memory_limit_bytes: int | None = None,
    ):
        self.time_limit_s, self.memory_limit_bytes = time_limit_s, memory_limit_bytes
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._pending = b""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.spawned_at = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | dict(environment or {}),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one question and wait for its answer.

        Raises:
            WorkerFailure: "failed" or "out_of_memory" as the worker says, "timed_out", "killed" by a signal.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: reading says of what
            self._process.stdin.write(json.dumps({"command": command} | arguments).encode() + b"\n")
            self._process.stdin.flush()
        answer = json.loads(self._read_line(command))
        status = answer.pop("status")
        if status != "ok":
            raise WorkerFailure(status, answer["message"])
        return answer

    def _read_line(self, command: str) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left_s = self.spawned_at + self.time_limit_s - time.monotonic()
                if left_s <= 0:
                    self.close()
                    raise WorkerFailure(
                        "timed_out", f"no answer to {command!r} within the limit of {self.time_limit_s:g} s; killed"
                    )
                self._watch_memory(command)
                # In slices, since a child of a dead worker can keep the pipe open.
                if selector.select(min(left_s, LOOK_EVERY_S)):
                    chunk = os.read(descriptor, 1 << 16)
                    if not chunk:
                        raise self._death(command)
                    self._pending += chunk
                elif self._process.poll() is not None:
                    raise self._death(command)
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _watch_memory(self, command: str) -> None:
        """Raises WorkerFailure where the worker holds more than it may."""
        if self.memory_limit_bytes is None:
            return
        with contextlib.suppress(psutil.Error):  # it has just ended: reading says of what
            held = psutil.Process(self.pid).memory_info().rss
            if held > self.memory_limit_bytes:
                self.close()
                limit = f"{self.memory_limit_bytes / 2**30:.1f} GiB"
                raise WorkerFailure("out_of_memory", f"took more than the {limit} that were free, during {command!r}")

    def _death(self, command: str) -> WorkerFailure:
        """Why the worker closed its end, once it is gone."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerFailure("failed", f"the worker closed its output during {command!r} and went on; killed")
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; the kernel does this where memory runs out" if -code == signal.SIGKILL else ""
            return WorkerFailure("killed", f"the worker was killed by {name} during {command!r}{hint}")
        ended = f"the worker ended with exit code {code} during {command!r}: {self.last_words()}"
        return WorkerFailure("failed", ended)

    def last_words(self) -> str:
        """The end of what the worker wrote to stderr, in one line."""
        self._said.seek(0)
        return one_line(self._said.read().decode(errors="replace")[-600:]) or "it wrote nothing"

    def close(self) -> None:
        """Kill the worker and every process that it started."""
        # Also where the worker itself has ended: what it started may live on in its process group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._said.close()
