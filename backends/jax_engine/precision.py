"""In which precision JAX computes: set explicitly, and read back from the program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr
from jax.typing import DTypeLike

from ..contract import Execution

DTYPES = {"float64": jnp.float64, "float32": jnp.float32, "tf32": jnp.float32, "bfloat16": jnp.float32}
"""Of parameters and images. With bfloat16 parameters, norm statistics and loss are float32, convolutions bfloat16."""

PRODUCTS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True)
class Numerics:
    """The arithmetic of a module.

    Attributes:
        dtype: of convolutions and maps.
        precision: of products; None is JAX's default, which is TF32 on recent GPUs.
        param_dtype: of parameters, norm statistics and what is summed up.
    """

    dtype: DTypeLike = jnp.float32
    precision: jax.lax.Precision | None = None
    param_dtype: DTypeLike = jnp.float32


def numerics(execution: Execution) -> Numerics:
    """HIGHEST for all but TF32, since JAX's DEFAULT and HIGH both mean TF32 on recent GPUs."""
    held = DTYPES[execution.precision]
    dtype = jnp.bfloat16 if execution.precision == "bfloat16" else held
    highest = execution.precision != "tf32"
    return Numerics(dtype, jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.HIGH, param_dtype=held)


def effective(jaxpr: Jaxpr) -> str:
    """The precision of every matrix product and convolution of a program, joined where there are several."""
    return " and ".join(sorted(set(_products(jaxpr)))) or "no products"


def _products(jaxpr: Jaxpr) -> Iterator[str]:
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            asked = equation.params["precision"]
            asked = set(asked) if isinstance(asked, tuple) else {asked}
            dtypes = {str(getattr(operand.aval, "dtype", "unknown")) for operand in equation.invars}
            exact = dtypes != {"float32"} or asked == {jax.lax.Precision.HIGHEST}
            yield " by ".join(sorted(dtypes)) if exact else "tf32"
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(inner):
                yield from _products(getattr(inner, "jaxpr", inner))


def _is_program(value: object) -> bool:
    return hasattr(value, "eqns")
