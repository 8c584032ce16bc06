"""What no check may set side by side: replicas with batch statistics of their own, and a model with global ones."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import Model
from backends.replicas.model import ReplicatedModel
from shared_specs import TandemError


def check_one_kind(models: Mapping[str, Model]) -> int:
    """Refuse models of both kinds. A network without batch norm, or on one device, has nothing but global statistics.

    Returns:
        The number of replicas where all of them are replicas, else 0.

    Raises:
        TandemError: naming one of each.
    """
    kinds = {name: _kind(model) for name, model in models.items()}
    first, *others = kinds
    for other in others:
        if kinds[other] != kinds[first]:
            raise TandemError(
                f"{models[first].spec.name}: {first} has {kinds[first]}, and {other} {kinds[other]}: with batch norm "
                "these are two different models; build both with one batch_statistics in the recipe"
            )
    counts = [model.replicas for model in models.values() if isinstance(model, ReplicatedModel)]
    if len(set(counts)) > 1:
        raise TandemError(f"got groups of {' and '.join(map(str, counts))} replicas, expected as many in each")
    return counts[0] if len(counts) == len(models) else 0


def _kind(model: Model) -> str:
    if isinstance(model, ReplicatedModel) and not model.statistics_are_global:
        return f"the batch statistics of each of {model.replicas} replicas"
    return "global batch statistics"
