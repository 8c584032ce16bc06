"""`tandem bench --cluster`: each process of each cell is a job, and its record is merged when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import beware, executors, merging
from benchmarks.cluster import ClusterRun, Outcome
from benchmarks.executors import Cluster
from benchmarks.record_files import check_folder
from benchmarks.records import FINE
from benchmarks.slurm_options import SlurmOptions
from benchmarks.verdict import compare
from shared_specs import TandemError

from .. import interrupts, selections
from ..console import Output, progress, say_command, say_note
from . import bench
from .compare import comparison_content, show_timing
from .resuming import command_with

DEVICES = ("cpu", "cuda")
"""What a job may be given; which GPU, Slurm decides."""


@dataclass(frozen=True)
class Where:
    """The options that say where the jobs run, as typed."""

    cluster: str | None = None
    slurm: Sequence[str] = ()
    folder: str | None = None
    columns: Sequence[str] = ()

    @property
    def asked_for(self) -> bool:
        """Whether any of them was given."""
        return self.cluster is not None or bool(self.slurm or self.folder or self.columns)


def run(
    request: bench.Request,
    where: Where,
    results: str | None = None,
    resume: bool = False,
    json_path: str | None = None,
) -> int:
    """Submit, merge and say which is faster; 1 where a cell was not timed or a record not merged."""
    output = Output(json_path, request.specs)
    if where.cluster is None:
        raise TandemError("--slurm, --cluster-folder and --columns belong to --cluster; name it, slurm or local")
    if where.cluster not in executors.NAMES:
        raise executors.unknown(where.cluster)
    if results is None:
        raise TandemError("--cluster merges records into a folder, and none was given; name it with --results")
    options = SlurmOptions.read(where.slurm)
    columns = selections.choose("column", where.columns, merging.COLUMNS) or []
    if where.cluster == "slurm" and request.device is None:
        request = replace(request, device="cuda" if options.asks_for_gpus else "cpu")
    cells = bench.cells(request, DEVICES if where.cluster == "slurm" else None)
    bench.check_cells(cells)
    check_folder(Path(results))
    folder = Path(where.folder) if where.folder is not None else Path(results) / "cluster"
    cluster = executors.open_cluster(where.cluster, folder, options, cells[0].device != "cpu")
    planned = ClusterRun(
        cluster, cells, request.replicates, Path(results), folder, options.limit_min, resume=resume, columns=columns
    )
    try:
        with progress(f"tandem bench --cluster {cluster.name}") as tell:
            outcome = planned.run(tell, say_note)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or interrupts.came():
            say_how_to_go_on(request, where, planned, cluster, results, json_path)
        raise
    show(outcome, cluster, output)
    return 0 if not outcome.refused and all(record.status in FINE for record in outcome.records) else 1


def say_how_to_go_on(
    request: bench.Request, where: Where, planned: ClusterRun, cluster: Cluster, results: str, json_path: str | None
) -> None:
    """What becomes of the jobs, the command that goes on, and the one that ends them."""
    running = planned.running()
    left = f"the {len(running)} that were submitted go on without this" if running and cluster.outlives_us else ""
    ended = "none goes on" if not cluster.outlives_us else "none is waited for"
    say_note(f"{planned.summary()}; {left or ended}. This merges what comes, from any login:")
    more = {
        "--results": results,
        "--cluster": where.cluster,
        "--slurm": list(where.slurm),
        "--cluster-folder": where.folder,
        "--columns": list(where.columns),
        "--json": json_path,
        "--resume": True,
    }
    say_command(command_with("bench", request, more))
    if left:
        say_note("and this ends them:")
        say_command(cluster.command_to_cancel(running))


def show(outcome: Outcome, cluster: Cluster, output: Output) -> None:
    """The times, one sentence for each comparison, and what was not merged."""
    comparisons = compare(outcome.records)
    show_timing(comparisons, output)
    for comparison in comparisons:
        output.print(f"{comparison.sentence}.", style="bold")
    for said in beware.remarks(comparison.records for comparison in comparisons):
        output.print(said, style="bold yellow")
    if outcome.refused:
        output.print(f"{len(outcome.refused)} records were not merged; the notes say why.", style="bold red")
    output.write(
        "bench_cluster",
        {
            "cluster": cluster.name,
            "comparisons": list(map(comparison_content, comparisons)),
            "records": outcome.records,
            "refused": outcome.refused,
        },
    )
