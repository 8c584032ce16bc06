"""The arguments and options of `tandem compare`, `bench` and `scale`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion
from .completion import one_of, some_of
from .option_shapes import CLUSTER, OUTPUT, RUN, number, option, switch

Backends = Annotated[
    list[str] | None,
    option(
        "--backends",
        metavar="A,B",
        help="Who is timed; pytorch, flax_nnx and plugins by default.",
        complete=some_of(completion.contestants),
    ),
]
Phases = Annotated[
    list[str] | None,
    option(
        "--phase",
        metavar="P",
        help="forward, forward_backward, train_step; repeatable.",
        complete=some_of(completion.phases),
    ),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        metavar="D",
        help="cpu, cuda or cuda:1; by default a GPU where there is one.",
        panel=RUN,
        complete=one_of(completion.devices),
    ),
]
Precisions = Annotated[
    list[str] | None,
    option(
        "--precision",
        metavar="P",
        help="float32 (default), bfloat16, tf32 or float64; repeatable.",
        panel=RUN,
        complete=some_of(completion.precisions),
    ),
]
Tunings = Annotated[
    list[str] | None,
    option(
        "--tuning",
        metavar="T",
        help="default, tuned, or another that a backend has; repeatable.",
        panel=RUN,
        complete=some_of(completion.tunings),
    ),
]
Replicates = Annotated[int, number("--replicates", "Fresh processes per cell.", RUN)]

Folder = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="DIR",
        help="For report and records; by default out/SPEC-DATE.",
        panel=OUTPUT,
    ),
]
Results = Annotated[
    str | None,
    option("--results", metavar="DIR", help="Write every record here as soon as it is there.", panel=OUTPUT),
]
Resume = Annotated[
    bool, switch("--resume", help="Skip what --results holds from this machine and commit.", panel=OUTPUT)
]

Axis = Annotated[
    str,
    typer.Argument(metavar="AXIS", help="What grows: batch, size or replicas.", autocompletion=one_of(completion.axes)),
]
Most = Annotated[int | None, number("--most", "The largest batch (64), side in pixels (1024), or number of replicas.")]
GroupReplicates = Annotated[int | None, number("--replicates", "Of replicas: groups per point (3).", RUN)]
ScaledStatistics = Annotated[
    str | None,
    option(
        "--batch-statistics",
        metavar="B",
        help="Of replicas: global (by default on GPUs) or per_replica (on a CPU).",
        panel=RUN,
        complete=one_of(completion.batch_statistics),
    ),
]

Cluster = Annotated[
    str | None,
    option(
        "--cluster",
        metavar="C",
        help="Hand each process to slurm, or to local: jobs of this machine.",
        panel=CLUSTER,
        complete=one_of(lambda: ("slurm", "local")),
    ),
]
SlurmOptions = Annotated[
    list[str] | None,
    option(
        "--slurm",
        metavar="KEY=VALUE",
        help="What a job asks of Slurm, for instance partition=gpu; repeatable.",
        panel=CLUSTER,
    ),
]
ClusterFolder = Annotated[
    str | None,
    option(
        "--cluster-folder",
        metavar="DIR",
        help="Logs and state of the jobs, seen by all machines; by default RESULTS/cluster.",
        panel=CLUSTER,
    ),
]
Columns = Annotated[
    list[str] | None,
    option(
        "--columns",
        metavar="C",
        help="machine, commit: keep records of several, each in rows of its own.",
        panel=CLUSTER,
        complete=some_of(lambda: ("machine", "commit")),
    ),
]
