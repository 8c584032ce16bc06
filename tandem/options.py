"""The arguments and options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion
from .completion import one_of, some_of
from .option_shapes import INPUT, OUTPUT, RUN, number, option, switch

SPECS_HELP = "Names in the zoo, paths to TOML files, or all."
SEVERAL = typer.Argument(metavar="SPEC", help=SPECS_HELP, autocompletion=completion.specs)

Specs = Annotated[list[str], SEVERAL]
OptionalSpecs = Annotated[list[str] | None, SEVERAL]
Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="A name in the zoo or a path to a TOML file.", autocompletion=completion.a_spec
    ),
]
Json = Annotated[
    str | None,
    option("--json", metavar="FILE", help="Also write the result as JSON; - is stdout, alone.", panel=OUTPUT),
]
Backends = Annotated[
    list[str] | None,
    option(
        "--backends",
        metavar="A,B",
        help="Backends; pytorch, flax_nnx and plugins by default, or all.",
        complete=some_of(completion.backends),
    ),
]
Device = Annotated[
    str,
    option("--device", metavar="D", help="cpu, cuda or cuda:1.", panel=RUN, complete=one_of(completion.devices)),
]
Narrow = Annotated[int | None, number("--narrow", "Divide every width by N.", INPUT)]
FullWidth = Annotated[bool, switch("--full-width", help="The same as --narrow 1.", panel=INPUT)]
Size = Annotated[
    str | None,
    option("--size", metavar="HxW", help="Of the images in pixels: HxW, in 3-D DxHxW, or one number.", panel=INPUT),
]
Batch = Annotated[int | None, number("--batch", "Images in a batch.", INPUT)]
Seed = Annotated[int, number("--seed", "Of weights and input.", INPUT, least=0, most=2**63 - 1)]
Images = Annotated[
    list[str] | None,
    option("--image", metavar="FILE", help="PNG, JPEG, TIFF or NPY; repeatable.", panel=INPUT),
]
Labels = Annotated[
    list[str] | None,
    option("--labels", metavar="FILE", help="Classes of an --image's pixels.", panel=INPUT),
]
Weights = Annotated[
    str | None,
    option("--weights", metavar="FILE", help="Canonical weights, safetensors.", panel=INPUT),
]
Precisions = Annotated[
    list[str] | None,
    option(
        "--precision",
        metavar="P",
        help="float64 (default), float32, bfloat16, tf32 or all; repeatable.",
        panel=RUN,
        complete=some_of(lambda: (*completion.precisions(), "all")),
    ),
]
TrainedPrecision = Annotated[
    str,
    option(
        "--precision",
        metavar="P",
        help="float32, float64, bfloat16 or tf32.",
        panel=RUN,
        complete=one_of(completion.precisions),
    ),
]
Tuning = Annotated[
    str,
    option(
        "--tuning",
        metavar="T",
        help="How each backend runs: default or tuned.",
        panel=RUN,
        complete=one_of(completion.tunings),
    ),
]
Probes = Annotated[
    list[str] | None,
    option(
        "--probe",
        metavar="P",
        help="Probes to run, all by default; repeatable.",
        complete=some_of(completion.probes),
    ),
]
Optimizer = Annotated[
    str,
    option(
        "--optimizer",
        metavar="O",
        help="sgd, adam or adamw.",
        panel=RUN,
        complete=one_of(completion.optimizers),
    ),
]
Replicas = Annotated[
    int,
    number("--replicas", "Also train K replicas together, one a device, and compare them with one.", RUN, metavar="K"),
]
NoReplicas = Annotated[int | None, typer.Option("--replicas", min=1, hidden=True)]
"""Where several are not timed: what is, the error says."""

BatchStatistics = Annotated[
    str | None,
    option(
        "--batch-statistics",
        metavar="B",
        help="Of replicas: global or per_replica; by default both, where there is a batch norm.",
        panel=RUN,
        complete=one_of(completion.batch_statistics),
    ),
]
Verbose = Annotated[bool, switch("--verbose", "-v", help="Print every quantity that was compared.", panel=OUTPUT)]
Steps = Annotated[int, number("--steps", "Of training.", RUN)]
Judge = Annotated[
    str,
    option(
        "--judge",
        metavar="B",
        help="Whose float64 is the reference; pytorch is faster for a large network.",
        panel=RUN,
        complete=one_of(completion.backends),
    ),
]
Record = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        "--json",
        metavar="FILE",
        help="Write every loss as JSON, for `tandem report`; - is stdout, alone.",
        panel=OUTPUT,
    ),
]


def divisor(narrow: int | None, full_width: bool) -> int | None:
    """What `--narrow` and `--full-width` say together. Raises TandemError where they disagree."""
    if full_width and narrow not in (None, 1):
        from shared_specs import TandemError

        raise TandemError(f"--full-width and --narrow {narrow} exclude each other; give one of them")
    return 1 if full_width else narrow
