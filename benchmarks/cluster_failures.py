"""What is written down of a process that no job has timed: the job failed, never began, or was not needed."""

from __future__ import annotations

from typing import Any

from shared_specs.cost import total_cost

from . import provenance
from .cell import Cell
from .cluster_job import Answer, Failure
from .cluster_state import Job
from .machine import Machine
from .measure import BYTES_PER_ELEMENT
from .records import Record


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


def failed(job: Job, failure: Failure, machine: Machine, answer: Answer | None) -> Record:
    """How a job failed.

    Args:
        machine: the one that is said of a job that never began.
        answer: what the job has left, which says on which machine it ran.
    """
    ids = " and ".join(attempt.job_id for attempt in job.attempts)
    what = f"job {ids}" if len(job.attempts) == 1 else f"jobs {ids}, of which the last says"
    return describe_failure(
        job.cell,
        job.replicate,
        status=failure.status,
        message=f"{what}: {failure.message}",
        machine=machine if answer is None else answer.machine,
        commit=provenance.commit() if answer is None else answer.commit,
        started_at="" if answer is None else answer.started_at,
        command=provenance.command_line(),
    )


def unsupported(job: Job, machine: Machine) -> Record:
    """What a backend cannot do, and no job was submitted for."""
    return describe_failure(
        job.cell,
        job.replicate,
        status="unsupported",
        message=job.cell.lacks or "",
        machine=machine,
        commit=provenance.commit(),
        command=provenance.command_line(),
    )
