"""A run on a cluster: one job for each process of each cell, and its records merged as they arrive.

Who times on one machine lets the cells take turns, A-B-B-A, so that a drift hits both alike. On a cluster each process
of each cell is a job that has a node to itself. Jobs are submitted in that same order, and each draws its node anew, so
that what is repeated is the job: nodes differ as processes do, and the interval of a verdict covers both. All
replicates of a cell in one job would put one node behind each backend, and a difference between two nodes would pass
for one between two backends, from as many processes as one likes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared_specs import TandemError
from shared_specs.cost import total_cost

from . import cluster_job, cluster_state, merging, provenance
from .cell import Cell, interleave
from .cluster_job import Answer, Failure, Task, answer_path
from .cluster_state import Attempt, Job, Jobs
from .executors import STATUS, UNKNOWN, WAITING, Cluster
from .machine import Machine
from .measure import BYTES_PER_ELEMENT, TIME_LIMIT_S
from .records import FINAL, FINE, Record, check_folder, load_records, save_record

ATTEMPTS = 2
"""Jobs for one process of one cell: what fails is submitted once more, and then recorded."""

UNKNOWN_LIMIT_S = 900.0
"""For how long after its submission the accounting may not know of a job."""

Tell = Callable[[str], None]


@dataclass
class Outcome:
    """Attributes:
    records: in the order of the plan, those of an earlier login too.
    refused: by the name of a record's file, why it was not merged.
    """

    records: list[Record] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class ClusterRun:
    """Submits, watches and merges; `run` may be interrupted at any time, and another one goes on with `resume`.

    Args:
        results: gets a file for each record.
        folder: of logs, answers and `jobs.json`; all machines of the cluster must see it.
        columns: of what there may be several in `results`, of "machine" and "commit".
        work: what a job does with a `Task`, as JSON.
    """

    def __init__(
        self,
        cluster: Cluster,
        cells: Sequence[Cell],
        replicates: int,
        results: Path,
        folder: Path,
        limit_min: int,
        resume: bool = False,
        columns: Collection[str] = (),
        time_limit_s: float = TIME_LIMIT_S,
        work: Callable[[dict[str, Any]], Any] = cluster_job.run,
    ):
        self.cluster, self.results, self.folder, self.columns = cluster, results, folder.absolute(), columns
        self.limit_min, self.time_limit_s, self.work = limit_min, time_limit_s, work
        self.plan = interleave(cells, replicates)
        self.resume = resume
        self.jobs: dict[tuple[Cell, int], Job] = {}
        self.outcome = Outcome()
        self._records: dict[tuple[Cell, int], Record] = {}
        self._held: dict[tuple[Machine, str | None], Record] = {}
        self._ended_at: dict[str, float] = {}
        self._state: Jobs | None = None

    def run(self, tell: Tell = lambda step: None, note: Tell = lambda message: None) -> Outcome:
        """Until every job is merged, refused or given up.

        Args:
            tell: is told how many jobs are done, whenever that changes.
            note: is told what went wrong with a job.

        Raises:
            TandemError: where a record cannot be written, or no job can be submitted; what is merged is kept.
        """
        check_folder(self.results)
        with cluster_state.driven(self.folder):
            self._begin()
            try:
                while self._waiting():
                    self._submit_due()
                    tell(self.summary())
                    if not self._look(note):
                        time.sleep(self.cluster.look_every_s)
            except BaseException:
                if not self.cluster.outlives_us:
                    self._cancel()
                raise
            tell(self.summary())
            self.cluster.close()
        self.outcome.records = [self._records[key] for key in self.plan if key in self._records]
        return self.outcome

    def summary(self) -> str:
        """ "2 of 6 jobs merged, 4 submitted"."""
        planned = [self.jobs[key] for key in self.plan if key in self.jobs]
        merged = sum(job.merged is not None for job in planned)
        submitted = len(self.running())
        refused = f", {len(self.outcome.refused)} refused" if self.outcome.refused else ""
        return f"{merged} of {len(self.plan)} jobs merged, {submitted} submitted{refused}"

    def running(self) -> list[str]:
        """The ids of jobs that were submitted and have no record yet."""
        return [job.attempts[-1].job_id for job in self._waiting() if job.attempts]

    def _begin(self) -> None:
        """Take up what an earlier login has left, or begin anew. Raises TandemError."""
        commit = provenance.commit()
        state = cluster_state.load(self.folder)
        if state is not None and not self.resume and state.unfinished:
            raise TandemError(
                f"{self.folder} has {len(state.unfinished)} jobs whose records are not merged; give --resume to go on "
                "with them, or name another --cluster-folder"
            )
        held = load_records(self.results) if self.results.is_dir() else []
        if not self.columns:  # what is planned is timed again where it is of other code, and takes the place of that
            planned = set(self.plan)
            held = [r for r in held if not (merging.changed_since(r) and (r.cell, r.replicate) in planned)]
        merging.check_code(held, commit, self.columns)
        for record in held:
            self._hold(record)
        if state is not None and self.resume:
            if state.cluster != self.cluster.name:
                raise TandemError(f"{self.folder} has jobs of --cluster {state.cluster}; go on with that one")
            if state.unfinished and state.commit != commit and "commit" not in self.columns:
                raise TandemError(
                    f"{self.folder} has jobs of commit {merging.short(state.commit)}, and this is "
                    f"{merging.short(commit)}; check that one out, or name another --cluster-folder"
                )
        kept = {job.key: job for job in state.jobs} if state is not None and self.resume else {}
        self.jobs = kept | {key: kept.get(key, Job(cell=key[0], replicate=key[1])) for key in self.plan}
        self._state = Jobs(cluster=self.cluster.name, commit=commit)
        last_change = provenance.last_change()
        for key in self.plan:
            self._take_up(key, commit, last_change)
        self._save()

    def _take_up(self, key: tuple[Cell, int], commit: str | None, last_change: datetime) -> None:
        """Read a record that is merged already; where its file is gone, its job's answer may still be there.

        Where it is of other code or other versions than there are now, its cell is timed again, by a new job.
        """
        job = self.jobs[key]
        if job.merged is None:
            return
        path = self.results / job.merged
        if path.is_file():
            (record,) = load_records(path)
            if provenance.is_of_this_code(record, commit, last_change):
                self._records[key] = record
            else:
                self.jobs[key] = job.model_copy(update={"merged": None, "attempts": ()})
        else:
            self.jobs[key] = job.model_copy(update={"merged": None})

    def _save(self) -> None:
        assert self._state is not None
        cluster_state.save(self._state.model_copy(update={"jobs": tuple(self.jobs.values())}), self.folder)

    def _waiting(self) -> list[Job]:
        """Of the plan, what is neither merged nor refused."""
        planned = (self.jobs[key] for key in self.plan if key in self.jobs)
        return [job for job in planned if job.merged is None and _name(job) not in self.outcome.refused]

    def _submit_due(self) -> None:
        """Submit what has no job, in the order A-B-B-A, as far as the cluster takes several at a time."""
        due = [job for job in self._waiting() if not job.attempts and job.cell.lacks is None]
        if self.cluster.at_once is not None:
            # A job that has ended takes no place, though its record may wait for what another one tells.
            running = [job for job in self._waiting() if job.attempts and job.attempts[-1].token not in self._ended_at]
            due = due[: max(0, self.cluster.at_once - len(running))]
        if due:
            self._submit(due)

    def _submit(self, due: Sequence[Job]) -> None:
        tokens = [uuid.uuid4().hex[:12] for _ in due]
        tasks = [self._task(job, token) for job, token in zip(due, tokens, strict=True)]
        submitted_at = time.time()
        ids = self.cluster.submit(self.work, [task.model_dump(mode="json") for task in tasks])
        for job, token, job_id in zip(due, tokens, ids, strict=True):
            attempt = Attempt(token=token, job_id=job_id, submitted_at=submitted_at)
            self.jobs[job.key] = job.model_copy(update={"attempts": (*job.attempts, attempt)})
        self._save()

    def _task(self, job: Job, token: str) -> Task:
        return Task(
            cell=job.cell,
            replicate=job.replicate,
            token=token,
            folder=self.folder,
            limit_min=self.limit_min,
            time_limit_s=self.time_limit_s,
            command=provenance.command_line(),
        )

    def _cancel(self) -> None:
        """End the jobs that run, as if they had never been submitted."""
        running = [job for job in self._waiting() if job.attempts]
        self.cluster.cancel([job.attempts[-1].job_id for job in running])
        for job in running:
            self.jobs[job.key] = job.model_copy(update={"attempts": job.attempts[:-1]})
        self._save()

    def _look(self, note: Tell) -> bool:
        """Look at every job; whether anything came of it."""
        found = False
        for job in self._waiting():
            found = self._look_at(job, note) or found
        return found

    def _look_at(self, job: Job, note: Tell) -> bool:
        """Merge the job's record where it is there, and act where there will be none; whether anything was done."""
        if job.cell.lacks is not None:
            return self._take(job, self._unsupported(job), note)
        if not job.attempts:
            return False
        answer = self._answer(job)
        if answer is not None and answer.record is not None:
            self._take(job, answer.record, note)
            return True
        failure = answer.failure if answer is not None else None
        failure = failure or self._gone(job)
        if failure is None:
            return False
        return self._take(job, self._record_of(job, failure, answer), note)

    def _answer(self, job: Job) -> Answer | None:
        """What the last job has left so far; None where it has not begun."""
        try:
            text = answer_path(self.folder, job.attempts[-1].token).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Answer.model_validate_json(text)
        except ValidationError as error:
            path = answer_path(self.folder, job.attempts[-1].token)
            raise TandemError(f"{path}: is no answer of a job; remove it, and give --resume") from error

    def _gone(self, job: Job) -> Failure | None:
        """Why there will be no answer, once the job has ended and a slow file system has had its time; else None."""
        attempt = job.attempts[-1]
        state = self.cluster.state(attempt.job_id)
        unknown = state == UNKNOWN and time.time() - attempt.submitted_at < UNKNOWN_LIMIT_S
        if state in WAITING or unknown:
            self._ended_at.pop(attempt.token, None)
            return None
        ended_at = self._ended_at.setdefault(attempt.token, time.monotonic())
        if time.monotonic() - ended_at < self.cluster.grace_s:
            return None
        answer = self._answer(job)  # it may have come between the first look and the state
        if answer is not None and answer.ended:
            return None
        words = self.cluster.last_words(attempt.job_id)
        said = f"; it said at last: {words}" if words else f"; its logs are in {self.folder}"
        return Failure(status=STATUS.get(state, "failed"), message=f"the job ended as {state} without an answer{said}")

    def _record_of(self, job: Job, failure: Failure, answer: Answer | None) -> Record | None:
        """A record that says how a job failed, of the machine on which it ran; None until that of the run is known.

        Where each machine has a column of its own, nobody knows which one a job would have had that never began.
        """
        machine, commit, started_at = merging.NOWHERE, provenance.commit(), ""
        if answer is not None:
            machine, commit, started_at = answer.machine, answer.commit, answer.started_at
        elif "machine" in self.columns:
            pass
        elif self._records:
            machine = next(iter(self._records.values())).machine
        elif len(job.attempts) == ATTEMPTS and any(self._may_tell(other) for other in self._waiting()):
            return None  # no other job has told yet
        ids = " and ".join(attempt.job_id for attempt in job.attempts)
        what = f"job {ids}" if len(job.attempts) == 1 else f"jobs {ids}, of which the last says"
        return describe_failure(
            job.cell,
            job.replicate,
            status=failure.status,
            message=f"{what}: {failure.message}",
            machine=machine,
            commit=commit,
            started_at=started_at,
            command=provenance.command_line(),
        )

    def _unsupported(self, job: Job) -> Record | None:
        """What no job is needed for, of the machine on which the others run; None until that is known."""
        if not self._records and any(other.cell.lacks is None for other in self._waiting()):
            return None
        machine = next((record.machine for record in self._records.values()), merging.NOWHERE)
        return describe_failure(
            job.cell,
            job.replicate,
            status="unsupported",
            message=job.cell.lacks or "",
            machine=machine,
            commit=provenance.commit(),
            command=provenance.command_line(),
        )

    def _may_tell(self, job: Job) -> bool:
        """Whether a job may still say on which machine it runs: not the last one of a cell, if it never began."""
        gone = len(job.attempts) == ATTEMPTS and job.attempts[-1].token in self._ended_at
        return job.cell.lacks is None and not gone

    def _take(self, job: Job, record: Record | None, note: Tell) -> bool:
        """Merge a record, or submit its cell once more where another job may do better; whether anything was done."""
        if record is None:
            return False
        if record.status not in FINAL and len(job.attempts) < ATTEMPTS:
            note(f"{record.sentence}; submitted again")
            self._submit([job])
            return True
        reason = merging.refusal(record, self._held.values(), self.columns)
        if reason is not None:
            self.outcome.refused[_name(job)] = reason
            note(f"{_name(job)} is not merged: it {reason}")
            return True
        path = save_record(record, self.results, merging.column_of(record, self.columns))
        self._records[job.key] = record
        self._hold(record)
        self.jobs[job.key] = job.model_copy(update={"merged": path.name})
        self._save()
        if record.status not in FINE:
            note(record.sentence)
        return True

    def _hold(self, record: Record) -> None:
        """Of each kind and commit the record that began first: the sources may have been changed since."""
        first = self._held.setdefault((record.machine.kind, record.commit), record)
        if merging.began_at(record) < merging.began_at(first):
            self._held[record.machine.kind, record.commit] = record


def _name(job: Job) -> str:
    return f"{job.cell.id}-r{job.replicate}"


def describe_failure(cell: Cell, replicate: int, **found: Any) -> Record:
    """A record of what was not timed, with what the cell alone says."""
    shape, element_bytes = cell.images_shape, BYTES_PER_ELEMENT[cell.precision]
    flops, bytes_moved = total_cost(cell.network, shape, element_bytes).of_phase(cell.phase)
    return Record(
        cell=cell,
        replicate=replicate,
        spec_fingerprint=cell.network.fingerprint,
        parameter_count=cell.network.parameter_count,
        flops=flops,
        bytes_moved=bytes_moved,
        **found,
    )
