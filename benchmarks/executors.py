"""Where jobs run: Slurm, or processes of this machine, both through submitit and with the same few questions.

submitit is loaded where a cluster is opened, and nowhere else. Of its results nothing is read: a job writes its answer
itself, as JSON (`benchmarks.cluster_job`), so that another login, with another Python, unpickles nothing.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from shared_specs import TandemError
from shared_specs.errors import one_line

from . import cluster_state
from .process import ROOT
from .records import Status
from .slurm_options import SlurmOptions

Name = Literal["slurm", "local"]

NAMES: tuple[Name, ...] = get_args(Name)

COMMANDS = ("sbatch", "srun", "sacct", "scancel")
"""Of Slurm: to submit, as submitit asks for it, to ask what became of a job, and to cancel it."""

WAITING = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "CONFIGURING", "RESIZING", "SUSPENDED", "STOPPED", "READY")

STATUS: dict[str, Status] = {
    "TIMEOUT": "timed_out",
    "DEADLINE": "timed_out",
    "OUT_OF_MEMORY": "out_of_memory",
    "PREEMPTED": "killed",
    "CANCELLED": "killed",
    "NODE_FAIL": "killed",
    "BOOT_FAIL": "killed",
    "REVOKED": "killed",
    "INTERRUPTED": "killed",
}
"""What a job that left no answer is recorded as; of any other state, "failed"."""

UNKNOWN = "UNKNOWN"

ENDING_S = 10.0
"""For a local job that has answered, or was told to end."""

KILLED_S = 10.0
"""For one that was killed: the system takes the memory of its processes back first."""


class Cluster(ABC):
    """Jobs by their ids, which are all that another login needs to find them again.

    Attributes:
        at_once: how many jobs may be submitted at a time; None for any number.
        grace_s: for how long after the end of a job its answer may still come.
        look_every_s: how often it is worth looking for answers. submitit asks Slurm less often by itself.
        outlives_us: whether jobs go on when this process ends.
    """

    name: Name
    at_once: int | None
    grace_s: float
    look_every_s: float
    outlives_us: bool

    def __init__(self, folder: Path):
        self.folder = folder.absolute()

    @abstractmethod
    def submit(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[str]:
        """Submit a job for each task, and give their ids. Raises TandemError where the cluster takes none."""

    @abstractmethod
    def state(self, job_id: str) -> str:
        """In Slurm's words: PENDING, RUNNING, COMPLETED, TIMEOUT ...; UNKNOWN where nothing is known of it."""

    @abstractmethod
    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs."""

    @abstractmethod
    def command_to_cancel(self, job_ids: Sequence[str]) -> str:
        """What the user would type to end jobs."""

    def last_words(self, job_id: str) -> str:
        """The end of what a job wrote to stderr, in one line; "" where there is nothing."""
        with contextlib.suppress(OSError):
            return one_line((self.folder / f"{job_id}_0_log.err").read_text(errors="replace")[-300:])
        return ""

    def close(self) -> None:  # noqa: B027 (there may be nothing to do)
        """Wait for what this process would otherwise leave half-ended."""

    def _submit(self, executor: Any, work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        said = io.StringIO()
        try:
            # submitit prints what sbatch said, which the message below says too.
            with importable(), contextlib.redirect_stderr(said):
                if len(tasks) == 1:
                    return [executor.submit(work, tasks[0])]
                with executor.batch():
                    jobs = [executor.submit(work, task) for task in tasks]
                return jobs
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            reason = one_line(str(error)) or one_line(said.getvalue()) or type(error).__name__
            raise TandemError(f"--cluster {self.name}: no job could be submitted: {reason}") from error


class Slurm(Cluster):
    """One sbatch, an array where there are several jobs."""

    name = "slurm"
    at_once, outlives_us = None, True
    grace_s, look_every_s = 30.0, 2.0  # network folders show a file late

    def __init__(self, folder: Path, options: SlurmOptions, on_gpu: bool):
        super().__init__(folder)
        absent = [command for command in COMMANDS if shutil.which(command) is None]
        if absent:
            raise TandemError(
                f"--cluster slurm needs {absent[0]}, which is not on the path; log in to a machine from which jobs are "
                "submitted, or take --cluster local"
            )
        import submitit

        cluster_state.make(folder)
        # In the batch step, not by srun, which would bind the one task of an exclusive node to one of its cores; and in
        # the place of its shell, which would keep signals to itself.
        self._executor = submitit.SlurmExecutor(self.folder, python=f"exec {shlex.quote(sys.executable)}")
        self._executor.update_parameters(**options.parameters(on_gpu), use_srun=False)
        self._jobs: dict[str, Any] = {}

    def submit(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[str]:
        return [job.job_id for job in self._submit(self._executor, work, tasks)]

    def state(self, job_id: str) -> str:
        if job_id not in self._jobs:  # every new object makes submitit ask at once, for all
            from submitit import SlurmJob

            self._jobs[job_id] = SlurmJob(self.folder, job_id)
        words = self._jobs[job_id].state.split()
        return words[0].rstrip("+") if words else UNKNOWN  # "CANCELLED by 1000"

    def cancel(self, job_ids: Sequence[str]) -> None:
        subprocess.run(["scancel", *job_ids], capture_output=True)

    def command_to_cancel(self, job_ids: Sequence[str]) -> str:
        return " ".join(["scancel", *job_ids])


VISIBLE = "CUDA_VISIBLE_DEVICES"


def seeing(visible: str | None, work: Callable[[Any], Any], task: Any) -> None:
    """Do a task of a local job with the GPUs that this value of `VISIBLE` names; None for all."""
    os.environ.pop(VISIBLE, None)
    os.environ.update({} if visible is None else {VISIBLE: visible})
    work(task)


class Local(Cluster):
    """Processes of this machine, one after the other: two at once would take each other's cores."""

    name = "local"
    at_once, outlives_us = 1, False
    grace_s, look_every_s = 0.0, 0.1

    def __init__(self, folder: Path, limit_min: int):
        super().__init__(folder)
        import submitit

        cluster_state.make(folder)
        self._executor = submitit.LocalExecutor(self.folder)
        self._executor.update_parameters(timeout_min=limit_min)
        self._ours: dict[str, Any] = {}

    def submit(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[str]:
        self.close()
        # submitit numbers the GPUs of its jobs from 0 on, whatever this process may use.
        jobs = self._submit(self._executor, partial(seeing, os.environ.get(VISIBLE), work), tasks)
        self._ours |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def state(self, job_id: str) -> str:
        if job_id in self._ours:
            return "COMPLETED" if self._ours[job_id].done() else "RUNNING"
        return "COMPLETED" if self._process(job_id) is None else "RUNNING"

    def cancel(self, job_ids: Sequence[str]) -> None:
        for process in filter(None, map(self._process, job_ids)):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGINT)  # submitit's controller then ends what it started
        self.close()
        # What a shell put into the background without job control ignores SIGINT, and so does all that it starts.
        for process in filter(None, map(self._process, job_ids)):
            with contextlib.suppress(psutil.Error):
                for each in [*process.children(recursive=True), process]:
                    with contextlib.suppress(psutil.Error):  # one may end as its parent does
                        each.kill()
        self._wait(KILLED_S)

    def command_to_cancel(self, job_ids: Sequence[str]) -> str:
        return " ".join(["kill", "-INT", *job_ids])

    def close(self) -> None:
        """Wait for the processes that this one started: what is left of a job would be in the next one's time."""
        self._wait(ENDING_S)

    def _wait(self, most_s: float) -> None:
        for job in self._ours.values():
            end = time.monotonic() + most_s
            while not job.done() and time.monotonic() < end:
                time.sleep(0.02)

    def _process(self, job_id: str) -> psutil.Process | None:
        """The controller of a job, whose id is that of its process; another process may have it by now."""
        with contextlib.suppress(psutil.Error, ValueError):
            process = psutil.Process(int(job_id))
            if str(self.folder) in process.cmdline():
                return process
        return None


def unknown(name: str) -> TandemError:
    """What is said of a cluster that there is not."""
    return TandemError(f"no cluster is named {name!r}; take one of {', '.join(NAMES)}")


def open_cluster(name: str, folder: Path, options: SlurmOptions, on_gpu: bool) -> Cluster:
    """The cluster of this name, whose logs go to a folder that all its machines see.

    Raises:
        TandemError: where there is none, or what it needs is missing here.
    """
    if name not in NAMES:
        raise unknown(name)
    if find_spec("submitit") is None:
        raise TandemError("--cluster needs submitit, not installed here; pip install 'tandem[cluster]'")
    logging.getLogger("submitit").setLevel(logging.CRITICAL)  # what is worth telling, `benchmarks.cluster` tells
    if name == "slurm":
        return Slurm(folder, options, on_gpu)
    if options.given:
        raise TandemError(f"--slurm {options.given[0]} is an option of --cluster slurm; leave it out")
    return Local(folder, options.limit_min)


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Lets what is started within, or submitted, import this checkout from any folder; Slurm hands the path on."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
