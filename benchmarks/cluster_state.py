"""What is known of a run's jobs, in a file beside their logs: any login that sees the folder can go on with it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from shared_specs import TandemError
from shared_specs.files import write_atomically
from shared_specs.json_model import JsonModel
from shared_specs.problems import describe

from .cell import Cell
from .merging import short

FILE, LOCK = "jobs.json", "lock"


class Attempt(JsonModel):
    """A job that was submitted.

    Attributes:
        token: names the file of its answer, so that no answer is taken for that of another attempt.
        submitted_at: seconds since 1970.
    """

    token: str
    job_id: str
    submitted_at: float


class Job(JsonModel):
    """One cell and replicate, and the jobs it has had.

    Attributes:
        merged: the name of its record's file in the results; None until there is one.
    """

    cell: Cell
    replicate: int
    attempts: tuple[Attempt, ...] = ()
    merged: str | None = None

    @property
    def key(self) -> tuple[Cell, int]:
        return self.cell, self.replicate

    @property
    def name(self) -> str:
        """That of its record's file; cells of two spec files of one name differ in the digest alone."""
        return f"{self.cell.id}-{self.cell.digest}-r{self.replicate}"


class Jobs(JsonModel):
    """All jobs of a run.

    Attributes:
        commit: of the code that submitted them.
    """

    schema_version: Literal[1] = 1
    cluster: str
    commit: str | None
    jobs: tuple[Job, ...] = ()

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if job.merged is None]


def load(folder: Path) -> Jobs | None:
    """The jobs that a folder knows of, or None. Raises TandemError where its file is none of ours."""
    path = folder / FILE
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise TandemError(f"{path}: is not JSON, expected the jobs of a run; name another --cluster-folder") from error
    except OSError as error:
        raise TandemError(f"{path}: cannot be read ({error.strerror}); name another --cluster-folder") from error
    try:
        return Jobs.model_validate(values)
    except ValidationError as error:
        raise TandemError(f"{path}: {describe(error, values)}; name another --cluster-folder") from error


def check(state: Jobs, folder: Path, cluster: str, commit: str | None, resume: bool, any_commit: bool) -> None:
    """Refuse to begin anew beside jobs that are not merged, and to go on with those of another cluster or commit.

    Args:
        state: what an earlier login has left.
        any_commit: whether records of several commits are kept.

    Raises:
        TandemError: where the run may not begin.
    """
    if not resume:
        if state.unfinished:
            raise TandemError(
                f"{folder} has {len(state.unfinished)} jobs whose records are not merged; give --resume to go on with "
                "them, or name another --cluster-folder"
            )
        return
    if state.cluster != cluster:
        raise TandemError(f"{folder} has jobs of --cluster {state.cluster}; go on with that one")
    if state.unfinished and state.commit != commit and not any_commit:
        raise TandemError(
            f"{folder} has jobs of commit {short(state.commit)}, and this is {short(commit)}; check that one out, or "
            "name another --cluster-folder"
        )


def save(jobs: Jobs, folder: Path) -> None:
    """Write them, whole or not at all. Raises TandemError."""
    write_atomically(folder / FILE, (jobs.model_dump_json(indent=1) + "\n").encode())


def make(folder: Path) -> None:
    """Make the folder, and try to write to it. Raises TandemError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise TandemError(
            f"{folder}: cannot be written ({error.strerror}); name a folder that all machines of the cluster can write "
            "to, with --cluster-folder"
        ) from error


@contextmanager
def driven(folder: Path) -> Iterator[None]:
    """One process at a time submits and merges. Some network folders have no locks, and then nobody is kept out.

    Raises:
        TandemError: where another process does.
    """
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise TandemError(
                f"{folder}: {holder} is merging its jobs; wait for it, or end it and give --resume"
            ) from None
        except OSError:
            pass  # no locks here
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} of {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)
