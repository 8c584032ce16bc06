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

from . import cluster_failures, cluster_job, cluster_state, merging, provenance
from .cell import Cell
from .cluster_job import Failure, Task
from .cluster_state import Attempt, Job, Jobs
from .executors import STATUS, UNKNOWN, WAITING, Cluster
from .machine import Machine
from .measure import TIME_LIMIT_S
from .plan import interleave
from .record_files import check_folder, load_records, save_record
from .records import FINAL, FINE, Record

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
        if state is not None:
            cluster_state.check(state, self.folder, self.cluster.name, commit, self.resume, "commit" in self.columns)
        held = load_records(self.results) if self.results.is_dir() else []
        if not self.columns:  # what is planned is timed again, and takes the place of that
            planned = set(self.plan)
            held = [r for r in held if not (merging.of_other_changes(r, commit) and (r.cell, r.replicate) in planned)]
        merging.check_code(held, commit, self.columns)
        for record in held:
            self._hold(record)
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
        return [job for job in planned if job.merged is None and job.name not in self.outcome.refused]

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
            machine = self._machine_of(job)
            return machine is not None and self._take(job, cluster_failures.unsupported(job, machine), note)
        if not job.attempts:
            return False
        answer = cluster_job.read_answer(self.folder, job.attempts[-1].token)
        if answer is not None and answer.record is not None:
            return self._take(job, answer.record, note)
        failure = answer.failure if answer is not None else None
        failure = failure or self._gone(job)
        if failure is None:
            return False
        machine = self._machine_of(job) if answer is None else answer.machine
        return machine is not None and self._take(job, cluster_failures.failed(job, failure, machine, answer), note)

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
        # It may have come between the first look and the state.
        answer = cluster_job.read_answer(self.folder, attempt.token)
        if answer is not None and answer.ended:
            return None
        words = self.cluster.last_words(attempt.job_id)
        said = f"; it said at last: {words}" if words else f"; its logs are in {self.folder}"
        return Failure(status=STATUS.get(state, "failed"), message=f"the job ended as {state} without an answer{said}")

    def _machine_of(self, job: Job) -> Machine | None:
        """The machine that is said of what ran nowhere: that of the run; None until that is known.

        Where each machine has a column of its own, nobody knows which one a job would have had that never began.
        """
        merged = next((record.machine for record in self._records.values()), None)
        if job.cell.lacks is not None:
            awaited = merged is None and any(other.cell.lacks is None for other in self._waiting())
        elif "machine" in self.columns:
            return merging.NOWHERE
        else:
            last = len(job.attempts) == ATTEMPTS
            awaited = merged is None and last and any(self._may_tell(other) for other in self._waiting())
        return None if awaited else merged or merging.NOWHERE

    def _may_tell(self, job: Job) -> bool:
        """Whether a job may still say on which machine it runs: not the last one of a cell, if it never began."""
        gone = len(job.attempts) == ATTEMPTS and job.attempts[-1].token in self._ended_at
        return job.cell.lacks is None and not gone

    def _take(self, job: Job, record: Record, note: Tell) -> bool:
        """Merge a record, or submit its cell once more where another job may do better; either is something done."""
        if record.status not in FINAL and len(job.attempts) < ATTEMPTS:
            note(f"{record.sentence}; submitted again")
            self._submit([job])
            return True
        reason = merging.refusal(record, self._held.values(), self.columns)
        if reason is not None:
            self.outcome.refused[job.name] = reason
            note(f"{job.name} is not merged: it {reason}")
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
