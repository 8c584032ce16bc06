"""What jobs do in the tests of clusters: the real job, but for what it measures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cluster_job, provenance
from benchmarks.cluster_failures import describe_failure
from benchmarks.cluster_job import Task
from benchmarks.machine import this_machine
from benchmarks.records import Record, Window

STEP_S = 0.01


def timed(task: Task, **values: Any) -> Record:
    """As if the cell had been timed."""
    found = {
        "status": "ok",
        "windows": (Window(steps=1, seconds=STEP_S),),
        "machine": this_machine(),
        "commit": provenance.commit(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return describe_failure(task.cell, task.replicate, **found | values)


def _job(values: dict[str, Any], measure: Callable[[Task], Record]) -> None:
    cluster_job._measure = measure  # of this process alone
    cluster_job.run(values)


def works(values: dict[str, Any]) -> None:
    _job(values, timed)


def says_its_gpus(values: dict[str, Any]) -> None:
    """As the message of its record."""
    _job(values, lambda task: timed(task, message=str(os.environ.get("CUDA_VISIBLE_DEVICES"))))


def _times(task: Task, what: str) -> int:
    """How often this has been called for a task's cell and replicate."""
    path = task.folder / f"{what}-{task.cell.backend}-{task.replicate}"
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


def fails_once(values: dict[str, Any]) -> None:
    def measure(task: Task) -> Record:
        if _times(task, "failed") == 1:
            raise RuntimeError("the first time fails")
        return timed(task)

    _job(values, measure)


def second_fails(values: dict[str, Any]) -> None:
    """The second replicate always fails."""

    def measure(task: Task) -> Record:
        _times(task, "ran")
        if task.replicate == 2:
            raise RuntimeError("it always fails")
        return timed(task)

    _job(values, measure)


def dies(values: dict[str, Any]) -> None:
    """As where a node fails: no answer, and nothing said of why."""

    def measure(task: Task) -> Record:
        _times(task, "ran")
        os.kill(os.getpid(), signal.SIGKILL)
        return timed(task)

    _job(values, measure)


def never_begins(values: dict[str, Any]) -> None:
    raise ImportError("no such environment on this node")


def second_never_begins(values: dict[str, Any]) -> None:
    if values["replicate"] == 2:
        never_begins(values)
    works(values)


def is_told_to_end(values: dict[str, Any]) -> None:
    """As where a job is preempted, or its time is over."""

    def measure(task: Task) -> Record:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(10)
        return timed(task)

    _job(values, measure)


def waits(values: dict[str, Any]) -> None:
    """Until the test lets it go on."""

    def measure(task: Task) -> Record:
        _times(task, "began")
        end = time.monotonic() + 60
        while not (task.folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.02)
        return timed(task)

    _job(values, measure)


def second_elsewhere(values: dict[str, Any]) -> None:
    """The second replicate runs on a machine of another type."""

    def measure(task: Task) -> Record:
        machine = this_machine().model_copy(update={"cpu": "another"} if task.replicate == 2 else {})
        return timed(task, machine=machine)

    _job(values, measure)


def second_of_other_code(values: dict[str, Any]) -> None:
    """The checkout has changed before the second replicate began."""

    def measure(task: Task) -> Record:
        return timed(task, commit="f" * 40 if task.replicate == 2 else provenance.commit())

    _job(values, measure)


SBATCH = """#!/bin/sh
id=$(( $(cat {folder}/last 2>/dev/null || echo {first}) + 1 ))
echo $id > {folder}/last
cp "$1" {folder}/$id.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
log=$(sed -n 's/^#SBATCH --error=//p' "$1")
run() {{
    echo RUNNING > {folder}/$1.state
    err=$(echo "$log" | sed "s/%j/$1/; s/%A/$id/; s/%a/$2/; s/%t/0/")
    (
        export SLURM_JOB_ID=$1 SLURM_PROCID=0
        [ -n "$2" ] && export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$2
        state=COMPLETED
        sh {folder}/$id.sh > /dev/null 2> "$err" || state=$(cat {folder}/ends_as 2>/dev/null || echo FAILED)
        echo $state > {folder}/$1.new
        mv {folder}/$1.new {folder}/$1.state
    ) > /dev/null 2>&1 &
}}
if [ -n "$last" ]; then for n in $(seq 0 $last); do run ${{id}}_$n $n; done; else run $id ""; fi
echo "Submitted batch job $id"
"""

SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
for file in {folder}/*.state; do
    name=$(basename $file .state)
    echo "$name|$(cat $file)|node1"
done
"""


def make_slurm(folder: Path, first: int) -> None:
    """Stand-ins for Slurm's commands, which run the batch files as processes of this machine; ids follow `first`."""
    scancel = '#!/bin/sh\necho "$@" >> {folder}/cancelled\n'
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "srun": "#!/bin/sh\n", "scancel": scancel}.items():
        path = folder / name
        path.write_text(text.format(folder=folder, first=first))
        path.chmod(0o755)
