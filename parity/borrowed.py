"""Models that a comparison borrows: each has its own weights again afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from backends.contract import Model
from shared_specs import TandemError
from shared_specs.weights import Weights


@contextmanager
def given_back(models: Mapping[str, Model], weights: Mapping[str, Weights]) -> Iterator[None]:
    """Load these weights, by name of the model, whatever happens within.

    Where something fails within, that is what is told: of replicas that have failed there is no model left to load
    anything into, which says nothing of why.
    """
    try:
        yield
    except BaseException:
        for name, held in weights.items():
            with suppress(TandemError):
                models[name].load_weights(held)
        raise
    for name, held in weights.items():
        models[name].load_weights(held)
