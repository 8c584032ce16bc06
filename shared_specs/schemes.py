"""Which names a checkpoint's tensors have: canonical ones, or those of the original implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import keymap
from .errors import SpecError, WeightsError
from .misfits import lacks_statistics_alone, names_problem, shapes_problem
from .naming import CANONICAL, OwnWeights, Tensors, compared, schemes, without
from .weights import check_weights

if TYPE_CHECKING:
    from .schema import UNetSpec


@dataclass(frozen=True)
class Recognised:
    """Canonical weights, and how they were found.

    Attributes:
        scheme: the way of naming.
        prefix: what was taken off the names; tensors without it were left out.
    """

    weights: dict[str, np.ndarray]
    scheme: str
    prefix: str


def check_scheme(spec: UNetSpec, scheme: str) -> None:
    """Refuse a scheme that the spec has not. Raises SpecError."""
    if scheme not in schemes(spec):
        raise SpecError(f"{spec.name} knows no scheme {scheme!r}; take one of {', '.join(schemes(spec))}")


def recognise(
    spec: UNetSpec,
    tensors: Tensors,
    own_weights: OwnWeights,
    origin: str,
    scheme: str | None = None,
    full: UNetSpec | None = None,
) -> Recognised:
    """Canonical weights from a checkpoint's tensors.

    Args:
        spec: the network.
        tensors: by the names that they have in the checkpoint.
        own_weights: what a module of ours has under its own names, as canonical weights.
        origin: of the tensors, for messages.
        scheme: of the names; None where they are to tell it, which they do where all of them fit.
        full: the network at full width, of which `spec` is a narrow one; `spec` itself by default.

    Raises:
        SpecError: where the spec has no such scheme.
        WeightsError: listing all that is missing, unexpected, misshapen, not finite or unlike its alias; or, where
            the names fit no scheme, how they differ from each, and which network of the zoo they are nearer to; or,
            where the shapes are those of another width, which.
    """
    if scheme is not None:
        check_scheme(spec, scheme)
    tried = compared(spec, tensors, own_weights)
    wanted = [found for found in tried if scheme in (None, found.scheme)]
    fitting = {found.scheme: found for found in reversed(wanted) if not found.count}
    if len(fitting) > 1:
        raise WeightsError(f"{origin}: the names fit {' and '.join(sorted(fitting))}; say which they are, with --from")
    nearest = min(wanted, key=lambda found: found.count)
    if lacks_statistics_alone(spec, nearest):
        raise WeightsError(
            f"{origin}: has the parameters of {spec.name} and none of the {len(nearest.missing)} running statistics of "
            "its batch norms; save these too: module.state_dict(), nnx.state(module), or batch_stats beside params"
        )
    if not fitting and scheme is None:
        raise WeightsError(f"{origin}: {names_problem(spec, tensors, own_weights, tried)}")
    if fitting:
        problem = shapes_problem(spec, full or spec, tensors, own_weights, nearest, whole=scheme is not None)
        if problem is not None:
            raise WeightsError(f"{origin}: {problem}")
    named = without(nearest.prefix, tensors)
    if nearest.scheme == CANONICAL:
        weights = own_weights(spec, named)
        check_weights(spec, weights, origin)
    else:
        weights = keymap.to_canonical(spec, named, origin)
    return Recognised(weights, nearest.scheme, nearest.prefix)
