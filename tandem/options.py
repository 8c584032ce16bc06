"""The arguments and options that commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion
from .completion import one_of, some_of

INPUT = "Input"
RUN = "How it is run"
OUTPUT = "What is written"

Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="SPEC", help="Names in the zoo, paths to TOML files, or all.", autocompletion=completion.specs
    ),
]
OptionalSpecs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SPEC", help="Names in the zoo, paths to TOML files, or all.", autocompletion=completion.specs
    ),
]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="A name in the zoo or a path to a TOML file.", autocompletion=completion.a_spec
    ),
]
Other = Annotated[
    str | None,
    typer.Argument(
        metavar="OTHER", help="A second one, for the difference of the two.", autocompletion=completion.a_spec
    ),
]
Every = Annotated[bool, typer.Option("--all", help="Of two networks, print every layer that differs.")]
Json = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Also write the result as JSON; - is stdout, alone.", rich_help_panel=OUTPUT
    ),
]
Words = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What the name, title or source has in it.")]
Dimensions = Annotated[
    str | None,
    typer.Option("--dimensions", metavar="N", help="2 or 3.", autocompletion=one_of(lambda: ("2", "3"))),
]
Norm = Annotated[
    str | None,
    typer.Option(
        "--norm", metavar="N", help="batch, instance, group ... or none.", autocompletion=one_of(completion.norms)
    ),
]
MaxParameters = Annotated[
    str | None, typer.Option("--max-parameters", metavar="N", help="At most so many, for instance 10M.")
]
MinParameters = Annotated[str | None, typer.Option("--min-parameters", metavar="N", help="At least so many.")]
Sort = Annotated[
    str,
    typer.Option("--sort", metavar="KEY", help="name, parameters or flops.", autocompletion=one_of(completion.sorts)),
]
Sources = Annotated[bool, typer.Option("--sources", help="Where each comes from, in full, with licence and citation.")]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backends",
        metavar="A,B",
        help="Backends; pytorch, flax_nnx and plugins by default, or all.",
        autocompletion=some_of(completion.backends),
    ),
]
TimedBackends = Annotated[
    list[str] | None,
    typer.Option(
        "--backends",
        metavar="A,B",
        help="Who is timed; pytorch, flax_nnx and plugins by default.",
        autocompletion=some_of(completion.contestants),
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="D",
        help="cpu, cuda or cuda:1.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.devices),
    ),
]
OptionalDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="D",
        help="cpu, cuda or cuda:1; by default a GPU where there is one.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.devices),
    ),
]
Narrow = Annotated[
    int | None, typer.Option("--narrow", min=1, metavar="N", help="Divide every width by N.", rich_help_panel=INPUT)
]
FullWidth = Annotated[bool, typer.Option("--full-width", help="The same as --narrow 1.", rich_help_panel=INPUT)]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="HxW",
        help="Of the images in pixels: HxW, in 3-D DxHxW, or one number.",
        rich_help_panel=INPUT,
    ),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=1, metavar="N", help="Images in a batch.", rich_help_panel=INPUT)
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of weights and input.", rich_help_panel=INPUT)]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="FILE", help="PNG, JPEG, TIFF or NPY; repeatable.", rich_help_panel=INPUT),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="FILE", help="Classes of an --image's pixels.", rich_help_panel=INPUT),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="Canonical weights, safetensors.", rich_help_panel=INPUT),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="P",
        help="float64 (default), float32, bfloat16, tf32 or all; repeatable.",
        rich_help_panel=RUN,
        autocompletion=some_of(lambda: (*completion.precisions(), "all")),
    ),
]
TrainedPrecision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="P",
        help="float32, float64, bfloat16 or tf32.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.precisions),
    ),
]
Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        metavar="P",
        help="Probes to run, all by default; repeatable.",
        autocompletion=some_of(completion.probes),
    ),
]
Optimizer = Annotated[
    str,
    typer.Option(
        "--optimizer",
        metavar="O",
        help="sgd, adam or adamw.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.optimizers),
    ),
]
Replicas = Annotated[
    int,
    typer.Option(
        "--replicas",
        min=1,
        metavar="K",
        help="Also train K replicas together, one a device, and compare them with one.",
        rich_help_panel=RUN,
    ),
]
NoReplicas = Annotated[int | None, typer.Option("--replicas", min=1, hidden=True)]
"""Where several are not timed: what is, the error says."""

BatchStatistics = Annotated[
    str | None,
    typer.Option(
        "--batch-statistics",
        metavar="B",
        help="Of replicas: global or per_replica; by default both, where there is a batch norm.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.batch_statistics),
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print every quantity that was compared.", rich_help_panel=OUTPUT)
]
Steps = Annotated[int, typer.Option("--steps", min=1, metavar="N", help="Of training.", rich_help_panel=RUN)]
Judge = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="B",
        help="Whose float64 is the reference; pytorch is faster for a large network.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.backends),
    ),
]
Record = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        "--json",
        metavar="FILE",
        help="Write every loss as JSON, for `tandem report`; - is stdout, alone.",
        rich_help_panel=OUTPUT,
    ),
]
Phases = Annotated[
    list[str] | None,
    typer.Option(
        "--phase",
        metavar="P",
        help="forward, forward_backward, train_step; repeatable.",
        autocompletion=some_of(completion.phases),
    ),
]
Axis = Annotated[
    str,
    typer.Argument(metavar="AXIS", help="What grows: batch, size or replicas.", autocompletion=one_of(completion.axes)),
]
Most = Annotated[
    int | None,
    typer.Option("--most", metavar="N", help="The largest batch (64), side in pixels (1024), or number of replicas."),
]
GroupReplicates = Annotated[
    int | None,
    typer.Option("--replicates", min=1, metavar="N", help="Of replicas: groups per point (3).", rich_help_panel=RUN),
]
ScaledStatistics = Annotated[
    str | None,
    typer.Option(
        "--batch-statistics",
        metavar="B",
        help="Of replicas: global (by default on GPUs) or per_replica (on a CPU).",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.batch_statistics),
    ),
]
Replicates = Annotated[
    int, typer.Option("--replicates", min=1, metavar="N", help="Fresh processes per cell.", rich_help_panel=RUN)
]

TimedPrecisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="P",
        help="float32 (default), bfloat16, tf32 or float64; repeatable.",
        rich_help_panel=RUN,
        autocompletion=some_of(completion.precisions),
    ),
]
Tuning = Annotated[
    str,
    typer.Option(
        "--tuning",
        metavar="T",
        help="How each backend runs: default or tuned.",
        rich_help_panel=RUN,
        autocompletion=one_of(completion.tunings),
    ),
]
Tunings = Annotated[
    list[str] | None,
    typer.Option(
        "--tuning",
        metavar="T",
        help="default, tuned, or another that a backend has; repeatable.",
        rich_help_panel=RUN,
        autocompletion=some_of(completion.tunings),
    ),
]
Results = Annotated[
    str | None,
    typer.Option(
        "--results", metavar="DIR", help="Write every record here as soon as it is there.", rich_help_panel=OUTPUT
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Skip what --results holds from this machine and commit.", rich_help_panel=OUTPUT),
]
CLUSTER = "On a cluster"
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="C",
        help="Hand each process to slurm, or to local: jobs of this machine.",
        rich_help_panel=CLUSTER,
        autocompletion=one_of(lambda: ("slurm", "local")),
    ),
]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE",
        help="What a job asks of Slurm, for instance partition=gpu; repeatable.",
        rich_help_panel=CLUSTER,
    ),
]
ClusterFolder = Annotated[
    str | None,
    typer.Option(
        "--cluster-folder",
        metavar="DIR",
        help="Logs and state of the jobs, seen by all machines; by default RESULTS/cluster.",
        rich_help_panel=CLUSTER,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="C",
        help="machine, commit: keep records of several, each in rows of its own.",
        rich_help_panel=CLUSTER,
        autocompletion=some_of(lambda: ("machine", "commit")),
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="For report and records; by default out/SPEC-DATE.",
        rich_help_panel=OUTPUT,
    ),
]


def divisor(narrow: int | None, full_width: bool) -> int | None:
    """What `--narrow` and `--full-width` say together. Raises TandemError where they disagree."""
    if full_width and narrow not in (None, 1):
        from shared_specs import TandemError

        raise TandemError(f"--full-width and --narrow {narrow} exclude each other; give one of them")
    return 1 if full_width else narrow
