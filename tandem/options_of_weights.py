"""The arguments and options of `tandem adopt` and `tandem convert`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion
from .completion import one_of
from .option_shapes import OUTPUT, option, switch

Factory = Annotated[
    str, typer.Argument(metavar="MODULE:FACTORY", help="A class or function, called without arguments; it is run.")
]
OptionalSpec = Annotated[
    str | None,
    option(
        "--spec",
        metavar="S",
        help="What it is to be, a zoo name or a TOML file; inferred by default.",
        complete=completion.a_spec,
    ),
]
TheirCheckpoint = Annotated[
    str | None,
    option("--checkpoint", metavar="FILE", help="A state dict to load first; no code of it is run."),
]
InputShape = Annotated[
    str | None,
    option("--input-shape", metavar="N,C,H,W", help="Of images that it takes; chosen by default."),
]
AdoptedFolder = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="DIR",
        help="For spec, key map and weights, where all is equal.",
        panel=OUTPUT,
    ),
]

Source = Annotated[str, typer.Argument(metavar="IN", help="The checkpoint to read: a file, or a folder of Orbax.")]
Target = Annotated[
    str, typer.Argument(metavar="OUT", help="What to write: .safetensors, .pt or .pth, or a folder for Flax.")
]
OneSpec = Annotated[
    str,
    option("--spec", metavar="S", help="A name in the zoo or a path to a TOML file.", complete=completion.a_spec),
]
Scheme = Annotated[
    str | None,
    option("--from", metavar="SCHEME", help="Names in IN: canonical, or the spec's own scheme; else recognised."),
]
To = Annotated[
    str | None,
    option(
        "--to",
        metavar="T",
        help="pytorch, flax_nnx, flax_linen or canonical; else OUT's suffix tells.",
        complete=one_of(completion.formats),
    ),
]
SchemeOut = Annotated[
    str | None,
    option("--scheme-out", metavar="SCHEME", help="Names in a PyTorch OUT: canonical, or the spec's own scheme."),
]
CheckResult = Annotated[
    bool,
    switch("--check/--no-check", help="Read OUT back and compare it with IN, in bits and in what it computes."),
]
