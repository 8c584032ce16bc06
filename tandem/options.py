"""The arguments and options that commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

INPUT = "Input"
RUN = "How it is run"

Specs = Annotated[list[str], typer.Argument(metavar="SPEC...", help="Names in the zoo, paths to TOML files, or all.")]
OptionalSpecs = Annotated[
    list[str] | None, typer.Argument(metavar="[SPEC]...", help="Names in the zoo, paths to TOML files, or all.")
]
Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="JSON files, or folders that compare or bench wrote.")
]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A name in the zoo or a path to a TOML file.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON; - is stdout, alone.")
]
Sources = Annotated[bool, typer.Option("--sources", help="Where each comes from, in full, with licence and citation.")]
Backends = Annotated[
    list[str] | None, typer.Option("--backends", metavar="A,B", help="Backends, all that are installed by default.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:1.", rich_help_panel=RUN)]
OptionalDevice = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda or cuda:1; a GPU where there is one.", rich_help_panel=RUN)
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
    typer.Option("--precision", metavar="P", help="float64 (default), float32, bfloat16, tf32 or all; repeatable."),
]
TrainedPrecision = Annotated[str, typer.Option("--precision", metavar="P", help="float32, float64, bfloat16 or tf32.")]
Probes = Annotated[
    list[str] | None, typer.Option("--probe", metavar="P", help="Probes to run, all by default; repeatable.")
]
Optimizer = Annotated[str, typer.Option("--optimizer", help="sgd, adam or adamw.", rich_help_panel=RUN)]
Steps = Annotated[int, typer.Option("--steps", min=1, metavar="N", help="Of training.", rich_help_panel=RUN)]
Judge = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="B",
        help="Whose float64 is the reference; pytorch is faster for a large network.",
        rich_help_panel=RUN,
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
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every quantity that was compared.")]
Phases = Annotated[
    list[str] | None,
    typer.Option("--phase", metavar="P", help="forward, forward_backward, train_step; all by default; repeatable."),
]
Axis = Annotated[str, typer.Argument(metavar="AXIS", help="What grows: batch or size.")]
Most = Annotated[
    int | None, typer.Option("--most", metavar="N", help="The largest batch (64) or side in pixels (1024) to try.")
]
Replicates = Annotated[
    int, typer.Option("--replicates", min=1, metavar="N", help="Fresh processes per cell.", rich_help_panel=RUN)
]

TimedPrecisions = Annotated[
    list[str] | None,
    typer.Option("--precision", metavar="P", help="float32 (default), bfloat16, tf32 or float64; repeatable."),
]
Tuning = Annotated[
    str, typer.Option("--tuning", metavar="T", help="How each backend runs: default or tuned.", rich_help_panel=RUN)
]
Tunings = Annotated[
    list[str] | None,
    typer.Option("--tuning", metavar="T", help="default, tuned, or another that a backend has; repeatable."),
]
Results = Annotated[
    str | None, typer.Option("--results", metavar="DIR", help="Write every record here as soon as it is there.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Skip what --results holds from this machine and commit.")]
Folder = Annotated[
    str | None, typer.Option("--output", "-o", metavar="DIR", help="For report and records; by default out/SPEC-DATE.")
]
Factory = Annotated[
    str, typer.Argument(metavar="MODULE:FACTORY", help="A class or function, called without arguments; it is run.")
]
OptionalSpec = Annotated[
    str | None,
    typer.Option("--spec", metavar="S", help="What it is to be, a zoo name or a TOML file; inferred by default."),
]
TheirCheckpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="FILE", help="A state dict to load first; no code of it is run."),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="N,C,H,W", help="Of images that it takes; chosen by default."),
]
AdoptedFolder = Annotated[
    str | None, typer.Option("--output", "-o", metavar="DIR", help="For spec, key map and weights, where all is equal.")
]
AcrossMachines = Annotated[
    bool, typer.Option("--across-machines", help="Allow records of different machines, which are not comparable.")
]
ReportFile = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="report.html or report.md; by default stdout.")
]
ReportFormat = Annotated[
    str | None,
    typer.Option("--format", metavar="F", help="html or markdown; else as FILE is called, and Markdown on stdout."),
]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="FILE", help="Compare with this run, for regressions; repeatable."),
]

Source = Annotated[str, typer.Argument(metavar="IN", help="The checkpoint to read: a file, or a folder of Orbax.")]
Target = Annotated[
    str, typer.Argument(metavar="OUT", help="What to write: .safetensors, .pt or .pth, or a folder for Flax.")
]
OneSpec = Annotated[str, typer.Option("--spec", metavar="S", help="A name in the zoo or a path to a TOML file.")]
Scheme = Annotated[
    str | None,
    typer.Option("--from", metavar="SCHEME", help="Names in IN: canonical, or the spec's own scheme; else recognised."),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="T", help="pytorch, flax_nnx or canonical; else OUT's suffix tells.")
]
SchemeOut = Annotated[
    str | None,
    typer.Option("--scheme-out", metavar="SCHEME", help="Names in a PyTorch OUT: canonical, or the spec's own scheme."),
]
CheckResult = Annotated[
    bool,
    typer.Option("--check/--no-check", help="Read OUT back and compare it with IN, in bits and in what it computes."),
]


def divisor(narrow: int | None, full_width: bool) -> int | None:
    """What `--narrow` and `--full-width` say together. Raises TandemError where they disagree."""
    if full_width and narrow not in (None, 1):
        from shared_specs import TandemError

        raise TandemError(f"--full-width and --narrow {narrow} exclude each other; give one of them")
    return 1 if full_width else narrow
