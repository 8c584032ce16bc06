"""What runs in a job: one process of one cell, timed by the same worker as anywhere, and the answer written as JSON.

The answer goes to a file of its own in the shared folder, whole or not at all; whoever merges reads it there, now or
from another login. A reference is computed by the first job that needs it and read by the others; ceilings are measured
in each job, on the machine that it was given.
"""

from __future__ import annotations

import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared_specs import TandemError
from shared_specs.files import write_atomically
from shared_specs.json_model import JsonModel

from . import contestants, protocol, provenance
from .ceilings import CeilingsOf
from .cell import Cell
from .machine import Machine, this_machine
from .measure import measure_cell
from .records import Record, Status
from .shared_references import StoredReferences

NEAR_THE_LIMIT = 0.8
"""Of a job's time limit: a signal that comes later is that of the limit, one that comes before is a preemption."""


class Task(JsonModel):
    """What a job is to do.

    Attributes:
        folder: that of the cluster, which the job's machine must see at this path.
        limit_min: the time limit of the job, in minutes.
        time_limit_s: that of the worker.
        command: what the user typed, for the record.
    """

    cell: Cell
    replicate: int
    token: str
    folder: Path
    limit_min: int
    time_limit_s: float
    command: str


class Failure(JsonModel):
    """Why a job ended without a record."""

    status: Status
    message: str


class Answer(JsonModel):
    """What a job leaves: at first where it runs, at its end a record or a failure too.

    Attributes:
        host: stays in this folder; records are made to be published and have none.
    """

    machine: Machine
    host: str
    commit: str | None
    started_at: str
    record: Record | None = None
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        return self.record is not None or self.failure is not None


def answer_path(folder: Path, token: str) -> Path:
    """Where a job of this token leaves its answer."""
    return folder / "answers" / f"{token}.json"


def read_answer(folder: Path, token: str) -> Answer | None:
    """What a job of this token has left so far; None where it has not begun. Raises TandemError for no answer.

    Nor is there one yet where the file cannot be read: a network folder tells of a file that a node is just replacing
    that it is stale, and the next look finds the new one.
    """
    path = answer_path(folder, token)
    try:
        return Answer.model_validate_json(path.read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        raise TandemError(f"{path}: is no answer of a job; remove it, and give --resume") from error


class Told(BaseException):
    """The cluster has told this job to end. Nothing on the way takes it for an error of its own."""


def run(values: dict[str, Any]) -> None:
    """Do a task, given as JSON, and leave the answer. Raises TandemError where that cannot be written."""
    task = Task.model_validate(values)
    _hear(task.limit_min)
    path = answer_path(task.folder, task.token)
    answer = Answer(
        machine=this_machine(),
        host=socket.gethostname(),
        commit=provenance.commit(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _write(answer, path)
    try:
        record = _measure(task)
        answer = answer.model_copy(update={"record": record.model_copy(update={"command": task.command})})
    except Told as told:
        answer = answer.model_copy(update={"failure": Failure(status=told.args[0], message=told.args[1])})
    except Exception as error:  # whatever it is, it is what the record has to say
        said = protocol.describe(error)
        answer = answer.model_copy(update={"failure": Failure(status=said["status"], message=said["message"])})
    _write(answer, path)


def _measure(task: Task) -> Record:
    ours = task.cell.backend not in contestants.NOT_OURS
    references = StoredReferences(task.folder / "references")
    # Of another network there is no percentage of a ceiling.
    return measure_cell(
        task.cell, task.replicate, references, task.time_limit_s, ceilings=CeilingsOf() if ours else None
    )


def _write(answer: Answer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (answer.model_dump_json(indent=1) + "\n").encode())


def _hear(limit_min: int) -> None:
    """Write down why this job ends where the cluster says so beforehand, in the place of submitit's own handlers.

    Those would submit the job again by themselves; here the one who merges does, once.
    """
    began = time.monotonic()

    def end(number: int, frame: object) -> None:
        name, minutes = signal.Signals(number).name, (time.monotonic() - began) / 60
        if minutes >= NEAR_THE_LIMIT * limit_min:
            raise Told("timed_out", f"the job had run for {minutes:.0f} of {limit_min} minutes; {name} told it to end")
        raise Told("killed", f"{name} told the job to end after {minutes:.0f} of {limit_min} minutes: preempted?")

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, end)
