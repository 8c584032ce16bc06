"""The arguments and options of `tandem list` and `tandem show`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import completion
from .completion import one_of
from .option_shapes import option, switch

Words = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What the name, title or source has in it.")]
Dimensions = Annotated[
    str | None, option("--dimensions", metavar="N", help="2 or 3.", complete=one_of(lambda: ("2", "3")))
]
Norm = Annotated[
    str | None,
    option("--norm", metavar="N", help="batch, instance ... or none.", complete=one_of(completion.norms)),
]
MaxParameters = Annotated[
    str | None, option("--max-parameters", metavar="N", help="At most so many, for instance 10M.")
]
MinParameters = Annotated[str | None, option("--min-parameters", metavar="N", help="At least so many.")]
Sort = Annotated[
    str,
    option("--sort", metavar="KEY", help="name, parameters or flops.", complete=one_of(completion.sorts)),
]
Sources = Annotated[bool, switch("--sources", help="Where each comes from, in full, with licence and citation.")]

Other = Annotated[
    str | None,
    typer.Argument(
        metavar="OTHER", help="A second one, for the difference of the two.", autocompletion=completion.a_spec
    ),
]
Every = Annotated[bool, switch("--all", help="Of two networks, print every layer that differs.")]
